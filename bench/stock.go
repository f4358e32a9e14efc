package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/go-oauth2/oauth2/v4/errors"
	"github.com/go-oauth2/oauth2/v4/manage"
	"github.com/go-oauth2/oauth2/v4/models"
	toolkit "github.com/go-oauth2/oauth2/v4/server"
	"github.com/go-oauth2/oauth2/v4/store"
	stockredis "github.com/go-oauth2/redis/v4"
	"github.com/go-redis/redis/v8"
)

// stockManager returns the toolkit's manager, with the demo client, on its own Redis
// store.
func stockManager(redisURL string) (*manage.Manager, error) {
	u, err := url.Parse(redisURL)
	if err != nil {
		return nil, err
	}
	manager := manage.NewDefaultManager()
	manager.SetPasswordTokenCfg(&manage.Config{AccessTokenExp: time.Hour, RefreshTokenExp: 24 * time.Hour, IsGenerateRefresh: true})
	manager.MapTokenStorage(stockredis.NewRedisStore(&redis.Options{Addr: u.Host, DB: 1}))
	clients := store.NewClientStore()
	err = clients.Set("demo", &models.Client{ID: "demo", Secret: "demo-secret", Domain: "http://localhost"})
	manager.MapClientStorage(clients)
	return manager, err
}

// serveStock serves the stock toolkit on its own Redis store, set up as its
// documentation shows. It compares passwords and doesn't hash them.
func serveStock(redisURL, addr string) error {
	manager, err := stockManager(redisURL)
	if err != nil {
		return err
	}
	s := toolkit.NewDefaultServer(manager)
	s.SetPasswordAuthorizationHandler(func(_ context.Context, _, username, password string) (string, error) {
		if username != "alice" || password != "secret123" {
			return "", errors.ErrInvalidGrant
		}
		return username, nil
	})

	mux := http.NewServeMux()
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		if err := s.HandleTokenRequest(w, r); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/users/me", func(w http.ResponseWriter, r *http.Request) {
		info, err := s.ValidationBearerToken(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		body, _ := json.Marshal(map[string]any{
			"username": info.GetUserID(), "scope": info.GetScope(), "client_id": info.GetClientID(),
			"exp": info.GetAccessCreateAt().Add(info.GetAccessExpiresIn()).Unix(),
		})
		writeJSON(w, body)
	})
	return (&http.Server{Addr: addr, Handler: mux}).ListenAndServe()
}
