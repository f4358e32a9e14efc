package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
)

// services returns the services of the process: on ln, which is at addr, and on
// the addresses of the admin API and the metrics, if they have their own.
func (p *process) services(ctx context.Context, addr string, ln net.Listener, h handlers) ([]service, error) {
	first, err := p.service(addr, ln, h)
	if err != nil {
		return nil, err
	}
	all := []service{first}
	for _, own := range []struct {
		addr, whom string
		handlers   handlers
		offered    bool
	}{
		{p.config.AdminAddr, "admins", handlers{oauth: h.admin, escaped: h.escaped, nothing: h.nothing}, h.admin != nil},
		{p.config.MetricsAddr, "Prometheus", handlers{metrics: p.metrics.Handler()}, p.config.MetricsAddr != ""},
	} {
		if !own.offered {
			continue
		}
		another, err := p.ownService(ctx, own.addr, own.handlers)
		if err != nil {
			return nil, errors.Join(err, closeListeners(all[1:])) // ln is the caller's
		}
		p.log.Info("listening besides", "for", own.whom, "addr", another.ln.Addr().String())
		all = append(all, another)
	}
	return all, nil
}

// ownService opens a listener and returns its service.
func (p *process) ownService(ctx context.Context, addr string, h handlers) (service, error) {
	ln, err := listen(ctx, addr, p.keyPair)
	if err != nil {
		return service{}, err
	}
	s, err := p.service(addr, ln, h)
	if err != nil {
		return service{}, errors.Join(err, ln.Close())
	}
	return s, nil
}

func (p *process) service(addr string, ln net.Listener, h handlers) (service, error) {
	handler, err := p.handler(addr, h)
	if err != nil {
		return service{}, err
	}
	if h.oauth != nil { // metrics alone are no secret
		p.warnExposed(addr)
	}
	return service{newHTTPServer(handler, defaultLimits, p.log), &acceptor{Listener: ln, log: p.log}}, nil
}

// handler wraps h, outermost first: the log, the framing, the routes, the
// transport.
func (p *process) handler(addr string, h handlers) (http.Handler, error) {
	trusted, err := parseProxies(p.config.TrustedProxies)
	if err != nil {
		return nil, usagef("trusted_proxies: %w", err)
	}
	guard := func(next http.Handler) http.Handler { return next }
	if p.config.needsProxy() {
		guard = demandTLS(p.tlsProxies(addr, trusted))
	}
	h.health = p.health
	o := &observer{log: p.log, proxies: trusted, requests: p.metrics.Requests(h.patterns()), tracer: p.tracer}
	return o.wrap(p.health.part(closeChunked(h.routes(guard)))), nil
}

// tlsProxies returns the proxies that may say that a request came over TLS: the trusted
// ones or, if there are none and only this machine reaches addr, every process of this
// machine. Such a proxy is still not believed where a request comes from: it may pass on
// an X-Forwarded-For that a client made up to be another network at each guess.
func (p *process) tlsProxies(addr string, trusted proxies) proxies {
	if len(trusted) > 0 || !loopbackAddr(addr) {
		return trusted
	}
	p.log.Warn("no proxy is named in trusted_proxies: all clients behind a proxy count as one network", "addr", addr)
	return loopbackProxies
}

// warnExposed warns that others may reach a server that is configured for this
// machine alone, such as one in a container whose port is published on
// loopback.
func (p *process) warnExposed(addr string) {
	if p.config.TLSCert == "" && strings.HasPrefix(p.config.Issuer, "http:") && !loopbackAddr(addr) {
		p.log.Warn("plain http on an address that other machines may reach, though the issuer is on this one",
			"addr", addr, "issuer", p.config.Issuer)
	}
}
