package throttle

import (
	"context"
	"errors"
	"net/netip"
	"slices"
)

// Trial is client secrets that a network tries: several when the request can be read
// in several ways. What becomes of it has to be told to it; a nil Trial isn't
// limited.
type Trial struct {
	limiter *Limiter
	charges []charge
}

// Try returns a trial of one secret for each of the clients, which may be the same;
// "" is one that can't exist. It returns a [Refusal] when none may be judged now. It
// asks no store, and knows what other nodes counted up to the last failure here.
func (l *Limiter) Try(network netip.Prefix, clients ...string) (*Trial, error) {
	if l == nil || !network.IsValid() {
		return nil, nil
	}
	t := &Trial{limiter: l, charges: make([]charge, 0, len(clients)+1)}
	for _, client := range clients {
		if client != "" {
			t.charge(bucket{kindClient, network, client})
		}
	}
	// The last: what the client's bucket refuses isn't taken from the others.
	t.charges = append(t.charges, charge{bucket{kind: kindClients, network: network}, len(clients)})
	if err := l.refusal(t.charges); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Trial) charge(b bucket) {
	i := slices.IndexFunc(t.charges, func(c charge) bool { return c.bucket == b })
	if i < 0 {
		t.charges = append(t.charges, charge{b, 1})
		return
	}
	t.charges[i].n++
}

// Succeeded says that a secret was right. It returns a [Refusal] when it must not be
// told so, because others that were judged at the same time were too many wrong
// ones. It asks no store, but waits for it while such a failure is being counted.
func (t *Trial) Succeeded(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.limiter.room(ctx, t.charges)
}

// Failed says that all secrets were wrong. It reports whether no more will be looked
// at for now. A [Refusal] is what to answer in place of a failure: others were
// faster, and left nothing.
func (t *Trial) Failed(ctx context.Context) (last bool, err error) {
	if t == nil {
		return false, nil
	}
	ctx, done := settling(ctx)
	defer done()
	var errs error
	for _, c := range t.charges {
		emptied, err := t.limiter.spend(ctx, c, nil)
		if errors.As(err, new(*Refusal)) {
			return last, err
		}
		last, errs = last || emptied, errors.Join(errs, err)
	}
	return last, errs
}
