package metrics

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/watched"
)

const maxMethods = watched.Methods

// StoreCalled counts a call of the store.
func (m *Metrics) StoreCalled(c watched.Call) {
	m.storeCalls[c.Method].get(func() prometheus.Observer {
		return m.storeDurations.WithLabelValues(c.Method.String())
	}).Observe(c.Took.Seconds())
	if kind := ErrorKind(c.Err); kind != "" {
		m.storeErrors.WithLabelValues(c.Method.String(), kind).Inc()
	}
}

// ErrorKind is the kind of failure that err of a store is, in a word: "" for none.
// That a record isn't there, or is there already, is an answer. A caller that went
// away has a kind of its own, since the store did nothing wrong.
func ErrorKind(err error) string {
	switch {
	case err == nil, errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrExists):
		return ""
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, storage.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, storage.ErrConflict):
		return "conflict"
	case errors.Is(err, storage.ErrRevoked):
		return "revoked"
	}
	return other
}
