package resource_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/resource"
)

// Needing an escape each way that RFC 6749 section 2.3.1 has.
const (
	oddID     = "odd id"
	oddSecret = "p%+ :é"
)

const goodAnswer = `{"active":true,"sub":"u-alice","username":"alice","client_id":"demo","scope":"read","token_type":"Bearer"}`

// asked is an authorization server whose answers the test chooses.
type asked struct {
	*httptest.Server
	answer      atomic.Pointer[http.HandlerFunc]
	questions   atomic.Int64
	connections atomic.Int64
}

func newAsked(t testing.TB) *asked {
	t.Helper()
	s := &asked{}
	s.says(http.StatusOK, "application/json", goodAnswer)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.questions.Add(1)
		(*s.answer.Load())(w, r)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func (s *asked) does(f http.HandlerFunc) { s.answer.Store(&f) }

func (s *asked) says(status int, media, body string) {
	s.does(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		w.WriteHeader(status)
		io.WriteString(w, body)
	})
}

// introspecting is a validator that asks the server at that URL.
func introspecting(t testing.TB, endpoint string, change ...func(*resource.IntrospectionConfig)) *resource.IntrospectionValidator {
	t.Helper()
	c := resource.IntrospectionConfig{
		Endpoint: endpoint, ClientID: oddID, ClientSecret: oddSecret,
		Now: func() time.Time { return signIn },
	}
	for _, f := range change {
		f(&c)
	}
	v, err := resource.NewIntrospectionValidator(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func timeout(d time.Duration) func(*resource.IntrospectionConfig) {
	return func(c *resource.IntrospectionConfig) { c.Timeout = d }
}

// silent fails the test when an error quotes the token or the secret in any spelling.
func silent(t testing.TB, err error, token string) {
	t.Helper()
	for _, s := range []string{token, oddSecret, "p%25%2B", "b2RkK2lk"} {
		if strings.Contains(fmt.Sprint(err), s) {
			t.Errorf("the error holds %q: %v", s, err)
		}
	}
}

func TestIntrospectionAsks(t *testing.T) {
	s := newAsked(t)
	s.does(func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		body, _ := io.ReadAll(r.Body)
		if got := string(body); got != "token=a-._~%2B%2F1%3D%3D&token_type_hint=access_token" {
			t.Errorf("the form is %s", got)
		}
		if got := fmt.Sprint(r.Method, " ", r.URL, " ", r.Header.Get("Content-Type")); got != "POST /introspect application/x-www-form-urlencoded" {
			t.Errorf("the request is %s", got)
		}
		if id != "odd+id" || secret != "p%25%2B+%3A%C3%A9" || r.Header["Idempotency-Key"] != nil {
			t.Errorf("credentials %q and %q, header %v", id, secret, r.Header)
		}
	})
	v := introspecting(t, s.URL+"/introspect")
	v.Validate(t.Context(), "a-._~+/1==")
	if n := s.questions.Load(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
	for _, token := range []string{"", "=", "a b", "a&active=true", "a\r\nb", "é", "a=b", `"`, strings.Repeat("a", 32<<10), strings.Repeat("+", 11<<10)} {
		if _, err := v.Validate(t.Context(), token); !errors.Is(err, resource.ErrInvalidToken) {
			t.Errorf("%.40q: %v, want ErrInvalidToken", token, err)
		}
	}
	if n := s.questions.Load(); n != 1 {
		t.Errorf("texts that are no token were sent: %d questions", n)
	}
}

func TestIntrospectionTellsTheIdentity(t *testing.T) {
	s := newAsked(t)
	v := introspecting(t, s.URL)
	alice := resource.Identity{Subject: "u-alice", Username: "alice", ClientID: "demo", Scope: "read write"}
	of := func(change func(*resource.Identity)) resource.Identity { id := alice; change(&id); return id }
	const common = `"active":true,"sub":"u-alice","username":"alice","client_id":"demo","scope":"read write"`
	for _, tt := range []struct {
		name, body string
		want       resource.Identity
	}{
		{"nothing else", `{` + common + `}`, alice},
		{"times", `{` + common + `,"iat":1772366400,"exp":1772370000}`, of(func(id *resource.Identity) {
			id.IssuedAt, id.ExpiresAt = signIn, signIn.Add(accessLifetime)
		})},
		{"one audience", `{` + common + `,"aud":"https://api.test"}`, of(func(id *resource.Identity) { id.Audience = []string{apiTest} })},
		{"two audiences", `{` + common + `,"aud":["https://api.test","https://other.test"]}`, of(func(id *resource.Identity) { id.Audience = []string{apiTest, otherTest} })},
		{"nulls", `{` + common + `,"aud":null,"iat":null,"exp":null,"token_type":null,"iss":null,"cnf":null}`, alice},
		{"members that nobody asked for", ` {` + common + `,"nbf":99999999999,"Active":false,"SUB":"x","ext":{"active":false,"sub":["y"]}} `, alice},
		{"a token_type in capitals", `{` + common + `,"token_type":"BEARER"}`, alice},
		{"a client's own token", `{"active":true,"sub":"demo","client_id":"demo"}`, resource.Identity{Subject: "demo", ClientID: "demo"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.says(http.StatusOK, "application/json; charset=utf-8", tt.body)
			got, err := v.Validate(t.Context(), "good")
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Errorf("%v %s", err, diff)
			}
		})
	}
}

// RFC 7662 section 4: nobody gets in for an answer that can't be understood, and the
// token isn't held to be bad for it.
func TestIntrospectionFailsClosed(t *testing.T) {
	s := newAsked(t)
	v := introspecting(t, s.URL)
	for _, tt := range []struct {
		name   string
		status int
		media  string
		body   string
	}{
		{"our secret is wrong", 401, "application/json", `{"error":"invalid_client"}`},
		{"we may not introspect", 403, "application/json", `{"error":"unauthorized_client"}`},
		{"no such path", 404, "application/json", goodAnswer},
		{"asked too often", 429, "application/json", goodAnswer},
		{"a faulty server", 500, "application/json", goodAnswer},
		{"an overloaded server", 503, "application/json", goodAnswer},
		{"another success", 201, "application/json", goodAnswer},
		{"a page", 200, "text/html", goodAnswer},
		{"no media type", 200, "", goodAnswer},
		{"another JSON", 200, "application/problem+json", goodAnswer},
		{"no body", 200, "application/json", ""},
		{"no JSON", 200, "application/json", "active=true"},
		{"half a JSON", 200, "application/json", goodAnswer[:len(goodAnswer)-1]},
		{"more than one JSON", 200, "application/json", goodAnswer + goodAnswer},
		{"a list", 200, "application/json", "[" + goodAnswer + "]"},
		{"null", 200, "application/json", "null"},
		{"no UTF-8", 200, "application/json", `{"active":true,"sub":"` + "\xff" + `"}`},
		{"active is missing", 200, "application/json", `{"sub":"u-alice"}`},
		{"active in capitals", 200, "application/json", `{"ACTIVE":true,"sub":"u-alice"}`},
		{"active is text", 200, "application/json", `{"active":"true","sub":"u-alice"}`},
		{"active is a number", 200, "application/json", `{"active":1,"sub":"u-alice"}`},
		{"active is null", 200, "application/json", `{"active":null,"sub":"u-alice"}`},
		{"active comes twice", 200, "application/json", `{"active":false,"active":true,"sub":"u-alice"}`},
		{"active comes twice in two spellings", 200, "application/json", `{"active":false,"\u0061ctive":true,"sub":"u-alice"}`},
		{"sub comes twice", 200, "application/json", `{"active":true,"sub":"u-bob","sub":"u-alice"}`},
		{"sub is a number", 200, "application/json", `{"active":true,"sub":1}`},
		{"scope is a list", 200, "application/json", `{"active":true,"sub":"u-alice","scope":["read"]}`},
		{"aud is an empty list", 200, "application/json", `{"active":true,"sub":"u-alice","aud":[]}`},
		{"aud is an object", 200, "application/json", `{"active":true,"sub":"u-alice","aud":{}}`},
		{"aud holds a number", 200, "application/json", `{"active":true,"sub":"u-alice","aud":["https://api.test",1]}`},
		{"exp is text", 200, "application/json", `{"active":true,"sub":"u-alice","exp":"never"}`},
		{"exp is too large", 200, "application/json", `{"active":true,"sub":"u-alice","exp":1e400}`},
		{"64 KiB and a byte", 200, "application/json", goodAnswer + strings.Repeat(" ", 64<<10+1-len(goodAnswer))},
	} {
		t.Run("7662-4-12 "+tt.name, func(t *testing.T) {
			s.says(tt.status, tt.media, tt.body)
			unknown(t, v)
		})
		t.Run("7662-4-13 the same token is good after "+tt.name, func(t *testing.T) { good(t, s, v) })
	}
	if n := s.connections.Load(); n > 3 { // one for all but what is too long, and one to spare
		t.Errorf("%d connections", n)
	}
	t.Run("64 KiB are read", func(t *testing.T) {
		s.says(http.StatusOK, "application/json", goodAnswer+strings.Repeat(" ", 64<<10-len(goodAnswer)))
		if _, err := v.Validate(t.Context(), "good"); err != nil {
			t.Error(err)
		}
	})
}

// unknown fails the test unless the validator says that it can't tell, and a guard
// answers 503.
func unknown(t *testing.T, v resource.Validator) error {
	t.Helper()
	const token = "TheTokenItself"
	_, err := v.Validate(t.Context(), token)
	if !errors.Is(err, resource.ErrUnavailable) || errors.Is(err, resource.ErrInvalidToken) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	silent(t, err, token)
	w := call(guarded(t, v), "Bearer "+token)
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || w.Header()["Www-Authenticate"] != nil {
		t.Errorf("status %d, header %v", w.Code, w.Header())
	}
	return err
}

func good(t *testing.T, s *asked, v resource.Validator) {
	t.Helper()
	s.says(http.StatusOK, "application/json", goodAnswer)
	if w := call(guarded(t, v), "Bearer TheTokenItself"); w.Code != http.StatusOK {
		t.Errorf("status %d", w.Code)
	}
}

func TestIntrospectionRefuses(t *testing.T) {
	s := newAsked(t)
	v := introspecting(t, s.URL, func(c *resource.IntrospectionConfig) { c.Issuer = "https://as.test" })
	const from = `,"iss":"https://as.test"}`
	for _, tt := range []struct{ name, body string }{
		{"an inactive token", `{"active":false}`},
		{"whatever else is told of it", `{"active":false,"sub":"u-alice","exp":99999999999` + from},
		{"7662-4-10 6749-7-01 one that expires now", `{"active":true,"sub":"u-alice","exp":1772366400` + from},
		{"7662-4-10 6749-7-01 one that expired a second ago", `{"active":true,"sub":"u-alice","exp":1772366399` + from},
		{"7662-4-10 6749-7-01 one that expired in 1970", `{"active":true,"sub":"u-alice","exp":0` + from},
		{"one whose exp is the zero time", `{"active":true,"sub":"u-alice","exp":-62135596800` + from},
		{"one whose exp no time can hold", `{"active":true,"sub":"u-alice","exp":9223372036854775807` + from},
		{"one that is no bearer token", `{"active":true,"sub":"u-alice","token_type":"DPoP"` + from},
		{"one that is bound to a certificate", `{"active":true,"sub":"u-alice","token_type":"Bearer","cnf":{"x5t#S256":"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}` + from},
		{"one that is bound to nobody knows what", `{"active":true,"sub":"u-alice","cnf":{}` + from},
		{"one that speaks for nobody", `{"active":true,"username":"alice","client_id":"demo"` + from},
		{"one with an empty sub", `{"active":true,"sub":""` + from},
		{"one of another issuer", `{"active":true,"sub":"u-alice","iss":"https://as.test/"}`},
		{"one of no issuer", `{"active":true,"sub":"u-alice"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.says(http.StatusOK, "application/json", tt.body)
			id, err := v.Validate(t.Context(), "good")
			if !errors.Is(err, resource.ErrInvalidToken) || errors.Is(err, resource.ErrUnavailable) || id.Subject != "" {
				t.Errorf("%v %v, want ErrInvalidToken", id, err)
			}
			if w := call(guarded(t, v), "Bearer good"); w.Code != http.StatusUnauthorized {
				t.Errorf("status %d", w.Code)
			}
		})
	}
	s.says(http.StatusOK, "application/json", `{"active":true,"sub":"u-alice","exp":1772366401`+from)
	if _, err := v.Validate(t.Context(), "good"); err != nil {
		t.Errorf("a second before its expiry: %v", err)
	}
}

// Of a redirect the next place would be given the token and the secret.
func TestIntrospectionFollowsNoRedirect(t *testing.T) {
	elsewhere := newAsked(t)
	s := newAsked(t)
	mine := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
	v := introspecting(t, s.URL, func(c *resource.IntrospectionConfig) { c.Client = mine })
	for _, status := range []int{301, 302, 303, 307, 308} {
		s.does(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, status) })
		if err := unknown(t, v); !strings.Contains(err.Error(), "redirect") {
			t.Errorf("%d: %v", status, err)
		}
	}
	if n := elsewhere.questions.Load(); n != 0 {
		t.Errorf("followed %d times", n)
	}
	if err := mine.CheckRedirect(nil, nil); err != nil {
		t.Error("the caller's client was changed")
	}
}

func TestIntrospectionIsBounded(t *testing.T) {
	s := newAsked(t)
	v := introspecting(t, s.URL, timeout(100*time.Millisecond))
	stalled := func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // else the server doesn't see that the client is gone
		<-r.Context().Done()
	}
	for name, f := range map[string]http.HandlerFunc{
		"no answer begins": stalled,
		"an answer that doesn't end": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, goodAnswer[:10])
			w.(http.Flusher).Flush()
			stalled(w, r)
		},
	} {
		t.Run("7662-4-12 "+name, func(t *testing.T) {
			s.does(f)
			if err := unknown(t, v); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v, want that the time is up", err)
			}
		})
		t.Run("7662-4-13 the same token is good after "+name, func(t *testing.T) { good(t, s, v) })
	}
	t.Run("7662-4-12 an answer without end", func(t *testing.T) {
		s.does(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for {
				if _, err := io.WriteString(w, strings.Repeat(" ", 4096)); err != nil {
					return
				}
			}
		})
		if err := unknown(t, introspecting(t, s.URL, timeout(time.Minute))); errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want that it is too long", err)
		}
	})
	t.Run("the request's own context ends it", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s.does(func(w http.ResponseWriter, r *http.Request) { cancel(); stalled(w, r) })
		if _, err := introspecting(t, s.URL, timeout(time.Minute)).Validate(ctx, "good"); !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want context.Canceled", err)
		}
	})
}

func TestIntrospectionOfWhatIsNoServer(t *testing.T) {
	t.Run("7662-4-12 nobody listens", func(t *testing.T) {
		s := newAsked(t)
		s.Close()
		unknown(t, introspecting(t, s.URL))
	})
	t.Run("7662-4-12 a certificate that nobody vouches for", func(t *testing.T) {
		s := httptest.NewUnstartedServer(http.NotFoundHandler())
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		s.StartTLS()
		defer s.Close()
		if err := unknown(t, introspecting(t, s.URL)); !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%v, want the reason", err)
		}
	})
	for name, prefix := range map[string]string{
		"a server that echoes":                    "",
		"a server that echoes in its status line": "HTTP/1.1 ",
		"a server that echoes in its header":      "HTTP/1.1 200 OK\r\n",
	} {
		t.Run("7662-4-12 "+name, func(t *testing.T) {
			unknown(t, introspecting(t, "http://"+echo(t, prefix)))
			unknown(t, introspecting(t, "http://"+echo(t, prefix), func(c *resource.IntrospectionConfig) {
				c.Client = &http.Client{Transport: clientTransport{}}
			}))
		})
	}
}

// clientTransport is a transport that asks by a client, as one that tries again is.
type clientTransport struct{}

func (clientTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return http.DefaultClient.Do(r.Clone(r.Context()))
}

// echo answers each connection with the prefix, the credentials and the form of its
// request, on one line, and returns its address.
func echo(t *testing.T, prefix string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 4096)
			n, _ := c.Read(b)
			io.WriteString(c, prefix+strings.NewReplacer("\r\n", " ", ": ", " ").Replace(string(b[:n]))+"\r\n\r\n")
			c.Close()
		}
	}()
	return l.Addr().String()
}

func TestIntrospectionKeepsItsConnections(t *testing.T) {
	s := newAsked(t)
	v := introspecting(t, s.URL, timeout(time.Minute))
	ask := func() {
		if _, err := v.Validate(t.Context(), "good"); err != nil {
			t.Error(err)
		}
	}
	for range 50 {
		ask()
	}
	if n := s.connections.Load(); n != 1 {
		t.Errorf("%d connections for one question after the other", n)
	}
	var all sync.WaitGroup
	for range 400 {
		all.Go(ask)
	}
	all.Wait()
	if n := s.connections.Load(); n > 128 {
		t.Errorf("%d connections for 400 questions at once, want at most 128", n)
	}
	for range 50 { // whether the close is seen before or after the next question is sent
		s.CloseClientConnections()
		ask()
	}
}

func TestIntrospectionConfig(t *testing.T) {
	for name, change := range map[string]func(*resource.IntrospectionConfig){
		"Endpoint: missing":        func(c *resource.IntrospectionConfig) { c.Endpoint = "" },
		"Endpoint: plain http":     func(c *resource.IntrospectionConfig) { c.Endpoint = "http://as.test/introspect" },
		"Endpoint: like loopback":  func(c *resource.IntrospectionConfig) { c.Endpoint = "http://127.0.0.1.as.test/introspect" },
		"Endpoint: any address":    func(c *resource.IntrospectionConfig) { c.Endpoint = "http://0.0.0.0/introspect" },
		"Endpoint: another scheme": func(c *resource.IntrospectionConfig) { c.Endpoint = "ftp://as.test/introspect" },
		"Endpoint: no host":        func(c *resource.IntrospectionConfig) { c.Endpoint = "https:///introspect" },
		"Endpoint: a user":         func(c *resource.IntrospectionConfig) { c.Endpoint = "https://a:" + oddSecret + "@as.test/" },
		"Endpoint: a query":        func(c *resource.IntrospectionConfig) { c.Endpoint = "https://as.test/?a=b" },
		"Endpoint: a fragment":     func(c *resource.IntrospectionConfig) { c.Endpoint = "https://as.test/#" },
		"ClientID: missing":        func(c *resource.IntrospectionConfig) { c.ClientID = "" },
		"ClientSecret: missing":    func(c *resource.IntrospectionConfig) { c.ClientSecret = "" },
		"Timeout: negative":        func(c *resource.IntrospectionConfig) { c.Timeout = -1 },
		"Issuer: no URL":           func(c *resource.IntrospectionConfig) { c.Issuer = "as.test" },
	} {
		t.Run(name, func(t *testing.T) {
			c := resource.IntrospectionConfig{Endpoint: "https://as.test/introspect", ClientID: oddID, ClientSecret: oddSecret}
			change(&c)
			field, _, _ := strings.Cut(name, ":")
			if _, err := resource.NewIntrospectionValidator(c); err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("%v, want an error that names %s", err, field)
			} else {
				silent(t, err, oddSecret)
			}
		})
	}
	for _, endpoint := range []string{"https://as.test/introspect", "http://localhost:1/", "http://[::1]:1/introspect", "http://127.0.0.2"} {
		if got := fmt.Sprintf("%v %+v %#v", introspecting(t, endpoint), introspecting(t, endpoint), introspecting(t, endpoint)); strings.Contains(got, "p%25") || strings.Contains(got, oddSecret) {
			t.Errorf("printing the validator tells the secret: %s", got)
		}
	}
}

// What the server doesn't tell isn't made up.
func TestUsersMeWithoutTimes(t *testing.T) {
	s := newAsked(t)
	g, err := resource.New(resource.Config{Validator: introspecting(t, s.URL)})
	if err != nil {
		t.Fatal(err)
	}
	w := call(g.UsersMe(), "Bearer good")
	if got := w.Body.String(); got != `{"sub":"u-alice","username":"alice","scope":"read","client_id":"demo"}` {
		t.Errorf("%d %s", w.Code, got)
	}
}
