package redisstore

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/redisstore/redistest"
)

func TestFloorsReadBackAndCover(t *testing.T) {
	server := redistest.Single(t)
	s, _ := open(t, server.URL())
	grant := func(epoch uint32, user, client string) storage.Grant {
		return storage.Grant{Epoch: epoch, UserID: user, ClientID: client}
	}
	p := storage.UserPartition("u1")
	epochs := []uint32{0}
	for _, target := range []storage.Target{{UserID: "u1"}, {ClientID: "c1"}, {UserID: "u1"}} {
		r, err := s.Revoke(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		if r.Epochs[p] <= epochs[len(epochs)-1] {
			t.Errorf("epoch %d follows %d", r.Epochs[p], epochs[len(epochs)-1])
		}
		epochs = append(epochs, r.Epochs[p])
	}
	if now := time.Now().Unix(); int64(epochs[1]) < now-60 {
		t.Errorf("epoch %d may have been given out before a loss: it is %d now", epochs[1], now)
	}
	f, err := parseFloors(server.Client().Get(t.Context(), floorsKey(p)).Val())
	if err != nil {
		t.Fatal(err)
	}
	want := []floor{{epochs[2], storage.Target{ClientID: "c1"}}, {epochs[3], storage.Target{UserID: "u1"}}}
	if d := cmp.Diff(want, slices.Collect(f.each()), cmp.AllowUnexported(floor{})); d != "" {
		t.Error(d)
	}
	if f.epoch() != epochs[3] || f.base() != 0 {
		t.Errorf("epoch %d, base %d", f.epoch(), f.base())
	}
	for _, tt := range []struct {
		g    storage.Grant
		dead bool
	}{
		{grant(epochs[2], "u1", "c9"), true},
		{grant(epochs[3], "u1", "c9"), false},
		{grant(epochs[1], "u9", "c1"), true},
		{grant(epochs[2], "u9", "c1"), false},
		{grant(0, "u9", "c9"), false},
		{grant(0, "c1", "u1"), false}, // the kinds aren't mixed up
		{grant(0, "", "c9"), false},
	} {
		if f.covers(tt.g) != tt.dead {
			t.Errorf("%+v: dead is %v", tt.g, !tt.dead)
		}
	}
}

func TestFloorsOfAnotherShapeAreAnErrorAndNotALiveGrant(t *testing.T) {
	server := redistest.Single(t)
	s, clock := open(t, server.URL())
	g := mustCreate(t, s, newGrant(clock.Now(), "u1", time.Hour))
	for _, bad := range []string{"\x00", "\x00\x00\x00\x00", "\x00\x00\x00\x01\x00\x00\x00\x00x", "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01u\x00\x05ab"} {
		server.Client().Set(t.Context(), floorsKey(g.ID[0]), bad, 0)
		if _, err := s.LoadGrant(t.Context(), g.ID); !errors.Is(err, storage.ErrEncoding) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestARevokedGrantCanNotBeSwappedBeforeItsSweep(t *testing.T) {
	for name, target := range map[string]storage.Target{
		"user": {UserID: "u1"}, "client": {ClientID: "demo"}, "all": {All: true},
	} {
		t.Run(name, func(t *testing.T) {
			s, clock := open(t, redistest.Single(t).URL())
			g := mustCreate(t, s, newGrant(clock.Now(), "u1", time.Hour))
			other := newGrant(clock.Now(), "u1", time.Hour)
			other.UserID, other.ClientID = "another in the same partition", "another client"
			other = mustCreate(t, s, other)
			r, err := s.Revoke(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.SwapGrant(t.Context(), g, next(g), storage.Retry{}); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("swap of a revoked grant: %v", err)
			}
			if err := s.SwapGrant(t.Context(), other, next(other), storage.Retry{}); (err == nil) == target.All {
				t.Errorf("swap of another's grant: %v", err)
			}
			if _, err := s.Sweep(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if err := s.SwapGrant(t.Context(), g, next(g), storage.Retry{}); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("swap after the sweep: %v", err)
			}
		})
	}
}

func TestASweepThatDiedIsFoundAndFinishedByAnotherStore(t *testing.T) {
	server := redistest.Single(t)
	dying, clock := open(t, server.URL())
	const count = 3 * pipelined
	for range count {
		mustCreate(t, dying, newGrant(clock.Now(), "u1", time.Hour))
	}
	r, err := dying.Revoke(t.Context(), storage.Target{UserID: "u1"})
	if err != nil {
		t.Fatal(err)
	}
	survivor := mustCreate(t, dying, newGrant(clock.Now(), "u1", time.Hour))

	ctx, die := context.WithCancel(t.Context())
	dying.client.AddHook(&killer{after: 5, die: die})
	swept, err := dying.Sweep(ctx, r)
	if err == nil || swept == 0 || swept >= count {
		t.Fatalf("the sweep didn't die half-way: %d swept, %v", swept, err)
	}

	other, _ := open(t, server.URL())
	unswept, err := other.Unswept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]storage.Revocation{r}, unswept); d != "" {
		t.Fatal(d)
	}
	rest, err := other.Sweep(t.Context(), unswept[0])
	if err != nil {
		t.Fatal(err)
	}
	if swept+rest != count {
		t.Errorf("%d and %d swept of %d", swept, rest, count)
	}
	if left, _ := other.Unswept(t.Context()); len(left) != 0 {
		t.Errorf("unswept after the sweep: %v", left)
	}
	if _, err := other.LoadGrant(t.Context(), survivor.ID); err != nil {
		t.Errorf("a grant of after the revocation: %v", err)
	}
}

// killer cancels a context after some round trips.
type killer struct {
	trips
	after int64
	die   func()
}

func (k *killer) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if k.n.Add(1) >= k.after {
			k.die()
		}
		return next(ctx, cmd)
	}
}

func TestASweepLeavesAFloorThatWasRaisedAgain(t *testing.T) {
	s, _ := open(t, redistest.Single(t).URL())
	target := storage.Target{UserID: "u1"}
	first, err := s.Revoke(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Revoke(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sweep(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	unswept, err := s.Unswept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]storage.Revocation{second}, unswept); d != "" {
		t.Error(d)
	}
}

func TestRevokingAClientOrAllReachesEveryPartition(t *testing.T) {
	for _, topology := range topologies {
		t.Run(topology.name, func(t *testing.T) {
			url := topology.start(t).URL()
			s, clock := open(t, url)
			for _, target := range []storage.Target{{ClientID: "demo"}, {All: true}} {
				var grants []storage.Grant
				for range 100 {
					grants = append(grants, mustCreate(t, s, newGrant(clock.Now(), userID(), time.Hour)))
				}
				r, err := s.Revoke(t.Context(), target)
				if err != nil {
					t.Fatal(err)
				}
				if n := len(slices.Collect(maps.Keys(r.Epochs))); n != storage.Partitions {
					t.Errorf("%d partitions raised", n)
				}
				for _, g := range grants {
					if _, err := s.LoadGrant(t.Context(), g.ID); !errors.Is(err, storage.ErrNotFound) {
						t.Errorf("after the revocation: %v", err)
					}
				}
				if n, err := s.Sweep(t.Context(), r); err != nil || n != len(grants) {
					t.Errorf("%d of %d swept, %v", n, len(grants), err)
				}
			}
		})
	}
}

// What a sweep of all can't find stays dead: SCAN may miss a key that a Cluster
// moves meanwhile.
func TestAGrantThatASweepOfAllMissedStaysDead(t *testing.T) {
	server := redistest.Single(t)
	s, clock := open(t, server.URL())
	g := mustCreate(t, s, newGrant(clock.Now(), "u1", time.Hour))
	moving := server.Client().Dump(t.Context(), grantKey(g.ID)).Val()
	server.Client().Del(t.Context(), grantKey(g.ID))
	revokeAndSweep(t, s, storage.Target{All: true})
	if err := server.Client().Restore(t.Context(), grantKey(g.ID), time.Hour, moving).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.LoadGrant(t.Context(), g.ID); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("loaded: %v", err)
	}
	if err := s.SwapGrant(t.Context(), g, next(g), storage.Retry{}); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("swapped: %v", err)
	}
}

func TestManyGrantsThatEndInTheSameInstantAreListedOnce(t *testing.T) {
	s, clock := open(t, redistest.Single(t).URL())
	now := clock.Now()
	want := map[storage.GrantID]bool{}
	for range 100 {
		g := mustCreate(t, s, newGrant(now, "u1", time.Hour))
		want[g.ID] = true
	}
	got := map[storage.GrantID]bool{}
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		page, after, err := s.ListGrants(t.Context(), storage.Target{UserID: "u1"}, cursor, 7)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range page {
			if got[g.ID] {
				t.Fatal("a grant is listed twice")
			}
			got[g.ID] = true
		}
		cursor = after
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
