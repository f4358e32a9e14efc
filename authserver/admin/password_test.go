package admin_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/authserver/admin"
	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/authserver/throttle"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

const (
	oldPassword = "correct horse"
	newPassword = "battery staple"
)

// own is a fixture whose requests are made by alice, who has a grant.
type own struct {
	*fixture
	alice admin.User
	grant storage.GrantID
}

func newOwn(t *testing.T, options ...option) *own {
	t.Helper()
	f := newFixture(t, options...)
	u := f.addUser(t, `{"username":"alice","password":"`+oldPassword+`"}`)
	f.actor.Store(&admin.Actor{Username: "alice", UserID: u.ID, ClientID: "web", Address: root.Address, RequestID: root.RequestID})
	return &own{f, u, f.addGrant(t, u.ID, "web")}
}

// ask sends a request to the handler. Headers are "Name: value".
func (o *own) ask(t *testing.T, method, target, body string, headers ...string) answer {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	o.api.OwnPassword().ServeHTTP(w, r)
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Error("caches may keep it")
	}
	return answer{w.Code, w.Header(), w.Body.String()}
}

func (o *own) change(t *testing.T, body string) answer {
	t.Helper()
	return o.ask(t, "POST", admin.OwnPasswordPath, body)
}

func bodyOf(older, newer string) string {
	return `{"old_password":"` + older + `","new_password":"` + newer + `"}`
}

// unchanged fails the test unless the password and the grant are as before.
func (o *own) unchanged(t *testing.T) {
	t.Helper()
	if !o.is(t, oldPassword) || !o.lives(t, o.grant) {
		t.Error("the password was changed, or the grants ended")
	}
}

// is reports whether the password is alice's.
func (o *own) is(t *testing.T, password string) bool {
	t.Helper()
	u, err := o.store.Store.LoadUser(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	h, err := passhash.New(passhash.Params{Memory: 64, Time: 1, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	result, err := h.Verify(t.Context(), u.Password, password)
	if err != nil {
		t.Fatal(err)
	}
	return result.OK
}

// told returns the events of changed passwords.
func (o *own) told() []storage.AuditEvent {
	var found []storage.AuditEvent
	for _, ev := range o.events.all() {
		if ev.Action == storage.ActPasswordChange {
			found = append(found, ev)
		}
	}
	return found
}

func TestOwnPassword(t *testing.T) {
	o := newOwn(t)
	other := o.addGrant(t, o.alice.ID, "cli")
	bobs := o.addGrant(t, "usr_bob", "web")
	if a := o.change(t, bodyOf(oldPassword, newPassword)).want(t, http.StatusNoContent); a.body != "" {
		t.Errorf("body %q", a.body)
	}
	if !o.is(t, newPassword) || o.is(t, oldPassword) {
		t.Error("the password is another")
	}
	if o.lives(t, o.grant) || o.lives(t, other) {
		t.Error("a grant of the user lives on")
	}
	if !o.lives(t, bobs) {
		t.Error("another user's grant ended")
	}
	want := []storage.AuditEvent{{
		Time: o.now(), Action: storage.ActPasswordChange, Outcome: storage.Success,
		ActorUser: "alice", ActorUserID: o.alice.ID, ActorClient: "web", Address: root.Address, RequestID: "req-1",
		Username: "alice", UserID: o.alice.ID,
	}}
	if d := cmp.Diff(want, o.told(), cmp.Comparer(func(a, b storage.AuditEvent) bool { return a == b })); d != "" {
		t.Errorf("the audit (-want +got):\n%s", d)
	}
}

func TestOwnPasswordNeedsTheOldOne(t *testing.T) {
	o := newOwn(t)
	p := o.change(t, bodyOf("wrong horse", newPassword)).problem(t, http.StatusForbidden, "wrong_password")
	if strings.Contains(p.Detail+p.Title, "wrong horse") {
		t.Error("the password is sent back")
	}
	o.unchanged(t)
	if told := o.told(); len(told) != 1 || told[0].Outcome != storage.Failure || told[0].UserID != o.alice.ID {
		t.Errorf("the audit was told %+v", told)
	}
}

func TestOwnPasswordMeetsThePolicy(t *testing.T) {
	for name, c := range map[string]struct{ newer, says string }{
		"short":             {"pässwor", "shorter than 8"},
		"common":            {"password1", "most common"},
		"her name":          {"alice1234", "name"},
		"a sequence":        {"abcdefgh", "sequence"},
		"too long":          {strings.Repeat("x", 1025), "longer"},
		"the same":          {oldPassword, "same"},
		"the same, respelt": {"correct\u00a0horse", "same"},
	} {
		t.Run(name, func(t *testing.T) {
			var hasher *passhash.Hasher
			o := newOwn(t, func(c *admin.Config) { hasher = c.Passwords })
			before := hasher.Uses()
			p := o.change(t, bodyOf(oldPassword, c.newer)).problem(t, http.StatusBadRequest, "invalid_field", "new_password")
			if !strings.Contains(p.Errors[0].Detail, c.says) {
				t.Errorf("%q doesn't say %q", p.Errors[0].Detail, c.says)
			}
			if hasher.Uses() != before {
				t.Error("the old password was judged")
			}
			o.unchanged(t)
		})
	}
}

func TestOwnPasswordIsForUsers(t *testing.T) {
	o := newOwn(t)
	o.actor.Store(&admin.Actor{ClientID: "web", RequestID: root.RequestID})
	o.change(t, bodyOf(oldPassword, newPassword)).problem(t, http.StatusForbidden, "forbidden")
	o.unchanged(t)
}

// The user of the token may just have been disabled, deleted, or deleted and
// created again.
func TestOwnPasswordOfAnotherRecord(t *testing.T) {
	o := newOwn(t)
	for name, who := range map[string]admin.Actor{
		"made anew": {Username: "alice", UserID: "usr_before", RequestID: root.RequestID},
		"deleted":   {Username: "carol", UserID: "usr_carol", RequestID: root.RequestID},
	} {
		t.Run(name, func(t *testing.T) {
			o.actor.Store(&who)
			o.change(t, bodyOf(oldPassword, newPassword)).problem(t, http.StatusConflict, "conflict")
			o.unchanged(t)
		})
	}
	t.Run("disabled", func(t *testing.T) {
		o := newOwn(t)
		u, err := o.store.LoadUser(t.Context(), "alice")
		if err != nil {
			t.Fatal(err)
		}
		u.Disabled = true
		if err := o.store.UpdateUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		o.change(t, bodyOf(oldPassword, newPassword)).problem(t, http.StatusConflict, "conflict")
		o.unchanged(t)
	})
}

// meddlingStore is a store in which something happens between two steps of a request.
type meddlingStore struct {
	storage.Store
	beforeUpdate, afterLoad func()
}

func (s *meddlingStore) LoadUser(ctx context.Context, name string) (storage.User, error) {
	u, err := s.Store.LoadUser(ctx, name)
	if s.afterLoad != nil {
		s.afterLoad()
	}
	return u, err
}

func (s *meddlingStore) UpdateUser(ctx context.Context, u storage.User) error {
	if s.beforeUpdate != nil {
		s.beforeUpdate()
	}
	return s.Store.UpdateUser(ctx, u)
}

// Only the record that was checked is replaced. So a user who knew the old
// password can't undo an admin's new one.
func TestOwnPasswordChangedMeanwhile(t *testing.T) {
	meddling := &meddlingStore{}
	o := newOwn(t, func(c *admin.Config) { meddling.Store, c.Store = c.Store, meddling })
	meddling.beforeUpdate = func() {
		u, err := o.store.LoadUser(t.Context(), "alice")
		if err != nil {
			t.Fatal(err)
		}
		u.Admin = true
		if err := o.store.UpdateUser(t.Context(), u); err != nil {
			t.Error(err)
		}
	}
	o.change(t, bodyOf(oldPassword, newPassword)).problem(t, http.StatusConflict, "conflict")
	o.unchanged(t)
	meddling.beforeUpdate = func() {
		if err := o.store.DeleteUser(t.Context(), "alice"); err != nil {
			t.Error(err)
		}
	}
	o.change(t, bodyOf(oldPassword, newPassword)).problem(t, http.StatusConflict, "conflict")
	if _, err := o.store.LoadUser(t.Context(), "alice"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("the deleted user is back: %v", err)
	}
}

// Wrong old passwords count together with those at sign-ins. So somebody who
// has a token of the user, but not the password, can't try any number of them.
func TestOwnPasswordIsThrottled(t *testing.T) {
	keys, err := opaque.NewKeyring(opaque.NewKey(1))
	if err != nil {
		t.Fatal(err)
	}
	o := newOwn(t, func(c *admin.Config) { c.Throttle = throttle.New(c.Store, keys, c.Now) })
	judged, refused := 0, answer{}
	for judged < 100 {
		refused = o.change(t, bodyOf("wrong horse "+strconv.Itoa(judged), newPassword))
		if refused.status != http.StatusForbidden {
			break
		}
		judged++
	}
	refused.problem(t, http.StatusTooManyRequests, "throttled")
	if after := refused.header.Get("Retry-After"); judged != 3 || after != "5" {
		t.Errorf("%d guesses were judged, and then Retry-After was %q; want 3 and 5", judged, after)
	}
	o.change(t, bodyOf(oldPassword, newPassword)).problem(t, http.StatusTooManyRequests, "throttled")
	o.unchanged(t)
	if told := o.told(); len(told) != judged {
		t.Errorf("the audit was told of %d changes, want the %d that were judged", len(told), judged)
	}
	on := 0
	for _, ev := range o.events.all() {
		if ev.Action == storage.ActThrottleOn && ev.UserID == o.alice.ID {
			on++
		}
	}
	if on != 1 {
		t.Errorf("the audit was told %d times that guesses are refused", on)
	}
	o.setClock(o.now().Add(5 * time.Second))
	o.change(t, bodyOf(oldPassword, newPassword)).want(t, http.StatusNoContent)
}

func TestOwnPasswordInAnOutage(t *testing.T) {
	t.Run("of the users", func(t *testing.T) {
		o := newOwn(t)
		o.store.users.Store(true)
		o.change(t, bodyOf(oldPassword, newPassword)).problem(t, http.StatusServiceUnavailable, "unavailable")
		o.unchanged(t)
	})
	t.Run("before the grants end", func(t *testing.T) {
		o := newOwn(t)
		o.store.revoke.Store(true)
		p := o.change(t, bodyOf(oldPassword, newPassword)).problem(t, http.StatusServiceUnavailable, "unavailable")
		if !strings.Contains(p.Detail, "once more") {
			t.Errorf("%q doesn't say what to do", p.Detail)
		}
		if told := o.told(); len(told) != 1 || told[0].Outcome != storage.Failure {
			t.Errorf("the audit was told %+v", told)
		}
		o.store.revoke.Store(false)
		o.change(t, bodyOf(newPassword, oldPassword)).want(t, http.StatusNoContent)
		if o.lives(t, o.grant) {
			t.Error("a grant of the user lives on")
		}
	})
	t.Run("of the audit", func(t *testing.T) {
		var noted atomic.Int32
		o := newOwn(t, func(c *admin.Config) {
			c.Note = func(_ context.Context, err error) {
				if strings.Contains(err.Error(), "audit") {
					noted.Add(1)
				}
			}
		})
		o.events.fill(true)
		o.change(t, bodyOf(oldPassword, newPassword)).want(t, http.StatusNoContent)
		if noted.Load() != 1 || !o.is(t, newPassword) || o.lives(t, o.grant) {
			t.Error("not done, or nobody was told that it isn't in the audit")
		}
	})
}

// A change that has begun is finished though its client goes away.
func TestOwnPasswordOutlivesItsRequest(t *testing.T) {
	ctx, gone := context.WithCancel(t.Context())
	meddling := &meddlingStore{}
	o := newOwn(t, func(c *admin.Config) { meddling.Store, c.Store = c.Store, meddling })
	meddling.afterLoad = gone
	r := httptest.NewRequestWithContext(ctx, "POST", admin.OwnPasswordPath, strings.NewReader(bodyOf(oldPassword, newPassword)))
	r.Header.Set("Content-Type", "application/json")
	o.api.OwnPassword().ServeHTTP(httptest.NewRecorder(), r)
	if !errors.Is(ctx.Err(), context.Canceled) || !o.is(t, newPassword) || o.lives(t, o.grant) {
		t.Error("half-done")
	}
}

func TestMalformedOwnPassword(t *testing.T) {
	o := newOwn(t)
	good := bodyOf(oldPassword, newPassword)
	for _, c := range []struct {
		name, method, target, body string
		headers                    []string
		status                     int
		code                       string
		fields                     []string
	}{
		{"read", "GET", "", "", nil, 405, "method_not_allowed", nil},
		{"put", "PUT", "", good, nil, 405, "method_not_allowed", nil},
		{"a form", "POST", "", "old_password=a&new_password=b", []string{"Content-Type: application/x-www-form-urlencoded"}, 415, "unsupported_media_type", nil},
		{"in the query", "POST", "?new_password=battery", good, nil, 400, "invalid_field", []string{"new_password"}},
		{"nothing", "POST", "", "", nil, 400, "invalid_request", nil},
		{"a list", "POST", "", "[]", nil, 400, "invalid_request", nil},
		{"more behind it", "POST", "", good + good, nil, 400, "invalid_request", nil},
		{"empty", "POST", "", "{}", nil, 400, "invalid_field", []string{"new_password", "old_password"}},
		{"without the old one", "POST", "", `{"new_password":"battery staple"}`, nil, 400, "invalid_field", []string{"old_password"}},
		{"null", "POST", "", `{"old_password":null,"new_password":"battery staple"}`, nil, 400, "invalid_field", []string{"old_password"}},
		{"a number", "POST", "", `{"old_password":12345678,"new_password":"battery staple"}`, nil, 400, "invalid_field", []string{"old_password"}},
		{"twice", "POST", "", `{"old_password":"a","old_password":"b","new_password":"battery staple"}`, nil, 400, "invalid_field", []string{"old_password"}},
		{"another's", "POST", "", `{"username":"bob",` + good[1:], nil, 400, "invalid_field", []string{"username"}},
		{"too large", "POST", "", bodyOf(strings.Repeat("x", 40<<10), newPassword), nil, 413, "too_large", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := o.ask(t, c.method, admin.OwnPasswordPath+c.target, c.body, c.headers...)
			a.problem(t, c.status, c.code, c.fields...)
			if c.status == 405 && a.header.Get("Allow") != "POST" {
				t.Errorf("Allow is %q", a.header.Get("Allow"))
			}
		})
	}
	o.unchanged(t)
	if told := o.told(); len(told) != 0 {
		t.Errorf("the audit was told %+v", told)
	}
}
