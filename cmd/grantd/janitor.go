package main

import (
	"context"
	"time"
)

// sweepEvery finishes, now and then, sweeps that another process began and
// didn't finish, and trims the audit trail. The grants in question are dead
// already; this only frees space.
func (p *process) sweepEvery(ctx context.Context, pause time.Duration) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.sweep(ctx)
			p.audit.trim(ctx)
		}
	}
}

func (p *process) sweep(ctx context.Context) {
	unswept, err := p.store.Unswept(ctx)
	if err != nil {
		p.log.Warn("looking for unfinished sweeps", "error", err.Error())
		return
	}
	for _, r := range unswept {
		n, err := p.store.Sweep(ctx, r)
		if err != nil {
			p.log.Warn("sweeping", "error", err.Error())
			return
		}
		p.log.Info("swept", "grants", n)
	}
}
