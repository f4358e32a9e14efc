package admin_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/authserver/admin"
	"github.com/grantd/grantd/authserver/throttle"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

func TestThrottleIsSeenAndLifted(t *testing.T) {
	keys, err := opaque.NewKeyring(opaque.NewKey(1))
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, func(c *admin.Config) { c.Throttle = throttle.New(c.Store, keys, c.Now) })
	u := f.addUser(t, `{"username":"Alice"}`)
	limiter := throttle.New(f.store, keys, f.now) // the limiter of sign-ins
	fail := func(address, password string) error {
		place, err := limiter.Begin(t.Context(), throttle.Attempt{
			Username: "alice", Password: password, Network: throttle.NetworkOf(netip.MustParseAddr(address)),
		})
		if err == nil {
			_, err = place.Failed(t.Context())
		}
		return err
	}
	list := func() (got struct{ Throttled []admin.Throttled }) {
		t.Helper()
		f.send(t, "GET", "/users/ALICE/throttle", "").want(t, http.StatusOK).into(t, &got)
		return got
	}
	if got := f.send(t, "GET", "/users/alice/throttle", "").want(t, http.StatusOK); got.body != `{"throttled":[]}` {
		t.Errorf("at first: %s", got.body)
	}
	for i := range 3 {
		if err := fail("192.0.2.7", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := fail("2001:db8::1", "x"); err != nil {
		t.Fatal(err)
	}
	until := f.now().Add(5 * time.Second)
	want := []admin.Throttled{{"192.0.2.7/32", 3, &until}, {"2001:db8::/64", 1, nil}, {"elsewhere", 4, nil}}
	if d := cmp.Diff(want, list().Throttled); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if err := fail("192.0.2.7", "y"); err == nil {
		t.Error("the fourth isn't refused")
	}
	f.send(t, "DELETE", "/users/alice/throttle", "").want(t, http.StatusNoContent)
	f.send(t, "DELETE", "/users/alice/throttle", "").want(t, http.StatusNoContent)
	if got := list(); len(got.Throttled) != 0 {
		t.Errorf("afterwards: %+v", got)
	}
	if err := fail("192.0.2.7", "y"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	events := f.events.all()
	if e := events[len(events)-1]; e.Action != storage.ActThrottleOff || e.Outcome != storage.Accepted || e.UserID != u.ID || e.Username != "alice" {
		t.Errorf("the audit was told %+v", e)
	}

	for _, method := range []string{"GET", "DELETE"} {
		f.send(t, method, "/users/nobody/throttle", "").problem(t, http.StatusNotFound, "not_found")
	}
	f.send(t, "POST", "/users/alice/throttle", "{}").problem(t, http.StatusMethodNotAllowed, "method_not_allowed")
	f.events.fill(true)
	f.send(t, "DELETE", "/users/alice/throttle", "").problem(t, http.StatusServiceUnavailable, "unavailable")
}

func TestWithoutAThrottleNothingIsThrottled(t *testing.T) {
	f := newFixture(t)
	f.addUser(t, `{"username":"alice"}`)
	if got := f.send(t, "GET", "/users/alice/throttle", "").want(t, http.StatusOK); got.body != `{"throttled":[]}` {
		t.Error(got.body)
	}
	f.send(t, "DELETE", "/users/alice/throttle", "").want(t, http.StatusNoContent)
}
