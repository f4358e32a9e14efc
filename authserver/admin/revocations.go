package admin

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// Receipt is the receipt of a revocation as the API shows it.
type Receipt struct {
	ID           string              `json:"id"`
	Target       ReceiptTarget       `json:"target"`
	IssuedBefore time.Time           `json:"issued_before,omitzero"` // only grants created before it were ended; zero: all
	Requested    time.Time           `json:"requested"`              // the grants are dead from then on
	By           string              `json:"by"`
	Cause        storage.AuditAction `json:"cause"`  // the act that ended the grants
	Status       string              `json:"status"` // sweeping or complete
	Grants       ReceiptGrants       `json:"grants"`
	Completed    time.Time           `json:"completed,omitzero"`
	Verified     *Verification       `json:"verified,omitempty"`
}

// ReceiptTarget says whose grants were ended; exactly one field is set.
type ReceiptTarget struct {
	User   string `json:"user,omitempty"`
	Client string `json:"client,omitempty"`
	Grant  string `json:"grant,omitempty"`
	All    bool   `json:"all,omitempty"`
}

// ReceiptGrants describes the ended grants, as far as the sweep has come.
type ReceiptGrants struct {
	Expected *int      `json:"expected,omitempty"` // at least as many as there were; absent: not counted
	Ended    int       `json:"ended"`              // 1 for a single grant that lived when it was looked up; somebody else may have ended it at the same instant
	Oldest   time.Time `json:"oldest,omitzero"`    // when the first ended grant was created
	Newest   time.Time `json:"newest,omitzero"`
}

// Verification is the result of a look for survivors.
type Verification struct {
	At        time.Time `json:"at"`
	Survivors int       `json:"survivors"`
}

// The states of a receipt.
const (
	sweeping = "sweeping"
	complete = "complete"
)

func shownReceipt(r storage.Receipt) Receipt {
	shown := Receipt{
		ID:           r.ID,
		Target:       ReceiptTarget{Client: r.Target.ClientID, Grant: r.Grant, All: r.Target.All},
		IssuedBefore: r.Target.Before.UTC(),
		Requested:    r.Created.UTC(),
		By:           r.By,
		Cause:        r.Cause,
		Status:       sweeping,
		Grants:       ReceiptGrants{Ended: r.Swept.Grants, Oldest: r.Swept.Oldest.UTC(), Newest: r.Swept.Newest.UTC()},
		Completed:    r.Completed.UTC(),
	}
	if r.Target.UserID != "" {
		shown.Target.User = r.Username
	}
	if r.Expected >= 0 {
		shown.Grants.Expected = &r.Expected
	}
	if !r.Completed.IsZero() {
		shown.Status = complete
	}
	if !r.Verified.IsZero() {
		shown.Verified = &Verification{r.Verified.UTC(), r.Survivors}
	}
	return shown
}

// revocationRequest is the body of POST.
type revocationRequest struct {
	token, grant, user, client *string
	all                        *bool
	issuedBefore               *string
}

func (q *revocationRequest) members() members {
	return members{
		"token": &q.token, "grant": &q.grant, "user": &q.user, "client": &q.client, "all": &q.all, "issued_before": &q.issuedBefore,
	}
}

// check returns the time of issued_before, or what is wrong with the request. It looks
// nothing up.
func (q *revocationRequest) check() (before time.Time, err error) {
	var named []string
	for _, m := range []struct {
		name  string
		given bool
	}{{"all", q.all != nil}, {"client", q.client != nil}, {"grant", q.grant != nil}, {"token", q.token != nil}, {"user", q.user != nil}} {
		if m.given {
			named = append(named, m.name)
		}
	}
	switch {
	case len(named) == 0:
		return before, errRequest.saying("The body needs exactly one of token, grant, user, client and all.")
	case len(named) > 1:
		var faults []FieldError
		for _, name := range named {
			faults = append(faults, FieldError{name, "can't be combined: give only one of token, grant, user, client and all"})
		}
		return before, wrongFields(faults)
	case q.all != nil && !*q.all:
		return before, wrong("all", "has to be true, or left out")
	case q.issuedBefore == nil:
		return before, nil
	case slices.Contains([]string{"grant", "token"}, named[0]):
		return before, wrong("issued_before", "can be used only with user, client or all")
	}
	before, ok := parseTime(*q.issuedBefore)
	if !ok {
		return before, wrong("issued_before", notTime)
	}
	return before, nil
}

// revoke ends one grant, by its id or by a token, or all grants of a user, of a
// client, or of everybody. They are dead when it answers.
func (a *API) revoke(w http.ResponseWriter, r *http.Request) error {
	var q revocationRequest
	if err := decode(w, r, q.members()); err != nil {
		return err
	}
	before, err := q.check()
	if err != nil {
		return err
	}
	id, began := storage.NewReceiptID(a.now()), time.Now()
	var receipt storage.Receipt
	if q.token != nil || q.grant != nil {
		receipt, err = a.revokeOne(r.Context(), id, q)
	} else {
		var done <-chan storage.Receipt
		if receipt, done, err = a.revokeMany(r.Context(), id, q, before); err == nil {
			select {
			case receipt = <-done:
			case <-time.After(briefly - time.Since(began)):
			}
		}
	}
	if err != nil {
		return err
	}
	status := http.StatusOK
	if receipt.Completed.IsZero() {
		status = http.StatusAccepted
	}
	w.Header().Set("Location", a.cfg.Path+Root+"/revocations/"+id)
	return writeJSON(w, status, shownReceipt(receipt))
}

// briefly is how long a revocation may take while it waits for its sweep: most
// small sweeps are complete by then.
const briefly = 15 * time.Millisecond

// revokeMany ends the grants of the user, the client or everybody. Its results
// are those of Sweeper.End.
func (a *API) revokeMany(ctx context.Context, id string, q revocationRequest, before time.Time) (receipt storage.Receipt, done <-chan storage.Receipt, err error) {
	e := Ending{ID: id, By: a.who(ctx), Cause: storage.ActRevocation, Target: storage.Target{All: true}}
	ev := storage.AuditEvent{Action: storage.ActRevocation, Object: id, Detail: "all"}
	switch {
	case q.user != nil:
		u, err := a.userNamed(ctx, *q.user)
		if err != nil {
			return receipt, nil, err
		}
		e.Target, e.Username = storage.Target{UserID: u.ID}, u.Name
		ev.Username, ev.UserID, ev.Detail = u.Name, u.ID, "of a user"
	case q.client != nil:
		c, err := a.loadClient(ctx, *q.client)
		if err != nil {
			return receipt, nil, err
		}
		e.Target = storage.Target{ClientID: c.ID}
		ev.ClientID, ev.Detail = c.ID, "of a client"
	}
	if e.Target.Before = before; !before.IsZero() {
		ev.Detail += ", issued before " + before.Format(time.RFC3339Nano)
	}
	err = a.act(ctx, ev, func(ctx context.Context) (err error) {
		if receipt, done, err = a.sweeper.End(ctx, e); err == nil {
			a.cfg.Revoked(e.Cause)
		}
		return err
	})
	return receipt, done, err
}

// revokeOne ends the grant that the request names.
func (a *API) revokeOne(ctx context.Context, id string, q revocationRequest) (storage.Receipt, error) {
	s, err := a.named(ctx, q)
	if err != nil {
		return storage.Receipt{}, err
	}
	s.receipt, s.cause = id, storage.ActRevocation
	about := s.grant
	about.ID = s.id
	ev := aboutGrant(storage.ActRevocation, about, id)
	if ev.Detail = "by its id"; q.token != nil {
		ev.Detail = "by a token"
	}
	var receipt storage.Receipt
	err = a.act(ctx, ev, func(ctx context.Context) (err error) {
		receipt, err = a.endOne(ctx, s)
		return err
	})
	return receipt, err
}

// named returns the grant that the request names by its id or by a token. Every
// token that was ever issued for the grant names it, also one that was
// replaced: whoever found a token wants to end its grant.
func (a *API) named(ctx context.Context, q revocationRequest) (s single, err error) {
	if q.grant != nil {
		if s.id, err = storage.ParseGrantID(*q.grant); err != nil {
			return s, wrong("grant", "isn't the id of a grant")
		}
		return a.living(ctx, s)
	}
	if a.cfg.Tokens == nil {
		return s, errConflict.saying("Reading a token needs the deployment secret of this store, and none is configured. Name the grant by its id.")
	}
	keys, err := a.cfg.Tokens.Keyring(ctx)
	if err != nil {
		return s, err
	}
	token, err := keys.ParseAny(*q.token)
	switch {
	case errors.Is(err, opaque.ErrInvalid):
		return a.namedLegacy(ctx, *q.token)
	case err != nil:
		return s, err // the token can't be judged now
	}
	s.id = token.Grant
	return a.living(ctx, s)
}

// living adds the grant to s, if it lives.
func (a *API) living(ctx context.Context, s single) (single, error) {
	g, err := a.cfg.Store.LoadGrant(ctx, s.id)
	if errors.Is(err, storage.ErrNotFound) {
		return s, nil
	}
	s.grant, s.lives = g, err == nil
	return s, err
}

var errNoToken = wrong("token", "isn't an access or refresh token of this server")

// namedLegacy returns the grant that another server's token stands for. The
// grant counts as living even if it isn't in the store yet.
func (a *API) namedLegacy(ctx context.Context, text string) (single, error) {
	s := single{legacy: text}
	if a.cfg.Legacy == nil {
		return s, errNoToken
	}
	_, g, moved, err := a.cfg.Legacy.AnyGrant(ctx, text)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return s, errNoToken
	case err != nil:
		return s, err
	}
	s.id = g.ID
	if moved {
		return a.living(ctx, s)
	}
	s.grant, s.lives = g, true
	return s, nil
}
