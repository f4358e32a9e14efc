package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/grantd/grantd/authserver"
	"github.com/grantd/grantd/authserver/admin"
	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/authserver/throttle"
	"github.com/grantd/grantd/internal/metrics"
	"github.com/grantd/grantd/internal/tracing"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
	"github.com/grantd/grantd/storage/stockredis"
	"github.com/grantd/grantd/storage/watched"
)

// process is a running server: dev, serve or resource.
type process struct {
	config *config
	log    *slog.Logger
	flush  func() // writes the log lines that are still buffered
	store  storage.Store
	stock  *stockredis.Store // nil without migrate_from
	hasher *passhash.Hasher
	keys   *gate
	health *health
	audit  *auditor

	keyPair *keyPair // of all listeners; nil for plain http

	ballast []byte

	metrics *metrics.Metrics
	tracer  *tracing.Tracer // nil when nothing is traced

	auth  *authserver.Server // nil when the process doesn't offer it
	admin *admin.API         // likewise

	// throttle limits guessing at every endpoint of the process. Nil: no limit.
	throttle *throttle.Limiter

	// prepare must succeed once before anybody is let in. It is repeated while the
	// store can't answer; any other error ends the process.
	prepare func(context.Context) error

	// ready is called once, in the background, after the start succeeded.
	ready func(context.Context)

	// sealedHint says what to do when the store was sealed with another deployment
	// secret.
	sealedHint string

	// announce is called with the address that the process listens on.
	announce func(net.Addr)
}

// ballastSize is the number of bytes that every process allocates and never touches,
// so that the system never provides memory for them. The garbage collector counts
// them as in use. It runs when the heap has doubled; in a server that uses a few MiB
// it would run dozens of times a second and take a tenth of the processor time.
const ballastSize = 24 << 20

// newProcess returns a process for a checked configuration and opens its store. keys
// are options for loading the deployment keys.
func newProcess(ctx context.Context, c *config, logTo io.Writer, keys ...opaque.LoaderOption) (p *process, err error) {
	lines := newLineWriter(logTo, func(n int) []byte {
		var line bytes.Buffer
		newLogger(&line, c.Log).Error("log lines are lost: nobody read the log", "lines", n)
		return line.Bytes()
	})
	defer func() {
		if err != nil {
			lines.flush()
		}
	}()
	log := newLogger(lines, c.Log)
	if len(c.Unknown) > 0 {
		log.Warn("unknown environment variables are ignored", "names", c.Unknown)
	}
	p = &process{config: c, log: log, flush: lines.flush}
	if p.tracer, err = tracing.New(ctx, tracing.Read(os.Getenv), versionText(), log); err != nil {
		return nil, usagef("%w", err).withHint("check the environment variables that begin with OTEL_")
	}
	hashing := c.PasswordHash.params()
	hashing.Note = p.noteHash
	if p.hasher, err = passhash.New(hashing); err != nil {
		return nil, usagef("password_hash: %w", err)
	}
	sealer, err := opaque.NewSealer([]byte(c.Secret.Reveal()))
	if err != nil {
		return nil, usagef("secret: %w", err)
	}
	if c.TLSCert != "" {
		if p.keyPair, err = loadKeyPair(c.TLSCert, c.TLSKey, log); err != nil {
			return nil, usagef("tls_cert: %w", err)
		}
	}
	p.metrics = metrics.New(p.vitals())
	store, stock, err := openStores(c)
	if err != nil {
		return nil, err
	}
	log.Info("using the store", "store", c.storeName()) // a flag or a variable may have replaced that of the file
	p.store, p.stock = watched.Watch(store, p.noteStore), stock
	note := opaque.WithNote(func(err error) { log.Warn("deployment keys", "error", err.Error()) })
	p.keys = &gate{loader: opaque.NewLoader(p.store, sealer, append(keys, note)...)}
	p.health = &health{check: p.store.Health}
	p.audit = newAuditor(log, p.store, c)
	p.audit.metrics = p.metrics
	p.throttle = throttle.New(p.store, p.keys, time.Now)
	p.ballast = make([]byte, ballastSize)
	p.prepare = func(context.Context) error { return nil }
	p.ready = func(context.Context) {}
	p.sealedHint = ownSecret
	p.announce = func(a net.Addr) { log.Info("listening", "addr", a.String(), "version", versionText()) }
	return p, nil
}

// run listens on addr, calls offer with the address of the listener, and serves the
// handlers that offer returns until ctx ends. Then it closes the store.
func (p *process) run(ctx context.Context, addr string, offer func(net.Addr) (handlers, error)) (err error) {
	var deadline time.Time // of the shutdown
	defer func() {
		if p.admin != nil {
			p.admin.Close()
		}
		err = errors.Join(err, p.store.Close())
		p.endTraces(deadline)
		p.flush()
		runtime.KeepAlive(p.ballast)
	}()
	ln, err := listen(ctx, "--addr", addr, p.keyPair)
	if err != nil {
		return err
	}
	defer func() { _ = ln.Close() }() // if the start failed; else the server has closed it
	h, err := offer(ln.Addr())
	if err != nil {
		return err
	}
	services, err := p.services(ctx, addr, ln, h)
	if err != nil {
		return err
	}
	defer func() { _ = closeListeners(services) }() // as above
	// The store usually answers: then the process is ready before it announces its
	// address.
	if err := p.start(ctx); err != nil && !retriable(err) && ctx.Err() == nil {
		return err
	}
	p.announce(ln.Addr())

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer p.audit.start()() // stops after the requests in flight have finished
	var background sync.WaitGroup
	background.Go(func() {
		p.keepStarting(ctx, cancel)
		if p.health.started.Load() {
			p.warnEvicting(ctx)
			p.ready(ctx)
		}
	})
	background.Go(func() { p.tidyEvery(ctx, time.Minute) })

	err = serveUntil(ctx, services, p.stopping, p.config.ShutdownDelay)
	var fatal *failure
	if errors.As(context.Cause(ctx), &fatal) {
		err = fatal
	}
	cancel(nil)
	deadline = time.Now().Add(p.config.ShutdownTimeout)
	err = errors.Join(err, finish(services, p.config.ShutdownTimeout))
	background.Wait() // a background task could still begin to load the keys
	return errors.Join(err, p.finishBackground(deadline))
}

// finishBackground waits until the deadline for work that requests began and left
// running, because this work needs the store.
func (p *process) finishBackground(deadline time.Time) error {
	late, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	_ = p.keys.loader.Wait(late) // nobody needs the keys any more
	if p.auth != nil && p.auth.Wait(late) != nil {
		return failedf("background work of some requests, such as ending a sign-in, took longer than shutdown_timeout and was cut off")
	}
	return nil
}

// stopping makes /readyz fail, so that no new requests are sent here, and makes the
// admin API answer waiting requests at once.
func (p *process) stopping() {
	p.health.stopping.Store(true)
	if p.admin != nil {
		p.admin.StopWaiting()
	}
}
