package main

import (
	"context"
	"time"
)

// sweepEvery finishes, now and then, sweeps that another process began and
// didn't finish. The grants in question are dead already; this only frees space.
func (p *process) sweepEvery(ctx context.Context, pause time.Duration) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.sweep(ctx)
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
		swept, err := p.store.Sweep(ctx, r, nil)
		if err != nil {
			p.log.Warn("sweeping", "error", err.Error())
			return
		}
		p.log.Info("swept", "grants", swept.Grants)
	}
}
