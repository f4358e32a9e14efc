package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/authserver/admin"
	"github.com/grantd/grantd/authserver/throttle"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// onStore returns the API in this process, on the store that the configuration of the
// command names. It needs no token: whoever can open the store has full access anyway.
func onStore(cmd *cobra.Command) (*api, error) {
	t, err := openTools(cmd, false)
	if err != nil {
		return nil, err
	}
	a, err := t.api(cmd.Context())
	if err != nil {
		return nil, errors.Join(t.explain(err), t.store.Close())
	}
	return a, nil
}

func (t *tools) api(ctx context.Context) (*api, error) {
	if err := t.store.Ping(ctx); err != nil {
		return nil, err
	}
	causes := &causes{store: t.config.storeName()}
	c := t.config.adminAPI(t.store, t.hasher)
	c.Actor = func(context.Context) admin.Actor { return admin.Actor{Local: true} }
	c.Guard = admin.Anybody
	c.Note = causes.note
	if sealer, err := opaque.NewSealer([]byte(t.config.Secret.Reveal())); err == nil {
		keys := opaque.NewLoader(t.store, sealer, opaque.ReadOnly()) // a key made under a wrong secret would keep servers from starting
		c.Tokens, c.Throttle = keys, throttle.New(t.store, keys, time.Now)
	}
	if t.stock != nil {
		c.Legacy = t.stock
	}
	over, err := admin.New(c)
	if err != nil {
		return nil, err
	}
	return &api{
		base:   "http://localhost",
		client: &http.Client{Transport: inProcess{over.Handler()}},
		local:  &local{tools: t, api: over, causes: causes},
	}, nil
}

// local is what has to be finished at the end of an API in this process.
type local struct {
	tools  *tools
	api    *admin.API
	causes *causes
}

// finish ends the API, explains err and closes the store. Before, it waits until the
// sweeps that the API began are done, or ctx ends: there may be no other process to do
// them.
func (l *local) finish(ctx context.Context, err error) error {
	stop := context.AfterFunc(ctx, l.api.Close)
	l.api.Wait()
	if stop() {
		l.api.Close()
	}
	return errors.Join(l.tools.explain(l.causes.explain(err)), l.tools.store.Close())
}

// causes keeps the cause of the last failed request, which the answer doesn't tell.
type causes struct {
	store string // its name

	mu   sync.Mutex
	last error
}

func (c *causes) note(_ context.Context, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = err
}

// explain adds the cause to err if err is a server error: the server is this process.
func (c *causes) explain(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var p *problem
	if !errors.As(err, &p) || p.Status < http.StatusInternalServerError {
		return err
	}
	if errors.Is(c.last, opaque.ErrSealed) {
		return failedf("%w", opaque.ErrSealed).withHint(ownSecret)
	}
	if errors.Is(c.last, opaque.ErrNoKey) {
		return failedf("the store %s has no deployment key yet: no server has used it", c.store).
			withHint("check that it is the store that the server uses; grantd serve makes the key")
	}
	cause := errors.Unwrap(c.last)
	if cause == nil {
		return err
	}
	return fmt.Errorf("%w (%w)", p, cause)
}

// inProcess answers requests by calling the handler.
type inProcess struct{ handler http.Handler }

// RoundTrip calls the handler and keeps its answer in memory.
func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	served := r.Clone(r.Context())
	served.RequestURI = r.URL.RequestURI()
	if served.Body == nil {
		served.Body = http.NoBody
	}
	w := &buffered{header: http.Header{}}
	p.handler.ServeHTTP(w, served)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: cmp.Or(w.status, http.StatusOK), Header: w.header, Request: r,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()),
	}, nil
}

// buffered is an http.ResponseWriter to memory.
type buffered struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header returns the header.
func (b *buffered) Header() http.Header { return b.header }

// WriteHeader keeps the first status that isn't informational.
func (b *buffered) WriteHeader(status int) {
	if b.status == 0 && status >= http.StatusOK {
		b.status = status
	}
}

// Write keeps the bytes.
func (b *buffered) Write(p []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	return b.body.Write(p)
}

// passwordsOff reports whether the profile is strict, so that the password grant of a
// client has no effect. It returns false if the server doesn't tell.
func (a *api) passwordsOff(ctx context.Context) bool {
	if a.local != nil {
		return a.local.tools.config.strict()
	}
	id, err := serverURL("--server", a.base)
	if err != nil {
		return false
	}
	told, err := readMetadata(ctx, newAPIClient(), id)
	return err == nil && !slices.Contains(told.GrantTypes, string(storage.Password))
}
