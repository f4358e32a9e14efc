package resource_test

import (
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
)

// newStore returns an empty store in memory.
func newStore(t testing.TB, now func() time.Time) storage.Store {
	t.Helper()
	s, err := embedded.Open(embedded.Memory, embedded.WithClock(now))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
