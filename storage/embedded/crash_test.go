package embedded

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

// crashVar holds the path of the store that the test binary, run again as a
// child, writes to until it is killed.
const crashVar = "GRANTD_EMBEDDED_CRASH"

const crashWriters = 8

// newGrant returns a grant of the user at the client "web", good for a day.
func newGrant(userID string, epoch uint32) storage.Grant {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return storage.Grant{
		ID: storage.NewGrantID(userID), Type: storage.Password, UserID: userID, Username: userID, ClientID: "web",
		Scope: "read", AccessScope: "read", Generation: 1, Access: storage.Digest{1}, Refresh: storage.Digest{2},
		Epoch: epoch, Created: now, Issued: now, AccessExpiry: now.Add(time.Hour),
		RefreshExpiry: now.Add(24 * time.Hour), End: now.Add(24 * time.Hour),
	}
}

// successor returns the next generation of the grant.
func successor(g storage.Grant) storage.Grant {
	g.Generation++
	binary.BigEndian.PutUint32(g.Access[:], g.Generation)
	return g
}

// signInForever creates grants, and prints the id of each once the call has
// returned.
func signInForever(path string) {
	s, err := Open(path)
	if err != nil {
		fmt.Println("failed:", err)
		return
	}
	acknowledged := make(chan storage.GrantID)
	for range crashWriters {
		go func() {
			for {
				g := newGrant("alice", 1)
				if err := s.CreateGrant(context.Background(), g); err != nil {
					fmt.Println("failed:", err)
					os.Exit(1)
				}
				acknowledged <- g.ID
			}
		}()
	}
	for id := range acknowledged {
		fmt.Println(id)
	}
}

func TestKilledProcessLosesNothingAcknowledged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grantd.db")
	var acknowledged []storage.GrantID
	for round := range 5 {
		acknowledged = append(acknowledged, killedAfter(t, path, 200+150*round)...)
		s := open(t, path)
		for _, id := range acknowledged {
			if _, err := s.LoadGrant(t.Context(), id); err != nil {
				t.Fatalf("round %d: an acknowledged grant: %v", round, err)
			}
		}
		if kept := rows(t, s, "SELECT count(*) FROM grants"); kept > len(acknowledged)+(round+1)*2*crashWriters {
			t.Errorf("round %d: %d grants for %d acknowledged ones", round, kept, len(acknowledged))
		}
		if n := rows(t, s, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"); n != 1 {
			t.Errorf("round %d: the file is damaged", round)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d acknowledged grants in 5 kills", len(acknowledged))
}

// killedAfter runs a child that creates grants, kills it once it has
// acknowledged n, and returns all that it acknowledged.
func killedAfter(t *testing.T, path string, n int) []storage.GrantID {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), crashVar+"="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var ids []storage.GrantID
	for lines := bufio.NewScanner(out); lines.Scan(); {
		id, err := storage.ParseGrantID(lines.Text())
		if err != nil {
			t.Errorf("the child printed %q", lines.Text())
			break
		}
		if ids = append(ids, id); len(ids) == n {
			child.Process.Kill() // the loop goes on to read what it has printed
		}
	}
	child.Process.Kill()
	if err := child.Wait(); err == nil {
		t.Error("the child ended by itself")
	}
	return ids
}
