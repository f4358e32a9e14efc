package admin

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/grantd/grantd/storage"
)

// clientPatch is a change by PATCH; what is nil stays as it is.
type clientPatch struct {
	grants, scopes, redirects, audiences, origins *[]string
	introspect                                    *bool
	accessLifetime                                *int64 // seconds
}

func (p *clientPatch) members() members {
	return members{
		"grant_types": &p.grants, "scopes": &p.scopes, "redirect_uris": &p.redirects, "audiences": &p.audiences,
		"origins": &p.origins, "introspect": &p.introspect, "access_lifetime": &p.accessLifetime,
	}
}

// apply returns the changed client. If the lifetime is out of bounds the result
// may be any: see clientFaults.
func (p clientPatch) apply(c storage.Client) storage.Client {
	for _, l := range []struct{ from, to *[]string }{
		{p.grants, &c.Grants}, {p.scopes, &c.Scopes}, {p.redirects, &c.RedirectURIs}, {p.audiences, &c.Audiences}, {p.origins, &c.Origins},
	} {
		if l.from != nil {
			*l.to = slices.Clone(*l.from)
		}
	}
	if p.introspect != nil {
		c.Introspect = *p.introspect
	}
	if p.accessLifetime != nil {
		c.AccessLifetime = time.Duration(*p.accessLifetime) * time.Second
	}
	return c
}

// narrows reports whether the client loses a right that its earlier tokens
// have: a grant type, a scope, or a resource server. A client without audiences
// may have tokens for all resource servers.
func narrows(before, after storage.Client) bool {
	lost := func(before, after []string) bool {
		return slices.ContainsFunc(before, func(s string) bool { return !slices.Contains(after, s) })
	}
	return lost(before.Grants, after.Grants) || lost(before.Scopes, after.Scopes) ||
		len(before.Audiences) == 0 && len(after.Audiences) > 0 || len(after.Audiences) > 0 && lost(before.Audiences, after.Audiences)
}

// patchClient changes a client. If the client loses a right its grants are
// ended: no token may have a right that the client couldn't get any more.
func (a *API) patchClient(w http.ResponseWriter, r *http.Request) error {
	c, err := a.client(r)
	if err != nil {
		return err
	}
	var p clientPatch
	if err := decode(w, r, p.members()); err != nil {
		return err
	}
	if faults := a.clientFaults(c, p.apply(c), p); len(faults) > 0 {
		return wrongFields(faults)
	}
	if err := precondition(r, a.clientTag(c)); err != nil {
		return err
	}
	err = a.act(r.Context(), aboutClient(storage.ActClientUpdate, c, p.detail()), func(ctx context.Context) (err error) {
		c, err = a.changeClient(ctx, r, c, func(c storage.Client) storage.Client {
			next := p.apply(c)
			next.Narrowed = c.Narrowed || narrows(c, next)
			return next
		})
		if err == nil && c.Narrowed {
			c, err = a.endNarrowed(ctx, c)
		}
		return err
	})
	if err != nil {
		return err
	}
	return a.writeClient(w, c)
}

// endNarrowed ends the grants of a client that lost rights, and then removes
// the mark Narrowed. If the revocation fails, or the process dies before it,
// the mark stays. Then the next change of the client ends the grants, even if
// it takes no right away itself.
func (a *API) endNarrowed(ctx context.Context, c storage.Client) (storage.Client, error) {
	if err := a.endGrants(ctx, endClient(storage.ActClientUpdate, c)); err != nil {
		return c, err
	}
	c.Narrowed = false
	err := a.cfg.Store.UpdateClient(ctx, c)
	if errors.Is(err, storage.ErrConflict) || errors.Is(err, storage.ErrNotFound) {
		c.Narrowed = true
		return c, nil // somebody else changed the client: the mark stays, which does no harm
	}
	c.Revision++
	return c, err
}

// detail names the changed fields, for the audit.
func (p clientPatch) detail() string {
	var names []string
	for name, to := range p.members() {
		if !reflect.ValueOf(to).Elem().IsNil() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// changeClient does for a client what changeUser does for a user.
func (a *API) changeClient(ctx context.Context, r *http.Request, was storage.Client, change func(storage.Client) storage.Client) (storage.Client, error) {
	const tries = 5
	var err error
	for range tries {
		var c storage.Client
		if c, err = a.loadClient(ctx, was.ID); err != nil {
			return c, err
		}
		if !c.Created.Equal(was.Created) {
			return c, errReplaced
		}
		if err := precondition(r, a.clientTag(c)); err != nil {
			return c, err
		}
		next := change(c)
		if reflect.DeepEqual(next, c) {
			return c, a.confirmClient(ctx, c)
		}
		err = a.cfg.Store.UpdateClient(ctx, next)
		a.cfg.ClientChanged(next.ID) // on an error too: the record may have been changed
		if err == nil {
			next.Revision++
			return next, nil
		}
		if !errors.Is(err, storage.ErrConflict) {
			return c, err
		}
	}
	return storage.Client{}, err
}

// confirmClient does for a client what confirmUser does for a user.
func (a *API) confirmClient(ctx context.Context, c storage.Client) error {
	c.Revision = 0
	return confirmed(a.cfg.Store.UpdateClient(ctx, c))
}

// maxOverlap is how long a secret may stay good beside its successor, in
// seconds.
const maxOverlap = 7 * 24 * 60 * 60

// rotateSecret gives the client a new secret. With an overlap, the current
// secret stays good for that time, and the one before it ends. Without an
// overlap, both end and so do the client's grants: whoever knows an old secret
// is shut out.
func (a *API) rotateSecret(w http.ResponseWriter, r *http.Request) error {
	c, err := a.client(r)
	if err != nil {
		return err
	}
	var overlap int64
	var brought *string
	if err := decodeOptional(w, r, members{"overlap": &overlap, "client_secret": &brought}); err != nil {
		return err
	}
	if c.Public {
		return errConflict.saying("This is a public client, and public clients have no secret.")
	}
	if faults := rotationFaults(c, overlap, brought); len(faults) > 0 {
		return wrongFields(faults)
	}
	if err := precondition(r, a.clientTag(c)); err != nil {
		return err
	}
	if err := a.keepPrevious(r, c, overlap); err != nil {
		return err
	}
	verifier, made := newSecret(brought)
	detail := "without overlap"
	if overlap > 0 {
		detail = "with overlap"
	}
	err = a.act(r.Context(), aboutClient(storage.ActClientSecret, c, detail), func(ctx context.Context) (err error) {
		if c, err = a.replaceSecret(ctx, r, c, verifier, overlap); err != nil || overlap > 0 {
			return err
		}
		return a.endGrants(ctx, endClient(storage.ActClientSecret, c))
	})
	if err != nil {
		return err
	}
	w.Header().Set("ETag", a.clientTag(c))
	return writeJSON(w, http.StatusOK, NewSecret{made, c.PreviousUntil})
}

// replaceSecret changes the record, unless keepPrevious refuses it as the
// record is by then.
func (a *API) replaceSecret(ctx context.Context, r *http.Request, c storage.Client, verifier storage.SecretVerifier, overlap int64) (storage.Client, error) {
	var refused error
	c, err := a.changeClient(ctx, r, c, func(c storage.Client) storage.Client {
		if refused = a.keepPrevious(r, c, overlap); refused != nil {
			return c
		}
		c.PreviousSecret, c.PreviousUntil = storage.SecretVerifier{}, time.Time{}
		if overlap > 0 {
			c.PreviousSecret, c.PreviousUntil = c.Secret, a.now().Add(time.Duration(overlap)*time.Second)
		}
		c.Secret = verifier
		return c
	})
	if err == nil {
		return c, refused
	}
	var told *problem
	if !errors.As(err, &told) && asProblem(err).code == errUnavailable.code {
		err = errUnknownSecret.because(err)
	}
	return c, err
}

// keepPrevious refuses a rotation with an overlap while an earlier overlap
// lasts. A repeated request, after a lost answer or in a job that runs twice,
// would end the secret that everybody still uses. A request with the current
// ETag does so on purpose, and one without an overlap means to end all secrets.
func (a *API) keepPrevious(r *http.Request, c storage.Client, overlap int64) error {
	if overlap == 0 || !a.now().Before(c.PreviousUntil) || namesTag(r) {
		return nil
	}
	return errOverlapping
}

var (
	errOverlapping = errConflict.saying("The previous secret is still good, and this request would end it. Wait until previous_secret_expires, " +
		"or send the client's ETag in If-Match to end it now. A rotation without an overlap ends both secrets and the client's grants.")
	errUnknownSecret = errUnavailable.saying("The client may have a new secret, which can't be shown again. Repeating the request ends no " +
		"secret early: with an overlap, it is refused as a conflict if the secret was already replaced.")
)

// NewSecret is the answer to the rotation of a client's secret.
type NewSecret struct {
	Secret          string    `json:"client_secret,omitempty"`   // when it was made here; it can't be read again
	PreviousExpires time.Time `json:"previous_expires,omitzero"` // zero: ended already
}

// deleteClient takes the client's rights away first and deletes its record
// last, for the reason that deleteUser gives.
func (a *API) deleteClient(w http.ResponseWriter, r *http.Request) error {
	c, err := a.client(r)
	if errors.Is(err, errNoClient) {
		return deleted(w, r, func(ctx context.Context) error { return a.confirmClient(ctx, c) })
	}
	if err != nil {
		return err
	}
	if err := precondition(r, a.clientTag(c)); err != nil {
		return err
	}
	err = a.act(r.Context(), aboutClient(storage.ActClientDelete, c, ""), func(ctx context.Context) error {
		_, err := a.changeClient(ctx, r, c, withoutRights)
		if errors.Is(err, errNoClient) {
			return a.confirmClient(ctx, c) // somebody else deleted it
		}
		if err != nil {
			return err
		}
		if err := a.endGrants(ctx, endClient(storage.ActClientDelete, c)); err != nil {
			return err
		}
		defer a.cfg.ClientChanged(c.ID)
		return a.cfg.Store.DeleteClient(ctx, c.ID)
	})
	if err != nil {
		return err
	}
	return writeNothing(w)
}

func withoutRights(c storage.Client) storage.Client {
	c.Grants, c.Introspect = nil, false
	c.Secret, c.PreviousSecret, c.PreviousUntil = storage.SecretVerifier{}, storage.SecretVerifier{}, time.Time{}
	return c
}
