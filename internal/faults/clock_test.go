package faults

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/authserver/throttle"
	"github.com/grantd/grantd/resource"
	"github.com/grantd/grantd/storage/opaque"
	"github.com/grantd/grantd/storage/redisstore"
	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// The environment of the test binary when it runs as a node whose clock is off.
// A program without libc can't be given another time from outside. So this node
// is built of the packages, each with its clock option.
const (
	skewVar   = "GRANTD_FAULTS_SKEW" // a duration
	addrVar   = "GRANTD_FAULTS_ADDR"
	issuerVar = "GRANTD_FAULTS_ISSUER"
	redisVar  = "GRANTD_FAULTS_REDIS"
)

// skewed is a node whose clock is ahead by the duration, or behind by a negative one.
func skewed(d *deployment, ahead time.Duration) *node {
	d.t.Helper()
	self, err := os.Executable()
	if err != nil {
		d.t.Fatal(err)
	}
	return &node{
		command: []string{self},
		env: []string{
			skewVar + "=" + ahead.String(), issuerVar + "=" + d.nodes[0].url(), redisVar + "=" + d.store.redis,
		},
	}
}

// serveSkewed runs the node until it is killed.
func serveSkewed() error {
	ahead, err := time.ParseDuration(os.Getenv(skewVar))
	if err != nil {
		return err
	}
	now := func() time.Time { return time.Now().Add(ahead) }
	store, err := redisstore.Open(os.Getenv(redisVar), redisstore.WithClock(now))
	if err != nil {
		return err
	}
	sealer, err := opaque.NewSealer([]byte(secret))
	if err != nil {
		return err
	}
	keys := opaque.NewLoader(store, sealer, opaque.WithClock(now))
	hasher, err := passhash.New(cheap)
	if err != nil {
		return err
	}
	issuer := os.Getenv(issuerVar)
	usersMe := issuer + "/users/me"
	auth, errAuth := authserver.New(authserver.Config{
		Issuer: issuer, Audiences: []string{issuer, usersMe},
		Store: store, Keys: keys, Passwords: hasher, Scopes: []string{"read"}, DefaultScopes: []string{"read"},
		RetryWindow: 10 * time.Second, Throttle: throttle.New(store, keys, now), Now: now,
	})
	guard, errGuard := resource.New(resource.Config{
		Validator: resource.NewStoreValidator(keys, store, resource.WithClock(now)),
		Resource:  usersMe, Audiences: []string{issuer}, AuthorizationServers: []string{issuer},
	})
	if err := errors.Join(errAuth, errGuard); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", auth.Handler())
	mux.Handle("/users/me", guard.UsersMe())
	mux.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	l, err := net.Listen("tcp", os.Getenv(addrVar))
	if err != nil {
		return err
	}
	return http.Serve(l, mux)
}

// At every step tokens, retry windows and revocations of one node are used at
// the other, in both directions.
func TestNodesWhoseClocksDiffer(t *testing.T) {
	for _, ahead := range []time.Duration{2 * time.Second, -2 * time.Second} {
		t.Run(ahead.String(), func(t *testing.T) {
			s := size(t)
			server := redistest.Single(t)
			d := deploy(t, storeConfig{redis: server.URL()}, s.clients, 1)
			d.add(skewed(d, ahead))
			l := newLoad(t, fmt.Sprintf("two nodes, clocks %v apart", ahead), s, d)
			l.start()
			l.during(func() { time.Sleep(s.fault + s.calm) })
			l.finish(keysOf(server))
			if n := l.count(unavailable, signIn, refresh, usersMe, introspect, revoke); n > 0 {
				t.Errorf("%d requests were answered 503", n)
			}
		})
	}
}
