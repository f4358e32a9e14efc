package authserver

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// If parseForm accepts a form, url.ParseQuery reads the same from it, each name
// is there once, and the text is clean. No input makes it panic.
func FuzzParseForm(f *testing.F) {
	for _, seed := range []string{"", "a=b", "a=b&a=c", "a=%zz", "a=%00", "resource=a&resource=b", "resource=&resource=a&resource", "a;b=c", "=&&=", "%FF=1", "a=+%25"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		form, err := parseForm(body)
		if err != nil {
			return
		}
		want, err := url.ParseQuery(strings.ReplaceAll(body, ";", "%3B"))
		if err != nil {
			t.Fatalf("accepted %q, which does not parse: %v", body, err)
		}
		if len(form) != len(want) {
			t.Fatalf("%q has %d names, want %d", body, len(form), len(want))
		}
		if resources := strings.Split(strings.TrimSuffix(form["resource"], "\x00"), "\x00"); want.Has("resource") && !slices.Equal(resources, want["resource"]) {
			t.Errorf("%q: resources are %q, want %q", body, resources, want["resource"])
		}
		delete(form, "resource")
		for name, value := range form {
			if values := want[name]; len(values) != 1 || values[0] != value {
				t.Errorf("%q: %q is %q, want %q", body, name, value, values)
			}
			if !utf8.ValidString(name+value) || strings.Contains(name+value, "\x00") {
				t.Errorf("%q: unclean text got through", body)
			}
		}
	})
}

// A form-encoded pair comes back from Basic as it was, and no header yields
// credentials with control characters.
func FuzzBasicCredentials(f *testing.F) {
	f.Add("odd id", "p%+ :é")
	f.Add("", "")
	f.Add("web\x00", "s\n")
	f.Fuzz(func(t *testing.T, id, secret string) {
		encoded := url.QueryEscape(id) + ":" + url.QueryEscape(secret)
		readings, err := basicCredentials("Basic "+base64.StdEncoding.EncodeToString([]byte(encoded)), params{})
		if err != nil {
			t.Fatalf("form-encoded credentials refused: %v", err)
		}
		if cleanCredentials(id+secret) && readings[0] != (credentials{id, secret}) {
			t.Errorf("got %q, want %q %q", readings, id, secret)
		}
		raw, err := basicCredentials("Basic "+base64.StdEncoding.EncodeToString([]byte(id+":"+secret)), params{})
		if err != nil {
			return
		}
		for _, r := range append(readings, raw...) {
			if strings.ContainsAny(r.id+r.secret, "\x00\n\r\t\x7f") {
				t.Errorf("control characters got through: %q", r)
			}
		}
	})
}

// Whatever the header holds, at most one scheme accepts it, and the credentials
// are the content of its base64, form-decoded or raw.
func FuzzAuthorizationHeader(f *testing.F) {
	for _, seed := range []string{
		"", "Basic", "Basic !!!", "basic  d2ViOnMzY3JldA==", "Basic d2Vi", "Basic JTAwOiU3Rg==", "Bearer x", "bearer", "Bearer  gat_x y", "Basic\td2ViOng=",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		token, bearer := bearerToken(http.Header{"Authorization": {header}})
		if bearer && (!strings.HasSuffix(header, token) || !strings.EqualFold(header[:6], "Bearer") || strings.HasPrefix(token, " ")) {
			t.Errorf("%q gave the token %q", header, token)
		}
		readings, err := basicCredentials(header, params{})
		if err != nil {
			if e := asError(err); e.Status != http.StatusUnauthorized || len(readings) > 0 {
				t.Errorf("%q: %v with %q", header, err, readings)
			}
			return
		}
		raw, err := base64.StdEncoding.DecodeString(strings.TrimLeft(header[len("Basic"):], " "))
		if bearer || err != nil || len(readings) == 0 || len(readings) > 2 {
			t.Fatalf("%q gave %q", header, readings)
		}
		if last := readings[len(readings)-1]; last.id+":"+last.secret != string(raw) {
			t.Errorf("%q as it stands is %q", raw, last)
		}
		for _, c := range readings {
			if !cleanCredentials(c.id + c.secret) {
				t.Errorf("%q gave %q", header, c)
			}
		}
	})
}

// parseScope accepts exactly the grammar of RFC 6749 section 3.3.
func FuzzParseScope(f *testing.F) {
	for _, seed := range []string{"read", "read write", "", " ", "a  b", `"`, `\`, "é", "a\tb"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, scope string) {
		tokens, err := parseScope(scope)
		grammatical := scope != ""
		for token := range strings.SplitSeq(scope, " ") {
			outside := func(r rune) bool { return r < 0x21 || r > 0x7e || r == '"' || r == '\\' }
			grammatical = grammatical && token != "" && !strings.ContainsFunc(token, outside)
		}
		if grammatical != (err == nil) && strings.Count(scope, " ") < maxScopes {
			t.Errorf("%q: %v", scope, err)
		}
		if err == nil && len(tokens) == 0 {
			t.Errorf("%q gave no tokens", scope)
		}
	})
}
