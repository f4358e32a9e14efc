// Package metrics counts what a process does, for Prometheus. Start reading at
// [New].
//
// Labels have few values, all known beforehand: patterns of routes, names of
// methods, codes of errors. No label tells who or what a request is about. The
// code that every request runs allocates nothing and takes no lock.
package metrics

import (
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/grantd/grantd/storage"
)

// Metrics are the metrics of one process. It is safe for concurrent use. The
// methods for the audit may be called on a nil Metrics, and then count nothing.
type Metrics struct {
	registry *prometheus.Registry

	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec

	storeDurations *prometheus.HistogramVec
	storeErrors    *prometheus.CounterVec
	storeCalls     [maxMethods]lazy[prometheus.Observer]

	issued      *prometheus.CounterVec
	refreshes   *prometheus.CounterVec
	revocations *prometheus.CounterVec
	refused     *prometheus.CounterVec
	bearers     *prometheus.CounterVec
	throttle    *prometheus.CounterVec

	hashRuns  prometheus.Histogram
	hashWaits prometheus.Histogram
	hashBusy  prometheus.Counter

	auditWritten, auditLost prometheus.Counter
}

// Process has the values that the metrics ask for when they are scraped.
type Process struct {
	Version string

	// StoreUp reports whether the store answers. Ready reports whether requests
	// should be sent here.
	StoreUp, Ready func() bool

	// StoreState returns how much of its work the store can do.
	StoreState func() storage.HealthState

	// Hashing returns how many passwords are being hashed, and how many wait.
	Hashing func() (running, waiting int)

	// AuditWaiting returns how many events wait to be written.
	AuditWaiting func() int

	// CertificateEnd returns the end of the certificate in use; nil without TLS.
	CertificateEnd func() time.Time
}

// The histograms' buckets, in seconds. A request that hashes takes tens of
// milliseconds, any other a few at most.
var (
	requestBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	storeBuckets   = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}
	hashBuckets    = []float64{.0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}
)

// New returns the metrics of the process, with all of them registered.
func New(p Process) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.requests = m.counters("requests_total", "Requests that were answered.", "route", "method", "status")
	m.durations = m.histograms("request_duration_seconds", "How long answering took.", requestBuckets, "route")
	m.storeDurations = m.histograms("store_call_duration_seconds", "How long calls of the store took.", storeBuckets, "operation")
	m.storeErrors = m.counters("store_errors_total", "Calls of the store that failed. That there is no such record is no failure.", "operation", "kind")
	m.issued = m.counters("grants_issued_total", "Grants that were issued: sign-ins of users and of clients.", "grant_type")
	m.refreshes = m.counters("refreshes_total", "Refresh tokens that were presented by their client: rotated, retried (the same answer again), reused (which ended the grant) or refused.", "result")
	m.revocations = m.counters("revocations_total", "Revocations, of one grant or of many, by the act that caused them.", "cause")
	m.refused = m.counters("oauth_refused_total", "Requests that the authorization server refused, by grant type (other: none, or before it was known) and error.", "grant_type", "error")
	m.bearers = m.counters("bearer_refused_total", "Requests that were refused because of their bearer token.", "error")
	m.throttle = m.counters("throttle_changes_total", "How often guesses began to be refused (on), and how often an admin lifted that (off).", "change")
	m.hashRuns = m.histogram("password_hash_duration_seconds", "How long hashing or verifying a password took, without the wait for it.")
	m.hashWaits = m.histogram("password_hash_wait_seconds", "How long a password waited to be hashed or verified.")
	m.hashBusy = m.counter("password_hash_busy_total", "Passwords that weren't looked at because too many were waiting, or waited too long.")
	m.auditWritten = m.counter("audit_events_written_total", "Audit events that the store took.")
	m.auditLost = m.counter("audit_events_lost_total", "Audit events that aren't in the store.")
	m.begin()
	m.ask(p)
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// begin makes the series of rare events begin at 0. An increase shows only
// between two scrapes, so otherwise nobody would see the first event.
func (m *Metrics) begin() {
	for _, result := range []string{Rotated, Retried, Reused, Refused} {
		m.refreshes.WithLabelValues(result)
	}
	for _, change := range []string{"on", "off"} {
		m.throttle.WithLabelValues(change)
	}
	for _, cause := range causes {
		m.revocations.WithLabelValues(cause)
	}
}

// ask registers the metrics that are asked for at each scrape.
func (m *Metrics) ask(p Process) {
	running := func() float64 { n, _ := p.Hashing(); return float64(n) }
	waiting := func() float64 { _, n := p.Hashing(); return float64(n) }
	m.gauge("store_up", "1 when the store answers.", func() float64 { return truth(p.StoreUp()) })
	m.registry.MustRegister(storeState{p.StoreState})
	m.gauge("ready", "1 when requests should be sent here, as GET /readyz has it.", func() float64 { return truth(p.Ready()) })
	m.gauge("password_hash_running", "Passwords that are being hashed or verified.", running)
	m.gauge("password_hash_waiting", "Passwords that wait for that.", waiting)
	m.gauge("audit_events_waiting", "Audit events that nobody has looked at yet.", func() float64 { return float64(p.AuditWaiting()) })
	if p.CertificateEnd != nil {
		m.gauge("tls_certificate_not_after_seconds", "When the certificate in use ceases to be valid, in seconds since 1970.",
			func() float64 { return float64(p.CertificateEnd().Unix()) })
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": p.Version, "go_version": runtime.Version()},
	})
	info.Set(1)
	m.registry.MustRegister(info)
}

// Handler answers GET /metrics in the text format of Prometheus.
func (m *Metrics) Handler() http.Handler {
	scrape := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Pragma", "no-cache")
		h.Set("X-Content-Type-Options", "nosniff")
		scrape.ServeHTTP(w, r)
	})
}

const namespace = "grantd"

func (m *Metrics) counters(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.registry.MustRegister(v)
	return v
}

func (m *Metrics) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
	m.registry.MustRegister(v)
	return v
}

// histogram makes a histogram for hashes.
func (m *Metrics) histogram(name, help string) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: hashBuckets})
	m.registry.MustRegister(h)
	return h
}

func (m *Metrics) gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, value))
}

func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// lazy is a metric with its labels, which is looked up only once. An unused
// series doesn't exist, and a used one costs one atomic load.
type lazy[T any] struct{ found atomic.Pointer[T] }

func (l *lazy[T]) get(look func() T) T {
	if found := l.found.Load(); found != nil {
		return *found
	}
	value := look() // concurrent calls get the same value
	l.found.Store(&value)
	return value
}
