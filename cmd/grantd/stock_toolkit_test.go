package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-oauth2/oauth2/v4"
	"github.com/go-oauth2/oauth2/v4/manage"
	"github.com/go-oauth2/oauth2/v4/models"
	"github.com/go-oauth2/oauth2/v4/server"
	stockstore "github.com/go-oauth2/oauth2/v4/store"
	stockredis "github.com/go-oauth2/redis/v4"
	redisv8 "github.com/go-redis/redis/v8"
)

// toolkit is a stock server, put together as example/server of the toolkit does.
type toolkit struct {
	manager *manage.Manager
	server  *server.Server
	lookups atomic.Int64
	meeting meeting
}

// startToolkit starts a stock server. Two things that the example lacks are
// added with the toolkit's own functions: a revocation endpoint and a second
// resource.
func startToolkit(t *testing.T, configure func(*toolkit), b backend) target {
	t.Helper()
	dir := t.TempDir()
	k := &toolkit{manager: manage.NewDefaultManager()}
	k.manager.SetAuthorizeCodeTokenCfg(manage.DefaultAuthorizeCodeTokenCfg)
	k.manager.MapTokenStorage(meetingStore{stockTokenStore(t, b, filepath.Join(dir, "tokens.db")), &k.meeting})
	k.manager.MapClientStorage(stockClients())
	k.server = server.NewDefaultServer(k.manager)
	k.server.SetPasswordAuthorizationHandler(k.verify(errors.New("invalid username or password")))
	if configure != nil {
		configure(k)
	}
	web := httptest.NewServer(k.handler())
	t.Cleanup(web.Close)

	s := target{
		t:       t,
		token:   web.URL + "/oauth/token",
		revoke:  web.URL + "/revoke",
		me:      web.URL + "/test",
		writing: web.URL + "/test",
		lookups: func() int { return int(k.lookups.Load()) },
		meet:    k.meeting.arm,
		dump:    func() string { return contents(t, dir) },
	}
	if b.redis != nil {
		s = redisHooks(t, s, b.redis.Client())
	}
	return s
}

// stockTokenStore is the toolkit's store for Redis, or its own store in a file,
// which the tests can read.
func stockTokenStore(t *testing.T, b backend, path string) oauth2.TokenStore {
	t.Helper()
	switch {
	case b.redis != nil:
		r := stockredis.NewRedisStore(&redisv8.Options{Addr: b.redis.Addr()})
		t.Cleanup(func() { r.Close() })
		return r
	case b.cluster != nil:
		r := stockredis.NewRedisClusterStore(&redisv8.ClusterOptions{Addrs: []string{b.cluster.Nodes[0].Addr()}})
		t.Cleanup(func() { r.Close() })
		return r
	}
	file, err := stockstore.NewFileTokenStore(path)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// stockClients are the clients of startGrantd. The toolkit has no grants or
// scopes of a client.
func stockClients() oauth2.ClientStore {
	clients := stockstore.NewClientStore()
	for _, c := range []account{web, mobile, machine, odd, encoded, spa, blank} {
		clients.Set(c.id, &models.Client{ID: c.id, Secret: c.secret, Domain: "http://127.0.0.1", Public: c == spa})
	}
	return clients
}

// verify is the handler of the example, which refuses with err.
func (k *toolkit) verify(err error) server.PasswordAuthorizationHandler {
	return func(_ context.Context, _, name, pass string) (string, error) {
		k.lookups.Add(1)
		if name == stockUser && pass == stockPassword {
			return stockUser, nil
		}
		return "", err
	}
}

// handler has the routes of the example, and /revoke.
func (k *toolkit) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/oauth/token", func(w http.ResponseWriter, r *http.Request) {
		if err := k.server.HandleTokenRequest(w, r); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/test", func(w http.ResponseWriter, r *http.Request) {
		token, err := k.server.ValidationBearerToken(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{
			"expires_in": int64(time.Until(token.GetAccessCreateAt().Add(token.GetAccessExpiresIn())).Seconds()),
			"client_id":  token.GetClientID(),
			"user_id":    token.GetUserID(),
		})
	})
	mux.HandleFunc("/revoke", func(w http.ResponseWriter, r *http.Request) {
		remove := k.manager.RemoveAccessToken
		if r.PostFormValue("token_type_hint") == "refresh_token" {
			remove = k.manager.RemoveRefreshToken
		}
		if err := remove(r.Context(), r.PostFormValue("token")); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	return mux
}

// meetingStore makes refreshes wait for each other after the look-up of their
// token.
type meetingStore struct {
	oauth2.TokenStore
	meeting *meeting
}

func (m meetingStore) GetByRefresh(ctx context.Context, refresh string) (oauth2.TokenInfo, error) {
	info, err := m.TokenStore.GetByRefresh(ctx, refresh)
	m.meeting.join(ctx)
	return info, err
}
