package admin_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/authserver/admin"
	"github.com/grantd/grantd/storage"
)

type userList struct {
	Users []admin.User `json:"users"`
	Next  string       `json:"next"`
}

func TestCreateUser(t *testing.T) {
	f := newFixture(t)
	a := f.send(t, "POST", "/users", `{"username":"Alice","password":"correct horse","admin":true}`).want(t, http.StatusCreated)
	var made admin.User
	a.into(t, &made)
	want := admin.User{ID: made.ID, Username: "alice", Admin: true, HasPassword: true, Created: f.now()}
	if d := cmp.Diff(want, made); d != "" {
		t.Errorf("the user (-want +got):\n%s", d)
	}
	if !strings.HasPrefix(made.ID, storage.UserIDPrefix) || strings.Contains(a.body, "argon2") {
		t.Errorf("the answer is %s", a.body)
	}

	read := f.send(t, "GET", "/users/ALICE", "").want(t, http.StatusOK)
	if read.body != a.body || read.header.Get("ETag") != a.header.Get("ETag") || a.header.Get("ETag") == "" {
		t.Errorf("read %s, ETag %s; made %s, ETag %s", read.body, read.header.Get("ETag"), a.body, a.header.Get("ETag"))
	}
	if got := a.header.Get("Location"); got != "/tenant/admin/v1/users/alice" {
		t.Errorf("Location is %q", got)
	}

	kept, err := f.store.LoadUser(t.Context(), "alice")
	if err != nil || !strings.HasPrefix(kept.Password, "$argon2id$") {
		t.Errorf("kept %q, %v", kept.Password, err)
	}
}

// A user may be created without a password, and then can't sign in.
func TestCreateUserWithoutPassword(t *testing.T) {
	f := newFixture(t)
	if u := f.addUser(t, `{"username":"alice","disabled":true}`); u.HasPassword || !u.Disabled || u.Admin {
		t.Errorf("made %+v", u)
	}
	if kept, err := f.store.LoadUser(t.Context(), "alice"); err != nil || kept.Password != "" {
		t.Errorf("kept %+v, %v", kept, err)
	}
}

func TestCreateUserRefused(t *testing.T) {
	f := newFixture(t)
	f.addUser(t, `{"username":"alice"}`)
	f.addClient(t, `{"client_id":"twin","introspect":true}`)
	events := len(f.events.all())
	tests := []struct {
		name, body string
		status     int
		code       string
		field      string
	}{
		{"no name", `{}`, 400, "invalid_field", "username"},
		{"an empty name", `{"username":""}`, 400, "invalid_field", "username"},
		{"a name with a space", `{"username":"a b"}`, 400, "invalid_field", "username"},
		{"a name with a control character", `{"username":"a\u0000"}`, 400, "invalid_field", "username"},
		{"a long name", `{"username":"` + strings.Repeat("x", 256) + `"}`, 400, "invalid_field", "username"},
		{"a name that no path can name", `{"username":".."}`, 400, "invalid_field", "username"},
		{"the same name", `{"username":"alice"}`, 409, "already_exists", "username"},
		{"the id of a client", `{"username":"Twin"}`, 409, "conflict", "username"},
		{"the same name in other case", `{"username":"ALICE"}`, 409, "already_exists", "username"},
		{"the same name in full width", `{"username":"ＡＬＩＣＥ"}`, 409, "already_exists", "username"},
		{"a short password", `{"username":"bob","password":"1234567"}`, 400, "invalid_field", "password"},
		{"a common password", `{"username":"bob","password":"password123"}`, 400, "invalid_field", "password"},
		{"the name as password", `{"username":"bobbobbob","password":"BobBobBob1"}`, 400, "invalid_field", "password"},
		{"an empty password", `{"username":"bob","password":""}`, 400, "invalid_field", "password"},
		{"a password with a NUL", `{"username":"bob","password":"correct\u0000horse"}`, 400, "invalid_field", "password"},
		{"an endless password", `{"username":"bob","password":"` + strings.Repeat("pq", 600) + `"}`, 400, "invalid_field", "password"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f.send(t, "POST", "/users", test.body).problem(t, test.status, test.code, test.field)
		})
	}
	var l userList
	f.send(t, "GET", "/users", "").want(t, 200).into(t, &l)
	if len(l.Users) != 1 || len(f.events.all()) != events {
		t.Errorf("there are %+v, and %d events, want %d", l.Users, len(f.events.all()), events)
	}
}

// Any user that may be made can be named in a path, escaped.
func TestUserPath(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"a/b", "a%2fb", "a?b", "a#b", "bob@example.com", "jürgen", "...", "a;b", "a+b", "me"} {
		f.addUser(t, fmt.Sprintf(`{"username":%q}`, name))
		var u admin.User
		f.send(t, "GET", "/users/"+url.PathEscape(name), "").want(t, 200).into(t, &u)
		if u.Username != name {
			t.Errorf("%q is found as %q", name, u.Username)
		}
	}
	for _, name := range []string{"nobody", "%20", "%00", "%ff", strings.Repeat("x", 300), "..%2fclients"} {
		f.send(t, "GET", "/users/"+name, "").problem(t, 404, "not_found")
	}
}

func TestPatchUser(t *testing.T) {
	f := newFixture(t)
	u := f.addUser(t, `{"username":"alice"}`)
	patch := func(body string) admin.User {
		t.Helper()
		var u admin.User
		f.send(t, "PATCH", "/users/alice", body).want(t, 200).into(t, &u)
		return u
	}
	tests := []struct {
		name, body  string
		admin, off  bool
		grantsEnded bool
	}{
		{"nothing", `{}`, false, false, false},
		{"admin", `{"admin":true}`, true, false, false},
		{"no longer admin", `{"admin":false}`, false, false, true},
		{"disabled", `{"disabled":true}`, false, true, true},
		{"disabled again", `{"disabled":true}`, false, true, true}, // revokes again, so that a failed revocation can be repeated
		{"enabled", `{"disabled":false}`, false, false, false},
		{"admin and disabled", `{"admin":true,"disabled":true}`, true, true, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			grant, other := f.addGrant(t, u.ID, "web"), f.addGrant(t, "usr_other", "web")
			got := patch(test.body)
			if got.Admin != test.admin || got.Disabled != test.off || got.ID != u.ID {
				t.Errorf("the user is %+v", got)
			}
			if f.lives(t, grant) == test.grantsEnded || !f.lives(t, other) {
				t.Errorf("the grant lives: %t; that of another: %t", f.lives(t, grant), f.lives(t, other))
			}
		})
	}
	f.send(t, "PATCH", "/users/nobody", `{"admin":true}`).problem(t, 404, "not_found")
	f.send(t, "PATCH", "/users/alice", `{"password":"correct horse"}`).problem(t, 400, "invalid_field", "password")
}

func TestSetPassword(t *testing.T) {
	f := newFixture(t)
	u := f.addUser(t, `{"username":"alice"}`)
	grant := f.addGrant(t, u.ID, "web")
	set := func(body string) answer { return f.send(t, "PUT", "/users/alice/password", body) }

	set(`{}`).problem(t, 400, "invalid_field", "password")
	set(`{"password":"alice123"}`).problem(t, 400, "invalid_field", "password")
	set(`{"password":"1234"}`).problem(t, 400, "invalid_field", "password")
	if !f.lives(t, grant) {
		t.Error("a password that was refused ended the grants")
	}
	if a := set(`{"password":"correct horse"}`).want(t, 204); a.body != "" {
		t.Errorf("the body is %q", a.body)
	}
	if f.lives(t, grant) {
		t.Error("the grant lives on with a new password")
	}
	var got admin.User
	f.send(t, "GET", "/users/alice", "").want(t, 200).into(t, &got)
	if !got.HasPassword {
		t.Error("the user has no password")
	}
	f.send(t, "PUT", "/users/nobody/password", `{"password":"correct horse"}`).problem(t, 404, "not_found")
}

func TestDeleteUser(t *testing.T) {
	f := newFixture(t)
	u := f.addUser(t, `{"username":"alice"}`)
	grant := f.addGrant(t, u.ID, "web")
	for _, name := range []string{"alice", "Alice", "nobody", "%20"} { // idempotent
		f.send(t, "DELETE", "/users/"+name, "").want(t, 204)
	}
	if f.lives(t, grant) {
		t.Error("the grant lives on")
	}
	f.send(t, "GET", "/users/alice", "").problem(t, 404, "not_found")

	// A user who is created later under the same name has another id.
	if anew := f.addUser(t, `{"username":"alice"}`); anew.ID == u.ID {
		t.Error("the id is used again")
	}
}

func TestListUsers(t *testing.T) {
	f := newFixture(t)
	for i := range 25 {
		f.addUser(t, fmt.Sprintf(`{"username":"user%02d","admin":%t,"disabled":%t}`, i, i%10 == 0, i%2 == 1))
	}
	for _, name := range []string{"use", "user", "uses", "tom", "zoë", "é", "user1é"} {
		f.addUser(t, fmt.Sprintf(`{"username":%q}`, name))
	}
	zoe := f.addUser(t, `{"username":"zoe"}`).ID
	tests := []struct {
		name, query string
		want        []string
	}{
		{"all", "", []string{"tom", "use", "user", "user00-user09", "user10-user19", "user1é", "user20-user24", "uses", "zoe", "zoë", "é"}},
		{"of a prefix", "prefix=user1", []string{"user10-user19", "user1é"}},
		{"of a prefix in other case", "prefix=USER2", []string{"user20-user24"}},
		{"of a prefix that is a name", "prefix=uses", []string{"uses"}},
		{"of a prefix that isn't ASCII", "prefix=%C3%A9", []string{"é"}},
		{"of a prefix that nobody has", "prefix=xyz", nil},
		{"of an id", "id=" + zoe, []string{"zoe"}},
		{"of an id, with what it isn't", "admin=true&id=" + zoe, nil},
		{"of an id in other case", "id=" + strings.ToUpper(zoe), nil},
		{"of an id and a prefix that it hasn't", "prefix=user&id=" + zoe, nil},
		{"admins", "admin=true", []string{"user00", "user10", "user20"}},
		{"disabled ones of a prefix", "disabled=true&prefix=user0", []string{"user01", "user03", "user05", "user07", "user09"}},
		{"enabled admins", "disabled=false&admin=true", []string{"user00", "user10", "user20"}},
		{"disabled admins", "disabled=true&admin=true", nil},
	}
	for _, test := range tests {
		for _, limit := range []int{1, 3, 5, 1000} {
			t.Run(fmt.Sprintf("%s, %d a page", test.name, limit), func(t *testing.T) {
				if d := cmp.Diff(spelledOut(test.want), f.userNames(t, test.query, limit)); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}
			})
		}
	}
}

// spelledOut expands ranges such as user00-user09 to all their names.
func spelledOut(ranges []string) (names []string) {
	for _, r := range ranges {
		from, to, isRange := strings.Cut(r, "-")
		if !isRange {
			names = append(names, r)
			continue
		}
		for i := range 100 {
			if n := fmt.Sprintf("user%02d", i); n >= from && n <= to {
				names = append(names, n)
			}
		}
	}
	return names
}

// userNames pages through a list.
func (f *fixture) userNames(t *testing.T, query string, limit int) (names []string) {
	t.Helper()
	cursor := ""
	for {
		var l userList
		f.send(t, "GET", fmt.Sprintf("/users?limit=%d&%s%s", limit, query, cursor), "").want(t, 200).into(t, &l)
		if l.Users == nil || len(l.Users) > limit {
			t.Fatalf("a page of %d has %v", limit, l.Users)
		}
		for _, u := range l.Users {
			names = append(names, u.Username)
		}
		if l.Next == "" {
			return names
		}
		cursor = "&cursor=" + l.Next
	}
}

// A filter that matches no user costs no more than another: the page ends
// early, with a cursor to go on.
func TestListUsersBounded(t *testing.T) {
	f := newFixture(t)
	for i := range 5100 {
		u := storage.User{ID: storage.NewUserID(), Name: fmt.Sprintf("user%04d", i), Created: f.now(), Admin: i == 5099}
		if err := f.store.CreateUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	var l userList
	f.send(t, "GET", "/users?admin=true", "").want(t, 200).into(t, &l)
	if len(l.Users) != 0 || l.Next == "" {
		t.Fatalf("the first page is %+v", l)
	}
	if d := cmp.Diff([]string{"user5099"}, f.userNames(t, "admin=true", 100)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// Through the API, nobody but the operator of the store can disable, demote or
// delete the last admin who can sign in.
func TestLastAdmin(t *testing.T) {
	f := newFixture(t)
	f.actor.Store(&admin.Actor{ClientID: "demo-admin", RequestID: root.RequestID})
	f.addUser(t, `{"username":"root","password":"correct horse","admin":true}`)
	f.addUser(t, `{"username":"off","password":"correct horse","admin":true,"disabled":true}`)
	f.addUser(t, `{"username":"mute","admin":true}`)
	refused := func(t *testing.T) {
		t.Helper()
		f.send(t, "PATCH", "/users/root", `{"disabled":true}`).problem(t, 409, "conflict")
		f.send(t, "PATCH", "/users/root", `{"admin":false}`).problem(t, 409, "conflict")
		f.send(t, "DELETE", "/users/root", "").problem(t, 409, "conflict")
	}
	t.Run("by a client", refused)
	t.Run("by itself", func(t *testing.T) {
		f.actor.Store(&root)
		refused(t)
	})
	t.Run("another one may go", func(t *testing.T) {
		f.addUser(t, `{"username":"second","password":"correct horse","admin":true}`)
		f.send(t, "PATCH", "/users/second", `{"admin":false}`).want(t, 200)
	})
	t.Run("by another admin", func(t *testing.T) {
		f.send(t, "PATCH", "/users/second", `{"admin":true}`).want(t, 200)
		f.actor.Store(&admin.Actor{Username: "second", RequestID: root.RequestID})
		f.send(t, "PATCH", "/users/root", `{"admin":false}`).want(t, 200)
		f.send(t, "DELETE", "/users/second", "").problem(t, 409, "conflict")
	})
	t.Run("by the operator of the store", func(t *testing.T) {
		f.actor.Store(&admin.Actor{Local: true})
		f.send(t, "DELETE", "/users/second", "").want(t, 204)
	})
}
