package embedded

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grantd/grantd/storage"
)

// A record of a newer version is unavailable: neither accepted nor said to be
// gone.
func TestRecordsOfANewerVersionAreUnavailable(t *testing.T) {
	ctx := t.Context()
	s := open(t, filepath.Join(t.TempDir(), "grantd.db"))
	g := newGrant("alice", 1)
	next := successor(g)
	r := storage.Retry{Generation: 2, Until: g.End}
	err := errors.Join(s.CreateGrant(ctx, g), s.SwapGrant(ctx, g, next, r),
		s.CreateUser(ctx, storage.User{Name: "alice"}), s.CreateClient(ctx, storage.Client{ID: "web"}), s.CreateKey(ctx, storage.Key{ID: 1}),
		s.CreateReceipt(ctx, storage.Receipt{ID: "rev_1"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		`UPDATE grants SET record = X'02' || substr(record, 2), retry = X'02' || substr(retry, 2)`,
		`UPDATE users SET record = json_set(record, '$.until', 1)`, `UPDATE clients SET record = json_set(record, '$.until', 1)`,
		`UPDATE keys SET record = json_set(record, '$.until', 1)`, `UPDATE receipts SET record = json_set(record, '$.target.until', 1)`,
	} {
		if err := s.write(ctx, func(c *conn) error { _, err := c.exec(statement); return err }); err != nil {
			t.Fatal(err)
		}
	}
	for name, call := range map[string]func() error{
		"LoadGrant":    func() error { _, err := s.LoadGrant(ctx, g.ID); return err },
		"LoadRetry":    func() error { _, err := s.LoadRetry(ctx, g.ID); return err },
		"ListGrants":   func() error { _, _, err := s.ListGrants(ctx, storage.Target{UserID: "alice"}, "", 9); return err },
		"LoadUser":     func() error { _, err := s.LoadUser(ctx, "alice"); return err },
		"ListUsers":    func() error { _, err := s.ListUsers(ctx, "", 9); return err },
		"LoadClient":   func() error { _, err := s.LoadClient(ctx, "web"); return err },
		"ListKeys":     func() error { _, err := s.ListKeys(ctx); return err },
		"LoadReceipt":  func() error { _, err := s.LoadReceipt(ctx, "rev_1"); return err },
		"ListReceipts": func() error { _, err := s.ListReceipts(ctx, "", 9); return err },
	} {
		if err := call(); !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The grant can be ended all the same.
	if _, err := s.Revoke(ctx, storage.Target{UserID: "alice"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.LoadGrant(ctx, g.ID); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("the grant after its revocation: %v", err)
	}
}

// When a newer process changes the tables under a running one, every call of
// the running one fails, and says why.
func TestAProcessWhoseFileANewerOneChangedIsUnavailable(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "grantd.db")
	s := open(t, path)
	g := newGrant("alice", 1)
	if err := s.CreateGrant(ctx, g); err != nil {
		t.Fatal(err)
	}
	next := successor(g)
	calls := map[string]func() error{
		"LoadGrant":   func() error { _, err := s.LoadGrant(ctx, g.ID); return err },
		"ListGrants":  func() error { _, _, err := s.ListGrants(ctx, storage.Target{UserID: "alice"}, "", 9); return err },
		"Ping":        func() error { return s.Ping(ctx) },
		"CreateGrant": func() error { return s.CreateGrant(ctx, newGrant("alice", 1)) },
		"SwapGrant":   func() error { return s.SwapGrant(ctx, g, next, storage.Retry{}) },
		"CreateUser":  func() error { return s.CreateUser(ctx, storage.User{Name: "alice"}) },
		"Revoke":      func() error { _, err := s.Revoke(ctx, storage.Target{UserID: "bob"}); return err },
		"DeleteGrant": func() error { return s.DeleteGrant(ctx, g.ID) },
	}
	for _, name := range []string{"LoadGrant", "ListGrants", "Ping"} { // so that their statements are prepared
		if err := calls[name](); err != nil {
			t.Fatal(err)
		}
	}
	newer(t, path)
	for name, call := range calls {
		if err := call(); !errors.Is(err, errOutdated) || !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := rows(t, s, "SELECT count(*) FROM grants WHERE generation = 1"); n != 1 {
		t.Errorf("%d grants: the old process wrote", n)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "a newer grantd wrote it") {
		t.Errorf("opened again: %v", err)
	}
}

// newer changes the file as a version with one more step of migration would.
func newer(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	now := len(steps)
	_, err = db.Exec(fmt.Sprintf(`BEGIN IMMEDIATE; DROP TABLE schema_%d; CREATE TABLE schema_%d (mark INTEGER PRIMARY KEY); PRAGMA user_version = %d; COMMIT`, now, now+1, now+1))
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheMarkIsThatOfTheSchema(t *testing.T) {
	if want := fmt.Sprintf("schema_%d ", len(steps)); !strings.Contains(marked, want) {
		t.Errorf("statements ask for %q, and the file has %q", marked, want)
	}
}
