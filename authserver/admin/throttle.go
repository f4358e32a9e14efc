package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/grantd/grantd/storage"
)

// Throttled is a network from which wrong passwords for a user came.
type Throttled struct {
	Network  string     `json:"network"`         // an address with its prefix length, or elsewhere
	Failures int        `json:"failures"`        // not forgotten yet
	Until    *time.Time `json:"until,omitempty"` // no password from there is judged before; absent: judged now
}

// elsewhere stands for all networks that the user hasn't signed in from.
const elsewhere = "elsewhere"

// getThrottle lists the networks from which wrong passwords for the user came
// lately, and until when each is refused.
func (a *API) getThrottle(w http.ResponseWriter, r *http.Request) error {
	u, err := a.user(r)
	if err != nil {
		return err
	}
	found, err := a.cfg.Throttle.List(r.Context(), u.Name)
	if err != nil {
		return err
	}
	shown := make([]Throttled, len(found))
	for i, t := range found {
		shown[i] = Throttled{Network: elsewhere, Failures: t.Failures}
		if t.Network.IsValid() {
			shown[i].Network = t.Network.String()
		}
		if !t.Until.IsZero() {
			shown[i].Until = &t.Until
		}
	}
	return writeJSON(w, http.StatusOK, map[string][]Throttled{"throttled": shown})
}

// liftThrottle forgets the wrong passwords for the user.
func (a *API) liftThrottle(w http.ResponseWriter, r *http.Request) error {
	u, err := a.user(r)
	if err != nil {
		return err
	}
	if err := ifThere(r); err != nil {
		return err
	}
	err = a.act(r.Context(), aboutUser(storage.ActThrottleOff, u, ""), func(ctx context.Context) error {
		return a.cfg.Throttle.Lift(ctx, u.Name)
	})
	if err != nil {
		return err
	}
	return writeNothing(w)
}
