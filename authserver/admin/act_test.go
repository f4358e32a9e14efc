package admin_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/authserver/admin"
	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
)

// change is a request that changes something.
type change struct {
	method, path, body string
	action             storage.AuditAction
}

var userChanges = []change{
	{"POST", "/users", `{"username":"bob","password":"correct horse"}`, storage.ActUserCreate},
	{"PATCH", "/users/alice", `{"disabled":true}`, storage.ActUserUpdate},
	{"PUT", "/users/alice/password", `{"password":"battery staple"}`, storage.ActUserPassword},
	{"DELETE", "/users/alice", "", storage.ActUserDelete},
}

// Every act is recorded in the audit trail before it is done: who does what to
// whom, and from where.
func TestAuditOfUsers(t *testing.T) {
	f := newFixture(t)
	u := f.addUser(t, `{"username":"alice"}`)
	for _, c := range userChanges {
		t.Run(string(c.action), func(t *testing.T) {
			before := len(f.events.all())
			a := f.send(t, c.method, c.path, c.body)
			if a.status >= 300 {
				t.Fatalf("status %d: %s", a.status, a.body)
			}
			want := storage.AuditEvent{
				Time: f.now(), Action: c.action, Outcome: storage.Accepted,
				ActorUser: "root", ActorUserID: "usr_root", ActorClient: "grantd-cli", Address: root.Address, RequestID: "req-1",
				Username: "alice", UserID: u.ID,
			}
			if c.action == storage.ActUserCreate {
				var bob admin.User
				a.into(t, &bob)
				want.Username, want.UserID = "bob", bob.ID
			}
			if c.action == storage.ActUserUpdate {
				want.Detail = "disabled"
			}
			sameAddress := cmp.Comparer(func(a, b storage.AuditEvent) bool { return a == b })
			if d := cmp.Diff([]storage.AuditEvent{want}, f.events.all()[before:], sameAddress); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// An act that the audit trail can't record isn't done.
func TestAuditFailureRefuses(t *testing.T) {
	f := newFixture(t)
	u := f.addUser(t, `{"username":"alice","password":"correct horse"}`)
	grant := f.addGrant(t, u.ID, "web")
	before := f.send(t, "GET", "/users", "").want(t, 200).body
	tag := f.send(t, "GET", "/users/alice", "").header.Get("ETag")
	f.events.fill(true)
	for _, c := range userChanges {
		t.Run(string(c.action), func(t *testing.T) {
			a := f.send(t, c.method, c.path, c.body)
			a.problem(t, 503, "unavailable")
			if a.header.Get("Retry-After") != "1" {
				t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
			}
		})
	}
	if after := f.send(t, "GET", "/users", "").body; after != before {
		t.Errorf("the users were %s, and are %s", before, after)
	}
	if now := f.send(t, "GET", "/users/alice", "").header.Get("ETag"); now != tag {
		t.Error("alice's record was changed")
	}
	if !f.lives(t, grant) {
		t.Error("alice's grant is ended")
	}
}

// When the grants can't be ended, the answer and the audit trail say so.
// Repeating the request ends them.
func TestRevocationFails(t *testing.T) {
	for _, c := range userChanges[1:] {
		t.Run(string(c.action), func(t *testing.T) {
			f := newFixture(t)
			u := f.addUser(t, `{"username":"alice"}`)
			grant := f.addGrant(t, u.ID, "web")
			f.store.revoke.Store(true)
			p := f.send(t, c.method, c.path, c.body).problem(t, 503, "unavailable")
			if !strings.Contains(p.Detail, "may still be good") {
				t.Errorf("the detail is %q", p.Detail)
			}
			last := f.events.all()[len(f.events.all())-1]
			if last.Action != c.action || last.Outcome != storage.Failure || last.UserID != u.ID {
				t.Errorf("the last event is %+v", last)
			}
			f.store.revoke.Store(false)
			if a := f.send(t, c.method, c.path, c.body); a.status >= 300 || f.lives(t, grant) {
				t.Errorf("repeated: status %d, the grant lives: %t", a.status, f.lives(t, grant))
			}
		})
	}
}

func TestStoreDown(t *testing.T) {
	f := newFixture(t)
	f.store.users.Store(true)
	for _, c := range append(userChanges, change{method: "GET", path: "/users/alice"}) {
		f.send(t, c.method, c.path, c.body).problem(t, 503, "unavailable")
	}
	if events := f.events.all(); len(events) > 0 {
		t.Errorf("something was done: %+v", events)
	}
}

// An act that has begun is finished though nobody waits for it: a disabled user
// must not keep the grants.
func TestClientGoesAway(t *testing.T) {
	f := newFixture(t)
	u := f.addUser(t, `{"username":"alice"}`)
	grant := f.addGrant(t, u.ID, "web")
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan struct{})
	resume := func() {
		leave()
		<-gone
		time.Sleep(50 * time.Millisecond) // so that the server notices
	}
	f.store.updated.Store(&resume)
	r, err := http.NewRequestWithContext(ctx, "PATCH", f.url+"/users/alice", strings.NewReader(`{"disabled":true}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if _, err := http.DefaultTransport.RoundTrip(r); err == nil {
		t.Fatal("the client got an answer")
	}
	close(gone)
	for range 100 {
		if !f.lives(t, grant) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the grant lives on")
}

// A change must not hit another user that was created under the same name
// meanwhile.
func TestNamesake(t *testing.T) {
	for _, c := range []change{
		{"PATCH", "/users/alice", `{"admin":true,"disabled":true}`, storage.ActUserUpdate},
		{"DELETE", "/users/alice", "", storage.ActUserDelete},
	} {
		t.Run(c.method, func(t *testing.T) {
			f := newFixture(t, func(cfg *admin.Config) {
				keep, store := cfg.Audit, cfg.Store
				cfg.Audit = func(ctx context.Context, ev storage.AuditEvent) error {
					if ev.Action == c.action && ev.Outcome == storage.Accepted {
						anew := storage.User{ID: "usr_anew", Name: "alice", Created: time.Unix(1, 0)}
						if err := errors.Join(store.DeleteUser(ctx, "alice"), store.CreateUser(ctx, anew)); err != nil {
							t.Error(err)
						}
					}
					return keep(ctx, ev)
				}
			})
			f.addUser(t, `{"username":"alice"}`)
			f.send(t, c.method, c.path, c.body).problem(t, 409, "conflict")
			var u admin.User
			f.send(t, "GET", "/users/alice", "").want(t, 200).into(t, &u)
			if u.ID != "usr_anew" || u.Admin || u.Disabled {
				t.Errorf("the namesake is %+v", u)
			}
		})
	}
}

// Hashing is bounded: requests beyond the bound are told to come again, and
// create no user.
func TestBusy(t *testing.T) {
	hasher, err := passhash.New(passhash.Params{Memory: 64 << 10, Time: 8, Threads: 1, Slots: 1, Queue: 1})
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, func(c *admin.Config) { c.Passwords = hasher })
	var made, busy atomic.Int64
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			a := f.send(t, "POST", "/users", `{"username":"u`+strconv.Itoa(i)+`","password":"correct horse"}`)
			switch a.status {
			case http.StatusCreated:
				made.Add(1)
			case http.StatusServiceUnavailable:
				busy.Add(1)
			default:
				t.Errorf("status %d: %s", a.status, a.body)
			}
		})
	}
	all.Wait()
	if made.Load() == 0 || busy.Load() == 0 || made.Load()+busy.Load() != 8 {
		t.Errorf("%d made, %d told to come again", made.Load(), busy.Load())
	}
	if names := f.userNames(t, "", 100); len(names) != int(made.Load()) {
		t.Errorf("there are %v, %d were made", names, made.Load())
	}
}

func TestIfMatch(t *testing.T) {
	f := newFixture(t)
	tag := f.send(t, "POST", "/users", `{"username":"alice"}`).want(t, 201).header.Get("ETag")
	patch := func(condition string) answer {
		return f.send(t, "PATCH", "/users/alice", `{}`, "If-Match: "+condition)
	}
	for name, condition := range map[string]string{
		"the tag":               tag,
		"any":                   "*",
		"in a list":             `"x", ` + tag,
		"in a list with commas": `"a,b" ,, ` + tag + `, "c"`,
	} {
		t.Run(name, func(t *testing.T) { patch(condition).want(t, 200) })
	}
	for name, condition := range map[string]string{
		"another":              `"x"`,
		"a weak one":           "W/" + tag, // RFC 9110 section 13.1.1: strong comparison
		"without quotes":       strings.Trim(tag, `"`),
		"an open quote":        strings.TrimSuffix(tag, `"`),
		"inside another":       `"x,` + tag,
		"behind what is none":  `x, ` + tag,
		"any, quoted":          `"*"`,
		"nothing of substance": ",",
	} {
		t.Run(name, func(t *testing.T) { patch(condition).problem(t, 412, "stale") })
	}
	// Two field lines are one list: section 5.3.
	r, _ := http.NewRequest("PATCH", f.url+"/users/alice", strings.NewReader(`{}`))
	r.Header = http.Header{"Content-Type": {"application/json"}, "If-Match": {`"x"`, tag}}
	if res, err := http.DefaultTransport.RoundTrip(r); err != nil || res.StatusCode != 200 {
		t.Errorf("on two lines: %v, %v", res, err)
	}

	// The precondition is evaluated after all other checks (section 13.2.1).
	f.send(t, "PATCH", "/users/nobody", `{}`, `If-Match: "x"`).problem(t, 404, "not_found")
	f.send(t, "PATCH", "/users/alice", `{"x":1}`, `If-Match: "x"`).problem(t, 400, "invalid_field", "x")
	f.send(t, "PUT", "/users/alice/password", `{"password":"correct horse"}`, `If-Match: "x"`).problem(t, 412, "stale")
	f.send(t, "DELETE", "/users/alice", "", `If-Match: "x"`).problem(t, 412, "stale")
	f.send(t, "DELETE", "/users/nobody", "", "If-Match: *").problem(t, 412, "stale")

	// A change makes the tag stale, and so does another user of the same name.
	changed := f.send(t, "PATCH", "/users/alice", `{"admin":true}`, "If-Match: "+tag).want(t, 200).header.Get("ETag")
	f.send(t, "DELETE", "/users/alice", "", "If-Match: "+tag).problem(t, 412, "stale")
	f.send(t, "DELETE", "/users/alice", "", "If-Match: "+changed).want(t, 204)
	f.setClock(f.now().Add(time.Second))
	anew := f.send(t, "POST", "/users", `{"username":"alice"}`).want(t, 201).header.Get("ETag")
	if anew == tag || anew == changed {
		t.Error("two users have the same tag")
	}
}

// RFC 9110 sections 13.1.2 and 13.2.1.
func TestIfNoneMatch(t *testing.T) {
	w := newWorld(t)
	for path, change := range map[string]string{"/users/alice": `{"admin":true}`, "/clients/web": `{"introspect":true}`} {
		before := w.send(t, "GET", path, "").want(t, 200)
		tag, began := before.header.Get("ETag"), len(w.events.all())
		for _, condition := range []string{tag, "*", "W/" + tag, `"x", ` + tag} {
			for _, method := range []string{"GET", "HEAD"} {
				a := w.send(t, method, path, "", "If-None-Match: "+condition).want(t, 304)
				if a.header.Get("ETag") != tag || a.header.Get("Content-Type") != "" || a.body != "" {
					t.Errorf("%s %s, If-None-Match %s: got %v %s", method, path, condition, a.header, a.body)
				}
			}
			w.send(t, "PATCH", path, change, "If-None-Match: "+condition).problem(t, 412, "stale")
			w.send(t, "DELETE", path, "", "If-None-Match: "+condition).problem(t, 412, "stale")
		}
		w.send(t, "GET", path, "", `If-Match: "x"`, "If-None-Match: "+tag).problem(t, 412, "stale")
		w.send(t, "GET", path, "", `If-Match: W/`+tag).problem(t, 412, "stale")
		w.send(t, "GET", path, "", "If-Match: "+tag, "If-None-Match: "+tag).want(t, 304)
		if after := w.send(t, "GET", path, "", "If-Match: "+tag, `If-None-Match: "x"`).want(t, 200); after.body != before.body || len(w.events.all()) > began {
			t.Errorf("%s: something was done: %s", path, after.body)
		}
		w.send(t, "PATCH", path, change, `If-None-Match: "x"`).want(t, 200)
		w.send(t, "GET", path, "", "If-None-Match: "+tag).want(t, 200)
		w.send(t, "GET", path+"x", "", "If-None-Match: *").problem(t, 404, "not_found")
		w.send(t, "DELETE", path+"x", "", "If-None-Match: *").want(t, 204)
	}
	w.send(t, "PUT", "/users/alice/password", `{"password":"correct horse"}`, "If-None-Match: *").problem(t, 412, "stale")
	w.send(t, "POST", "/clients/web/secret", "", "If-None-Match: *").problem(t, 412, "stale")
	w.send(t, "DELETE", "/grants/"+w.grants["alice-web"].String(), "", "If-None-Match: *").problem(t, 412, "stale")
}

// A resource without a tag is matched only by "*", and only if it exists: RFC
// 9110 section 13.1.1.
func TestIfMatchOfWhatHasNoTag(t *testing.T) {
	w := newWorld(t)
	w.send(t, "POST", "/keys", "").want(t, 201)
	w.setClock(w.now().Add(time.Minute))
	w.send(t, "POST", "/keys", "").want(t, 201)
	w.setClock(w.now().Add(time.Minute)) // so that the first key no longer mints
	grant := "/grants/" + w.grants["alice-web"].String()
	for path, gone := range map[string]bool{grant: true, "/keys/1": true, "/users/alice/throttle": false} {
		began := len(w.events.all())
		for _, condition := range []string{`"x"`, `"untagged"`, "untagged", `W/"*"`, `"x", *`, ","} {
			w.send(t, "DELETE", path, "", "If-Match: "+condition).problem(t, 412, "stale")
		}
		if events := w.events.all()[began:]; len(events) > 0 {
			t.Errorf("DELETE %s: something was done: %+v", path, events)
		}
		w.send(t, "DELETE", path, "", "If-Match: *").want(t, 204)
		if gone {
			w.send(t, "DELETE", path, "", "If-Match: *").problem(t, 412, "stale")
		}
		w.send(t, "DELETE", path, "").want(t, 204)
	}
	for _, path := range []string{"/grants/x", "/keys/x"} {
		w.send(t, "DELETE", path, "", "If-Match: *").problem(t, 412, "stale")
	}
	if w.lives(t, w.grants["alice-web"]) {
		t.Error("the grant lives")
	}
}

// Of concurrent changes with the same If-Match exactly one is made.
func TestIfMatchRace(t *testing.T) {
	f := newFixture(t)
	tag := f.send(t, "POST", "/users", `{"username":"alice"}`).want(t, 201).header.Get("ETag")
	for round := range 20 {
		var won, stale atomic.Int64
		body := `{"disabled":` + strconv.FormatBool(round%2 == 0) + `}`
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				switch a := f.send(t, "PATCH", "/users/alice", body, "If-Match: "+tag); a.status {
				case 200:
					won.Add(1)
				case 412:
					stale.Add(1)
				default:
					t.Errorf("status %d: %s", a.status, a.body)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 || stale.Load() != 7 {
			t.Fatalf("round %d: %d changed it, %d were told that it is stale", round, won.Load(), stale.Load())
		}
		tag = f.send(t, "GET", "/users/alice", "").want(t, 200).header.Get("ETag")
	}
}

// Without If-Match concurrent changes of different fields are all made.
func TestConcurrentChanges(t *testing.T) {
	f := newFixture(t)
	f.addUser(t, `{"username":"alice"}`)
	var all sync.WaitGroup
	for _, body := range []string{`{"admin":true}`, `{"disabled":true}`} {
		all.Go(func() { f.send(t, "PATCH", "/users/alice", body).want(t, 200) })
	}
	all.Wait()
	var u admin.User
	f.send(t, "GET", "/users/alice", "").into(t, &u)
	if !u.Admin || !u.Disabled {
		t.Errorf("the user is %+v", u)
	}
}

// Of concurrent requests that create the same user exactly one succeeds.
func TestCreateRace(t *testing.T) {
	f := newFixture(t)
	var made atomic.Int64
	var all sync.WaitGroup
	for _, name := range []string{"alice", "ALICE", "Alice", "aLICE"} {
		all.Go(func() {
			if a := f.send(t, "POST", "/users", `{"username":"`+name+`"}`); a.status == 201 {
				made.Add(1)
			} else {
				a.problem(t, 409, "already_exists", "username")
			}
		})
	}
	all.Wait()
	if made.Load() != 1 {
		t.Errorf("%d users of one name were made", made.Load())
	}
}

func TestTheHandlerIsGuarded(t *testing.T) {
	f := newFixture(t, func(c *admin.Config) {
		c.Guard = func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
		}
	})
	w := httptest.NewRecorder()
	f.api.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, admin.Root+"/users", nil))
	if w.Code != http.StatusUnauthorized {
		t.Errorf("status %d", w.Code)
	}
}

func TestNewNamesEveryFault(t *testing.T) {
	_, err := admin.New(admin.Config{DefaultScopes: []string{"x"}, Path: "x/"})
	for _, field := range []string{"Store", "Passwords", "Scopes", "DefaultScopes", "Path", "Actor", "Guard", "Audit"} {
		if err == nil || !strings.Contains(err.Error(), "admin: "+field+" ") {
			t.Errorf("%s isn't named in %v", field, err)
		}
	}
}
