package metrics

import (
	"slices"
	"time"

	"github.com/grantd/grantd/storage"
)

// The results of a refresh.
const (
	Rotated = "rotated"
	Retried = "retried"
	Reused  = "reused"
	Refused = "refused"
)

// Issued counts a grant.
func (m *Metrics) Issued(grantType string) {
	m.issued.WithLabelValues(known(grantTypes, grantType)).Inc()
}

// Refreshed counts a refresh with that result.
func (m *Metrics) Refreshed(result string) { m.refreshes.WithLabelValues(result).Inc() }

// Revoked counts a revocation, by the act that caused it.
func (m *Metrics) Revoked(cause storage.AuditAction) {
	m.revocations.WithLabelValues(known(causes, string(cause))).Inc()
}

// OAuthRefused counts a request that the authorization server refused with that
// error code, or as Throttled.
func (m *Metrics) OAuthRefused(grantType, code string) {
	m.refused.WithLabelValues(known(grantTypes, grantType), known(oauthErrors, code)).Inc()
}

// Throttled is the code of OAuthRefused for guesses that were refused unseen.
const Throttled = "throttled"

// BearerRefused counts a request that was refused because of its token.
func (m *Metrics) BearerRefused(code string) {
	m.bearers.WithLabelValues(known(bearerErrors, code)).Inc()
}

// Audited counts two of the audited acts: guesses begin to be refused, and an
// admin lifts that.
func (m *Metrics) Audited(e storage.AuditEvent) {
	switch {
	case m == nil:
	case e.Action == storage.ActThrottleOn && e.Outcome == storage.Success:
		m.throttle.WithLabelValues("on").Inc()
	case e.Action == storage.ActThrottleOff && e.Outcome == storage.Accepted:
		m.throttle.WithLabelValues("off").Inc()
	}
}

// Hashed counts a password that was hashed or verified after a wait, or, if
// busy, that waited in vain.
func (m *Metrics) Hashed(waited, took time.Duration, busy bool) {
	if busy {
		m.hashBusy.Inc()
		return
	}
	m.hashWaits.Observe(waited.Seconds())
	m.hashRuns.Observe(took.Seconds())
}

// AuditWritten counts events that the store has kept.
func (m *Metrics) AuditWritten(events int) {
	if m != nil {
		m.auditWritten.Add(float64(events))
	}
}

// AuditLost counts events that the store will never get.
func (m *Metrics) AuditLost(events int) {
	if m != nil {
		m.auditLost.Add(float64(events))
	}
}

// The values of labels. Any other value becomes other, so that no text of a
// request makes a series.
var (
	grantTypes   = []string{"password", "client_credentials", "refresh_token"}
	bearerErrors = []string{"no_token", "invalid_request", "invalid_token", "insufficient_scope", "unavailable"}
	oauthErrors  = []string{
		"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_target",
		"invalid_token", "insufficient_scope", "server_error", "temporarily_unavailable", Throttled,
	}
	causes = []string{
		string(storage.ActRevoke), string(storage.ActReuse), string(storage.ActGrantEnd), string(storage.ActRevocation),
		string(storage.ActPasswordChange), string(storage.ActUserUpdate), string(storage.ActUserPassword), string(storage.ActUserDelete),
		string(storage.ActClientUpdate), string(storage.ActClientSecret), string(storage.ActClientDelete),
	}
)

func known(values []string, value string) string {
	if slices.Contains(values, value) {
		return value
	}
	return other
}
