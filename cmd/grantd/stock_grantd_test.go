package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/grantd/grantd/resource"
	"github.com/grantd/grantd/storage"
)

// startGrantd starts the server of grantd serve in this process, so that its
// store can be watched.
func startGrantd(t *testing.T, configure func(*config), b backend) target {
	t.Helper()
	dir := t.TempDir()
	c := defaultConfig()
	c.Issuer = "http://127.0.0.1"
	c.Secret = newSecret(randomText(32))
	c.PasswordHash = hashConfig{Memory: 64, Time: 1, Threads: 1} // quick, since nobody attacks these hashes
	switch {
	case b.redis != nil:
		c.Redis.URL = b.redis.URL()
	case b.cluster != nil:
		c.Redis.URL = b.cluster.URL()
	default:
		c.Data = filepath.Join(dir, "grantd.db")
	}
	if configure != nil {
		configure(&c)
	}
	p, err := newProcess(t.Context(), &c, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.store.Close()
		p.flush()
	})
	watched := &watchedStore{Store: p.store}
	p.store = watched
	p.prepare = func(ctx context.Context) error { return seedStock(ctx, p) }
	if err := p.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(grantdHandler(t, p))
	t.Cleanup(server.Close)

	s := target{
		t:       t,
		token:   server.URL + "/token",
		revoke:  server.URL + "/revoke",
		me:      server.URL + "/users/me",
		writing: server.URL + "/writing",
		lookups: func() int { return int(watched.lookups.Load()) },
		meet:    watched.meeting.arm,
		dump:    func() string { return contents(t, dir) },
	}
	if b.redis != nil {
		s = redisHooks(t, s, b.redis.Client())
	}
	return s
}

// grantdHandler is all that grantd serves, and an API beside it that is guarded
// as the README shows and also takes tokens in form bodies.
func grantdHandler(t *testing.T, p *process) http.Handler {
	t.Helper()
	h, err := p.offerAll("")
	if err != nil {
		t.Fatal(err)
	}
	all, err := p.handler("127.0.0.1:0", h)
	if err != nil {
		t.Fatal(err)
	}
	guard, err := resource.New(resource.Config{
		Validator: resource.NewStoreValidator(p.keys, p.store),
		Resource:  "http://127.0.0.1/writing",
		FormBody:  true,
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/writing", guard.Require("write")(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "written")
	})))
	mux.Handle("/", all)
	return mux
}

func seedStock(ctx context.Context, p *process) error {
	hash, err := p.hasher.Hash(ctx, stockPassword)
	if err != nil {
		return err
	}
	if err := p.store.CreateUser(ctx, newUser(stockUser, hash, false)); err != nil {
		return err
	}
	all := []string{"password", "refresh_token", "client_credentials"}
	for _, c := range []struct {
		account
		grants []string
		public bool
	}{
		{web, all, false},
		{mobile, all, false},
		{machine, all[2:], false},
		{odd, all[:1], false},
		{encoded, all[2:], false},
		{spa, all[:2], true},
		{blank, all[2:], false},
	} {
		record := storage.Client{ID: c.id, Public: c.public, Grants: c.grants, Scopes: []string{"read", "write"}}
		if c.secret != "" {
			record.Secret = storage.NewSecretVerifier(c.secret)
		}
		if err := p.store.CreateClient(ctx, record); err != nil {
			return err
		}
	}
	return nil
}

// watchedStore counts how often a user is looked up, which every check of a
// password needs. It also makes refreshes wait for each other between the
// look-up of their grant and its swap.
type watchedStore struct {
	storage.Store
	lookups atomic.Int64
	meeting meeting
}

func (w *watchedStore) LoadUser(ctx context.Context, name string) (storage.User, error) {
	w.lookups.Add(1)
	return w.Store.LoadUser(ctx, name)
}

func (w *watchedStore) LoadGrant(ctx context.Context, id storage.GrantID) (storage.Grant, error) {
	g, err := w.Store.LoadGrant(ctx, id)
	w.meeting.join(ctx)
	return g, err
}

// contents are the contents of all files in the directory.
func contents(t testing.TB, dir string) string {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}
