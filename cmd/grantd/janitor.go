package main

import (
	"context"
	"time"

	"github.com/grantd/grantd/authserver/admin"
)

// keepReceipts is how long the receipts of revocations are kept.
const keepReceipts = 30 * 24 * time.Hour

// tidyEvery, after every pause until ctx ends, finishes sweeps that another process
// left unfinished, deletes old receipts and trims the audit trail. The grants of a
// sweep have ended before; the sweep only frees space and completes the receipt.
func (p *process) tidyEvery(ctx context.Context, pause time.Duration) {
	s := admin.NewSweeper(p.store, p.noteAdmin, time.Now)
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.sweep(ctx, s)
			if p.admin != nil { // other processes don't write to the trail, and may lack its configuration
				p.audit.trim(ctx)
			}
		}
	}
}

func (p *process) sweep(ctx context.Context, s *admin.Sweeper) {
	if err := s.Resume(ctx); err != nil && ctx.Err() == nil {
		p.log.Warn("unfinished revocations couldn't be completed", "error", err.Error())
	}
	if _, err := s.Expire(ctx, time.Now().Add(-keepReceipts)); err != nil && ctx.Err() == nil {
		p.log.Warn("old receipts couldn't be deleted", "error", err.Error())
	}
}
