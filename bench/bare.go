package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/crypto/argon2"
)

// bareRecord is the record that the bare handlers keep for a token.
const bareRecord = `{"sub":"bilDjHfcNKtQ7Djc","username":"alice","scope":"read","client_id":"demo","iat":1795441679,"exp":1795445279}`

// spend is the write of a refresh. It replaces the token's record by its successor's,
// so that only one of several concurrent refreshes gets a successor.
var spend = redis.NewScript(`
local record = redis.call('GET', KEYS[1])
if not record then return false end
redis.call('SET', KEYS[2], record, 'EX', 3600)
redis.call('DEL', KEYS[1])
return record`)

// bare serves handlers that do only what can't be left out, and check nothing: they
// show how fast the machine, net/http and go-redis allow a server to be. The handlers
// below /none don't use a store either: each takes every token as good, or as bad.
type bare struct{ redis *redis.Client }

func serveBare(redisURL, addr string) error {
	o, err := redis.ParseURL(redisURL)
	if err != nil {
		return err
	}
	b := bare{redis.NewClient(o)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /none/users/me", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, []byte(bareRecord)) })
	mux.HandleFunc("GET /none/bad", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	mux.HandleFunc("POST /none/introspect", func(w http.ResponseWriter, r *http.Request) {
		form(r)
		writeJSON(w, []byte(bareRecord))
	})
	mux.HandleFunc("POST /none/token", func(w http.ResponseWriter, r *http.Request) {
		form(r)
		writePair(w, randomToken(), randomToken())
	})
	mux.HandleFunc("GET /users/me", b.usersMe)
	mux.HandleFunc("POST /introspect", b.introspect)
	mux.HandleFunc("POST /issue", b.issue)
	mux.HandleFunc("POST /refresh", b.refresh)
	mux.HandleFunc("POST /refresh-once", b.refreshOnce)
	mux.HandleFunc("POST /hash", hashOnly)
	return (&http.Server{Addr: addr, Handler: mux}).ListenAndServe()
}

func (b bare) usersMe(w http.ResponseWriter, r *http.Request) {
	b.read(w, r, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
}

func (b bare) introspect(w http.ResponseWriter, r *http.Request) {
	b.read(w, r, form(r).Get("token"))
}

func (b bare) read(w http.ResponseWriter, r *http.Request, token string) {
	record, err := b.redis.Get(r.Context(), key(token)).Bytes()
	if err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	writeJSON(w, record)
}

// issue is one write.
func (b bare) issue(w http.ResponseWriter, r *http.Request) {
	token := randomToken()
	if err := b.redis.Set(r.Context(), key(token), bareRecord, time.Hour).Err(); err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	writePair(w, token, token)
}

// refresh is one read and one write. The old token stays good, so that two requests
// that spend it get two successors.
func (b bare) refresh(w http.ResponseWriter, r *http.Request) {
	old, next := form(r).Get("refresh_token"), randomToken()
	record, err := b.redis.Get(r.Context(), key(old)).Bytes()
	if err == nil {
		err = b.redis.Set(r.Context(), key(next), record, time.Hour).Err()
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	writePair(w, randomToken(), next)
}

// refreshOnce is one read, and one write that deletes the old token in the same step.
func (b bare) refreshOnce(w http.ResponseWriter, r *http.Request) {
	old, next := form(r).Get("refresh_token"), randomToken()
	err := b.redis.Get(r.Context(), key(old)).Err()
	if err == nil {
		err = spend.Run(r.Context(), b.redis, []string{key(old), key(next)}).Err()
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	writePair(w, randomToken(), next)
}

// slots lets as many hashes run at once as grantd does. Nothing is hashed for a client
// that went away while it waited, as in grantd.
var slots = make(chan struct{}, runtime.GOMAXPROCS(0))

// hashOnly makes one argon2id hash with grantd's cost, and answers with tokens.
func hashOnly(w http.ResponseWriter, r *http.Request) {
	password := form(r).Get("password")
	select {
	case slots <- struct{}{}:
	case <-r.Context().Done():
		return
	}
	argon2.IDKey([]byte(password), make([]byte, 16), 2, 19456, 1, 32)
	<-slots
	writePair(w, randomToken(), randomToken())
}

func form(r *http.Request) url.Values {
	body, _ := io.ReadAll(r.Body)
	values, _ := url.ParseQuery(string(body))
	return values
}

func key(token string) string {
	sum := sha256.Sum256([]byte(token))
	return "bare:" + string(sum[:])
}

func randomToken() string {
	var b [42]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func writePair(w http.ResponseWriter, access, refresh string) {
	body, _ := json.Marshal(map[string]any{
		"access_token": access, "token_type": "Bearer", "expires_in": 3600, "refresh_token": refresh, "scope": "read",
	})
	writeJSON(w, body)
}

func writeJSON(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Write(body)
}

// seedBare makes tokens for the bare handlers.
func seedBare(ctx context.Context, redisURL string, n int) ([]string, error) {
	o, err := redis.ParseURL(redisURL)
	if err != nil {
		return nil, err
	}
	c := redis.NewClient(o)
	defer c.Close()
	var tokens []string
	for range n {
		token := randomToken()
		if err := c.Set(ctx, key(token), bareRecord, time.Hour).Err(); err != nil {
			return nil, err
		}
		tokens = append(tokens, token)
	}
	return tokens, nil
}
