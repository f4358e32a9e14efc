package redisstore

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// testdata/stored/redis.jsonl has the keys of a store as they were first
// written, one command a line. It is never changed, because every later version
// must find what was stored.
const storedFile = "testdata/stored/redis.jsonl"

var (
	storedAt  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	storedEnd = time.Date(2199, 1, 1, 0, 0, 0, 0, time.UTC) // far ahead, since Redis expires keys by its own clock
)

func storedGrant(n byte, user string) storage.Grant {
	return storage.Grant{
		ID: storage.GrantID{storage.UserPartition(user), n}, Type: storage.Password, UserID: user, Username: "alice", ClientID: "web", Scope: "read", AccessScope: "read",
		Generation: 1, Access: storage.Digest{1, n}, Refresh: storage.Digest{2, n}, Created: storedAt, Issued: storedAt,
		AccessExpiry: storedEnd, RefreshExpiry: storedEnd, End: storedEnd, Address: netip.MustParseAddr("192.0.2.1"), UserAgent: "test",
	}
}

func storedSwap(g storage.Grant) (next storage.Grant, r storage.Retry) {
	next = g
	next.Generation, next.Access, next.Refresh = 2, storage.Digest{3}, storage.Digest{4}
	return next, storage.Retry{Generation: 2, Refresh: g.Refresh, Mix: [16]byte{5}, KeyID: 1, Until: storedEnd}
}

var (
	storedUser    = storage.User{ID: "usr_1", Name: "alice", Created: storedAt, Revision: 1}
	storedClient  = storage.Client{ID: "web", Grants: []string{"password"}, Scopes: []string{"read"}, Created: storedAt, Revision: 1}
	storedKey     = storage.Key{ID: 1, Sealed: []byte("sealed"), Created: storedAt}
	storedReceipt = storage.Receipt{ID: "rev_1", Created: storedAt, By: "admin", Cause: storage.ActRevocation, Revision: 1}
	storedGuesses = storage.GuessKey{6}
)

func openStored(t *testing.T) (*Store, *redis.Client) {
	server := redistest.Single(t)
	s, err := Open(server.URL(), WithClock(func() time.Time { return storedAt }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, server.Client()
}

func TestAStoredRedisIsRead(t *testing.T) {
	ctx := t.Context()
	s, c := openStored(t)
	text, err := os.ReadFile(storedFile)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var command []any
		for i, arg := range unquote(t, line) {
			if i > 0 {
				arg = latin1(arg)
			}
			command = append(command, arg)
		}
		if err := c.Do(ctx, command...).Err(); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	swapped, retry := storedSwap(storedGrant(1, "usr_1"))
	if g, err := s.LoadGrant(ctx, swapped.ID); err != nil || g != swapped {
		t.Errorf("the grant: %+v, %v", g, err)
	}
	if r, err := s.LoadRetry(ctx, swapped.ID); err != nil || r != retry {
		t.Errorf("the retry: %+v, %v", r, err)
	}
	if g, err := s.LoadGrant(ctx, storedGrant(2, "usr_2").ID); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a grant that was revoked: %+v, %v", g, err)
	}
	unswept, err := s.Unswept(ctx)
	want := []storage.Revocation{{Target: storage.Target{UserID: "usr_2", Before: storedAt.Add(time.Hour)}, Epochs: map[byte]uint32{storage.UserPartition("usr_2"): 9}}}
	if d := cmp.Diff(want, unswept); err != nil || d != "" {
		t.Errorf("the floors: %v %s", err, d)
	}
	for _, target := range []storage.Target{{UserID: "usr_1"}, {ClientID: "web"}} {
		if listed, _, err := s.ListGrants(ctx, target, "", 9); err != nil || len(listed) != 1 || listed[0] != swapped {
			t.Errorf("the index of %+v: %+v, %v", target, listed, err)
		}
	}
	user, err1 := s.LoadUser(ctx, "alice")
	users, err2 := s.ListUsers(ctx, "", 9)
	client, err3 := s.LoadClient(ctx, "web")
	keys, err4 := s.ListKeys(ctx)
	receipts, err5 := s.ListReceipts(ctx, "", 9)
	guesses, err6 := s.LoadGuesses(ctx, storedGuesses)
	audit, err7 := s.ListAudit(ctx, storage.AuditQuery{}, 9)
	got := []any{user, users, client, keys, receipts, string(guesses), len(audit.Events), audit.Events[0].Action}
	all := []any{storedUser, []storage.User{storedUser}, storedClient, []storage.Key{storedKey}, []storage.Receipt{storedReceipt}, "guesses", 1, storage.ActSignIn}
	if d := cmp.Diff(all, got); d != "" {
		t.Errorf("%v %s", errors.Join(err1, err2, err3, err4, err5, err6, err7), d)
	}
}

// This version writes the same as the first one did.
func TestAStoreIsWrittenAsItWas(t *testing.T) {
	ctx := t.Context()
	s, c := openStored(t)
	g := storedGrant(1, "usr_1")
	next, retry := storedSwap(g)
	_, err := s.SwapGuesses(ctx, storedGuesses, nil, []byte("guesses"), storedEnd)
	err = errors.Join(err, s.CreateGrant(ctx, g), s.SwapGrant(ctx, g, next, retry), s.CreateUser(ctx, storedUser), s.CreateClient(ctx, storedClient),
		s.CreateKey(ctx, storedKey), s.CreateReceipt(ctx, storedReceipt))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(storedFile)
	if err != nil {
		t.Fatal(err)
	}
	now := restoring(t, c)
	for _, line := range now {
		if !strings.Contains(string(text), line+"\n") {
			t.Errorf("written now: %s", line)
		}
	}
	if len(now) != 12 {
		t.Errorf("%d keys and fields", len(now))
	}
}

// restoring returns commands that restore the keys of the server, each as a JSON array
// of texts in which a character stands for a byte.
func restoring(t *testing.T, c *redis.Client) (lines []string) {
	ctx := t.Context()
	add := func(args ...string) {
		for i := range args {
			args[i] = runes(args[i])
		}
		line, err := json.Marshal(args)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(line))
	}
	for _, key := range c.Keys(ctx, "*").Val() {
		switch kind := c.Type(ctx, key).Val(); kind {
		case "string":
			add("SET", key, c.Get(ctx, key).Val())
		case "hash":
			for field, value := range c.HGetAll(ctx, key).Val() {
				add("HSET", key, field, value)
			}
		case "zset":
			for _, z := range c.ZRangeWithScores(ctx, key, 0, -1).Val() {
				score, _ := json.Marshal(int64(z.Score))
				add("ZADD", key, string(score), z.Member.(string))
			}
		default:
			t.Errorf("%q is a %s", key, kind)
		}
	}
	slices.Sort(lines)
	return lines
}

func unquote(t *testing.T, line string) (args []string) {
	if err := json.Unmarshal([]byte(line), &args); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	return args
}

// runes turns each byte into a character, and latin1 turns each character back
// into a byte.
func runes(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		b.WriteRune(rune(c))
	}
	return b.String()
}

func latin1(s string) string {
	var b []byte
	for _, r := range s {
		b = append(b, byte(r))
	}
	return string(b)
}
