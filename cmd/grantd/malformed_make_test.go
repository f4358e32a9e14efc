package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
)

// malformed is a broken request. It must be refused, or at least have no
// effect.
type malformed struct {
	bytes  []byte // as they go over the wire
	method string
	path   string // of the endpoint that it is meant for

	// cut: the bytes end early, and the client closes its side of the connection.
	cut bool
	// wire: the HTTP itself is broken. So net/http may answer in plain text,
	// before any handler runs, or hang up.
	wire bool
}

// message is a request on its way to the wire.
type message struct {
	method, target, path string
	headers              []string // whole lines
	body                 string
	missing              int // bytes that are announced, but not sent
	chunked, cut, wire   bool
}

// makeMalformed makes the i-th request of that seed: a good one, spoiled one to
// three times. Each kind of spoiling is enough by itself to make it malformed.
func makeMalformed(seed uint64, i int) malformed {
	r := rand.New(rand.NewPCG(seed, uint64(i)))
	if r.IntN(10) == 0 {
		return garbage(r)
	}
	var m message
	var spoilers []func(*rand.Rand, *message)
	switch path := pick(r, formPaths); r.IntN(5) {
	case 0:
		m, spoilers = bearerRequest(r), bearerSpoilers
	case 1:
		m, spoilers = otherRequest(r), otherSpoilers
	default:
		m, spoilers = formRequest(r, path), formSpoilers
	}
	for range 1 + r.IntN(3) {
		pick(r, spoilers)(r, &m)
	}
	if r.IntN(3) == 0 {
		m.headers = append(m.headers, pick(r, oddHeaders)+": "+pick(r, oddValues)(r))
	}
	return m.encode(r)
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// encode returns the message as bytes. Its body is sent in chunks or with its
// length.
func (m message) encode(r *rand.Rand) malformed {
	if _, err := url.ParseRequestURI(m.target); err != nil || m.target[0] != '/' {
		m.wire = true
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: grantd.test\r\n", m.method, m.target)
	for _, h := range m.headers {
		b.WriteString(h + "\r\n")
	}
	switch {
	case m.chunked:
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		for rest := m.body; rest != ""; {
			n := 1 + r.IntN(len(rest))
			fmt.Fprintf(&b, "%x\r\n%s\r\n", n, rest[:n])
			rest = rest[n:]
		}
		if m.cut {
			b.WriteString(pick(r, []string{"", "ffff\r\nabc", "zz\r\nabc\r\n0\r\n\r\n", "-1\r\n", "ffffffffffffffffff\r\nx", "3\r\nabcdef\r\n0\r\n\r\n"}))
		} else {
			b.WriteString("0\r\n\r\n")
		}
	default:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(m.body)+m.missing, m.body)
	}
	return malformed{bytes: b.Bytes(), method: m.method, path: m.path, cut: m.cut, wire: m.wire}
}

var formPaths = []string{"/token", "/token", "/token", "/revoke", "/introspect"}

// formRequest is a good request. If it isn't really spoiled, it signs alice in.
func formRequest(r *rand.Rand, path string) message {
	m := message{method: "POST", target: path, path: path, chunked: r.IntN(6) == 0}
	m.headers = []string{"Content-Type: application/x-www-form-urlencoded"}
	m.body = "token=" + words(r, 40) + "&token_type_hint=access_token"
	if path == "/token" {
		m.body = pick(r, []string{
			"grant_type=password&username=alice&password=secret123",
			"grant_type=password&username=alice&password=secret123",
			"grant_type=refresh_token&refresh_token=grt_" + words(r, 57),
			"grant_type=client_credentials",
		})
	}
	switch {
	case path == "/introspect":
		m.headers = append(m.headers, "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("demo-api:demo-api-secret")))
	case r.IntN(2) == 0:
		m.headers = append(m.headers, "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("demo:demo-secret")))
	default:
		m.body += "&client_id=demo-public"
	}
	return m
}

var formSpoilers = []func(*rand.Rand, *message){
	wrongMethod, wrongTarget, truncated, tooLarge, brokenHead,
	func(r *rand.Rand, m *message) { // the media type
		m.headers[0] = "Content-Type: " + pick(r, []string{
			"", "text/plain", "application/json", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded; charset=latin1", ";;;",
			"application/x-www-form-urlencoded, text/plain", "application/x-www-form-urlencoded;charset", "application/x-www-form-urlencoded\r\nContent-Type: x/y",
			strings.Repeat("a/", 4000), "application/x-www-form-urlencoded; charset=\xff", "application/x-www-form-urlencode\xc3\xa9",
		})
	},
	func(r *rand.Rand, m *message) { // an encoding that isn't supported
		m.headers = append(m.headers, "Content-Encoding: "+pick(r, []string{"gzip", "br", "identity", "gzip, gzip", "\xff"}))
	},
	func(r *rand.Rand, m *message) { // a body that doesn't decode
		m.body += "&" + pick(r, []string{
			"x=%zz", "%", "x=%1", "%f0%28%8c%28=x", "x=%00", "x=%c3", "\xff\xfe=1", "x=\x00", "x=%ed%a0%80", "=%gg", "x=%u0041", "username=%80",
		})
	},
	func(r *rand.Rand, m *message) { // a parameter twice, or thousands of times
		first, _, _ := strings.Cut(m.body, "&")
		m.body += pick(r, []string{"&" + first, "&z=1&z=1", "&z&z", strings.Repeat("&p[]=1", 2+r.IntN(5000)), "&=1&=2", "&%7a=1&z=2"})
	},
	func(r *rand.Rand, m *message) { // credentials that don't decode, or two kinds of them
		raw := pick(r, []string{
			"nocolon", "\x00:\x00", "demo\n:demo-secret", "demo:demo-secret\x7f", "\xff\xfe:x", "", ":x", "demo:%zz", strings.Repeat("x", 6000) + ":y", "demo:demo-secret:",
		})
		value := pick(r, []string{
			"", "Basic", "Basic !!!", "Basic ====", "Basic " + base64.StdEncoding.EncodeToString([]byte(raw)), "Digest username=\"demo\"", "Negotiate abc",
			"Bearer", "Bearer " + raw64(r), "basic\t" + raw64(r), "Basic ZGVtbzpkZW1vLXNlY3JldA", "Basic \xff", "Basic " + strings.Repeat("A", 9000),
		})
		m.headers = append(m.headers[:1:1], "Authorization: "+value)
		if r.IntN(4) == 0 {
			m.headers = append(m.headers, "Authorization: Basic ZGVtbzpkZW1vLXNlY3JldA==")
		}
	},
	func(r *rand.Rand, m *message) { // parameters that make no sense together, or none
		client := "&client_id=demo-public"
		m.headers = m.headers[:1:1]
		m.body = pick(r, []string{
			"", "&&&", "=", "grant_type", "grant_type=", "grant_type=PASSWORD", "grant_type=password%20", "grant_type=implicit", "grant_type=" + strings.Repeat("x", 9000),
			"grant_type=password&username=alice", "grant_type=password&password=secret123", "grant_type=password&username=&password=", "grant_type=refresh_token",
			"grant_type=refresh_token&refresh_token=" + strings.Repeat("%2B", 3000), "grant_type=password&username=alice&password=secret123&client_secret=x",
			"grant_type=password&username=alice&password=secret123&client_assertion=x", `{"grant_type":"password"}`, "<xml/>",
		}) + client
	},
	func(r *rand.Rand, m *message) { // a scope outside the grammar of RFC 6749 section 3.3
		if m.path != "/token" {
			wrongMethod(r, m)
			return
		}
		m.body += "&scope=" + pick(r, []string{
			"read++write", "+read", "read+", "%22", "%5C", "%C3%A9", "read%09write", "%7f", strings.Repeat("s+", 4000) + "s", strings.Repeat("nosuch", 2000), "read&scope=write",
		})
	},
}

func raw64(r *rand.Rand) string {
	return base64.StdEncoding.EncodeToString([]byte(noise(r, 1+r.IntN(60))))
}

// words is base64url of so many bytes, as tokens are.
func words(r *rand.Rand, n int) string {
	return base64.RawURLEncoding.EncodeToString([]byte(noise(r, n)))
}

func noise(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

func wrongMethod(r *rand.Rand, m *message) {
	m.method = pick(r, []string{"GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "CONNECT", "post", "BREW", "M-SEARCH", "POST_", strings.Repeat("X", 500)})
}

// wrongTarget is a path that isn't served.
func wrongTarget(r *rand.Rand, m *message) {
	m.target = pick(r, []string{
		"/", m.path + "/", "/" + m.path, "/x/.." + m.path, "/." + m.path, "/%2e%2e" + m.path, m.path + "%00", m.path + ";x", m.path + "%2f", m.path + "%20", "/%74oken", "*",
		m.path + "/" + strings.Repeat("a/", 3000), "/" + strings.Repeat("%41", 2000), "/\xff\xfe", m.path + "%0d%0aX:y", "http://evil.test/x" + m.path,
		"/.well-known/nosuch", "/.well-known/", "/favicon.ico", "/users", "/users/you", "/admin/", "/.git/config", "/" + url.PathEscape(noise(r, 50)),
	})
	if r.IntN(3) == 0 {
		m.target += "?" + pick(r, []string{"%zz", "a=b&a=c", "access_token=x", ";", strings.Repeat("q", 5000), "client_id=demo&client_secret=demo-secret", "\xff"})
	}
}

// truncated makes the request end before its body is complete.
func truncated(r *rand.Rand, m *message) {
	m.cut = true
	m.missing = 1 + r.IntN(1000)
}

func tooLarge(r *rand.Rand, m *message) {
	m.body += "&x=" + strings.Repeat("a", maxBody+r.IntN(maxBody))
	m.chunked = r.IntN(2) == 0
}

// brokenHead breaks HTTP, or asks too much of it.
func brokenHead(r *rand.Rand, m *message) {
	m.wire = true
	m.headers = append(m.headers, pick(r, []string{
		"X-Huge: " + strings.Repeat("h", 30<<10), "no colon", " folded: x", "X-NUL: a\x00b", "X-Bell: \x07", "Na\xffme: x", "Na me: x", ": x", "Content-Length: -1", "Content-Length: 99999999999999999999",
		"Content-Length: 1\r\nContent-Length: 2", "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: \xff", "Host: a\r\nHost: b", "X-CR: a\rb", "Expect: miracles",
	}))
}

// bearerRequest asks /users/me with a token that was never issued.
func bearerRequest(r *rand.Rand) message {
	m := message{method: "GET", target: "/users/me", path: "/users/me"}
	m.headers = []string{"Authorization: Bearer gat_" + words(r, 57)}
	return m
}

var bearerSpoilers = []func(*rand.Rand, *message){
	wrongMethod, wrongTarget, brokenHead,
	func(r *rand.Rand, m *message) { // a value that is no token
		m.headers[0] = "Authorization: " + pick(r, []string{
			"", "Bearer", "Bearer ", "bearer =", "Bearer a b", "Bearer \xff", "Bearer\tx", "Bearer,x", "Bearer " + strings.Repeat("x", 9000), "Basic ZGVtbzpkZW1vLXNlY3JldA==",
			"Bearer gat_", "Bearer grt_" + words(r, 57), "Bearer " + raw64(r), "gat_" + words(r, 57), "Bearer \xc3\xa9", "DPoP x", "Bearer x, Bearer y",
		})
	},
	func(_ *rand.Rand, m *message) { m.headers = append(m.headers, "Authorization: Bearer x") },
	func(r *rand.Rand, m *message) { // a form with a token, or with several
		m.method = pick(r, []string{"POST", "PUT", "PATCH", "GET"})
		m.headers = append(m.headers, "Content-Type: application/x-www-form-urlencoded")
		m.body = pick(r, []string{"access_token=x", "access_token=x&access_token=y", "access_token=%zz", "access_token=\xff", "&&", strings.Repeat("a=b&", 5000)})
	},
	func(r *rand.Rand, m *message) { m.target += "?access_token=gat_" + words(r, 57) },
}

// otherRequest asks a path that takes no credentials.
func otherRequest(r *rand.Rand) message {
	path := pick(r, []string{
		"/livez", "/readyz", "/nope", "/", "/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/users/me",
	})
	return message{method: "GET", target: path, path: path}
}

var otherSpoilers = []func(*rand.Rand, *message){
	wrongMethod, wrongTarget, tooLarge, truncated, brokenHead,
	func(r *rand.Rand, m *message) { m.target += "?" + url.QueryEscape(noise(r, 200)) },
}

var (
	oddHeaders = []string{
		"Origin", "Access-Control-Request-Method", "Cookie", "X-Forwarded-For", "X-Forwarded-Proto", "X-Request-Id", "Accept", "Range", "If-None-Match", "User-Agent", "Referer", "Connection", "Upgrade",
	}
	oddValues = []func(*rand.Rand) string{
		func(r *rand.Rand) string {
			return strings.Repeat(pick(r, []string{"a", ",", "\"", "%", "\xff", "é", ";="}), 1+r.IntN(2000))
		},
		func(r *rand.Rand) string { return url.QueryEscape(noise(r, 30)) },
		func(r *rand.Rand) string {
			return pick(r, []string{"", "null", "*", "POST", "https://spa.test", "127.0.0.1", "::1%eth0", "bytes=0-,-1", "h2c", "close"})
		},
	}
)

// garbage isn't HTTP, or hardly.
func garbage(r *rand.Rand) malformed {
	text := pick(r, []func() string{
		func() string { return noise(r, 1+r.IntN(4000)) },
		func() string { return "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise(r, 500) },
		func() string { return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + noise(r, 100) },
		func() string { return "GET /token\r\n" },
		func() string { return "POST /token HTTP/9.9\r\nHost: x\r\n\r\n" },
		func() string { return "POST /token HTTP/1.1\r\n\r\n" },
		func() string { return "POST token HTTP/1.1\r\nHost: x\r\n\r\n" },
		func() string { return "POST  /token  HTTP/1.1\r\nHost: x\r\n\r\n" },
		func() string { return "\r\n\r\n\r\nGET /livez HTTP/1.1\nHost: x\n\n" },
		func() string { return strings.Repeat("G", 40<<10) },
		func() string { // a request with some bytes changed
			b := []byte("GET /users/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer gat_x\r\nAccept: */*\r\n\r\n")
			for range 1 + r.IntN(6) {
				b[r.IntN(len(b))] = byte(r.Uint32())
			}
			return string(b[:len(b)-r.IntN(5)])
		},
	})()
	return malformed{bytes: []byte(text), method: "GET", cut: true, wire: true}
}
