package storagetest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/grantd/grantd/storage"
)

var modelChecks = []check{
	{"any sequence of operations answers as a map would", modelCheck},
}

func modelCheck(t *testing.T, f Fixture) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{ctx: t.Context(), f: f, floors: make(map[storage.Target]storage.Revocation)}
		rt.Repeat(map[string]func(*rapid.T){
			"create":  m.create,
			"again":   m.createAgain,
			"belated": m.createBelated,
			"load":    m.load,
			"swap":    m.swap,
			"stale":   m.swapStale,
			"delete":  m.delete,
			"advance": m.advance,
			"instant": m.advanceToExpiry,
			"revoke":  m.revoke,
			"sweep":   m.sweep,
			"":        m.invariants,
		})
		m.clear(rt)
	})
}

// model is the expected content of a store: a list of grants, each with the reasons
// why it may be gone.
type model struct {
	ctx     context.Context
	f       Fixture
	grants  []*modelGrant
	revoked []modelRevocation                     // all revocations, in order
	floors  map[storage.Target]storage.Revocation // the latest revocation of each target, until swept
}

type modelGrant struct {
	now     storage.Grant
	before  storage.Grant // what the last swap replaced; zero before the first swap
	retry   storage.Retry
	seq     int // the number of revocations before its creation
	deleted bool
	ended   bool // by a revocation
	swept   bool
	perhaps bool // a sweep of an earlier revocation of the target may have deleted it
}

type modelRevocation struct {
	storage.Revocation
	seq int
}

func (m *model) live(g *modelGrant) bool {
	return !g.deleted && !g.ended && m.f.Now().Before(g.now.Expiry())
}

// pick draws one of the grants that were ever created, and skips if there is none.
func (m *model) pick(t *rapid.T) *modelGrant {
	if len(m.grants) == 0 {
		t.Skip("no grant yet")
	}
	return m.grants[rapid.IntRange(0, len(m.grants)-1).Draw(t, "grant")]
}

func drawTarget(t *rapid.T) storage.Target {
	return rapid.SampledFrom([]storage.Target{
		{UserID: alice}, {UserID: bob}, {ClientID: web}, {ClientID: cli}, {All: true},
	}).Draw(t, "target")
}

func hits(target storage.Target, g storage.Grant) bool {
	if target.Since(g.Created) {
		return false
	}
	if target.UserID != "" {
		return g.UserID == target.UserID
	}
	return target.All || g.ClientID == target.ClientID
}

func (m *model) draw(t *rapid.T) storage.Grant {
	user := rapid.SampledFrom([]string{alice, bob, ""}).Draw(t, "user")
	g := newGrant(m.f, user, rapid.SampledFrom([]string{web, cli}).Draw(t, "client"))
	g.Audience = rapid.SampledFrom([]string{"", apiServer, bothServers}).Draw(t, "audience")
	g.AccessAudience = g.Audience
	return g
}

func (m *model) create(t *rapid.T) {
	g := create(m.ctx, t, m.f, m.draw(t))
	m.grants = append(m.grants, &modelGrant{now: g, seq: len(m.revoked)})
}

func (m *model) createAgain(t *rapid.T) {
	g := m.pick(t)
	if !m.live(g) || g.seq != len(m.revoked) {
		t.Skip("not a repeat that must succeed")
	}
	err := m.f.Store.CreateGrant(m.ctx, g.now)
	if g.now.Generation == 1 {
		wantErr(t, "repeated CreateGrant", err, nil)
	}
	other := g.now
	other.Access = digest()
	wantErr(t, "CreateGrant under a taken id", m.f.Store.CreateGrant(m.ctx, other), storage.ErrExists)
}

// createBelated creates a grant after a revocation that came during its sign-in.
func (m *model) createBelated(t *rapid.T) {
	g := m.draw(t)
	epoch, err := m.f.Store.Epoch(m.ctx, g.ID)
	wantErr(t, "Epoch", err, nil)
	g.Epoch = epoch
	m.revoke(t)
	err = m.f.Store.CreateGrant(m.ctx, g)
	switch target := m.revoked[len(m.revoked)-1].Target; {
	case hits(target, g):
		wantErr(t, "belated CreateGrant", err, storage.ErrRevoked)
	case err == nil: // a revocation of another target may make the store refuse it
		m.grants = append(m.grants, &modelGrant{now: g, seq: len(m.revoked)})
	default:
		wantErr(t, "belated CreateGrant", err, storage.ErrRevoked)
	}
}

func (m *model) load(t *rapid.T) { m.wantState(t, m.pick(t)) }

func (m *model) wantState(t *rapid.T, g *modelGrant) {
	if !m.live(g) {
		wantGone(m.ctx, t, m.f, g.now.ID)
		return
	}
	wantLive(m.ctx, t, m.f, g.now)
	got, err := m.f.Store.LoadRetry(m.ctx, g.now.ID)
	if !m.f.Now().Before(g.retry.Until) {
		wantErr(t, "LoadRetry after its window", err, storage.ErrNotFound)
		return
	}
	wantErr(t, "LoadRetry", err, nil)
	if d := diff(g.retry, got); d != "" {
		t.Fatalf("retry (-kept +loaded):\n%s", d)
	}
}

func (m *model) swap(t *rapid.T) {
	g := m.pick(t)
	next := successor(m.f, g.now)
	next.AccessAudience = rapid.SampledFrom([]string{next.Audience, apiServer}).Draw(t, "access audience")
	var r storage.Retry
	if rapid.Bool().Draw(t, "retry") {
		r = retryOf(m.f, g.now, rapid.SampledFrom([]time.Duration{time.Millisecond, 10 * time.Second, time.Hour}).Draw(t, "window"))
	}
	err := m.f.Store.SwapGrant(m.ctx, g.now, next, r)
	if !m.live(g) {
		wantErr(t, "SwapGrant of an ended grant", err, storage.ErrNotFound)
		return
	}
	wantErr(t, "SwapGrant", err, nil)
	g.before, g.now, g.retry = g.now, next, r
	wantErr(t, "repeated SwapGrant", m.f.Store.SwapGrant(m.ctx, g.before, next, r), nil)
}

func (m *model) swapStale(t *rapid.T) {
	g := m.pick(t)
	if g.before.Generation == 0 {
		t.Skip("not swapped yet")
	}
	want := storage.ErrConflict
	if !m.live(g) {
		want = storage.ErrNotFound
	}
	err := m.f.Store.SwapGrant(m.ctx, g.before, successor(m.f, g.before), retryOf(m.f, g.before, time.Hour))
	wantErr(t, "SwapGrant of a spent generation", err, want)
}

func (m *model) delete(t *rapid.T) {
	g := m.pick(t)
	wantErr(t, "DeleteGrant", m.f.Store.DeleteGrant(m.ctx, g.now.ID), nil)
	g.deleted = true
}

func (m *model) advance(t *rapid.T) {
	m.f.Advance(rapid.SampledFrom([]time.Duration{
		time.Millisecond, 10 * time.Second, time.Minute, time.Hour, 23 * time.Hour,
	}).Draw(t, "time"))
}

// advanceToExpiry advances to a grant's expiry, or to a millisecond before it.
func (m *model) advanceToExpiry(t *rapid.T) {
	left := m.pick(t).now.Expiry().Sub(m.f.Now())
	if rapid.Bool().Draw(t, "before") {
		left -= time.Millisecond
	}
	m.f.Advance(max(left, 0))
}

func (m *model) revoke(t *rapid.T) {
	target := drawTarget(t)
	if rapid.Bool().Draw(t, "some") && len(m.grants) > 0 {
		target.Before = m.pick(t).now.Created.Add(rapid.SampledFrom([]time.Duration{0, time.Millisecond}).Draw(t, "after"))
	}
	r, err := m.f.Store.Revoke(m.ctx, target)
	wantErr(t, "Revoke", err, nil)
	target = target.Rounded(m.f.Now())
	for _, g := range m.grants {
		g.ended = g.ended || hits(target, g.now)
	}
	m.revoked = append(m.revoked, modelRevocation{r, len(m.revoked)})
	for earlier := range m.floors { // the new floor replaces those that it covers
		if earlier.Whose() == target.Whose() && (target.Before.IsZero() || !earlier.Before.IsZero() && !earlier.Before.After(target.Before)) {
			delete(m.floors, earlier)
		}
	}
	m.floors[target] = r
}

// sweep sweeps any revocation, which needn't be the latest of its target and may
// have been swept before. A store may have forgotten expired grants, and may delete
// grants that a later revocation of the target ended, so the count has two bounds.
func (m *model) sweep(t *rapid.T) {
	if len(m.revoked) == 0 {
		t.Skip("no revocation yet")
	}
	r := m.revoked[rapid.IntRange(0, len(m.revoked)-1).Draw(t, "revocation")]
	least, most := 0, 0
	for _, g := range m.grants {
		if !hits(r.Target, g.now) || g.deleted || !g.ended || g.swept {
			continue
		}
		most++
		if g.seq <= r.seq && !g.perhaps && m.f.Now().Before(g.now.Expiry()) {
			least++
		}
		g.swept, g.perhaps = g.seq <= r.seq, true
	}
	swept, err := m.f.Store.Sweep(m.ctx, r.Revocation, nil)
	wantErr(t, "Sweep", err, nil)
	n := swept.Grants
	if n < least || n > most {
		t.Fatalf("the sweep of %+v took %d grants, want %d to %d", r, n, least, most)
	}
	if diff(m.floors[r.Target], r.Revocation) == "" {
		delete(m.floors, r.Target)
	}
}

// invariants runs after every step. It checks that lists and floors are as expected.
func (m *model) invariants(t *rapid.T) {
	for _, target := range []storage.Target{{UserID: alice}, {UserID: bob}, {ClientID: web}, {ClientID: cli}} {
		var want []storage.Grant
		for _, g := range m.grants {
			if hits(target, g.now) && m.live(g) {
				want = append(want, g.now)
			}
		}
		wantListed(m.ctx, t, m.f, target, want...)
	}
	all, err := m.f.Store.Unswept(m.ctx)
	wantErr(t, "Unswept", err, nil)
	stands := func(target storage.Target) bool {
		return slices.ContainsFunc(all, func(r storage.Revocation) bool { return r.Target == target })
	}
	for target := range m.floors {
		if !stands(target) {
			t.Fatalf("the floor of %+v is gone before its sweep", target)
		}
	}
	for _, r := range all {
		if _, want := m.floors[r.Target]; !want {
			t.Fatalf("a floor of %+v stands after its sweep", r.Target)
		}
	}
}

// clear checks every grant once more and empties the store for the next run.
func (m *model) clear(t *rapid.T) {
	for _, g := range m.grants {
		m.wantState(t, g)
	}
	_, err := m.f.Store.Revoke(m.ctx, storage.Target{All: true})
	all, err2 := m.f.Store.Unswept(m.ctx)
	wantErr(t, "Revoke and Unswept", errors.Join(err, err2), nil)
	for _, r := range all {
		_, err := m.f.Store.Sweep(m.ctx, r, nil)
		wantErr(t, "Sweep", err, nil)
	}
	wantNoResidue(t, m.f)
}
