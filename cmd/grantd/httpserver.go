package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// limits bound the cost of a connection. Slow clients are cut off.
type limits struct {
	header, read, write, idle time.Duration
	headerBytes               int
}

var defaultLimits = limits{
	header:      5 * time.Second,
	read:        10 * time.Second,
	write:       30 * time.Second,
	idle:        60 * time.Second,
	headerBytes: 16 << 10,
}

// newHTTPServer returns a server that isn't listening yet. Messages of net/http, such
// as failed handshakes, are logged at debug, since anybody can provoke them. The
// acceptor logs that connections can't be accepted.
func newHTTPServer(handler http.Handler, l limits, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: handler,

		DisableGeneralOptionsHandler: true, // OPTIONS * is a request like any other
		ReadHeaderTimeout:            l.header,
		ReadTimeout:                  l.read,
		WriteTimeout:                 l.write,
		IdleTimeout:                  l.idle,
		MaxHeaderBytes:               l.headerBytes,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// listen opens the address, with TLS unless pair is nil. setting is the flag or key
// that names another address.
func listen(ctx context.Context, setting, addr string, pair *keyPair) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, failedf("listening on %s: %w", addr, err).withHint("if another process uses the address, stop it, or choose another address with " + setting)
	}
	if pair == nil {
		return ln, nil
	}
	return tls.NewListener(ln, &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: pair.get,
		NextProtos:     []string{"h2", "http/1.1"},
	}), nil
}

// acceptTellEvery is the least time between two log lines that connections can't be
// accepted: net/http tries again up to 200 times a second.
const acceptTellEvery = 10 * time.Second

// acceptor is a listener that logs when connections can't be accepted, for example
// without free file descriptors, which otherwise only clients would notice. Only one
// goroutine may call Accept.
type acceptor struct {
	net.Listener

	log  *slog.Logger
	told time.Time
}

// Accept waits for the next connection.
func (a *acceptor) Accept() (net.Conn, error) {
	conn, err := a.Listener.Accept()
	if err != nil && !errors.Is(err, net.ErrClosed) && time.Since(a.told) >= acceptTellEvery {
		a.told = time.Now()
		a.log.Error("connections can't be accepted", "error", printable(err.Error(), 300))
	}
	return conn, err
}

// service is a server and its listener.
type service struct {
	server *http.Server
	ln     net.Listener
}

func closeListeners(services []service) error {
	var errs []error
	for _, s := range services {
		errs = append(errs, s.ln.Close())
	}
	return errors.Join(errs...)
}

// serveUntil serves until ctx ends, then calls stopping and serves on for the delay.
// It leaves the listeners open: finish closes them.
func serveUntil(ctx context.Context, services []service, stopping func(), delay time.Duration) error {
	failed := make(chan error, len(services))
	for _, s := range services {
		go func() { failed <- s.server.Serve(s.ln) }()
	}
	select {
	case err := <-failed:
		return failedf("serving: %w", err)
	case <-ctx.Done():
		stopping()
	}
	select {
	case err := <-failed:
		return failedf("serving: %w", err)
	case <-time.After(delay):
		return nil
	}
}

// finish closes the listeners and lets the requests in flight finish, for grace at
// most. Then it cuts them off.
func finish(services []service, grace time.Duration) error {
	late, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	ended := make(chan error, len(services))
	for _, s := range services {
		go func() { ended <- s.server.Shutdown(late) }()
	}
	var err error
	for range services {
		err = errors.Join(err, <-ended)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	err = failedf("some requests took longer than shutdown_timeout and were cut off")
	for _, s := range services {
		err = errors.Join(err, s.server.Close())
	}
	return err
}
