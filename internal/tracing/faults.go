package tracing

import (
	"log/slog"
	"sync"
	"time"
)

// faultsEvery is the least time between two faults in the log.
const faultsEvery = time.Minute

// faults logs faults of the background work, but only one of many: a collector
// that is gone causes one every few seconds.
type faults struct {
	log *slog.Logger

	mu      sync.Mutex
	told    time.Time
	omitted int // since then
}

// Handle implements otel.ErrorHandler.
func (f *faults) Handle(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.told) < faultsEvery {
		f.omitted++
		return
	}
	f.told = time.Now()
	f.log.Warn("traces can't be sent", "error", cut(err.Error()), "omitted", f.omitted)
	f.omitted = 0
}

// cut cuts a text that may come from a collector.
func cut(s string) string {
	const longest = 300
	if len(s) > longest {
		s = s[:longest]
	}
	return s
}
