package redisstore

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
	"github.com/grantd/grantd/storage/redisstore/redistest"
)

func TestEveryStepOfAGrantIsOneRoundTrip(t *testing.T) {
	server := redistest.Single(t)
	s, clock := open(t, server.URL())
	count := &trips{}
	s.client.AddHook(count)
	var g, successor storage.Grant
	steps := []struct {
		name string
		run  func() error
	}{
		{"create", func() error { return s.CreateGrant(t.Context(), g) }},
		{"epoch once known", func() error {
			_, err := s.Epoch(t.Context(), g.ID)
			count.n.Add(1) // stands for its round trip, since it makes none
			return err
		}},
		{"load", func() error { _, err := s.LoadGrant(t.Context(), g.ID); return err }},
		{"swap", func() error { return s.SwapGrant(t.Context(), g, successor, retry(successor)) }},
		{"load retry", func() error { _, err := s.LoadRetry(t.Context(), g.ID); return err }},
		{"revoke a user", func() error { _, err := s.Revoke(t.Context(), storage.Target{UserID: "u2"}); return err }},
	}
	for round := range 2 { // the first round connects and loads the scripts
		g = newGrant(clock.Now(), "u1", time.Hour)
		successor = next(g)
		if _, err := s.Epoch(t.Context(), g.ID); err != nil {
			t.Fatal(err)
		}
		for _, step := range steps {
			count.n.Store(0)
			if err := step.run(); err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
			if n := count.n.Load(); round > 0 && n != 1 {
				t.Errorf("%s: %d round trips, want 1", step.name, n)
			}
		}
	}
}

// go-redis repeats a script whose reply was lost. The repetition must succeed
// and change nothing.
func TestARepeatedWriteSucceedsAndChangesNothing(t *testing.T) {
	server := redistest.Single(t)
	s, clock := open(t, server.URL())
	ctx := t.Context()
	g := newGrant(clock.Now(), "u1", time.Hour)
	successor := next(g)
	for _, write := range []struct {
		name string
		run  func() error
	}{
		{"create", func() error { return s.CreateGrant(ctx, g) }},
		{"swap", func() error { return s.SwapGrant(ctx, g, successor, retry(successor)) }},
		{"delete", func() error { return s.DeleteGrant(ctx, g.ID) }},
	} {
		var dumps []map[string]string
		for range 2 {
			if err := write.run(); err != nil {
				t.Fatalf("%s: %v", write.name, err)
			}
			dumps = append(dumps, dump(t, server.Client()))
		}
		if len(dumps[0]) != len(dumps[1]) {
			t.Errorf("%s: %d keys after the first, %d after the second", write.name, len(dumps[0]), len(dumps[1]))
		}
		for key, value := range dumps[0] {
			if strings.Contains(key, "}r") {
				continue // retry makes a different random value each time
			}
			if dumps[1][key] != value {
				t.Errorf("%s: the second run changed %q", write.name, key)
			}
		}
	}
}

// dump returns DUMP's serialisation of every value, by key.
func dump(t testing.TB, c *redis.Client) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, key := range c.Keys(t.Context(), "*").Val() {
		value, err := c.Dump(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		all[key] = value
	}
	return all
}

func TestARepeatedCreationSucceedsThoughTheEpochWasRaisedSince(t *testing.T) {
	s, clock := open(t, redistest.Single(t).URL())
	g := mustCreate(t, s, newGrant(clock.Now(), "u1", time.Hour))
	if _, err := s.Revoke(t.Context(), storage.Target{UserID: "u1"}); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateGrant(t.Context(), g); err != nil {
		t.Errorf("repeated creation: %v", err)
	}
	if _, err := s.LoadGrant(t.Context(), g.ID); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("the repeated creation brought a revoked grant back: %v", err)
	}
}

// RFC 6749 sections 10.3 and 10.4: tokens must be confidential in storage.
func TestADumpHoldsNothingThatCanBePresented(t *testing.T) {
	server := redistest.Single(t)
	s, clock := open(t, server.URL())
	keys, err := opaque.NewKeyring(opaque.NewKey(1))
	if err != nil {
		t.Fatal(err)
	}
	var tokens []string
	mint := func(g *storage.Grant) {
		access, accessDigest := keys.Mint(opaque.Access, g.ID, g.Generation)
		refresh, refreshDigest := keys.Mint(opaque.Refresh, g.ID, g.Generation)
		g.Access, g.Refresh = accessDigest, refreshDigest
		tokens = append(tokens, access, refresh)
	}
	for range 20 {
		g := newGrant(clock.Now(), userID(), time.Hour)
		mint(&g)
		g = mustCreate(t, s, g)
		successor := next(g)
		mint(&successor)
		if err := s.SwapGrant(t.Context(), g, successor, retry(successor)); err != nil {
			t.Fatal(err)
		}
	}

	var everything strings.Builder
	for _, key := range server.Client().Keys(t.Context(), "*").Val() {
		everything.WriteString(key + "\n")
		values := append(
			server.Client().ZRange(t.Context(), key, 0, -1).Val(),
			server.Client().Get(t.Context(), key).Val())
		everything.WriteString(strings.Join(values, "\n"))
	}
	text := everything.String()
	for _, token := range tokens {
		raw, err := base64.RawURLEncoding.DecodeString(token[len("gat_"):])
		if err != nil {
			t.Fatal(err)
		}
		secret := string(raw[21:45])
		for _, form := range []string{
			token, token[len("gat_"):], secret, hex.EncodeToString([]byte(secret)),
			base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)),
			secret[:8], secret[16:],
		} {
			if strings.Contains(text, form) {
				t.Fatalf("the dump holds %q of a token", form)
			}
		}
	}
	if !strings.Contains(text, "demo") {
		t.Error("the dump lacks what it should have: the test looks in the wrong place")
	}
}

func TestIndexesReturnToZero(t *testing.T) {
	server := redistest.Single(t)
	for name, end := range map[string]func(*testing.T, *Store, []storage.Grant){
		"when grants expire": func(t *testing.T, _ *Store, _ []storage.Grant) {
			time.Sleep(1100 * time.Millisecond)
		},
		"when grants are deleted": func(t *testing.T, s *Store, grants []storage.Grant) {
			for _, g := range grants {
				if err := s.DeleteGrant(t.Context(), g.ID); err != nil {
					t.Fatal(err)
				}
			}
		},
		"when users are swept": func(t *testing.T, s *Store, grants []storage.Grant) {
			for _, g := range grants {
				revokeAndSweep(t, s, storage.Target{UserID: g.UserID})
			}
		},
		"when clients are swept": func(t *testing.T, s *Store, grants []storage.Grant) {
			revokeAndSweep(t, s, storage.Target{ClientID: "demo"})
		},
		"when all are swept": func(t *testing.T, s *Store, _ []storage.Grant) {
			revokeAndSweep(t, s, storage.Target{All: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			server.Flush()
			s, clock := open(t, server.URL())
			var grants []storage.Grant
			for range 10 {
				g := mustCreate(t, s, newGrant(clock.Now(), userID(), time.Second))
				successor := next(g)
				if err := s.SwapGrant(t.Context(), g, successor, storage.Retry{Until: g.End}); err != nil {
					t.Fatal(err)
				}
				grants = append(grants, successor)
			}
			if n := len(keysButFloors(t, server.Client())); n < 3*len(grants) {
				t.Fatalf("%d keys for %d grants", n, len(grants))
			}
			end(t, s, grants)
			if left := keysButFloors(t, server.Client()); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

func revokeAndSweep(t testing.TB, s *Store, target storage.Target) int {
	t.Helper()
	r, err := s.Revoke(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	swept, err := s.Sweep(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return swept.Grants
}

// An index lives as long as its longest grant, whichever grant came last: a
// sweep that finds no index deletes the floor.
func TestAnIndexOutlivesAShortGrant(t *testing.T) {
	s, clock := open(t, redistest.Single(t).URL())
	long := mustCreate(t, s, newGrant(clock.Now(), userID(), 30*24*time.Hour))
	mustCreate(t, s, newGrant(clock.Now(), long.UserID, time.Hour))
	for _, key := range indexKeys(long) {
		if at := s.client.PExpireTime(t.Context(), key).Val(); at != time.Duration(long.End.UnixMilli())*time.Millisecond {
			t.Errorf("%s ends at %v, want %v", key, at, long.End)
		}
	}
}

func TestIndexesAreTrimmedOnWrite(t *testing.T) {
	server := redistest.Single(t)
	s, clock := open(t, server.URL())
	old := mustCreate(t, s, newGrant(clock.Now(), "u1", time.Minute))
	index := indexKeys(old)[0]

	clock.Advance(time.Minute + trimSlack - time.Second)
	mustCreate(t, s, newGrant(clock.Now(), "u1", time.Hour))
	if n := server.Client().ZCard(t.Context(), index).Val(); n != 2 {
		t.Errorf("%d entries within the slack, want 2", n)
	}
	clock.Advance(2 * time.Second)
	mustCreate(t, s, newGrant(clock.Now(), "u1", time.Hour))
	if n := server.Client().ZCard(t.Context(), index).Val(); n != 2 {
		t.Errorf("%d entries after the slack, want 2", n)
	}
}

func TestAGrantTakesAtMost300BytesOfRedis(t *testing.T) {
	server := redistest.Single(t)
	s, clock := open(t, server.URL())
	const count = 20_000
	p := server.Client().Pipeline()
	before := info(t, server.Client(), "memory", "used_memory")
	for range count {
		g := newGrant(clock.Now(), userID(), 30*24*time.Hour)
		record, err := storage.AppendGrant(nil, g)
		if err != nil {
			t.Fatal(err)
		}
		if len(grantKey(g.ID)) > 28 || len(record) > 156 {
			t.Fatalf("key of %d and record of %d bytes need the next larger block", len(grantKey(g.ID)), len(record))
		}
		p.Do(t.Context(), "SET", grantKey(g.ID), record, "PXAT", g.Expiry().UnixMilli())
		if p.Len() == 1000 {
			if _, err := p.Exec(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Redis's hash tables double in size, so the figure includes their share at
	// this size.
	each := (info(t, server.Client(), "memory", "used_memory") - before) / count
	t.Logf("%d bytes a grant without indexes", each)
	if each > 300 {
		t.Errorf("%d bytes a grant, want at most 300", each)
	}

	server.Flush()
	before = info(t, server.Client(), "memory", "used_memory")
	for range count / 10 {
		mustCreate(t, s, newGrant(clock.Now(), userID(), 30*24*time.Hour))
	}
	t.Logf("%d bytes with the indexes by user and by client, every user signed in once",
		(info(t, server.Client(), "memory", "used_memory")-before)/(count/10))
}

// A stalled Redis may run a swap long after its caller gave up. The client
// can't get the answer any more, so the swap must not spend its token.
func TestASwapThatRedisComesToTooLateSpendsNothing(t *testing.T) {
	s, clock := open(t, redistest.Single(t).URL())
	g := mustCreate(t, s, newGrant(clock.Now(), userID(), time.Hour))
	clock.Advance(-maxLateness - 5*time.Second) // as if the swap had been sent at that time
	err := s.SwapGrant(t.Context(), g, next(g), storage.Retry{})
	if !errors.Is(err, errLate) || !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("%v, want %v", err, errLate)
	}
	loadsOwn(t, s, g)

	open := storage.Retry{Generation: g.Generation + 1, Refresh: g.Refresh, Until: clock.Now().Add(maxLateness + 20*time.Second)}
	if err := s.SwapGrant(t.Context(), g, next(g), open); err != nil {
		t.Errorf("within a retry window: %v", err)
	}
}
