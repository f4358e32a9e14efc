package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// other is the value of a label for all values that aren't known beforehand.
const other = "other"

// Requests counts the requests of a listener. It is safe for concurrent use; a
// nil Requests counts nothing.
type Requests struct {
	routes  map[string]*route // by pattern; doesn't change
	unknown *route
}

// Requests returns the counter for a listener with those patterns.
func (m *Metrics) Requests(patterns []string) *Requests {
	q := &Requests{routes: make(map[string]*route, len(patterns)), unknown: m.route(other)}
	for _, p := range patterns {
		q.routes[p] = m.route(p)
	}
	return q
}

// Answered counts a request, by the pattern of the route that answered it.
// Methods that net/http has no constant for count as one.
func (q *Requests) Answered(pattern, method string, status int, took time.Duration) {
	if q == nil {
		return
	}
	r, known := q.routes[pattern]
	if !known {
		r = q.unknown
	}
	r.count(method, status)
	r.time(took)
}

// The methods and statuses that have a series of their own.
var (
	methods = [...]string{
		http.MethodGet, http.MethodPost, http.MethodHead, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodOptions, http.MethodTrace, http.MethodConnect, "OTHER",
	}
	statuses = [...]int{200, 400, 401, 201, 202, 204, 206, 302, 303, 304, 403, 404, 405, 409, 412, 413, 415, 428, 429, 431, 499, 500, 501, 503, 504, 0}
)

// route holds the metrics of one route.
type route struct {
	metrics  *Metrics
	name     string
	answers  [len(methods)][len(statuses)]lazy[prometheus.Counter]
	duration lazy[prometheus.Observer]
}

func (m *Metrics) route(name string) *route { return &route{metrics: m, name: name} }

func (r *route) count(method string, status int) {
	i, j := 0, 0
	for i < len(methods)-1 && methods[i] != method {
		i++
	}
	for j < len(statuses)-1 && statuses[j] != status {
		j++
	}
	r.answers[i][j].get(func() prometheus.Counter {
		label := other
		if statuses[j] != 0 {
			label = strconv.Itoa(statuses[j])
		}
		return r.metrics.requests.WithLabelValues(r.name, methods[i], label)
	}).Inc()
}

func (r *route) time(took time.Duration) {
	r.duration.get(func() prometheus.Observer {
		return r.metrics.durations.WithLabelValues(r.name)
	}).Observe(took.Seconds())
}
