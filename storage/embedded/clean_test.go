package embedded

import (
	"database/sql"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheStoreCleansItselfEveryMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Memory)
		if err := s.CreateGrant(t.Context(), newGrant("alice", 1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24*time.Hour - time.Second)
		if n := rows(t, s, "SELECT count(*) FROM grants"); n != 1 {
			t.Errorf("before its expiry there are %d rows of the grant", n)
		}
		time.Sleep(time.Second + cleanEvery)
		synctest.Wait()
		if n := rows(t, s, "SELECT count(*) FROM grants"); n != 0 {
			t.Errorf("a minute after its expiry there are %d rows of the grant", n)
		}
	})
}

// The cost of a request must not grow with the size of the store, so no
// statement may read a whole table or index.
func TestNoStatementScansATable(t *testing.T) {
	s := open(t, Memory)
	for name, query := range map[string]string{
		"create":       insertGrant,
		"load":         loadGrant,
		"swap":         swapGrant,
		"retry":        loadRetry,
		"list user":    lists[kindUser],
		"list client":  lists[kindClient],
		"walk all":     walks[kindAll],
		"walk user":    walks[kindUser],
		"walk client":  walks[kindClient],
		"end user":     ends[kindUser],
		"end client":   ends[kindClient],
		"count user":   counts[kindUser],
		"count client": counts[kindClient],
		"clean grants": deleteExpired,
		"clean retry":  eraseRetries,
		"user":         users.load,
		"users":        users.list,
		"update":       users.update,
	} {
		query = regexp.MustCompile(`\?\d?`).ReplaceAllString(query, "NULL")
		err := s.read(t.Context(), func(c *conn) error {
			return c.each("EXPLAIN QUERY PLAN "+query, nil, func(rows *sql.Rows) error {
				var id, parent, unused int
				var step string
				if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
					return err
				}
				if strings.Contains(step, "SCAN") && !strings.Contains(step, "epochs") && !strings.Contains(step, "CONSTANT") || strings.Contains(step, "TEMP B-TREE") {
					t.Errorf("%s: %s", name, step)
				}
				return nil
			})
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
