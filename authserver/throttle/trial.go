package throttle

import (
	"context"
	"errors"
	"net/netip"
	"slices"
)

// Trial is a request with a client secret from a network. It holds several
// guesses when the request can be read in several ways. The caller has to tell
// it the outcome. A nil Trial isn't limited.
type Trial struct {
	limiter *Limiter
	charges []charge
}

// Try returns a trial of one secret for each of the clients. A client may be
// named twice; "" is a client that can't exist. Try returns a [Refusal] when
// the secrets may not be judged now. It doesn't ask the store: it knows what
// other nodes counted up to the last failure here.
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
	// Last, so that a failure that a client's bucket refuses isn't taken from
	// the network's bucket.
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

// Succeeded records that a secret was right. It returns a [Refusal] when the
// caller must not tell so, because too many secrets that were judged at the
// same time were wrong. It doesn't ask the store itself, but waits for it while
// such a failure is being counted.
func (t *Trial) Succeeded(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.limiter.room(ctx, t.charges)
}

// Failed records that all secrets were wrong. It reports whether no more will
// be judged for now. If it returns a [Refusal], answer with that instead of the
// failure: others were faster and left nothing.
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
