package embedded

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

// Guesses needn't be on disk at once; everything else must.
func TestOnlyGuessesDoNotWaitForTheDisk(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "grantd.db"))
	const normal, full = 1, 2
	want := func(what string, level int) {
		t.Helper()
		c := <-s.writers
		defer func() { s.writers <- c }()
		var got int
		if _, err := c.row("SELECT synchronous FROM pragma_synchronous", nil, &got); err != nil || got != level {
			t.Errorf("%s: synchronous is %d, %v; want %d", what, got, err, level)
		}
	}
	var record []byte
	for i := range 3 {
		var err error
		if record, err = s.SwapGuesses(t.Context(), storage.GuessKey{1}, record, []byte{byte(i)}, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		want("guesses", normal)
		if _, err := s.Revoke(t.Context(), storage.Target{UserID: "alice"}); err != nil {
			t.Fatal(err)
		}
		want("a revocation", full)
	}
}
