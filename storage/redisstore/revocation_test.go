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
		{grant(0, "c1", "u1"), false}, // users and clients aren't mixed up
		{grant(0, "", "c9"), false},
	} {
		if f.covers(tt.g) != tt.dead {
			t.Errorf("%+v: dead is %v", tt.g, !tt.dead)
		}
	}
}

// Floors of versions that didn't know Before are honoured, also beside a floor
// that has a Before.
func TestFloorsOfTheLayoutBeforeAreHonoured(t *testing.T) {
	server := redistest.Single(t)
	s, clock := open(t, server.URL())
	p := storage.UserPartition("u1")
	server.Client().Set(t.Context(), floorsKey(p), "\x00\x00\x00\x09\x00\x00\x00\x02"+
		"\x00\x00\x00\x05u\x00\x02u1"+"\x00\x00\x00\x09c\x00\x04demo", 0)
	create := func(epoch uint32, user, client string, age time.Duration) storage.Grant {
		g := newGrant(clock.Now().Add(-age), user, 24*time.Hour)
		g.ID[0], g.Epoch, g.ClientID = p, epoch, client
		record, err := storage.AppendGrant(nil, g)
		if err != nil {
			t.Fatal(err)
		}
		server.Client().Set(t.Context(), grantKey(g.ID), record, 0)
		return g
	}
	tests := []struct {
		g     storage.Grant
		lives bool
	}{
		{create(1, "u2", "web", 0), false}, // below the base
		{create(4, "u1", "web", 0), false},
		{create(5, "u1", "web", 0), true},
		{create(5, "u1", "web", 2*time.Hour), true},
		{create(8, "u1", "demo", 0), false},
		{create(4, "u2", "web", 2*time.Hour), true},
	}
	check := func() {
		t.Helper()
		for i, tt := range tests {
			if _, err := s.LoadGrant(t.Context(), tt.g.ID); (err == nil) != tt.lives {
				t.Errorf("grant %d: %v", i, err)
			}
			if err := s.SwapGrant(t.Context(), tt.g, next(tt.g), storage.Retry{}); (err == nil) != tt.lives {
				t.Errorf("swap of grant %d: %v", i, err)
			} else if err == nil {
				tests[i].g, err = s.LoadGrant(t.Context(), tt.g.ID)
				if err != nil {
					t.Errorf("grant %d after its swap: %v", i, err)
				}
			}
		}
	}
	check()
	if _, err := s.Revoke(t.Context(), storage.Target{UserID: "u1", Before: clock.Now().Add(-time.Hour)}); err != nil {
		t.Fatal(err)
	}
	tests[3].lives = false
	check()
}

func TestFloorsOfAnotherShapeAreAnErrorAndNotALiveGrant(t *testing.T) {
	server := redistest.Single(t)
	s, clock := open(t, server.URL())
	g := mustCreate(t, s, newGrant(clock.Now(), "u1", time.Hour))
	for _, bad := range []string{"\x00", "\x00\x00\x00\x00", "\x00\x00\x00\x01\x00\x00\x00\x00x", "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01u\x00\x05ab", "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01u\x80\x02ab\x00\x00\x01"} {
		server.Client().Set(t.Context(), floorsKey(g.ID.Partition()), bad, 0)
		if _, err := s.LoadGrant(t.Context(), g.ID); !errors.Is(err, storage.ErrUnavailable) {
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
			if _, err := s.Sweep(t.Context(), r, nil); err != nil {
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
	dying.client.AddHook(&killer{after: 7, die: die})
	swept, err := dying.Sweep(ctx, r, nil)
	if err == nil || swept.Grants == 0 || swept.Grants >= count {
		t.Fatalf("the sweep didn't die half-way: %+v swept, %v", swept, err)
	}

	other, _ := open(t, server.URL())
	unswept, err := other.Unswept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]storage.Revocation{r}, unswept); d != "" {
		t.Fatal(d)
	}
	all, err := other.Sweep(t.Context(), unswept[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	if all.Grants != count {
		t.Errorf("%d of %d swept", all.Grants, count)
	}
	if left, _ := other.Unswept(t.Context()); len(left) != 0 {
		t.Errorf("unswept after the sweep: %v", left)
	}
	if _, err := other.LoadGrant(t.Context(), survivor.ID); err != nil {
		t.Errorf("a grant of after the revocation: %v", err)
	}
}

// killer calls die, which cancels a context, after some round trips.
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
	if _, err := s.Sweep(t.Context(), first, nil); err != nil {
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
				if n, err := s.Sweep(t.Context(), r, nil); err != nil || n.Grants != len(grants) {
					t.Errorf("%d of %d swept, %v", n.Grants, len(grants), err)
				}
			}
		})
	}
}

// A grant that a sweep of all grants can't find stays dead: SCAN may miss a key
// that a Cluster moves meanwhile.
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
