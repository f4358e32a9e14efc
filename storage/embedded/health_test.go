package embedded

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

const tolerable = time.Second // for an answer when the disk never finishes

// While a write hangs, as on a stalled disk, the writes behind it fail in time,
// and later ones at once. Reads go on.
func TestAStalledWriteIsUnavailableWithinASecond(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "grantd.db"))
	g := newGrant("alice", 1)
	if err := s.CreateGrant(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	stalled, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	fails := func(call func() error, within time.Duration) {
		t.Helper()
		began := time.Now()
		if err := call(); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%v, want ErrUnavailable", err)
		}
		if took := time.Since(began); took > within {
			t.Errorf("took %v", took)
		}
	}
	wg.Go(func() {
		fails(func() error {
			return s.write(context.Background(), func(*conn) error { close(stalled); <-release; return nil })
		}, tolerable)
	})
	<-stalled
	create := func() error { return s.CreateGrant(context.Background(), newGrant("alice", 1)) }
	for range 50 {
		wg.Go(func() { fails(create, tolerable) })
	}
	wg.Wait()
	fails(create, callTimeout/4)
	if _, err := s.LoadGrant(t.Context(), g.ID); err != nil {
		t.Errorf("load: %v", err)
	}
	if got := s.Health(t.Context()); got != (storage.Health{State: storage.Refusing, Open: true}) {
		t.Errorf("health %+v", got)
	}
	close(release)
	for deadline := time.Now().Add(tolerable); ; {
		err := create()
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not recovered: %v", err)
		}
		time.Sleep(time.Millisecond)
	}
	if got := s.Health(t.Context()); got != (storage.Health{State: storage.Healthy}) {
		t.Errorf("health %+v when it is over", got)
	}
}

// When all readers are busy a call fails in time, though it has no deadline of
// its own.
func TestBusyReadersAreUnavailableWithinASecond(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "grantd.db"))
	var lent []*conn
	for range cap(s.readers) {
		lent = append(lent, <-s.readers)
	}
	began := time.Now()
	if _, err := s.LoadGrant(context.Background(), newGrant("alice", 1).ID); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	if took := time.Since(began); took > tolerable {
		t.Errorf("took %v", took)
	}
	for _, c := range lent {
		s.readers <- c
	}
	if _, err := s.LoadGrant(t.Context(), newGrant("alice", 1).ID); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("when they are free again: %v", err)
	}
}

func TestHealthTellsOfAFullFile(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "grantd.db"))
	g := newGrant("alice", 1)
	if err := s.CreateGrant(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	c := <-s.writers
	_, err := c.exec("PRAGMA max_page_count = 1") // the file can't grow any more
	s.writers <- c
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if err = s.CreateGrant(t.Context(), newGrant("alice", 1)); err != nil {
			break
		}
	}
	if !errors.Is(err, storage.ErrUnavailable) {
		t.Fatalf("create: %v", err)
	}
	if got := s.Health(t.Context()); got != (storage.Health{State: storage.Full}) {
		t.Errorf("health %+v", got)
	}
	if err := s.DeleteGrant(t.Context(), g.ID); err != nil {
		t.Errorf("delete: %v", err)
	}
	if got := s.Health(t.Context()); got != (storage.Health{State: storage.Healthy}) {
		t.Errorf("health %+v after a write", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := s.Health(t.Context()); got.State != storage.Down {
		t.Errorf("health %+v of a closed store", got)
	}
}
