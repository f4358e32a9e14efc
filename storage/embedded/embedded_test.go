package embedded

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/grantd/grantd/storage/storagetest"
	"github.com/grantd/grantd/storage/watched"
)

func TestMain(m *testing.M) {
	if os.Getenv(crashVar) != "" {
		signInForever(os.Getenv(crashVar))
		return
	}
	if os.Getenv(swapVar) != "" {
		swapOften(os.Getenv(swapVar))
		return
	}
	goleak.VerifyTestMain(m)
}

// open opens the store at path for the test.
func open(t testing.TB, path string, opts ...Option) *Store {
	t.Helper()
	s, err := Open(path, opts...)
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

// rows returns the count that the query selects, past the store's interface.
func rows(t testing.TB, s *Store, query string) int {
	t.Helper()
	var n int
	err := s.read(t.Context(), func(c *conn) error { return orNotFound(c.row(query, nil, &n)) })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func fixture(t *testing.T, path string) storagetest.Fixture {
	clock := storagetest.NewClock()
	s := open(t, path, WithClock(clock.Now))
	return storagetest.Fixture{
		Store: s, Now: clock.Now, Advance: clock.Advance,
		Residue: func() int {
			if _, err := s.Clean(t.Context()); err != nil {
				t.Error(err)
			}
			return rows(t, s, "SELECT count(*) + count(retry) + (SELECT count(*) FROM guesses) FROM grants")
		},
		Break: func() { s.Close() },
	}
}

func TestContractOnFile(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storagetest.Fixture {
		return fixture(t, filepath.Join(t.TempDir(), "grantd.db"))
	})
}

func TestContractInMemory(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storagetest.Fixture { return fixture(t, Memory) })
}

// A watched store keeps the whole contract.
func TestContractWatched(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storagetest.Fixture {
		f := fixture(t, Memory)
		f.Store = watched.Watch(f.Store, func(context.Context, watched.Call) {})
		return f
	})
}
