package storagetest

import (
	"slices"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

var clientChecks = []check{
	{"a client loads with every field, at revision 1", clientKeepsFields},
	{"a client id is taken once", clientTaken},
	{"an update replaces a client and counts its revision up", clientUpdate},
	{"of concurrent client updates of one revision exactly one succeeds", clientUpdateRace},
	{"a deleted client is gone", clientDelete},
	{"clients are listed by id in byte order", clientList},
	{"a client is a copy", clientIsCopy},
}

func newClient(f Fixture, id string) storage.Client {
	return storage.Client{
		ID: id, Secret: storage.SecretVerifier{Salt: []byte{0, 1, 255}, Hash: []byte("hash\x00\xff")},
		PreviousSecret: storage.SecretVerifier{Salt: []byte{2}, Hash: []byte("before\x00")}, PreviousUntil: f.Now().Add(time.Hour), Narrowed: true,
		Grants: []string{"password", "refresh_token"}, Scopes: []string{"read", "write"},
		RedirectURIs: []string{"http://127.0.0.1/callback"}, Audiences: []string{apiServer, otherServer},
		Origins: []string{"https://spa.test", "http://127.0.0.1:3000"}, Introspect: true, AccessLifetime: 90 * time.Second, Created: f.Now(),
	}
}

func createdClient(t *testing.T, f Fixture, id string) storage.Client {
	t.Helper()
	c := newClient(f, id)
	wantErr(t, "CreateClient", f.Store.CreateClient(t.Context(), c), nil)
	c.Revision = 1
	return c
}

func wantClient(t *testing.T, f Fixture, c storage.Client) {
	t.Helper()
	got, err := f.Store.LoadClient(t.Context(), c.ID)
	wantErr(t, "LoadClient", err, nil)
	if d := diff(c, got); d != "" {
		t.Fatalf("client (-kept +loaded):\n%s", d)
	}
}

func clientKeepsFields(t *testing.T, f Fixture) {
	for _, id := range namesInByteOrder() {
		wantClient(t, f, createdClient(t, f, id))
	}
	public := storage.Client{ID: "bare", Public: true, Grants: []string{"password"}, Scopes: []string{}, Created: f.Now(), Revision: 77}
	wantErr(t, "CreateClient", f.Store.CreateClient(t.Context(), public), nil)
	public.Revision = 1
	wantClient(t, f, public)
}

func clientTaken(t *testing.T, f Fixture) {
	c := createdClient(t, f, web)
	other := newClient(f, web)
	other.Public = true
	wantErr(t, "CreateClient", f.Store.CreateClient(t.Context(), other), storage.ErrExists)
	wantClient(t, f, c)

	errs := concurrently(20, func(int) error { return f.Store.CreateClient(t.Context(), newClient(f, cli)) })
	wantOneWinner(t, errs, storage.ErrExists)
}

func clientUpdate(t *testing.T, f Fixture) {
	c := createdClient(t, f, web)
	changed := c
	changed.Scopes, changed.Audiences, changed.AccessLifetime = []string{"read"}, nil, 0
	wantErr(t, "UpdateClient", f.Store.UpdateClient(t.Context(), changed), nil)
	wantErr(t, "UpdateClient of a stale revision", f.Store.UpdateClient(t.Context(), c), storage.ErrConflict)
	changed.Revision = 2
	wantClient(t, f, changed)
	unknown := newClient(f, "nothing")
	unknown.Revision = 1
	wantErr(t, "UpdateClient of an unknown client", f.Store.UpdateClient(t.Context(), unknown), storage.ErrNotFound)
	_, err := f.Store.LoadClient(t.Context(), "nothing")
	wantErr(t, "LoadClient", err, storage.ErrNotFound)
}

func clientUpdateRace(t *testing.T, f Fixture) {
	c := createdClient(t, f, web)
	for range 5 {
		next := make([]storage.Client, 20)
		for i := range next {
			next[i] = c
			next[i].AccessLifetime = time.Duration(i+1) * time.Second
		}
		errs := concurrently(len(next), func(i int) error { return f.Store.UpdateClient(t.Context(), next[i]) })
		c = next[wantOneWinner(t, errs, storage.ErrConflict)]
		c.Revision++
		wantClient(t, f, c)
	}
}

func clientDelete(t *testing.T, f Fixture) {
	createdClient(t, f, web)
	stays := createdClient(t, f, cli)
	for range 2 {
		wantErr(t, "DeleteClient", f.Store.DeleteClient(t.Context(), web), nil)
	}
	_, err := f.Store.LoadClient(t.Context(), web)
	wantErr(t, "LoadClient", err, storage.ErrNotFound)
	wantClient(t, f, stays)
	wantClient(t, f, createdClient(t, f, web))
}

func clientList(t *testing.T, f Fixture) {
	ids := namesInByteOrder()
	for _, id := range slices.Backward(ids) {
		createdClient(t, f, id)
	}
	var got []string
	for after := ""; ; {
		page, err := f.Store.ListClients(t.Context(), after, 3)
		wantErr(t, "ListClients", err, nil)
		if want := min(3, len(ids)-len(got)); len(page) != want {
			t.Fatalf("a page of limit 3 after %q has %d clients, want %d", after, len(page), want)
		}
		if len(page) == 0 {
			break
		}
		for _, c := range page {
			got = append(got, c.ID)
		}
		after = got[len(got)-1]
	}
	if d := diff(ids, got); d != "" {
		t.Fatalf("ids (-want +got):\n%s", d)
	}
}

func clientIsCopy(t *testing.T, f Fixture) {
	c := createdClient(t, f, web)
	for range 2 {
		got, err := f.Store.LoadClient(t.Context(), web)
		wantErr(t, "LoadClient", err, nil)
		got.Scopes[0], got.Secret.Hash[0] = "admin", 'X'
	}
	wantClient(t, f, c)
}
