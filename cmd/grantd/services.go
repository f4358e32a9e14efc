package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
)

// services returns a service for ln, which listens on addr, and one for each of the
// admin API and the metrics that has an address of its own. It opens the listeners
// of the latter.
func (p *process) services(ctx context.Context, addr string, ln net.Listener, h handlers) ([]service, error) {
	first, err := p.service(addr, ln, h)
	if err != nil {
		return nil, err
	}
	all := []service{first}
	for _, own := range []struct {
		setting, addr, whom string
		handlers            handlers
		offered             bool
	}{
		{"admin_addr", p.config.AdminAddr, "admins", handlers{oauth: h.admin, escaped: h.escaped, nothing: h.nothing}, h.admin != nil},
		{"metrics_addr", p.config.MetricsAddr, "Prometheus", handlers{metrics: p.metrics.Handler()}, p.config.MetricsAddr != ""},
	} {
		if !own.offered {
			continue
		}
		another, err := p.ownService(ctx, own.setting, own.addr, own.handlers)
		if err != nil {
			return nil, errors.Join(err, closeListeners(all[1:])) // ln is the caller's
		}
		p.log.Info("also listening", "for", own.whom, "addr", another.ln.Addr().String())
		all = append(all, another)
	}
	return all, nil
}

// ownService is service with a listener that it opens.
func (p *process) ownService(ctx context.Context, setting, addr string, h handlers) (service, error) {
	ln, err := listen(ctx, setting, addr, p.keyPair)
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
	if h.oauth != nil { // metrics alone aren't secret
		p.warnExposed(addr)
	}
	return service{newHTTPServer(handler, defaultLimits, p.log), &acceptor{Listener: ln, log: p.log}}, nil
}

// handler returns the routes of h with the check for TLS inside, and around them,
// outermost first, the request log and the rules for closing connections.
func (p *process) handler(addr string, h handlers) (http.Handler, error) {
	trusted, err := parseProxies(p.config.TrustedProxies)
	if err != nil {
		return nil, usagef("trusted_proxies: %w", err)
	}
	guard := func(next http.Handler) http.Handler { return next }
	if p.config.needsProxy() && h.oauth != nil { // metrics alone aren't guarded
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
	p.log.Warn("trusted_proxies names no proxy: all clients behind a proxy count as one network", "addr", addr)
	return loopbackProxies
}

// warnExposed warns when other machines may reach a server whose issuer is on this
// machine, as in a container whose port is published on loopback.
func (p *process) warnExposed(addr string) {
	if p.config.TLSCert == "" && strings.HasPrefix(p.config.Issuer, "http:") && !loopbackAddr(addr) {
		p.log.Warn("plain http on an address that other machines may reach, although the issuer is a loopback URL",
			"addr", addr, "issuer", p.config.Issuer)
	}
}
