package storagetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

var userChecks = []check{
	{"a user loads with every field, at revision 1", userKeepsFields},
	{"a user name is taken once", userTaken},
	{"an update replaces a user and counts its revision up", userUpdate},
	{"of concurrent updates of one revision exactly one succeeds", userUpdateRace},
	{"a deleted user is gone", userDelete},
	{"users are listed by name in byte order", userList},
}

func newUser(f Fixture, name string) storage.User {
	return storage.User{
		ID: "id of " + name, Name: name, Password: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA",
		Disabled: true, Admin: true, Created: f.Now(),
	}
}

func createdUser(t *testing.T, f Fixture, name string) storage.User {
	t.Helper()
	u := newUser(f, name)
	wantErr(t, "CreateUser", f.Store.CreateUser(t.Context(), u), nil)
	u.Revision = 1
	return u
}

func wantUser(t *testing.T, f Fixture, u storage.User) {
	t.Helper()
	got, err := f.Store.LoadUser(t.Context(), u.Name)
	wantErr(t, "LoadUser", err, nil)
	if d := diff(u, got); d != "" {
		t.Fatalf("user (-kept +loaded):\n%s", d)
	}
}

func userKeepsFields(t *testing.T, f Fixture) {
	for _, name := range namesInByteOrder() {
		wantUser(t, f, createdUser(t, f, name))
	}
	bare := storage.User{ID: "1", Name: "bare", Created: f.Now(), Revision: 77} // the store must ignore the caller's revision
	wantErr(t, "CreateUser", f.Store.CreateUser(t.Context(), bare), nil)
	bare.Revision = 1
	wantUser(t, f, bare)
}

func userTaken(t *testing.T, f Fixture) {
	u := createdUser(t, f, "alice")
	other := newUser(f, "alice")
	other.ID = "another id"
	wantErr(t, "CreateUser", f.Store.CreateUser(t.Context(), other), storage.ErrExists)
	wantUser(t, f, u)
	createdUser(t, f, "Alice") // another user: stores don't map the case of names

	users := make([]storage.User, 20)
	for i := range users {
		users[i] = newUser(f, "bob")
		users[i].ID = fmt.Sprint(i)
	}
	errs := concurrently(len(users), func(i int) error { return f.Store.CreateUser(t.Context(), users[i]) })
	winner := users[wantOneWinner(t, errs, storage.ErrExists)]
	winner.Revision = 1
	wantUser(t, f, winner)
}

func userUpdate(t *testing.T, f Fixture) {
	u := createdUser(t, f, "alice")
	for revision := range uint64(3) {
		changed := u
		changed.Password, changed.Disabled, changed.Admin = fmt.Sprint("hash ", revision), false, false
		wantErr(t, "UpdateUser", f.Store.UpdateUser(t.Context(), changed), nil)
		err := f.Store.UpdateUser(t.Context(), u)
		wantErr(t, "UpdateUser of a stale revision", err, storage.ErrConflict)
		changed.Revision = revision + 2
		wantUser(t, f, changed)
		u = changed
	}
	future := u
	future.Revision++
	wantErr(t, "UpdateUser of a revision yet to come", f.Store.UpdateUser(t.Context(), future), storage.ErrConflict)
	wantErr(t, "DeleteUser", f.Store.DeleteUser(t.Context(), "alice"), nil)
	anew := newUser(f, "alice")
	anew.ID = "another id"
	wantErr(t, "CreateUser", f.Store.CreateUser(t.Context(), anew), nil)
	u.Revision = 1
	wantErr(t, "UpdateUser of a user who was made anew", f.Store.UpdateUser(t.Context(), u), storage.ErrConflict)
	unknown := newUser(f, "nobody")
	unknown.Revision = 1
	wantErr(t, "UpdateUser of an unknown user", f.Store.UpdateUser(t.Context(), unknown), storage.ErrNotFound)
	_, err := f.Store.LoadUser(t.Context(), "nobody")
	wantErr(t, "LoadUser", err, storage.ErrNotFound)
}

func userUpdateRace(t *testing.T, f Fixture) {
	u := createdUser(t, f, "alice")
	for range 5 {
		next := make([]storage.User, 20)
		for i := range next {
			next[i] = u
			next[i].Password = fmt.Sprint("hash ", i)
		}
		errs := concurrently(len(next), func(i int) error { return f.Store.UpdateUser(t.Context(), next[i]) })
		u = next[wantOneWinner(t, errs, storage.ErrConflict)]
		u.Revision++
		wantUser(t, f, u)
	}
}

func userDelete(t *testing.T, f Fixture) {
	createdUser(t, f, "alice")
	stays := createdUser(t, f, "bob")
	for range 2 {
		wantErr(t, "DeleteUser", f.Store.DeleteUser(t.Context(), "alice"), nil)
	}
	_, err := f.Store.LoadUser(t.Context(), "alice")
	wantErr(t, "LoadUser", err, storage.ErrNotFound)
	wantUser(t, f, stays)
	f.Advance(time.Hour)
	wantUser(t, f, createdUser(t, f, "alice"))
}

func userList(t *testing.T, f Fixture) {
	names := namesInByteOrder()
	shuffled := slices.Clone(names)
	slices.Reverse(shuffled)
	for _, name := range shuffled {
		createdUser(t, f, name)
	}
	for _, limit := range []int{1, 3, len(names), 1000} {
		var got []string
		for after := ""; ; {
			page, err := f.Store.ListUsers(t.Context(), after, limit)
			wantErr(t, "ListUsers", err, nil)
			if want := min(limit, len(names)-len(got)); len(page) != want {
				t.Fatalf("a page of limit %d after %q has %d users, want %d", limit, after, len(page), want)
			}
			if len(page) == 0 {
				break
			}
			for _, u := range page {
				got = append(got, u.Name)
			}
			after = got[len(got)-1]
		}
		if d := diff(names, got); d != "" {
			t.Fatalf("names in pages of %d (-want +got):\n%s", limit, d)
		}
	}
	page, err := f.Store.ListUsers(t.Context(), "aaa", 1) // a name that nobody has
	wantErr(t, "ListUsers", err, nil)
	if len(page) != 1 || page[0].Name != "ab" || page[0].Revision != 1 || page[0].ID != "id of ab" {
		t.Errorf("after aaa comes %+v, want the user ab", page)
	}
}
