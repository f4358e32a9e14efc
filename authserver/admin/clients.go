package admin

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
)

// Client is an OAuth client as the API shows it, without the hashes of its
// secrets. The lists are never null.
type Client struct {
	ClientID       string    `json:"client_id"`
	Public         bool      `json:"public"` // has no secret, RFC 6749 section 2.1
	GrantTypes     []string  `json:"grant_types"`
	Scopes         []string  `json:"scopes"`
	RedirectURIs   []string  `json:"redirect_uris"`
	Audiences      []string  `json:"audiences"`                 // resource servers that its tokens may be for, RFC 8707; empty: all
	Origins        []string  `json:"origins"`                   // origins of the pages in browsers that it runs on
	Introspect     bool      `json:"introspect"`                // may introspect tokens, RFC 7662
	AccessLifetime int64     `json:"access_lifetime,omitempty"` // seconds; 0: the server's
	Created        time.Time `json:"created"`

	// PreviousSecretExpires is when the secret before the current one expires;
	// zero when there is none that is still good.
	PreviousSecretExpires time.Time `json:"previous_secret_expires,omitzero"`
}

// NewClient is the answer to the creation of a client.
type NewClient struct {
	Client
	Secret string `json:"client_secret,omitempty"` // if the server made it; it can't be read again
}

func (a *API) shownClient(c storage.Client) Client {
	shown := Client{
		ClientID:       c.ID,
		Public:         c.Public,
		GrantTypes:     append([]string{}, c.Grants...),
		Scopes:         append([]string{}, c.Scopes...),
		RedirectURIs:   append([]string{}, c.RedirectURIs...),
		Audiences:      append([]string{}, c.Audiences...),
		Origins:        append([]string{}, c.Origins...),
		Introspect:     c.Introspect,
		AccessLifetime: int64(c.AccessLifetime / time.Second),
		Created:        c.Created.UTC(),
	}
	if a.now().Before(c.PreviousUntil) {
		shown.PreviousSecretExpires = c.PreviousUntil.UTC()
	}
	return shown
}

// clientTag is another once the previous secret has ended, since the client is shown
// without it then (RFC 9110 section 8.8.1).
func (a *API) clientTag(c storage.Client) string {
	tag := entityTag(c.Created, c.Revision)
	if a.shownClient(c).PreviousSecretExpires.IsZero() {
		return tag
	}
	return strings.TrimSuffix(tag, `"`) + `-overlap"`
}

func (a *API) clientPath(id string) string {
	return a.cfg.Path + Root + "/clients/" + url.PathEscape(id)
}

func (a *API) writeClient(w http.ResponseWriter, c storage.Client) error {
	w.Header().Set("ETag", a.clientTag(c))
	return writeJSON(w, http.StatusOK, a.shownClient(c))
}

var errNoClient = errNotFound.saying("There is no client with that id.")

// client returns the client that the path names.
func (a *API) client(r *http.Request) (storage.Client, error) {
	id := r.PathValue("client_id")
	if !validClientID(id) {
		return storage.Client{}, errNoClient // no client can have that id
	}
	return a.loadClient(r.Context(), id)
}

// loadClient returns the client of that id, or errNoClient and a client that
// has only the id.
func (a *API) loadClient(ctx context.Context, id string) (storage.Client, error) {
	c, err := a.cfg.Store.LoadClient(ctx, id)
	if errors.Is(err, storage.ErrNotFound) {
		return storage.Client{ID: id}, errNoClient
	}
	return c, err
}

func (a *API) getClient(w http.ResponseWriter, r *http.Request) error {
	c, err := a.client(r)
	if err != nil {
		return err
	}
	return writeTagged(w, r, a.clientTag(c), a.shownClient(c))
}

func (a *API) listClients(w http.ResponseWriter, r *http.Request) error {
	after, limit, err := pageOf(r.URL.Query(), "clients")
	if err != nil {
		return err
	}
	page, err := a.cfg.Store.ListClients(r.Context(), after, limit+1)
	if err != nil {
		return err
	}
	answer := struct {
		Clients []Client `json:"clients"`
		Next    string   `json:"next,omitempty"`
	}{Clients: []Client{}}
	for _, c := range page[:min(limit, len(page))] {
		answer.Clients = append(answer.Clients, a.shownClient(c))
	}
	if len(page) > limit {
		answer.Next = newCursor("clients", page[limit-1].ID)
	}
	return writeJSON(w, http.StatusOK, answer)
}

// createClient makes a client. A confidential client gets the secret in the
// request, or else a new one.
func (a *API) createClient(w http.ResponseWriter, r *http.Request) error {
	c := storage.Client{Created: a.now(), Revision: 1}
	var p clientPatch
	var brought *string
	into := p.members()
	into["client_id"], into["public"], into["client_secret"] = &c.ID, &c.Public, &brought
	if err := decode(w, r, into); err != nil {
		return err
	}
	if p.scopes == nil && p.grants != nil && len(*p.grants) > 0 {
		p.scopes = &a.cfg.DefaultScopes
	}
	c = p.apply(c)
	faults := append(clientIDFaults(c.ID), a.clientFaults(storage.Client{}, c, p)...)
	if brought != nil {
		faults = append(faults, secretFaults(c, *brought)...)
	}
	if len(faults) > 0 {
		return wrongFields(faults)
	}
	if err := a.refuseUsername(r.Context(), c.ID); err != nil {
		return err
	}
	made := ""
	if !c.Public {
		c.Secret, made = newSecret(brought)
	}
	err := a.act(r.Context(), aboutClient(storage.ActClientCreate, c, ""), func(ctx context.Context) error {
		return a.cfg.Store.CreateClient(ctx, c)
	})
	if errors.Is(err, storage.ErrExists) {
		return errClientExists
	}
	if err != nil {
		return err
	}
	w.Header().Set("Location", a.clientPath(c.ID))
	w.Header().Set("ETag", a.clientTag(c))
	return writeJSON(w, http.StatusCreated, NewClient{a.shownClient(c), made})
}

var errClientExists = func() *problem {
	p := errExists.saying("There is already a client with that id.")
	p.fields = []FieldError{{"client_id", "is already taken"}}
	return p
}()

// refuseUsername fails if id is the name of a user, so that no client looks
// like a user (RFC 9700 section 4.15).
func (a *API) refuseUsername(ctx context.Context, id string) error {
	name, err := passhash.Username(id)
	if err != nil {
		return nil //nolint:nilerr // no user can have that name, and nothing failed
	}
	_, err = a.cfg.Store.LoadUser(ctx, name)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err == nil {
		p := errConflict.saying("A client with the name of a user could be mistaken for the user (RFC 9700 section 4.15). Choose another id.")
		p.fields = []FieldError{{"client_id", "is the name of a user"}}
		err = p
	}
	return err
}

// newSecret makes a secret of 256 bits, or takes the one that was brought. It
// returns the verifier, and the secret too if newSecret made it.
func newSecret(brought *string) (storage.SecretVerifier, string) {
	if brought != nil {
		return storage.NewSecretVerifier(*brought), ""
	}
	var b [32]byte
	rand.Read(b[:]) // never fails since Go 1.24
	made := base64.RawURLEncoding.EncodeToString(b[:])
	return storage.NewSecretVerifier(made), made
}

// aboutClient is the audit event of an act on the client. The detail is a fixed text.
func aboutClient(action storage.AuditAction, c storage.Client, detail string) storage.AuditEvent {
	return storage.AuditEvent{Action: action, ClientID: c.ID, Detail: detail}
}
