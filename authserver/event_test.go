package authserver_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/storage"
)

// act is what the audit trail records of a request.
type act struct {
	action                        storage.AuditAction
	client, claimed, username, id string // id: of the user
	grant                         bool   // whether the event names a grant
	failed                        string // the reason; empty for a success
}

func actOf(ev authserver.Event) act {
	a := act{action: ev.Act, client: ev.ClientID, claimed: ev.Claimed, username: ev.Username, id: ev.UserID, grant: ev.GrantID != "", failed: ev.Reason}
	if (ev.Err == nil) != (ev.Reason == "") {
		a.failed = fmt.Sprintf("error %v, but reason %q", ev.Err, ev.Reason)
	}
	return a
}

// one is a request and the act expected for it.
type one struct {
	name   string
	path   string // default /token
	form   url.Values
	client change
	want   act
}

func (f *fixture) wantActs(t *testing.T, requests []one) {
	t.Helper()
	for _, r := range requests {
		t.Run(r.name, func(t *testing.T) {
			if r.path == "" {
				r.path = "/token"
			}
			var changes []change
			if r.client != nil {
				changes = append(changes, r.client)
			}
			f.send(t, "POST", r.path, r.form.Encode(), changes...)
			if d := cmp.Diff(r.want, actOf(f.events.last(t)), cmp.AllowUnexported(act{})); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestActsOfSigningIn(t *testing.T) {
	f := newFixture(t)
	f.addUser(t, newHasher(t, 64, 1), "carol", "password-of-carol")
	carol, err := f.store.LoadUser(t.Context(), "carol")
	if err != nil {
		t.Fatal(err)
	}
	carol.Disabled = true
	if err := f.store.UpdateUser(t.Context(), carol); err != nil {
		t.Fatal(err)
	}
	const signIn = storage.ActSignIn
	f.wantActs(t, []one{
		{name: "a user", form: passwordForm("Alice", "secret123"), client: asWeb,
			want: act{action: signIn, client: "web", username: "alice", id: "id-of-alice", grant: true}},
		{name: "a wrong password", form: passwordForm("Alice", "wrong"), client: asWeb,
			want: act{action: signIn, client: "web", username: "alice", id: "id-of-alice", failed: "wrong password"}},
		{name: "a wrong password at a public client", form: passwordForm("Alice", "wrong", "client_id", "spa"),
			want: act{action: signIn, client: "spa", username: "alice", id: "id-of-alice", failed: "wrong password"}},
		{name: "a name that nobody has", form: passwordForm("secret123", "alice"), client: asWeb,
			want: act{action: signIn, client: "web", failed: "no such user"}},
		{name: "a disabled user", form: passwordForm("carol", "password-of-carol"), client: asWeb,
			want: act{action: signIn, client: "web", username: "carol", id: "id-of-carol", failed: "disabled user"}},
		{name: "a client", form: form("grant_type", "client_credentials"), client: basic("svc", "s3cret3"),
			want: act{action: signIn, client: "svc", grant: true}},
		{name: "a client that may not", form: form("grant_type", "client_credentials"), client: asWeb,
			want: act{action: signIn, client: "web", failed: authserver.ErrUnauthorizedClient.Description}},
		{name: "a scope that the client may not have", form: passwordForm("alice", "secret123", "scope", "admin"), client: asWeb,
			want: act{action: signIn, client: "web", failed: "not allowed for the client"}},
		{name: "a scope that the user may not have", form: passwordForm("alice", "secret123", "scope", "admin"), client: basic("root", "s3cret4"),
			want: act{action: signIn, client: "root", username: "alice", id: "id-of-alice", failed: "nothing is left of the scope"}},
	})
}

// Anybody can send these requests without limit, so recording them would fill
// the trail.
func TestWhatIsNoAct(t *testing.T) {
	f := newFixture(t)
	token := wantToken(t, f.post(t, passwordForm("alice", "secret123"), asWeb)).text("access_token")
	none := func(client, failed string) act { return act{client: client, failed: failed} }
	f.wantActs(t, []one{
		{name: "no password", form: passwordForm("alice", ""), client: asWeb, want: none("web", "username or password is missing")},
		{name: "no such grant type", form: form("grant_type", "x"), client: asWeb, want: none("web", authserver.ErrUnsupportedGrantType.Description)},
		{name: "not a form", form: form("grant_type", "\x00"), client: asWeb, want: none("", "a parameter is not UTF-8, or contains a NUL")},
		{name: "a public client that may not", form: form("grant_type", "client_credentials", "client_id", "spa"),
			want: none("spa", authserver.ErrUnauthorizedClient.Description)},
		{name: "a scope at a public client", form: passwordForm("alice", "secret123", "client_id", "spa", "scope", "x"),
			want: none("spa", "not allowed for the client")},
		{name: "an invented refresh token of a public client", form: refreshForm("grt_x", "client_id", "spa"),
			want: none("spa", authserver.ErrInvalidGrant.Description)},
		{name: "no client", form: passwordForm("alice", "secret123"), want: none("", "neither a client_id nor Basic credentials were sent")},
		{name: "a client without its secret", form: passwordForm("alice", "secret123", "client_id", "web"), want: none("", "wrong client secret")},
		{name: "introspection", path: "/introspect", form: form("token", token), client: basic("gateway", "gw-secret"), want: none("gateway", "")},
		{name: "introspection by who may not", path: "/introspect", form: form("token", token), client: asWeb, want: none("web", "The client may not introspect tokens.")},
		{name: "revoking what nobody issued", path: "/revoke", form: form("token", "gat_x"), client: asWeb, want: none("web", "")},
	})
	f.store.set(func(s *faultyStore) { s.fault = storage.ErrUnavailable })
	f.wantActs(t, []one{
		{name: "while the store is down", form: passwordForm("alice", "secret123"), client: asWeb,
			want: none("", "The server cannot answer now. Repeating the request is safe.")},
	})
}

func TestActsOnAGrant(t *testing.T) {
	f := newFixture(t)
	pair := wantToken(t, f.post(t, passwordForm("alice", "secret123"), asWeb))
	first := pair.text("refresh_token")
	of := func(action storage.AuditAction, failed string) act {
		return act{action: action, client: "web", username: "alice", id: "id-of-alice", grant: true, failed: failed}
	}
	stranger := of(storage.ActRefresh, "the token was issued to another client")
	stranger.client = "web2"
	f.wantActs(t, []one{
		{name: "a stranger", form: refreshForm(first), client: basic("web2", "s3cret2"), want: stranger},
		{name: "too much scope", form: refreshForm(first, "scope", "read admin"), client: asWeb,
			want: of(storage.ActRefresh, "more than was granted")},
		{name: "refresh", form: refreshForm(first), client: asWeb, want: of(storage.ActRefresh, "")},
		{name: "retry", form: refreshForm(first), client: asWeb, want: of(storage.ActRetry, "")},
		{name: "an invented token", form: refreshForm("grt_x"), client: asWeb,
			want: act{action: storage.ActRefresh, client: "web", failed: authserver.ErrInvalidGrant.Description}},
	})
	f.advance(time.Minute)
	f.wantActs(t, []one{
		{name: "reuse", form: refreshForm(first), client: asWeb, want: of(storage.ActReuse, "a spent refresh token was used again: the grant is ended")},
		{name: "after its end", form: refreshForm(first), client: asWeb,
			want: act{action: storage.ActRefresh, client: "web", grant: true, failed: "the grant has ended"}},
	})

	access := wantToken(t, f.post(t, passwordForm("alice", "secret123"), asWeb)).text("access_token")
	stranger.action = storage.ActRevoke
	f.wantActs(t, []one{
		{name: "revoked by a stranger", path: "/revoke", form: form("token", access), client: basic("web2", "s3cret2"), want: stranger},
		{name: "revoked", path: "/revoke", form: form("token", access), client: asWeb, want: of(storage.ActRevoke, "")},
		{name: "revoked again", path: "/revoke", form: form("token", access), client: asWeb, want: act{client: "web"}},
	})
}

// Guesses of client secrets are acts, until they are refused without being
// looked at.
func TestActsOfGuessing(t *testing.T) {
	f := newFixture(t)
	const auth = storage.ActClientAuth
	f.wantActs(t, []one{
		{name: "of a client", form: passwordForm("alice", "secret123"), client: basic("web", "wrong"),
			want: act{action: auth, claimed: "web", failed: "wrong client secret"}},
		{name: "of a client with a name that is to be encoded", form: passwordForm("alice", "secret123"), client: basic(oddID, "100% wrong"),
			want: act{action: auth, claimed: oddID, failed: "wrong client secret"}},
		{name: "of one that there isn't", form: passwordForm("alice", "secret123"), client: basic("nobody", "wrong"),
			want: act{action: auth, failed: "unknown client"}},
		{name: "at revocation", path: "/revoke", form: form("token", "x"), client: basic("web", "wrong"),
			want: act{action: auth, claimed: "web", failed: "wrong client secret"}},
		{name: "at introspection", path: "/introspect", form: form("token", "x"), client: basic("gateway", "wrong"),
			want: act{action: auth, claimed: "gateway", failed: "wrong client secret"}},
	})
	var throttled []int
	for i := range 40 {
		f.post(t, form("grant_type", "client_credentials"), basic("svc", "wrong"))
		ev := f.events.last(t)
		if ev.Throttled {
			throttled = append(throttled, i)
		}
		if acted := ev.Act == auth && ev.Claimed == "svc"; acted != (i < 20) || !acted && ev.Act != "" {
			t.Errorf("guess %d: act %q at client %q", i, ev.Act, ev.Claimed)
		}
	}
	if fmt.Sprint(throttled) != "[19]" {
		t.Errorf("the throttle closed at guesses %v, want the 20th", throttled)
	}
}

func TestReasonsHoldNothingOfTheRequest(t *testing.T) {
	f := newFixture(t)
	const mark = "mark-of-the-request"
	for _, r := range []struct {
		form   url.Values
		client change
	}{
		{passwordForm(mark, mark), asWeb},
		{passwordForm("alice", mark, "scope", mark), asWeb},
		{passwordForm("alice", mark, "resource", mark), asWeb},
		{passwordForm("alice", mark), basic(mark, mark)},
		{refreshForm("grt_" + mark), asWeb},
		{form("grant_type", mark), asWeb},
	} {
		f.post(t, r.form, r.client)
		ev := f.events.last(t)
		if told := fmt.Sprintf("%q", []string{string(ev.Act), ev.Username, ev.UserID, ev.Claimed, ev.ClientID, ev.GrantID, ev.Reason}); strings.Contains(told, mark) {
			t.Errorf("%v: %s", r.form, told)
		}
	}
}
