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

// ErrorKind returns the kind of failure of a store's err in one word, or "" for
// none. A record that doesn't exist, or exists already, is no failure. A caller
// that hung up is a kind of its own, since the store did nothing wrong.
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

// storeState is a gauge for each state of a store: 1 for the current state, 0
// for the others. They all come from one call, so that no scrape has two
// states, or none.
type storeState struct{ look func() storage.HealthState }

// storeStates are the values of the label state, from best to worst.
var storeStates = []storage.HealthState{storage.Healthy, storage.Evicting, storage.Full, storage.Refusing, storage.Partial, storage.ReadOnly, storage.Down}

var storeStateDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, "", "store_state"),
	"1 for the state that the store is in, as GET /readyz has it, 0 for the others.",
	[]string{"state"}, nil)

// Describe implements prometheus.Collector.
func (storeState) Describe(to chan<- *prometheus.Desc) { to <- storeStateDesc }

// Collect implements prometheus.Collector.
func (s storeState) Collect(to chan<- prometheus.Metric) {
	now := s.look()
	for _, state := range storeStates {
		to <- prometheus.MustNewConstMetric(storeStateDesc, prometheus.GaugeValue, truth(state == now), string(state))
	}
}
