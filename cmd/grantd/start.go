package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// startTimeout bounds one try to start, so that the listener can answer 503 while
// the store hangs.
const startTimeout = 5 * time.Second

// start tries once to make the process ready.
func (p *process) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := p.store.Ping(ctx); err != nil {
		return fmt.Errorf("asking the store: %w", err)
	}
	// The keys come first: a process without the secret of the store must not
	// write to it.
	_, err := p.keys.loader.Keyring(ctx)
	if errors.Is(err, opaque.ErrSealed) {
		return failedf("%w", err).withHint(p.sealedHint)
	}
	if err != nil {
		return err
	}
	if err := p.prepare(ctx); err != nil {
		return err
	}
	p.keys.open.Store(true)
	p.health.started.Store(true)
	return nil
}

// ownSecret is the usual hint for a store that another deployment secret sealed.
const ownSecret = "the deployment secret (secret_file or secret) must be the one that the store was first used with"

func retriable(err error) bool {
	return errors.Is(err, storage.ErrUnavailable) || errors.Is(err, passhash.ErrBusy)
}

// keepStarting repeats start until it succeeds. An error that repeating can't cure
// ends the process.
func (p *process) keepStarting(ctx context.Context, fatal context.CancelCauseFunc) {
	const pause = 250 * time.Millisecond
	told := false
	for !p.health.started.Load() {
		err := p.start(ctx)
		switch {
		case err == nil:
			p.log.Info("ready")
		case ctx.Err() != nil:
			return
		case !retriable(err):
			var known *failure
			if !errors.As(err, &known) {
				known = failedf("%w", err)
			}
			fatal(known)
			return
		case !told:
			told = true
			p.warnWaiting(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// warnEvicting warns of a Redis that may forget revocations.
func (p *process) warnEvicting(ctx context.Context) {
	if p.health.storeHealth(ctx).State == storage.Evicting {
		p.log.Warn("Redis may forget keys when its memory is full, and revoked tokens would become valid again", "hint", "set its maxmemory-policy to noeviction")
	}
}

func (p *process) warnWaiting(err error) {
	args := []any{"error", err.Error()}
	var why *failure
	switch {
	case errors.Is(err, opaque.ErrNoKey):
		args = append(args, "store", p.config.storeName(), "hint", "grantd serve makes the key: check that this is the store that serve's configuration names")
	case p.config.Redis.URL != "" && errors.As(hintRedis(p.config.Redis.URL, err), &why) && why.hint != "":
		args = append(args, "hint", why.hint)
	}
	p.log.Warn("waiting for the store", args...)
}

// gate withholds the keys until the store has been checked. Until then nobody is let
// in: without keys no token is made and none is accepted.
type gate struct {
	loader *opaque.Loader
	open   atomic.Bool
}

// Keyring returns the keyring, or storage.ErrUnavailable before the gate opened.
func (g *gate) Keyring(ctx context.Context) (*opaque.Keyring, error) {
	if !g.open.Load() {
		return nil, fmt.Errorf("%w: the store has not been checked yet", storage.ErrUnavailable)
	}
	return g.loader.Keyring(ctx)
}
