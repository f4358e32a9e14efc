package embedded

import (
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/storage"
)

// version1 makes a file as a grantd of schema 1 left it: four grants of alice,
// created an hour apart from the first of November on; one grant of bob that a
// revocation ended but no sweep deleted; and one grant of bob after that.
func version1(t *testing.T, more ...string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "grantd.db")
	script, err := os.ReadFile("testdata/version1.sql")
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, statements := range append([]string{string(script)}, more...) {
		if _, err := db.Exec(statements); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

var (
	version1Began = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	laterOn       = WithClock(func() time.Time { return version1Began.Add(10 * time.Hour) })
)

func version1ID(i int) storage.GrantID {
	sum := sha256.Sum256([]byte(fmt.Sprint("grant ", i)))
	return storage.GrantID(sum[:16])
}

// living returns the numbers of the six grants that load.
func living(t *testing.T, s *Store) (living []int) {
	t.Helper()
	for i := range 6 {
		g, err := s.LoadGrant(t.Context(), version1ID(i))
		switch {
		case err == nil && g.Created.Equal(version1Began.Add(time.Duration(i)*time.Hour)):
			living = append(living, i)
		case !errors.Is(err, storage.ErrNotFound):
			t.Errorf("grant %d: %+v, %v", i, g, err)
		}
	}
	return living
}

func TestAFileOfVersion1IsBroughtUpToDate(t *testing.T) {
	ctx, path := t.Context(), version1(t)
	for range 2 { // in the second round there is nothing to do
		s := open(t, path, laterOn)
		if d := cmp.Diff([]int{0, 1, 2, 3, 5}, living(t, s)); d != "" {
			t.Errorf("grants that live (-want +got):\n%s", d)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, path, laterOn)
	unswept, err := s.Unswept(ctx)
	if d := cmp.Diff([]storage.Revocation{{Target: storage.Target{UserID: "bob"}, Epochs: map[byte]uint32{0: 2}}}, unswept); err != nil || d != "" {
		t.Errorf("unswept: %v (-want +got):\n%s", err, d)
	}
	r, err := s.Revoke(ctx, storage.Target{UserID: "alice", Before: version1Began.Add(2 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if d := cmp.Diff([]int{2, 3, 5}, living(t, s)); d != "" {
			t.Errorf("grants that live after a revocation of the older ones (-want +got):\n%s", d)
		}
		if _, err := s.Sweep(ctx, r, nil); err != nil {
			t.Fatal(err)
		}
	}
	user, err := s.LoadUser(ctx, "alice")
	keys, err2 := s.ListKeys(ctx)
	if err := errors.Join(err, err2); err != nil || user.Revision != 1 || len(keys) != 1 {
		t.Errorf("user %+v, keys %+v, %v", user, keys, err)
	}
}

// A damaged record doesn't keep the others from being migrated, and counts as
// old.
func TestAVersion1RecordThatCanNotBeReadIsOld(t *testing.T) {
	id := version1ID(3)
	s := open(t, version1(t, fmt.Sprintf(`UPDATE grants SET record = X'00' WHERE id = X'%x'`, id[:])), laterOn)
	if _, err := s.LoadGrant(t.Context(), id); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("the damaged one: %v", err)
	}
	if _, err := s.Revoke(t.Context(), storage.Target{All: true, Before: version1Began}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]int{0, 1, 2, 5}, living(t, s)); d != "" {
		t.Errorf("grants that live (-want +got):\n%s", d)
	}
}

func TestMoreGrantsThanABatchAreBroughtUpToDate(t *testing.T) {
	const copies = 2*batch + 1
	s := open(t, version1(t, fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < %d)
		INSERT INTO grants SELECT randomblob(16), user_id, client_id, epoch, generation, ends_at, expires_at, record, NULL, NULL
		FROM grants, n WHERE user_id = 'bob' AND epoch = 2`, copies)), laterOn)
	if n := rows(t, s, "SELECT count(*) FROM grants WHERE created_at = 0"); n != 0 {
		t.Errorf("%d grants without the time of their creation", n)
	}
	if n := rows(t, s, "SELECT count(*) FROM grants"); n != 6+copies {
		t.Errorf("%d grants, want %d", n, 6+copies)
	}
}
