package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-oauth2/oauth2/v4"
	"github.com/go-oauth2/oauth2/v4/manage"
	stockredis "github.com/go-oauth2/redis/v4"
	redisv8 "github.com/go-redis/redis/v8"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// This file migrates a stock deployment: the stock manager makes tokens with
// go-oauth2/redis, and the tests present them to a grantd with migrate_from.

// stockPrefix is the stock store's keyNamespace. It has characters that SCAN
// takes for a pattern.
const stockPrefix = "app[1]*:"

// moving is a grantd that migrates from the Redis of a stock server.
type moving struct {
	target
	config  *config
	redis   *redistest.Server
	manager *manage.Manager // of the stock server
}

func startMoving(t *testing.T, configure func(*config)) moving {
	t.Helper()
	m := moving{redis: redistest.Single(t), manager: manage.NewDefaultManager()}
	m.target = startGrantd(t, func(c *config) {
		c.MigrateFrom = newSecret(m.redis.URL() + "?prefix=" + url.QueryEscape(stockPrefix))
		if configure != nil {
			configure(c)
		}
		m.config = c
	}, backend{})
	tokens := stockredis.NewRedisStore(&redisv8.Options{Addr: m.redis.Addr()}, stockPrefix)
	t.Cleanup(func() { tokens.Close() })
	m.manager.MapTokenStorage(tokens)
	m.manager.MapClientStorage(stockClients())
	m.clock(time.Hour, week)
	m.store(func(s storage.Store) {
		api := storage.Client{ID: "api", Secret: storage.NewSecretVerifier(secret32), Introspect: true}
		if err := s.CreateClient(t.Context(), api); err != nil {
			t.Fatal(err)
		}
	})
	return m
}

// clock sets the lifetimes of the stock tokens.
func (m moving) clock(access, refresh time.Duration) {
	m.manager.SetPasswordTokenCfg(&manage.Config{AccessTokenExp: access, RefreshTokenExp: refresh, IsGenerateRefresh: true})
}

// stock signs a user in at the stock manager.
func (m moving) stock(c account, user, scope string) tokenPair {
	m.t.Helper()
	info, err := m.manager.GenerateAccessToken(m.t.Context(), oauth2.PasswordCredentials, &oauth2.TokenGenerateRequest{
		ClientID: c.id, ClientSecret: c.secret, UserID: user, Scope: scope,
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return tokenPair{info.GetAccess(), info.GetRefresh(), scope}
}

// store opens grantd's store as another process does, for example a command.
func (m moving) store(use func(storage.Store)) {
	m.t.Helper()
	store, _, err := openStores(m.config)
	if err != nil {
		m.t.Fatal(err)
	}
	use(store)
	if err := store.Close(); err != nil {
		m.t.Error(err)
	}
}

// grants returns the user's grants in grantd's store.
func (m moving) grants() (live []storage.Grant) {
	m.t.Helper()
	m.store(func(s storage.Store) {
		u, err := s.LoadUser(m.t.Context(), stockUser)
		if err != nil {
			m.t.Fatal(err)
		}
		if live, _, err = s.ListGrants(m.t.Context(), storage.Target{UserID: u.ID}, "", 100); err != nil {
			m.t.Fatal(err)
		}
	})
	return live
}

func (m moving) introspect(token string) answer {
	form := url.Values{"token": {token}}
	return m.send(http.MethodPost, strings.TrimSuffix(m.token, "/token")+"/introspect", form.Encode(),
		"Content-Type", formType, "Authorization", account{"api", secret32}.basic())
}

func (m moving) revokes(c account, token string) answer {
	return m.send(http.MethodPost, m.revoke, url.Values{"token": {token}}.Encode(),
		"Content-Type", formType, "Authorization", c.basic())
}

// stockKeys returns the keys of the stock server's Redis with their values.
func (m moving) stockKeys() string { return redisHooks(m.t, target{}, m.redis.Client()).dump() }

func (m moving) inClear(p tokenPair) bool {
	all := m.stockKeys()
	return strings.Contains(all, p.access) || strings.Contains(all, p.refresh)
}

// command runs a command with the configuration of the server.
func (m moving) command(args ...string) (code int, stdout, stderr string) {
	m.t.Helper()
	c := m.config
	env := []string{"GRANTD_MIGRATE_FROM=" + c.MigrateFrom.Reveal(), "GRANTD_PASSWORD_HASH_MEMORY=64", "GRANTD_PASSWORD_HASH_TIME=1"}
	return launch{args: append(args, "--data", c.Data), env: env}.run(m.t)
}

func (m moving) done(args ...string) string {
	m.t.Helper()
	code, stdout, stderr := m.command(args...)
	if code != exitDone {
		m.t.Fatalf("%q: exit %d: %s", args, code, stderr)
	}
	return stdout
}

func TestStockTokensAreHonoured(t *testing.T) {
	m := startMoving(t, nil)
	p := m.stock(web, stockUser, "read")

	me := m.bearer("Bearer " + p.access)
	if err := me.ok(); err != nil || me.member("username") != stockUser || me.member("client_id") != web.id || me.member("scope") != "read" {
		t.Errorf("/users/me: %s %s", me, me.body)
	}
	if life := me.members["exp"].(float64) - me.members["iat"].(float64); life != time.Hour.Seconds() {
		t.Errorf("lives %v seconds, want what the stock record says", life)
	}
	told := m.introspect(p.access)
	if told.members["active"] != true || told.member("username") != stockUser || told.member("client_id") != web.id ||
		told.member("scope") != "read" || told.members["exp"] != me.members["exp"] || told.member("sub") != me.member("sub") {
		t.Errorf("introspection: %s", told.body)
	}
	if before := m.stockKeys(); before != m.stockKeys() || !m.inClear(p) {
		t.Error("asking changed the stock server's Redis")
	}

	next := m.refreshed(web, p)
	if !strings.HasPrefix(next.access, "gat_") || !strings.HasPrefix(next.refresh, "grt_") || next.scope != "read" || !m.lives(next.access) {
		t.Errorf("got the pair %.8s…, %.8s…, scope %q", next.access, next.refresh, next.scope)
	}
	if m.lives(p.access) || m.introspect(p.access).members["active"] != false {
		t.Error("the stock access token outlived the refresh")
	}
	if m.inClear(p) {
		t.Error("the stock tokens are still in Redis")
	}
	if again := m.refreshed(web, p); again != next {
		t.Error("a repeated refresh gives another pair")
	}
	if last := m.refreshed(web, next); !m.lives(last.access) {
		t.Error("the native pair can't be refreshed")
	}
	if n := len(m.grants()); n != 1 {
		t.Errorf("%d grants, want 1", n)
	}
}

func TestStockTokensOfAMachine(t *testing.T) {
	m := startMoving(t, nil)
	info, err := m.manager.GenerateAccessToken(t.Context(), oauth2.ClientCredentials, &oauth2.TokenGenerateRequest{
		ClientID: machine.id, ClientSecret: machine.secret, Scope: "write",
	})
	if err != nil {
		t.Fatal(err)
	}
	me := m.bearer("Bearer " + info.GetAccess())
	if err := me.ok(); err != nil || me.member("sub") != machine.id || me.member("username") != "" || me.member("scope") != "write" {
		t.Errorf("%s %s", me, me.body)
	}
}

// The worst case of concurrency: all look the grant up before any of them goes
// on.
func TestStockRefreshTokenHasOneSuccessor(t *testing.T) {
	const presentations = 16
	for name, meet := range map[string]bool{"at once": false, "after the look-up of all": true} {
		t.Run(name, func(t *testing.T) {
			m := startMoving(t, nil)
			p := m.stock(web, stockUser, "read")
			if meet {
				m.meet(presentations)
			}
			got := make([]tokenPair, presentations)
			var all sync.WaitGroup
			for i := range got {
				all.Go(func() { got[i] = m.refreshed(web, p) })
			}
			all.Wait()
			for _, pair := range got {
				if pair != got[0] {
					t.Fatal("two successors")
				}
			}
			if n := len(m.grants()); n != 1 || !m.lives(got[0].access) {
				t.Errorf("%d grants, want 1", n)
			}
		})
	}
}

func TestStockRefreshTokenUsedAgainEndsItsGrant(t *testing.T) {
	m := startMoving(t, func(c *config) { c.RetryWindow = 0 })
	p := m.stock(web, stockUser, "read")
	next := m.refreshed(web, p)
	if err := m.ask(mobile, refreshForm(p.refresh, "")).refused(400, "invalid_grant"); err != nil || !m.lives(next.access) {
		t.Errorf("another client with the spent token: %v", err)
	}
	if err := m.ask(web, refreshForm(p.refresh, "")).refused(400, "invalid_grant"); err != nil {
		t.Error(err)
	}
	if m.lives(next.access) || len(m.grants()) != 0 {
		t.Error("the grant lives on")
	}
	if err := m.ask(web, refreshForm(p.refresh, "")).refused(400, "invalid_grant"); err != nil {
		t.Error(err)
	}
}

// After a logout nothing is accepted again: neither the stock tokens, nor
// anything that is left of them in Redis.
func TestStockTokensStayDeadAfterALogout(t *testing.T) {
	m := startMoving(t, nil)
	p := m.stock(web, stockUser, "read")
	next := m.refreshed(web, p)
	if err := m.revokes(web, next.refresh).ok(); err != nil {
		t.Fatal(err)
	}
	if err := m.ask(web, refreshForm(p.refresh, "")).refused(400, "invalid_grant"); err != nil || len(m.grants()) != 0 {
		t.Error(err)
	}
}

func TestStockTokensAreRevoked(t *testing.T) {
	m := startMoving(t, nil)
	for name, which := range map[string]func(tokenPair) string{
		"the access token":  func(p tokenPair) string { return p.access },
		"the refresh token": func(p tokenPair) string { return p.refresh },
	} {
		t.Run(name, func(t *testing.T) {
			p := m.stock(web, stockUser, "read")
			if err := m.revokes(mobile, which(p)).refused(400, "invalid_grant"); err != nil || !m.lives(p.access) {
				t.Errorf("another client: %v", err)
			}
			if err := m.revokes(web, which(p)).ok(); err != nil {
				t.Error(err)
			}
			if m.lives(p.access) || m.ask(web, refreshForm(p.refresh, "")).status != 400 || m.inClear(p) {
				t.Error("a token lives on")
			}
		})
	}
	t.Run("the spent refresh token", func(t *testing.T) {
		p := m.stock(web, stockUser, "read")
		next := m.refreshed(web, p)
		if err := m.revokes(web, p.refresh).ok(); err != nil || m.lives(next.access) {
			t.Errorf("the answer to the refresh may have been lost: %v", err)
		}
	})
	t.Run("an access token that was just replaced", func(t *testing.T) {
		p := m.stock(web, stockUser, "read")
		next := m.refreshed(web, p)
		if err := m.revokes(web, p.access).ok(); err != nil || m.lives(next.access) {
			t.Errorf("a logout beside a refresh: %v", err)
		}
	})
}

// An access token was handed to many APIs: once it was replaced it ends nothing,
// and it is never a spent refresh token.
func TestReplacedStockAccessTokenEndsNothing(t *testing.T) {
	for name, window := range map[string]time.Duration{"with a retry window": 10 * time.Second, "without one": 0} {
		t.Run(name, func(t *testing.T) {
			m := startMoving(t, func(c *config) { c.RetryWindow = window })
			p := m.stock(web, stockUser, "read")
			last := m.refreshed(web, m.refreshed(web, p))
			if err := m.revokes(web, p.access).ok(); err != nil || !m.lives(last.access) {
				t.Errorf("revoking it: %v, or the grant has ended", err)
			}
			if err := m.ask(web, refreshForm(p.access, "")).refused(400, "invalid_grant"); err != nil || !m.lives(last.access) {
				t.Errorf("refreshing with it: %v, or the grant has ended", err)
			}
		})
	}
}

// An admin can end the sign-in behind a stock token, whether it has moved to
// grantd or not, and whoever holds the token.
func TestStockTokensAreRevokedByAdmins(t *testing.T) {
	m := startMoving(t, nil)
	root := account{"root", secret32}
	m.store(func(s storage.Store) {
		c := storage.Client{ID: root.id, Secret: storage.NewSecretVerifier(secret32), Grants: []string{"client_credentials"}, Scopes: []string{"admin"}}
		if err := s.CreateClient(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	})
	admin := m.ask(root, url.Values{"grant_type": {"client_credentials"}, "scope": {"admin"}}).member("access_token")
	post := func(body string) answer {
		return m.send(http.MethodPost, strings.TrimSuffix(m.token, "/token")+"/admin/v1/revocations", body,
			"Content-Type", "application/json", "Authorization", "Bearer "+admin)
	}
	for name, which := range map[string]func(tokenPair) string{
		"the access token":  func(p tokenPair) string { return p.access },
		"the refresh token": func(p tokenPair) string { return p.refresh },
	} {
		t.Run(name, func(t *testing.T) {
			p, moved := m.stock(web, stockUser, "read"), m.stock(web, stockUser, "read")
			next := m.refreshed(web, moved)
			for _, text := range []string{which(p), which(moved)} {
				a := post(`{"token":"` + text + `"}`)
				if a.status != 200 || !strings.Contains(a.body, `"ended":1,`) || !strings.Contains(a.body, `"survivors":0`) {
					t.Errorf("%v", a)
				}
			}
			if m.lives(p.access) || m.lives(next.access) || m.ask(web, refreshForm(p.refresh, "")).status != 400 ||
				m.ask(web, refreshForm(next.refresh, "")).status != 400 || m.inClear(p) {
				t.Error("a token lives on")
			}
		})
	}
	t.Run("one that nobody issued", func(t *testing.T) {
		if a := post(`{"token":"NOBODYS"}`); a.status != 400 || !strings.Contains(a.body, `"field":"token"`) || strings.Contains(a.body, "NOBODYS") {
			t.Errorf("%v", a)
		}
	})
	t.Run("those from before an instant", func(t *testing.T) {
		p := m.stock(web, stockUser, "read")
		time.Sleep(5 * time.Millisecond) // so that the sign-in is in an earlier millisecond than the instant
		instant := time.Now().UTC().Format(time.RFC3339Nano)
		time.Sleep(5 * time.Millisecond)
		later := m.stock(web, stockUser, "read")
		if a := post(`{"client":"` + web.id + `","issued_before":"` + instant + `"}`); a.status > 202 {
			t.Fatalf("%v", a)
		}
		if m.lives(p.access) || !m.lives(later.access) {
			t.Errorf("the earlier lives: %t, the later lives: %t", m.lives(p.access), m.lives(later.access))
		}
	})
}

func TestStockTokensAreRefused(t *testing.T) {
	m := startMoving(t, nil)
	refresh := func(c account, token string) error {
		return m.ask(c, refreshForm(token, "")).refused(400, "invalid_grant")
	}
	t.Run("another client, which spends nothing", func(t *testing.T) {
		p := m.stock(web, stockUser, "read")
		if err := refresh(mobile, p.refresh); err != nil {
			t.Error(err)
		}
		if !m.lives(p.access) || len(m.grants()) != 0 || !m.inClear(p) {
			t.Error("something was spent")
		}
		m.refreshed(web, p)
	})
	t.Run("a token of the wrong kind", func(t *testing.T) {
		p := m.stock(web, stockUser, "read")
		if m.lives(p.refresh) || m.introspect(p.refresh).members["active"] != false {
			t.Error("a refresh token is taken for an access token")
		}
		if err := refresh(web, p.access); err != nil {
			t.Error(err)
		}
	})
	t.Run("the id of a record", func(t *testing.T) {
		p := m.stock(web, stockUser, "read")
		id, err := m.redis.Client().Get(t.Context(), stockPrefix+p.access).Result()
		if err != nil {
			t.Fatal(err)
		}
		if m.lives(id) {
			t.Error("it is taken for an access token")
		}
		if err := refresh(web, id); err != nil {
			t.Error(err)
		}
	})
	t.Run("expired ones", func(t *testing.T) {
		m.clock(time.Second, 2*time.Second)
		defer m.clock(time.Hour, week)
		p := m.stock(web, stockUser, "read")
		// Redis drops expired keys by itself, but here only the records must
		// say that the tokens have expired.
		for _, key := range m.redis.Client().Keys(t.Context(), "*").Val() {
			m.redis.Client().Persist(t.Context(), key)
		}
		time.Sleep(1100 * time.Millisecond)
		if m.lives(p.access) || m.introspect(p.access).members["active"] != false {
			t.Error("the access token lives on")
		}
		time.Sleep(time.Second)
		if err := refresh(web, p.refresh); err != nil {
			t.Error(err)
		}
	})
	t.Run("a user who doesn't exist", func(t *testing.T) {
		p := m.stock(web, "nobody", "read")
		if m.lives(p.access) || refresh(web, p.refresh) != nil {
			t.Error("honoured")
		}
	})
	t.Run("a scope that only admins have", func(t *testing.T) {
		p := m.stock(web, stockUser, "admin")
		if m.lives(p.access) || refresh(web, p.refresh) != nil {
			t.Error("honoured")
		}
		mixed := m.bearer("Bearer " + m.stock(web, stockUser, "read admin nonsense").access)
		if mixed.member("scope") != "read" {
			t.Errorf("got the scope %q", mixed.member("scope"))
		}
	})
	t.Run("no scope is the default scope", func(t *testing.T) {
		if me := m.bearer("Bearer " + m.stock(web, stockUser, "").access); me.member("scope") != "read" {
			t.Errorf("got %s %s", me, me.body)
		}
	})
	t.Run("a key of somebody else's", func(t *testing.T) {
		c := m.redis.Client()
		c.HSet(t.Context(), stockPrefix+"a-hash", "f", "v")
		c.Set(t.Context(), stockPrefix+"a-text", "v", 0)
		for _, name := range []string{"a-hash", "a-text", "missing"} {
			if a := m.bearer("Bearer " + name); a.status != 401 {
				t.Errorf("%s: %s, want 401", name, a)
			}
		}
		if c.Exists(t.Context(), stockPrefix+"a-hash", stockPrefix+"a-text").Val() != 2 {
			t.Error("a foreign key was touched")
		}
	})
}

func TestEndingAllEndsStockTokens(t *testing.T) {
	for name, end := range map[string]func(*testing.T, moving){
		"disable": func(t *testing.T, m moving) {
			m.done("user", "disable", stockUser)
			m.done("user", "enable", stockUser) // ended sign-ins stay ended
		},
		"passwd": func(t *testing.T, m moving) {
			m.done("user", "passwd", stockUser, "--password-file", writeFile(t, "p", "another good one"))
		},
		"delete, and another of the name": func(t *testing.T, m moving) {
			m.done("user", "delete", stockUser, "--yes")
			m.done("user", "add", stockUser, "--password-file", writeFile(t, "p", "another good one"))
		},
		"delete the client, and another of the name": func(t *testing.T, m moving) {
			m.done("client", "delete", web.id, "--yes")
			m.done("client", "add", web.id, "--grant", "refresh_token", "--scope", "read", "--secret-file", writeFile(t, "s", secret32))
		},
		"all there are": func(t *testing.T, m moving) {
			m.store(func(s storage.Store) {
				if _, err := s.Revoke(t.Context(), storage.Target{All: true}); err != nil {
					t.Fatal(err)
				}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := startMoving(t, nil)
			p, moved := m.stock(web, stockUser, "read"), m.stock(web, stockUser, "read")
			moved = m.refreshed(web, moved)
			if !m.lives(p.access) || !m.lives(moved.access) {
				t.Fatal("not honoured to begin with")
			}
			end(t, m)
			if m.lives(p.access) || m.lives(moved.access) {
				t.Error("a token lives on")
			}
			c := web
			if strings.Contains(name, "client") {
				c.secret = secret32
				time.Sleep(1100 * time.Millisecond) // see authserver: a client is known for a second
			}
			if err := m.ask(c, refreshForm(p.refresh, "")).refused(400, "invalid_grant"); err != nil {
				t.Error(err)
			}
		})
	}
}

// The sign-ins of others go on.
func TestEndingAllOfAClientLeavesOtherStockTokens(t *testing.T) {
	m := startMoving(t, nil)
	p := m.stock(mobile, stockUser, "read")
	m.done("client", "delete", web.id, "--yes")
	if !m.lives(p.access) {
		t.Error("ended as well")
	}
}

func TestStockRedisThatIsDownIsNoRefusal(t *testing.T) {
	m := startMoving(t, nil)
	p := m.stock(web, stockUser, "read")
	own := m.signIn(web, "read")
	m.redis.Kill()
	for name, a := range map[string]answer{
		"users/me":      m.bearer("Bearer " + p.access),
		"introspection": m.introspect(p.access),
		"refresh":       m.ask(web, refreshForm(p.refresh, "")),
		"revocation":    m.revokes(web, p.refresh),
	} {
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: %s, want 503", name, a)
		}
	}
	if next := m.refreshed(web, own); !m.lives(next.access) || m.revokes(web, next.access).ok() != nil {
		t.Error("grantd's own tokens depend on the stock server's Redis")
	}
	code, _, stderr := m.command("user", "disable", stockUser)
	if code != exitFailed || !strings.Contains(stderr, "may still be good") {
		t.Errorf("ending what can't be ended: exit %d, %s", code, stderr)
	}
	code, _, stderr = m.command("migrate", "--dry-run")
	if code != exitFailed || !strings.Contains(stderr, "the stock server's Redis can't be reached") || !strings.Contains(stderr, "hint: is the stock server's Redis running") {
		t.Errorf("migrate: exit %d, %s", code, stderr)
	}
}

// migrated is what grantd migrate prints.
type migrated struct {
	Clients                                   map[string]map[string]int
	NoUser                                    int `json:"no_user"`
	NoClient                                  int `json:"no_client"`
	Ended, Expired, Eternal, Malformed, Codes int
	Foreign, Markers, Moved, Deleted          int
}

func (m moving) migrate(how string) (got migrated) {
	m.t.Helper()
	out := m.done("migrate", how, "--json")
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		m.t.Fatalf("%v: %s", err, out)
	}
	return got
}

func TestMigrate(t *testing.T) {
	m := startMoving(t, nil)
	p, q := m.stock(web, stockUser, "read"), m.stock(web, stockUser, "read write")
	m.stock(mobile, stockUser, "read")
	m.stock(web, "nobody", "read")
	m.stock(odd, stockUser, "nonsense")
	m.clock(time.Hour, 0)
	m.stock(spa, stockUser, "read") // the keys of this client's tokens never expire
	m.clock(time.Hour, week)
	lost := m.stock(web, stockUser, "read")
	c := m.redis.Client()
	if err := errors.Join(
		c.Del(t.Context(), stockPrefix+lost.access, stockPrefix+lost.refresh).Err(), // now only the record is left
		c.Set(t.Context(), stockPrefix+"0b1e2ac4-0000-4000-8000-000000000000", "{not json", 0).Err(),
		c.Set(t.Context(), stockPrefix+"theirs", strings.Repeat("x", 1<<20), 0).Err(),
		c.HSet(t.Context(), stockPrefix+"hash", "f", "v").Err(),
		c.Set(t.Context(), "elsewhere", "out of the prefix", 0).Err(),
	); err != nil {
		t.Fatal(err)
	}

	before := m.stockKeys()
	got := m.migrate("--dry-run")
	if got.Clients[web.id]["access"] != 2 || got.Clients[web.id]["refresh"] != 2 || got.Clients[mobile.id]["refresh"] != 1 || got.Clients[spa.id]["refresh"] != 1 ||
		got.NoUser != 1 || got.Expired != 1 || got.Eternal != 3+1 || got.Malformed != 1 || got.Foreign != 2 || got.Moved != 0 || got.Deleted != 0 {
		t.Errorf("dry run: %+v", got)
	}
	if m.stockKeys() != before || len(m.grants()) != 0 {
		t.Error("a dry run changed something")
	}

	if got = m.migrate("--now"); got.Moved != 4 || got.Deleted != 1 || got.Malformed != 1 || got.Foreign != 2 {
		t.Errorf("moving: %+v", got)
	}
	if m.inClear(p) || m.inClear(q) || len(m.grants()) != 4 {
		t.Error("tokens are still in clear, or grants are missing")
	}
	if n := c.Exists(t.Context(), stockPrefix+"theirs", stockPrefix+"hash", "elsewhere", stockPrefix+"0b1e2ac4-0000-4000-8000-000000000000").Val(); n != 4 {
		t.Error("a foreign key is gone")
	}
	again := m.migrate("--now")
	if again.Moved != 0 || again.Deleted != 0 || again.Markers != 8 || again.NoUser != 1 {
		t.Errorf("again: %+v", again)
	}

	t.Run("what clients hold stays good", func(t *testing.T) {
		me := m.bearer("Bearer " + q.access)
		if err := me.ok(); err != nil || me.member("scope") != "read write" || m.introspect(q.access).members["active"] != true {
			t.Errorf("%s %s", me, me.body)
		}
		if m.lives(q.refresh) || m.ask(web, refreshForm(q.access, "")).status != 400 || m.ask(mobile, refreshForm(q.refresh, "")).status != 400 {
			t.Error("a token of the wrong kind or client")
		}
		next := m.refreshed(web, q)
		if !m.lives(next.access) || m.lives(q.access) || m.refreshed(web, q) != next {
			t.Error("the refresh is none")
		}
		if err := m.revokes(web, p.access).ok(); err != nil || m.lives(p.access) || m.ask(web, refreshForm(p.refresh, "")).status != 400 {
			t.Errorf("revoking: %v", err)
		}
	})
	t.Run("and ends with all of the user", func(t *testing.T) {
		m.stock(web, stockUser, "read")
		m.done("user", "passwd", stockUser, "--password-file", writeFile(t, "p", "another good one"))
		if got := m.migrate("--now"); got.Ended != 2 || got.Deleted != 2 || // the second is the one without a scope
			got.Moved != 0 {
			t.Errorf("%+v", got)
		}
		if len(m.grants()) != 0 {
			t.Error("grants are left")
		}
	})
}

func TestMigratePrintsATable(t *testing.T) {
	m := startMoving(t, nil)
	m.stock(web, stockUser, "read")
	m.stock(web, "nobody", "read")
	want := "CLIENT  ACCESS TOKENS  REFRESH TOKENS\nweb     1              1\n" +
		"       1  sign-ins of users who don't exist here, or are disabled\n" +
		"       6  keys looked at\n"
	if out := m.done("migrate", "--dry-run"); out != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
}

func TestMigrateIsCalledWrongly(t *testing.T) {
	data := t.TempDir() + "/grantd.db"
	for want, args := range map[string][]string{
		"either --dry-run or --now":                {"migrate", "--data", data},
		"--now is needed":                          {"migrate", "--data", data, "--now", "--dry-run"},
		"migrate_from is missing":                  {"migrate", "--data", ":memory:", "--now"},
		"migrate_from: the scheme is missing":      {"migrate", "--data", data, "--now", "--from", "hunter2"},
		"migrate_from: a Cluster is not supported": {"migrate", "--data", data, "--now", "--from", "redis+cluster://h"},
		"no store at":                              {"migrate", "--data", data, "--now", "--from", "redis://localhost"},
	} {
		err := execute(t.Context(), args)
		var printed bytes.Buffer
		code := report(&printed, err)
		if wantCode := map[bool]int{true: exitFailed, false: exitUsage}[want == "no store at"]; code != wantCode || !strings.Contains(printed.String(), want) || strings.Contains(printed.String(), "hunter2") {
			t.Errorf("%q: exit %d, %s", args, code, &printed)
		}
	}
}
