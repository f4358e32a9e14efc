package admin_test

import (
	"crypto/rand"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/authserver/admin"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

func newSealer(t *testing.T) *opaque.Sealer {
	t.Helper()
	secret := make([]byte, opaque.MinSecretLen)
	rand.Read(secret)
	s, err := opaque.NewSealer(secret)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// keys returns the keys that the API lists.
func (f *fixture) keys(t *testing.T) []admin.Key {
	t.Helper()
	var list struct {
		Keys []admin.Key `json:"keys"`
	}
	f.send(t, "GET", "/keys", "").want(t, http.StatusOK).into(t, &list)
	return list.Keys
}

// rotate makes a key, which fails while the previous key isn't settled.
func (f *fixture) rotate(t *testing.T) admin.Key {
	t.Helper()
	var k admin.Key
	f.send(t, "POST", "/keys", "").want(t, http.StatusCreated).into(t, &k)
	return k
}

func TestKeys(t *testing.T) {
	f := newFixture(t)
	if a := f.send(t, "GET", "/keys", "").want(t, http.StatusOK); a.body != `{"keys":[]}` {
		t.Errorf("without keys: %s", a.body)
	}
	began := f.now()
	first := f.rotate(t)
	if want := (admin.Key{ID: 1, Created: began, MintsFrom: began, State: "minting"}); first != want {
		t.Errorf("the first key is %+v, want %+v", first, want)
	}
	f.setClock(f.now().Add(time.Hour))
	second := f.rotate(t)
	want := admin.Key{ID: 2, Created: f.now(), MintsFrom: f.now().Add(15 * time.Second), State: "pending"}
	if second != want {
		t.Errorf("the second key is %+v, want %+v", second, want)
	}
	if d := cmp.Diff([]admin.Key{second, first}, f.keys(t)); d != "" {
		t.Errorf("the keys (-want +got):\n%s", d)
	}
	f.setClock(f.now().Add(15 * time.Second))
	second.State, first.State = "minting", "accepted"
	if d := cmp.Diff([]admin.Key{second, first}, f.keys(t)); d != "" {
		t.Errorf("the keys (-want +got):\n%s", d)
	}
}

func TestConflictsOfKeys(t *testing.T) {
	f := newFixture(t)
	f.rotate(t)
	f.send(t, "DELETE", "/keys/1", "").problem(t, http.StatusConflict, "conflict")
	f.setClock(f.now().Add(time.Hour))
	f.rotate(t)
	events := len(f.events.all())
	f.send(t, "POST", "/keys", "").problem(t, http.StatusConflict, "conflict")
	for _, path := range []string{"/keys/1", "/keys/2"} {
		f.send(t, "DELETE", path, "").problem(t, http.StatusConflict, "conflict")
	}
	wait := func(path, want string) {
		t.Helper()
		if p := f.send(t, "DELETE", path, "").problem(t, http.StatusConflict, "conflict"); !strings.HasSuffix(p.Detail, want) {
			t.Errorf("%s: %q, want %q", path, p.Detail, want)
		}
	}
	wait("/keys/1", "It may be deleted in 30 s.")
	wait("/keys/2", "30 seconds after a newer one was made.")
	f.setClock(f.now().Add(29*time.Second - time.Millisecond)) // key 2 mints now, but other nodes may still mint under key 1
	wait("/keys/1", "It may be deleted in 2 s.")
	f.setClock(f.now().Add(time.Millisecond))
	wait("/keys/1", "It may be deleted in 1 s.")
	for _, path := range []string{"/keys/1", "/keys/2"} {
		f.send(t, "DELETE", path, "").problem(t, http.StatusConflict, "conflict")
	}
	if n := len(f.events.all()); n != events {
		t.Errorf("the audit was told of %d acts that weren't begun", n-events)
	}
	f.setClock(f.now().Add(time.Second))
	f.send(t, "DELETE", "/keys/2", "").problem(t, http.StatusConflict, "conflict")
	for _, path := range []string{"/keys/1", "/keys/1", "/keys/7", "/keys/256", "/keys/-1", "/keys/one"} {
		f.send(t, "DELETE", path, "").want(t, http.StatusNoContent)
	}
	if keys := f.keys(t); len(keys) != 1 || keys[0].ID != 2 {
		t.Errorf("the keys are %+v, want key 2", keys)
	}
}

func TestRotationsAtOnce(t *testing.T) {
	f := newFixture(t)
	f.rotate(t)
	f.setClock(f.now().Add(time.Hour))
	var made atomic.Int32
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			switch a := f.send(t, "POST", "/keys", ""); a.status {
			case http.StatusCreated:
				made.Add(1)
			case http.StatusConflict:
			default:
				t.Errorf("status %d: %s", a.status, a.body)
			}
		})
	}
	wg.Wait()
	if n := len(f.keys(t)); made.Load() != 1 || n != 2 {
		t.Errorf("%d of 10 rotations made a key, and there are %d", made.Load(), n)
	}
}

func TestAllKeysTaken(t *testing.T) {
	f := newFixture(t)
	for range 256 {
		f.rotate(t)
		f.setClock(f.now().Add(time.Minute))
	}
	f.send(t, "POST", "/keys", "").problem(t, http.StatusConflict, "conflict")
	f.send(t, "DELETE", "/keys/1", "").want(t, http.StatusNoContent)
	if k := f.rotate(t); k.ID != 1 {
		t.Errorf("key %d, want the id that is free, 1", k.ID)
	}
}

// The command line may work on a store without the deployment secret.
func TestKeysWithoutTheSecret(t *testing.T) {
	f := newFixture(t)
	f.rotate(t)
	without := newFixture(t, func(c *admin.Config) { c.Keys = opaque.NewKeys(f.store, nil, c.Now) })
	if keys := without.keys(t); len(keys) != 1 {
		t.Errorf("the keys are %+v, want one", keys)
	}
	without.send(t, "POST", "/keys", "").problem(t, http.StatusConflict, "conflict")
}

func TestAuditOfKeys(t *testing.T) {
	f := newFixture(t)
	f.rotate(t)
	f.setClock(f.now().Add(time.Minute))
	f.rotate(t)
	f.setClock(f.now().Add(time.Minute))
	f.send(t, "DELETE", "/keys/1", "").want(t, http.StatusNoContent)
	var got []storage.AuditEvent
	for _, ev := range f.events.all() {
		if ev.ActorUserID != root.UserID || ev.Address != root.Address || ev.RequestID != root.RequestID {
			t.Errorf("nobody is named in %+v", ev)
		}
		got = append(got, storage.AuditEvent{Action: ev.Action, Outcome: ev.Outcome, Object: ev.Object})
	}
	want := []storage.AuditEvent{
		{Action: storage.ActKeyRotate, Outcome: storage.Accepted, Object: "1"},
		{Action: storage.ActKeyRotate, Outcome: storage.Accepted, Object: "2"},
		{Action: storage.ActKeyDelete, Outcome: storage.Accepted, Object: "1"},
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b storage.AuditEvent) bool { return a == b })); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}

	f.events.fill(true)
	f.send(t, "POST", "/keys", "").problem(t, http.StatusServiceUnavailable, "unavailable")
	if keys := f.keys(t); len(keys) != 1 {
		t.Errorf("a rotation that couldn't be audited made a key: %+v", keys)
	}
}

func TestMalformedRequestsForKeys(t *testing.T) {
	f := newFixture(t)
	f.send(t, "POST", "/keys", `{"id":7}`).problem(t, http.StatusBadRequest, "invalid_field", "id")
	f.send(t, "POST", "/keys", `{}`, "Content-Type: text/plain").problem(t, http.StatusUnsupportedMediaType, "unsupported_media_type")
	f.send(t, "GET", "/keys?limit=1", "").problem(t, http.StatusBadRequest, "invalid_field", "limit")
	f.send(t, "PUT", "/keys/1", `{}`).problem(t, http.StatusMethodNotAllowed, "method_not_allowed")
	f.send(t, "POST", "/keys", `{}`).want(t, http.StatusCreated)
}

// The API shows nothing of a key but its id and its times.
func TestKeysAreNotTold(t *testing.T) {
	f := newFixture(t)
	f.rotate(t)
	stored, err := f.store.ListKeys(t.Context())
	if err != nil || len(stored) != 1 || len(stored[0].Sealed) == 0 {
		t.Fatal(stored, err)
	}
	if a := f.send(t, "GET", "/keys", ""); strings.Contains(a.body, "ealed") {
		t.Errorf("%s", a.body)
	}
}
