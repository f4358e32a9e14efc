package main

import (
	"crypto/tls"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/internal/wellknown"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
	"github.com/grantd/grantd/storage/redisstore"
)

// check adds to f everything that is wrong with c for a process that listens on
// addr, which is the value of the key addrKey.
func (c *config) check(f *faults, addrKey, addr string) {
	c.checkIssuer(f)
	c.checkResource(f)
	checkAddr(f, addrKey, addr)
	if c.MetricsAddr != "" { // plain http is allowed, since metrics aren't secret
		checkAddr(f, "metrics_addr", c.MetricsAddr)
		checkApart(f, "metrics_addr", c.MetricsAddr, addrKey, addr)
	}
	c.checkStore(f)
	c.checkMigrateFrom(f)
	c.checkSecret(f)
	c.checkProfile(f)
	c.checkScopes(f)
	c.checkLifetimes(f)
	c.checkTLS(f, addrKey, addr)
	c.checkLog(f)
	c.checkPasswords(f)
}

// checkServe is check for serve, which may also have a listener for admins.
func (c *config) checkServe(f *faults) {
	c.check(f, "addr", c.Addr)
	if c.AdminAddr == "" {
		return
	}
	checkAddr(f, "admin_addr", c.AdminAddr)
	checkApart(f, "admin_addr", c.AdminAddr, "addr", c.Addr)
	checkApart(f, "admin_addr", c.AdminAddr, "metrics_addr", c.MetricsAddr)
	if c.exposed(c.AdminAddr) && !c.exposed(c.Addr) { // else check has reported it
		c.checkExposed(f, "admin_addr", c.AdminAddr)
	}
}

func (c *config) checkIssuer(f *faults) {
	if c.Issuer == "" {
		f.missing("issuer", "; it is the URL that clients reach the server at, such as https://login.example.com")
		return
	}
	checkIdentifier(f, "issuer", c.Issuer)
}

// checkResource checks the resource. It must have the scheme of the issuer, because
// one listener may serve both, and it demands TLS for both or for neither.
func (c *config) checkResource(f *faults) {
	if c.Resource == "" {
		return
	}
	checkIdentifier(f, "resource", c.Resource)
	if strings.HasSuffix(c.Resource, "/") {
		f.addf("resource", "must not end with a slash")
	}
	if issuer, err := wellknown.Parse(c.Issuer); err == nil && !strings.HasPrefix(c.Resource, issuer.Scheme+":") {
		f.addf("resource", "must begin with \"%s:\", as the issuer does", issuer.Scheme)
	}
}

// checkIdentifier checks a URL that identifies a server to its clients.
func checkIdentifier(f *faults, key, text string) {
	id, err := wellknown.Parse(text)
	switch {
	case err != nil:
		f.addf(key, "%v", err)
	case id.Scheme == "http" && !wellknown.Loopback(id.Host):
		f.addf(key, "must be https; plain http is for loopback hosts only (RFC 6749 section 3.1)")
	}
}

// loopbackAddr reports whether only this machine reaches a listener on addr.
func loopbackAddr(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && wellknown.Loopback(host)
}

func checkAddr(f *faults, key, addr string) {
	_, port, err := net.SplitHostPort(addr)
	if n, e := strconv.Atoi(port); err != nil || e != nil || n < 0 || n > 65535 {
		f.addf(key, "must be host:port, such as 127.0.0.1:8080 or :8080")
	}
}

// checkApart checks that two listeners have different addresses, unless the system
// chooses the port.
func checkApart(f *faults, key, addr, otherKey, other string) {
	if addr == other && !strings.HasSuffix(addr, ":0") {
		f.addf(key, "must not be the same address as %s", otherKey)
	}
}

// maxReplicas is more replicas than anybody has of one master.
const maxReplicas = 8

func (c *config) checkStore(f *faults) {
	switch {
	case c.Data == "" && c.Redis.URL == "":
		f.missing("data", "; name a file here, or a Redis in redis.url")
	case c.Data != "" && c.Redis.URL != "":
		f.addf("data", "can't be combined with redis.url: remove one of them")
	case c.Redis.URL == "" && !c.Redis.Password.IsZero() && !f.unread:
		f.addf("redis.password", "has no effect without redis.url")
	case c.Redis.URL == "" && c.Redis.WaitReplicas != 0 && !f.unread:
		f.addf("redis.wait_replicas", "has no effect without redis.url")
	case c.Redis.WaitReplicas < 0 || c.Redis.WaitReplicas > maxReplicas:
		f.addf("redis.wait_replicas", "must be 0 to %d", maxReplicas)
	case c.Redis.URL != "":
		c.checkRedis(f)
	}
}

// checkRedis only parses the URL: Open doesn't connect.
func (c *config) checkRedis(f *faults) {
	url, err := c.redisURL()
	if err != nil {
		f.addf("redis.password", "%v", err)
		return
	}
	s, err := redisstore.Open(url)
	if err != nil {
		f.addf("redis.url", "%v", err)
		return
	}
	if err := s.Close(); err != nil {
		f.addf("redis.url", "%v", err)
	}
}

func (c *config) checkSecret(f *faults) {
	switch {
	case c.Secret.IsZero():
		f.missing("secret", "; grantd secrets DIR makes one for secret_file")
	case len(c.Secret.Reveal()) < opaque.MinSecretLen:
		f.addf("secret", "must have at least %d bytes", opaque.MinSecretLen)
	}
	if c.AdminPassword.IsZero() {
		return
	}
	if err := c.passwordPolicy().Check(defaultAdmin, c.AdminPassword.Reveal()); err != nil {
		f.addf("admin_password", "%v", err)
	}
}

func (c *config) checkProfile(f *faults) {
	if c.Profile != profileDefault && c.Profile != profileStrict {
		f.addf("profile", "must be default or strict")
	}
}

func (c *config) checkScopes(f *faults) {
	if len(c.Scopes) == 0 {
		f.addf("scopes", "must name at least one scope")
	}
	if i := slices.IndexFunc(c.Scopes, func(s string) bool { return !storage.ValidScopeToken(s) }); i >= 0 {
		f.addf("scopes", "entry %d is not a scope token (RFC 6749 section 3.3)", i+1)
	}
	for _, s := range c.DefaultScopes {
		if !slices.Contains(c.Scopes, s) {
			f.addf("default_scopes", "%q is not in scopes", s)
		}
	}
}

func (c *config) checkLifetimes(f *faults) {
	const day = 24 * time.Hour
	for _, d := range []struct {
		key        string
		value      time.Duration
		least, top time.Duration
	}{
		{"access_lifetime", c.AccessLifetime, time.Second, day},
		{"refresh_idle", c.RefreshIdle, time.Second, 3660 * day},
		{"refresh_absolute", c.RefreshAbsolute, time.Second, 3660 * day},
		{"retry_window", c.RetryWindow, 0, 30 * time.Second},
		{"shutdown_delay", c.ShutdownDelay, 0, time.Minute},
		{"shutdown_timeout", c.ShutdownTimeout, time.Second, 5 * time.Minute},
		{"audit_retention", c.AuditRetention, time.Hour, 3660 * day},
	} {
		if d.value < d.least || d.value > d.top || d.value%time.Second != 0 {
			f.addf(d.key, "must be whole seconds, from %s to %s", d.least, d.top)
		}
	}
	if c.RefreshAbsolute < c.RefreshIdle {
		f.addf("refresh_absolute", "must not be less than refresh_idle")
	}
	if c.AuditEvents < 1000 || c.AuditEvents > 10_000_000 {
		f.addf("audit_events", "must be 1000 to 10000000")
	}
}

func (c *config) checkTLS(f *faults, addrKey, addr string) {
	if _, err := parseProxies(c.TrustedProxies); err != nil {
		f.addf("trusted_proxies", "%v", err)
	}
	switch {
	case c.TLSCert == "" && c.TLSKey != "":
		f.missing("tls_cert", "; tls_key needs it")
	case c.TLSCert != "" && c.TLSKey == "":
		f.missing("tls_key", "; tls_cert needs it")
	case c.TLSCert != "":
		c.checkKeyPair(f)
	case c.exposed(addr):
		c.checkExposed(f, addrKey, addr)
	}
}

// exposed reports whether other machines reach the address by plain http although
// the issuer is https and no proxy is trusted.
func (c *config) exposed(addr string) bool {
	return c.needsProxy() && len(c.TrustedProxies) == 0 && !loopbackAddr(addr)
}

func (c *config) checkExposed(f *faults, addrKey, addr string) {
	if !f.unread {
		f.addf("tls_cert", "is missing: with an https issuer, %s %s needs tls_cert and tls_key, or a proxy named in trusted_proxies (RFC 6749 section 2.3.1)", addrKey, addr)
	}
}

func (c *config) checkKeyPair(f *faults) {
	cert, certErr := os.ReadFile(c.TLSCert)
	key, keyErr := os.ReadFile(c.TLSKey)
	if certErr != nil {
		f.addf("tls_cert", "%v", certErr)
	}
	if keyErr != nil {
		f.addf("tls_key", "%v", keyErr)
	}
	if certErr != nil || keyErr != nil {
		return
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		f.addf("tls_cert", "%v", err)
	}
}

// needsProxy reports whether an https issuer is served over plain http, for which
// there has to be a proxy that ends TLS.
func (c *config) needsProxy() bool {
	return c.TLSCert == "" && strings.HasPrefix(c.Issuer, "https:")
}

func (c *config) checkLog(f *faults) {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		f.addf("log.level", "must be debug, info, warn or error")
	}
	if c.Log.Format != "json" && c.Log.Format != "text" {
		f.addf("log.format", "must be json or text")
	}
}

func (c *config) checkPasswords(f *faults) {
	if _, err := passhash.New(c.PasswordHash.params()); err != nil {
		f.addf("password_hash", "%v", err)
	}
	if c.PasswordMinLength < 8 || c.PasswordMinLength > 64 {
		f.addf("password_min_length", "must be 8 to 64 (NIST SP 800-63B section 5.1.1.2)")
	}
}

// passwordPolicy returns the policy for new passwords of users.
func (c *config) passwordPolicy() passhash.Policy {
	return passhash.Policy{MinLength: c.PasswordMinLength}
}

func (h hashConfig) params() passhash.Params {
	return passhash.Params{Memory: h.Memory, Time: h.Time, Threads: h.Threads, Slots: h.Slots, Queue: h.Queue}
}
