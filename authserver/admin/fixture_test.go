package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/authserver/admin"
	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
	"github.com/grantd/grantd/storage/opaque"
)

// fixture is a listening API on a fresh store.
type fixture struct {
	url    string
	api    *admin.API
	store  *faultyStore
	events *events
	actor  atomic.Pointer[admin.Actor]
	clock  atomic.Pointer[time.Time] // atomic, because sweeps in the background read it too
}

func (f *fixture) now() time.Time       { return *f.clock.Load() }
func (f *fixture) setClock(t time.Time) { f.clock.Store(&t) }

// faultyStore fails when it is told to.
type faultyStore struct {
	storage.Store
	revoke atomic.Bool // Revoke fails
	users  atomic.Bool // LoadUser fails
	full   atomic.Bool // CreateReceipt fails, and so does LoadGrant if there is no such grant
	doubt  atomic.Bool // UpdateClient works, but answers that it can't tell

	updated atomic.Pointer[func()]       // called after UpdateUser
	sweep   atomic.Pointer[func() error] // called before Sweep; an error keeps Sweep from beginning
}

func (s *faultyStore) Sweep(ctx context.Context, r storage.Revocation, report func(storage.Swept) error) (storage.Swept, error) {
	if f := s.sweep.Load(); f != nil {
		if err := (*f)(); err != nil {
			return storage.Swept{}, err
		}
	}
	return s.Store.Sweep(ctx, r, report)
}

func (s *faultyStore) UpdateUser(ctx context.Context, u storage.User) error {
	err := s.Store.UpdateUser(ctx, u)
	if f := s.updated.Load(); f != nil {
		(*f)()
	}
	return err
}

func (s *faultyStore) UpdateClient(ctx context.Context, c storage.Client) error {
	err := s.Store.UpdateClient(ctx, c)
	if s.doubt.Load() {
		err = errors.Join(err, errDown)
	}
	return err
}

var errDown = errors.Join(storage.ErrUnavailable, errors.New("down"))

func (s *faultyStore) Revoke(ctx context.Context, t storage.Target) (storage.Revocation, error) {
	if s.revoke.Load() {
		return storage.Revocation{}, errDown
	}
	return s.Store.Revoke(ctx, t)
}

func (s *faultyStore) CreateReceipt(ctx context.Context, r storage.Receipt) error {
	if s.full.Load() {
		return errDown
	}
	return s.Store.CreateReceipt(ctx, r)
}

func (s *faultyStore) LoadGrant(ctx context.Context, id storage.GrantID) (storage.Grant, error) {
	g, err := s.Store.LoadGrant(ctx, id)
	if errors.Is(err, storage.ErrNotFound) && s.full.Load() {
		return g, errDown
	}
	return g, err
}

func (s *faultyStore) LoadUser(ctx context.Context, name string) (storage.User, error) {
	if s.users.Load() {
		return storage.User{}, errDown
	}
	return s.Store.LoadUser(ctx, name)
}

// events collects what the audit trail recorded.
type events struct {
	mu   sync.Mutex
	kept []storage.AuditEvent
	full bool // further events fail
}

func (e *events) keep(_ context.Context, ev storage.AuditEvent) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.full {
		return errors.New("the disk is full")
	}
	e.kept = append(e.kept, ev)
	return nil
}

func (e *events) all() []storage.AuditEvent {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.kept)
}

func (e *events) fill(full bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.full = full
}

var root = admin.Actor{
	Username: "root", UserID: "usr_root", ClientID: "grantd-cli",
	Address: netip.MustParseAddr("192.0.2.7"), RequestID: "req-1",
}

type option func(*admin.Config)

func newFixture(t *testing.T, options ...option) *fixture {
	t.Helper()
	f := &fixture{events: &events{}}
	f.setClock(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))
	f.actor.Store(&root)
	store, err := embedded.Open(embedded.Memory, embedded.WithClock(f.now))
	if err != nil {
		t.Fatal(err)
	}
	f.store = &faultyStore{Store: store}
	hasher, err := passhash.New(passhash.Params{Memory: 64, Time: 1, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	c := admin.Config{
		Store:         f.store,
		Passwords:     hasher,
		Keys:          opaque.NewKeys(f.store, newSealer(t), f.now),
		Scopes:        []string{"read", "write", "admin"},
		DefaultScopes: []string{"read"},
		Path:          "/tenant",
		Actor:         func(context.Context) admin.Actor { return *f.actor.Load() },
		Guard:         admin.Anybody,
		Audit:         f.events.keep,
		Now:           f.now,
	}
	for _, o := range options {
		o(&c)
	}
	if f.api, err = admin.New(c); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(f.api.Handler())
	f.url = server.URL + admin.Root
	t.Cleanup(func() {
		server.Close()
		f.api.Close()
		store.Close()
	})
	return f
}

// answer is what the API answered.
type answer struct {
	status int
	header http.Header
	body   string
}

// send sends a request, without a content type if the body is "". Headers are
// "Name: value".
func (f *fixture) send(t *testing.T, method, path, body string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, f.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if r.Header.Del(name); value != "" {
			r.Header.Set(name, value)
		}
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if cc := res.Header.Get("Cache-Control"); cc != "no-store" {
		t.Errorf("%s %s: Cache-Control is %q, want no-store", method, path, cc)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

// want fails the test unless the answer has the status.
func (a answer) want(t *testing.T, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	return a
}

// into decodes the body into v, and fails the test if v lacks a member of it.
func (a answer) into(t *testing.T, v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(a.body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
}

// problem fails the test unless the answer is the problem with that status and
// code, and names exactly the fields.
func (a answer) problem(t *testing.T, status int, code string, fields ...string) admin.Problem {
	t.Helper()
	a.want(t, status)
	if mt := a.header.Get("Content-Type"); mt != "application/problem+json" {
		t.Errorf("Content-Type is %q", mt)
	}
	var p admin.Problem
	a.into(t, &p)
	if p.Type != "urn:grantd:problem:"+code || p.Status != status || p.Title == "" || p.RequestID != root.RequestID {
		t.Errorf("the problem is %+v, want %d %s", p, status, code)
	}
	var named []string
	for _, e := range p.Errors {
		named = append(named, e.Field)
		if e.Detail == "" {
			t.Errorf("nothing is said of %s", e.Field)
		}
	}
	if d := cmp.Diff(fields, named); d != "" {
		t.Errorf("the fields (-want +got):\n%s%s", d, a.body)
	}
	return p
}

// addUser makes a user through the API.
func (f *fixture) addUser(t *testing.T, body string) admin.User {
	t.Helper()
	var u admin.User
	f.send(t, "POST", "/users", body).want(t, http.StatusCreated).into(t, &u)
	return u
}

// addGrant makes a grant of the user, or of the client itself if userID is "".
func (f *fixture) addGrant(t *testing.T, userID, clientID string) storage.GrantID {
	t.Helper()
	id := storage.NewGrantID(userID)
	epoch, err := f.store.Epoch(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	g := storage.Grant{
		ID: id, Epoch: epoch, Type: storage.Password, UserID: userID, Username: "somebody", ClientID: clientID,
		Scope: "read", AccessScope: "read", Generation: 1, Access: storage.Digest{1},
		Created: f.now(), Issued: f.now(), AccessExpiry: f.now().Add(time.Hour), End: f.now().Add(24 * time.Hour),
	}
	if userID == "" {
		g.Type, g.Username = storage.ClientCredentials, ""
	}
	if err := f.store.CreateGrant(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	return id
}

// lives reports whether the grant is good.
func (f *fixture) lives(t *testing.T, id storage.GrantID) bool {
	t.Helper()
	_, err := f.store.LoadGrant(t.Context(), id)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}
