package stockredis

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-oauth2/oauth2/v4/models"
	stock "github.com/go-oauth2/redis/v4"
	redisv8 "github.com/go-redis/redis/v8"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
	"github.com/grantd/grantd/storage/opaque"
	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// bench is a Redis that the stock store writes to, and a store of grantd.
type bench struct {
	*Store
	t     *testing.T
	redis *redistest.Server
	inner storage.Store
	stock *stock.TokenStore
	n     int
}

const absolute = 90 * 24 * time.Hour

func newBench(t *testing.T) *bench {
	t.Helper()
	inner, err := embedded.Open(embedded.Memory)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, redis: redistest.Single(t), inner: inner}
	b.Store, err = Open(Config{
		URL: b.redis.URL() + "?prefix=p%3A", Store: inner, Username: func(name string) (string, error) { return strings.ToLower(name), nil },
		Scopes: []string{"read", "write", "admin"}, DefaultScopes: []string{"read"}, AdminScope: "admin", RefreshAbsolute: absolute,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.stock = stock.NewRedisStore(&redisv8.Options{Addr: b.redis.Addr()}, "p:")
	t.Cleanup(func() {
		b.stock.Close()
		b.Close()
		inner.Close()
	})
	for _, err := range []error{
		inner.CreateClient(t.Context(), storage.Client{ID: "web", Scopes: []string{"read", "write", "admin"}, Audiences: []string{"https://a.test", "https://b.test"}}),
		inner.CreateClient(t.Context(), storage.Client{ID: "spa", Scopes: []string{"read"}, Public: true}),
		inner.CreateUser(t.Context(), storage.User{ID: "usr_alice", Name: "alice"}),
		inner.CreateUser(t.Context(), storage.User{ID: "usr_root", Name: "root", Admin: true}),
		inner.CreateUser(t.Context(), storage.User{ID: "usr_gone", Name: "gone", Disabled: true}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// issue stores a sign-in of alice at web, edited by change, in the stock store.
func (b *bench) issue(change func(*models.Token)) *models.Token {
	b.t.Helper()
	b.n++
	now := time.Now()
	token := &models.Token{
		ClientID: "web", UserID: "Alice", Scope: "read",
		Access: fmt.Sprint("ACCESS", b.n), AccessCreateAt: now, AccessExpiresIn: time.Hour,
		Refresh: fmt.Sprint("REFRESH", b.n), RefreshCreateAt: now, RefreshExpiresIn: 24 * time.Hour,
	}
	if change != nil {
		change(token)
	}
	if err := b.stock.Create(b.t.Context(), token); err != nil {
		b.t.Fatal(err)
	}
	return token
}

// keep moves the refresh token to a grant in the inner store.
func (b *bench) keep(text string) storage.Grant {
	b.t.Helper()
	g, moved, err := b.RefreshGrant(b.t.Context(), text)
	if err != nil || moved {
		b.t.Fatal(moved, err)
	}
	if err := b.inner.CreateGrant(b.t.Context(), g); err != nil {
		b.t.Fatal(err)
	}
	return g
}

// left returns the keys of the stock store that still exist.
func (b *bench) left() (keys []string) {
	b.t.Helper()
	all, err := b.redis.Client().Keys(b.t.Context(), "*").Result()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, key := range all {
		if !strings.HasPrefix(key, "p:"+ownPrefix) {
			keys = append(keys, key)
		}
	}
	return keys
}

func TestGrantIsWhatTheRecordSays(t *testing.T) {
	b := newBench(t)
	token := b.issue(func(t *models.Token) { t.Scope = "write nonsense admin write" })
	g, moved, err := b.RefreshGrant(t.Context(), token.Refresh)
	if err != nil || moved {
		t.Fatal(moved, err)
	}
	created := token.AccessCreateAt.UTC().Truncate(time.Millisecond)
	want := storage.Grant{
		ID: g.ID, Type: storage.Password, UserID: "usr_alice", Username: "alice", ClientID: "web",
		Scope: "write", AccessScope: "write",
		Audience: "https://a.test https://b.test", AccessAudience: "https://a.test https://b.test",
		Generation: 1, Epoch: g.Epoch,
		Access:  opaque.Adopt(opaque.Access, g.ID, token.Access).Digest(),
		Refresh: opaque.Adopt(opaque.Refresh, g.ID, token.Refresh).Digest(),
		Created: created, Issued: created, AccessExpiry: created.Add(time.Hour),
		RefreshExpiry: created.Add(24 * time.Hour), End: created.Add(absolute),
	}
	if g != want {
		t.Errorf("got  %+v\nwant %+v", g, want)
	}
	if g.ID.Partition() != storage.UserPartition("usr_alice") {
		t.Error("not in the user's partition")
	}
	access, err := b.AccessGrant(t.Context(), token.Access)
	want.Epoch = 0
	if err != nil || access != want {
		t.Errorf("by the access token: %v, %+v", err, access)
	}
}

func TestAudienceOfStockTokens(t *testing.T) {
	b := newBench(t)
	own, none := b.issue(nil), b.issue(func(t *models.Token) { t.ClientID = "spa" })
	for want, audiences := range map[string][]string{"": nil, "https://api.test": {"https://api.test"}} {
		b.cfg.Audiences = audiences
		if g, err := b.AccessGrant(t.Context(), none.Access); err != nil || g.Audience != want || g.AccessAudience != want {
			t.Errorf("%v: %q, want %q", err, g.Audience, want)
		}
		if g, err := b.AccessGrant(t.Context(), own.Access); err != nil || g.Audience != "https://a.test https://b.test" {
			t.Errorf("of a client with its own: %q, %v", g.Audience, err)
		}
	}
}

func TestLivesOfStockTokens(t *testing.T) {
	b := newBench(t)
	const day = 24 * time.Hour
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	for name, test := range map[string]struct {
		change          func(*models.Token)
		access, refresh time.Duration // from creation to expiry; 0 if the token is refused
	}{
		"as usual":         {nil, time.Hour, day},
		"no expiry":        {func(t *models.Token) { t.AccessExpiresIn, t.RefreshExpiresIn = 0, 0 }, absolute, absolute},
		"longer than here": {func(t *models.Token) { t.AccessExpiresIn, t.RefreshExpiresIn = 999*day, 999*day }, absolute, absolute},
		"too old for here": {func(t *models.Token) {
			t.RefreshCreateAt, t.AccessCreateAt, t.RefreshExpiresIn = ago(91*day), ago(91*day), 0
		}, 0, 0},
		"the access token ended":   {func(t *models.Token) { t.AccessCreateAt = ago(2 * time.Hour); t.RefreshCreateAt = t.AccessCreateAt }, 0, day},
		"access ends with refresh": {func(t *models.Token) { t.AccessExpiresIn, t.RefreshExpiresIn = time.Hour, time.Minute }, time.Minute, time.Minute},
		"the sign-in ended":        {func(t *models.Token) { t.RefreshCreateAt, t.AccessCreateAt = ago(2*day), ago(2*day) }, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			token := b.issue(test.change)
			for _, key := range b.left() { // or Redis would delete them by itself, and the test would show nothing
				b.redis.Client().Persist(t.Context(), key)
			}
			g, err := b.AccessGrant(t.Context(), token.Access)
			expires(t, "access", g.Created, g.AccessExpiry, test.access, err)
			g, _, err = b.RefreshGrant(t.Context(), token.Refresh)
			expires(t, "refresh", g.Created, g.RefreshExpiry, test.refresh, err)
		})
	}
}

func expires(t *testing.T, kind string, created, expiry time.Time, want time.Duration, err error) {
	t.Helper()
	if want == 0 {
		if !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", kind, err)
		}
		return
	}
	if got := expiry.Sub(created); err != nil || got != want {
		t.Errorf("%s: lives %s, want %s: %v", kind, got, want, err)
	}
}

func TestWhoMayHaveStockTokens(t *testing.T) {
	b := newBench(t)
	for name, test := range map[string]struct {
		change func(*models.Token)
		scope  string // empty if the token is refused
	}{
		"an admin":                  {func(t *models.Token) { t.UserID, t.Scope = "root", "admin" }, "admin"},
		"a user who is none":        {func(t *models.Token) { t.Scope = "admin" }, ""},
		"a disabled user":           {func(t *models.Token) { t.UserID = "gone" }, ""},
		"an unknown user":           {func(t *models.Token) { t.UserID = "nobody" }, ""},
		"an unknown client":         {func(t *models.Token) { t.ClientID = "other" }, ""},
		"a client itself":           {func(t *models.Token) { t.UserID, t.Refresh = "", "" }, "read"},
		"a public client, not that": {func(t *models.Token) { t.ClientID, t.UserID, t.Refresh = "spa", "", "" }, ""},
		"more than the client may":  {func(t *models.Token) { t.ClientID, t.Scope = "spa", "write" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := b.AccessGrant(t.Context(), b.issue(test.change).Access)
			if errors.Is(err, storage.ErrNotFound) != (test.scope == "") || g.Scope != test.scope {
				t.Errorf("got the scope %q, %v", g.Scope, err)
			}
		})
	}
}

func TestSettle(t *testing.T) {
	pair, other := storage.Digest{1}, storage.Digest{2}
	t.Run("takes the token out", func(t *testing.T) {
		b := newBench(t)
		token := b.issue(nil)
		g := b.keep(token.Refresh)
		for range 2 { // twice, since the first answer may be lost
			if err := b.Settle(t.Context(), token.Refresh, g.ID, pair); err != nil {
				t.Fatal(err)
			}
		}
		if keys := b.left(); len(keys) != 0 {
			t.Errorf("keys are left: %q", keys)
		}
		if err := b.Settle(t.Context(), token.Refresh, g.ID, other); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("a second pair: %v, want ErrNotFound", err)
		}
		if id, moved, err := b.RefreshGrant(t.Context(), token.Refresh); err != nil || !moved || id.ID != g.ID {
			t.Errorf("got %v, %v", moved, err)
		}
		for _, key := range b.redis.Client().Keys(t.Context(), "*").Val() {
			if life := b.redis.Client().PTTL(t.Context(), key).Val(); life < 23*time.Hour || life > 25*time.Hour {
				t.Errorf("a marker lives for %s, want what the token had", life)
			}
			if strings.Contains(key, token.Refresh) || strings.Contains(key, token.Access) {
				t.Error("a marker has the token in its name")
			}
		}
	})
	t.Run("of a token that was moved unspent", func(t *testing.T) {
		b := newBench(t)
		token := b.issue(nil)
		g := b.keep(token.Refresh)
		for _, step := range []struct {
			pair storage.Digest
			want error
		}{{storage.Digest{}, nil}, {pair, nil}, {pair, nil}, {other, storage.ErrNotFound}, {storage.Digest{}, nil}, {other, storage.ErrNotFound}} {
			if err := b.Settle(t.Context(), token.Refresh, g.ID, step.pair); !errors.Is(err, step.want) {
				t.Fatalf("%v: %v, want %v", step.pair, err, step.want)
			}
		}
	})
	t.Run("of a token that was forgotten", func(t *testing.T) {
		for name, which := range map[string]func(*models.Token) string{"by itself": (*models.Token).GetRefresh, "by its sibling": (*models.Token).GetAccess} {
			b := newBench(t)
			token := b.issue(nil)
			g := b.keep(token.Refresh)
			for range 2 {
				if err := b.Forget(t.Context(), which(token)); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.Settle(t.Context(), token.Refresh, g.ID, pair); !errors.Is(err, storage.ErrNotFound) || len(b.left()) != 0 {
				t.Errorf("%s: %v, want ErrNotFound", name, err)
			}
		}
	})
	t.Run("after the stock server spent it", func(t *testing.T) {
		b := newBench(t)
		token := b.issue(nil)
		g := b.keep(token.Refresh)
		if err := b.stock.RemoveByRefresh(t.Context(), token.Refresh); err != nil {
			t.Fatal(err)
		}
		if err := b.Settle(t.Context(), token.Refresh, g.ID, pair); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%v, want ErrNotFound", err)
		}
	})
}

// A token of either kind is found, also one that only leads to its grant by now.
func TestAnyGrant(t *testing.T) {
	b := newBench(t)
	token := b.issue(nil)
	find := func(when, text string, kind opaque.Kind, whole, moved bool) storage.GrantID {
		t.Helper()
		gotKind, g, gotMoved, err := b.AnyGrant(t.Context(), text)
		if err != nil || gotKind != kind || gotMoved != moved || (g.Username == "alice") != whole {
			t.Errorf("%s, %s: kind %d, moved %t, %+v, %v", when, text, gotKind, gotMoved, g, err)
		}
		return g.ID
	}
	id := find("at first", token.Access, opaque.Access, true, false)
	if find("at first", token.Refresh, opaque.Refresh, true, false) != id {
		t.Error("the tokens have two grants")
	}
	if err := b.Settle(t.Context(), token.Refresh, b.keep(token.Refresh).ID, storage.Digest{}); err != nil {
		t.Fatal(err)
	}
	if find("moved", token.Access, opaque.Access, true, false) != id || find("moved", token.Refresh, opaque.Refresh, false, true) != id {
		t.Error("moved to another grant")
	}
	if err := b.inner.DeleteGrant(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if find("ended", token.Access, opaque.Access, false, true) != id || find("ended", token.Refresh, opaque.Refresh, false, true) != id {
		t.Error("lead to another grant")
	}
	if g, err := b.AccessGrant(t.Context(), token.Access); g != (storage.Grant{}) || !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("an access token that isn't live: %+v, %v", g, err)
	}
	if err := b.Forget(t.Context(), token.Access); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{token.Access, "NOBODYS", "gat_ours"} {
		if _, g, moved, err := b.AnyGrant(t.Context(), text); !errors.Is(err, storage.ErrNotFound) || moved || g != (storage.Grant{}) {
			t.Errorf("%s: moved %t, %+v, %v", text, moved, g, err)
		}
	}
}

// If a sign-in is revoked after its grant was read and before the grant is
// created, the grant is not created.
func TestRevocationComesBetween(t *testing.T) {
	b := newBench(t)
	covered := b.Cover(b.inner)
	token := b.issue(nil)
	g, _, err := b.RefreshGrant(t.Context(), token.Refresh)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := covered.Revoke(t.Context(), storage.Target{UserID: "usr_alice"}); err != nil {
		t.Fatal(err)
	}
	if err := b.inner.CreateGrant(t.Context(), g); !errors.Is(err, storage.ErrRevoked) {
		t.Errorf("%v, want ErrRevoked", err)
	}
	if _, _, err := b.RefreshGrant(t.Context(), token.Refresh); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
}

// A revocation works when Redis has no memory left.
func TestRevocationWhenMemoryIsFull(t *testing.T) {
	b := newBench(t)
	covered := b.Cover(b.inner)
	token := b.issue(nil)
	if err := b.redis.Client().ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	alice := storage.Target{UserID: "usr_alice"}
	_, all := covered.Revoke(t.Context(), alice)
	alice.Before = time.Now().Add(-time.Hour)
	_, some := covered.Revoke(t.Context(), alice)
	err := errors.Join(all, some, b.EndGrant(t.Context(), storage.NewGrantID("usr_alice")), covered.DeleteUser(t.Context(), "gone"))
	if err != nil {
		t.Error(err)
	}
	if _, err := b.AccessGrant(t.Context(), token.Access); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("the token: %v, want ErrNotFound", err)
	}
}

// A single grant that was ended by its id, without a token, stays ended,
// whatever a request that was under way does.
func TestAnEndedGrantDoesNotComeBack(t *testing.T) {
	b := newBench(t)
	late, kept, other := b.issue(nil), b.issue(nil), b.issue(nil)
	g, _, err := b.RefreshGrant(t.Context(), late.Refresh) // a request begins,
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []storage.GrantID{g.ID, b.keep(kept.Refresh).ID} {
		if err := errors.Join(b.EndGrant(t.Context(), id), b.inner.DeleteGrant(t.Context(), id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.inner.CreateGrant(t.Context(), g); err != nil { // and goes on
		t.Fatal(err)
	}
	if err := b.Settle(t.Context(), late.Refresh, g.ID, storage.Digest{1}); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("the request that was under way: %v, want ErrNotFound", err)
	}
	for _, token := range []*models.Token{late, kept} {
		if _, err := b.AccessGrant(t.Context(), token.Access); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("its access token: %v, want ErrNotFound", err)
		}
		if _, _, err := b.RefreshGrant(t.Context(), token.Refresh); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("its refresh token: %v, want ErrNotFound", err)
		}
	}
	if _, err := b.AccessGrant(t.Context(), other.Access); err != nil {
		t.Errorf("another's: %v", err)
	}
}

// A revocation of the tokens from before an instant spares later ones.
func TestRevocationBefore(t *testing.T) {
	hour := func(ago int) func(*models.Token) {
		return func(t *models.Token) {
			t.AccessCreateAt = t.AccessCreateAt.Add(-time.Duration(ago) * time.Hour)
			t.RefreshCreateAt = t.AccessCreateAt
			t.AccessExpiresIn = 24 * time.Hour
		}
	}
	for name, target := range map[string]storage.Target{
		"user": {UserID: "usr_alice"}, "client": {ClientID: "web"}, "all": {All: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			covered := b.Cover(b.inner)
			tokens := []*models.Token{b.issue(hour(0)), b.issue(hour(2)), b.issue(hour(4)), b.issue(hour(6))}
			moved := b.keep(tokens[2].Refresh)
			for _, step := range []struct{ before, live int }{{5, 3}, {3, 2}, {5, 2}, {1, 1}, {-1, 0}} {
				target.Before = time.Now().Add(-time.Duration(step.before) * time.Hour)
				if _, err := covered.Revoke(t.Context(), target); err != nil {
					t.Fatal(err)
				}
				for i, token := range tokens {
					want := error(storage.ErrNotFound)
					if i < step.live {
						want = nil
					}
					if _, err := b.AccessGrant(t.Context(), token.Access); !errors.Is(err, want) {
						t.Errorf("before %d hours: the token of %d hours: %v, want %v", step.before, 2*i, err, want)
					}
					if _, _, err := b.RefreshGrant(t.Context(), token.Refresh); !errors.Is(err, want) {
						t.Errorf("before %d hours: the refresh token of %d hours: %v, want %v", step.before, 2*i, err, want)
					}
				}
				if _, err := b.inner.LoadGrant(t.Context(), moved.ID); (err == nil) != (step.live > 2) {
					t.Errorf("before %d hours: a grant that moved over: %v", step.before, err)
				}
			}
			other := b.issue(func(t *models.Token) { t.UserID, t.ClientID = "root", "spa" })
			if _, err := b.AccessGrant(t.Context(), other.Access); (err == nil) == target.All {
				t.Errorf("another's token: %v", err)
			}
		})
	}
}

// If the stock server revoked one token of a sign-in, moving the sign-in
// doesn't bring that token back.
func TestMoveWhatIsLeftOfASignIn(t *testing.T) {
	b := newBench(t)
	noRefresh, noAccess := b.issue(nil), b.issue(nil)
	if err := errors.Join(b.stock.RemoveByRefresh(t.Context(), noRefresh.Refresh), b.stock.RemoveByAccess(t.Context(), noAccess.Access)); err != nil {
		t.Fatal(err)
	}
	tally, err := b.Move(t.Context(), nil)
	if err != nil || tally.Moved != 2 || tally.Clients["web"] != (Tokens{Access: 1, Refresh: 1}) || len(b.left()) != 0 {
		t.Fatalf("%+v, %v, left %q", tally, err, b.left())
	}
	g, err := b.AccessGrant(t.Context(), noRefresh.Access)
	if err != nil || g.Refresh != (storage.Digest{}) || !g.RefreshExpiry.IsZero() || !g.End.Equal(g.AccessExpiry) {
		t.Errorf("without a refresh token: %+v, %v", g, err)
	}
	if _, moved, err := b.RefreshGrant(t.Context(), noAccess.Refresh); err != nil || !moved {
		t.Errorf("without an access token: %v", err)
	}
	for kind, err := range map[string]error{
		"refresh": refreshErr(b.RefreshGrant(t.Context(), noRefresh.Refresh)),
		"access":  accessErr(b.AccessGrant(t.Context(), noAccess.Access)),
	} {
		if !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("the %s token is back: %v", kind, err)
		}
	}
}

func accessErr(_ storage.Grant, err error) error          { return err }
func refreshErr(_ storage.Grant, _ bool, err error) error { return err }

// A record is trusted only if it names the tokens that lead to it. A forged one
// must not lead to other keys.
func TestRecordsThatLie(t *testing.T) {
	b := newBench(t)
	c := b.redis.Client()
	const id = "0b1e2ac4-0000-4000-8000-000000000000"
	set := func(name, value string) {
		t.Helper()
		if err := c.Set(t.Context(), "p:"+name, value, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now().Format(time.RFC3339)
	good := `"ClientID":"web","UserID":"alice","AccessCreateAt":"` + now + `","RefreshCreateAt":"` + now + `","Access":"TOKEN"`
	for name, record := range map[string]string{
		"of another token":     `{` + strings.Replace(good, "TOKEN", "OTHER", 1) + `}`,
		"no JSON":              `TOKEN`,
		"an array":             `[]`,
		"a key for a sibling":  `{` + good + `,"Refresh":"grantd:keys"}`,
		"a token of ours":      `{` + good + `,"Refresh":"grt_x"}`,
		"itself for a sibling": `{` + good + `,"Refresh":"TOKEN"}`,
		"no time":              `{"ClientID":"web","UserID":"alice","Access":"TOKEN"}`,
		"a negative life":      `{` + good + `,"AccessExpiresIn":-1}`,
		"too large":            `{` + good + `,"RedirectURI":"` + strings.Repeat("x", maxRecord) + `"}`,
	} {
		set("TOKEN", id)
		set(id, record)
		if _, err := b.AccessGrant(t.Context(), "TOKEN"); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", name, err)
		}
		if err := b.Forget(t.Context(), "TOKEN"); err != nil || len(b.left()) != 2 {
			t.Errorf("%s: %v, left %q", name, err, b.left())
		}
	}

	set("TOKEN", id)
	set(id, `{`+strings.ReplaceAll(good, now, "2099-01-01T00:00:00Z")+`}`)
	if _, err := b.AccessGrant(t.Context(), "TOKEN"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("made in the future: %v, want ErrNotFound", err)
	}
	if counted, err := b.Count(t.Context(), nil); err != nil || counted.Future != 1 {
		t.Errorf("counting one that was made in the future: %+v, %v", counted, err)
	}
	if moved, err := b.Move(t.Context(), nil); err != nil || moved.Future != 1 || moved.Deleted != 0 {
		t.Errorf("moving one that was made in the future: %+v, %v", moved, err)
	}

	// The key of the sibling token has another content, so it is left alone.
	if err := c.RPush(t.Context(), "p:THEIRS", "x").Err(); err != nil {
		t.Fatal(err)
	}
	for name, take := range map[string]func(storage.Grant) error{
		"forgetting": func(storage.Grant) error { return b.Forget(t.Context(), "TOKEN") },
		"settling":   func(g storage.Grant) error { return b.Settle(t.Context(), "TOKEN", g.ID, storage.Digest{}) },
	} {
		set("TOKEN", id)
		set(id, `{`+good+`,"Refresh":"THEIRS"}`)
		g, err := b.AccessGrant(t.Context(), "TOKEN")
		if err != nil {
			t.Fatal(err)
		}
		if err := take(g); err != nil || fmt.Sprint(b.left()) != "[p:THEIRS]" {
			t.Errorf("%s: %v, left %q", name, err, b.left())
		}
		if _, moved, err := b.RefreshGrant(t.Context(), "THEIRS"); moved || !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%s: theirs leads to a grant: %v", name, err)
		}
		if err := b.Forget(t.Context(), "TOKEN"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestShaped(t *testing.T) {
	for text, want := range map[string]bool{
		"NTJLYWY2ODKTNJM4NC01YZU5LTLJMGETNJQ4OTLJODQZNDK1":   true,
		"eyJhbGciOiJIUzUxMiJ9.eyJhdWQiOiJ3ZWIifQ.c2ln-_~+/=": true,
		"":                              false,
		"gat_x":                         false,
		"grt_x":                         false,
		"grantd:keys":                   false,
		"two words":                     false,
		"a*":                            false,
		"é":                             false,
		strings.Repeat("x", maxText):    true,
		strings.Repeat("x", maxText+1):  false,
		"0b1e2ac4-0000-4000-8000-00000": true,
	} {
		if Shaped(text) != want {
			t.Errorf("%.60q: want %v", text, want)
		}
	}
}

func TestOpenNamesFaultsOfTheURL(t *testing.T) {
	for address, want := range map[string]string{
		"hunter2":                      "the scheme is missing",
		"redis://h/0?prefix=a&prefix=": "the parameter prefix twice",
		"redis://h/0?prefix=%zz":       "percent-encoded",
		"redis+cluster://h":            "Cluster",
	} {
		s, err := Open(Config{URL: address})
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
	}
	s, err := Open(Config{URL: "redis+sentinel://h1,h2/main?db=3&prefix=" + url.QueryEscape("a b?:")})
	if err != nil || s.prefix != "a b?:" {
		t.Fatalf("prefix %q, %v", s.prefix, err)
	}
	s.Close()
}
