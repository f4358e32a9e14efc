package main

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// proxies are the networks of proxies whose forwarding headers are believed.
type proxies []netip.Prefix

// loopbackProxies may say that TLS was used when only this machine can reach the listener.
var loopbackProxies = proxies{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// parseProxies reads addresses and CIDR ranges.
func parseProxies(texts []string) (proxies, error) {
	var p proxies
	for i, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
			p = append(p, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("entry %d is neither an address nor a range such as 10.0.0.0/8", i+1)
		}
		p = append(p, prefix.Masked())
	}
	return p, nil
}

func (p proxies) trust(a netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// peer returns the address that opened the connection.
func peer(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{} // a listener without addresses, in tests
	}
	return ap.Addr().Unmap().WithZone("")
}

// client returns the address that the request comes from: the peer, or behind trusted
// proxies the rightmost address of X-Forwarded-For that isn't a trusted proxy. The
// client may have invented the addresses further left.
func (p proxies) client(r *http.Request, from netip.Addr) netip.Addr {
	if !p.trust(from) {
		return from
	}
	lines := r.Header.Values("X-Forwarded-For")
	for i := len(lines) - 1; i >= 0; i-- {
		hops := strings.Split(lines[i], ",")
		for j := len(hops) - 1; j >= 0; j-- {
			a, ok := parseHop(strings.TrimSpace(hops[j]))
			if !ok {
				return from
			}
			from = a
			if !p.trust(a) {
				return a
			}
		}
	}
	return from
}

// parseHop reads an address, with or without a port.
func parseHop(text string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		ap, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}, false
		}
		a = ap.Addr()
	}
	return a.Unmap().WithZone(""), true
}

// secure reports whether the request is protected: its connection uses TLS, or all hops
// that a trusted proxy lists in X-Forwarded-Proto did.
func (p proxies) secure(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	lines := r.Header.Values("X-Forwarded-Proto")
	if len(lines) == 0 || !p.trust(peer(r)) {
		return false
	}
	for _, line := range lines {
		for hop := range strings.SplitSeq(line, ",") {
			if !strings.EqualFold(strings.TrimSpace(hop), "https") {
				return false
			}
		}
	}
	return true
}
