package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// Key is a deployment key as the API shows it, without the key itself.
type Key struct {
	ID        int             `json:"id"` // 0 to 255
	Created   time.Time       `json:"created"`
	MintsFrom time.Time       `json:"mints_from"` // each node begins some seconds later
	State     opaque.KeyState `json:"state"`
}

func keyOf(k opaque.KeyInfo) Key {
	return Key{ID: int(k.ID), Created: k.Created.UTC(), MintsFrom: k.MintsFrom.UTC(), State: k.State}
}

func aboutKey(action storage.AuditAction, id byte) storage.AuditEvent {
	return storage.AuditEvent{Action: action, Object: strconv.Itoa(int(id))}
}

// listKeys lists all keys, the newest first. There are 256 at most.
func (a *API) listKeys(w http.ResponseWriter, r *http.Request) error {
	infos, err := a.cfg.Keys.List(r.Context())
	if err != nil {
		return err
	}
	list := struct {
		Keys []Key `json:"keys"`
	}{make([]Key, 0, len(infos))}
	for _, k := range infos {
		list.Keys = append(list.Keys, keyOf(k))
	}
	return writeJSON(w, http.StatusOK, list)
}

// rotateKey makes the next key to mint tokens under.
func (a *API) rotateKey(w http.ResponseWriter, r *http.Request) error {
	if err := decodeOptional(w, r, members{}); err != nil {
		return err
	}
	id, err := a.cfg.Keys.Next(r.Context())
	if err != nil {
		return keyProblem(err)
	}
	var made opaque.KeyInfo
	err = a.act(r.Context(), aboutKey(storage.ActKeyRotate, id), func(ctx context.Context) (err error) {
		made, err = a.cfg.Keys.Rotate(ctx)
		return keyProblem(err)
	})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, keyOf(made))
}

// deleteKey deletes a key. The tokens that were minted under it end with it.
func (a *API) deleteKey(w http.ResponseWriter, r *http.Request) error {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 8)
	if err != nil {
		return deleted(w, r, nil) // no key can have that id
	}
	err = a.cfg.Keys.MayDelete(r.Context(), byte(id))
	if errors.Is(err, storage.ErrNotFound) {
		return deleted(w, r, a.cfg.Keys.Deleted)
	}
	if err != nil {
		return keyProblem(err)
	}
	if err := ifThere(r); err != nil {
		return err
	}
	err = a.act(r.Context(), aboutKey(storage.ActKeyDelete, byte(id)), func(ctx context.Context) error {
		return keyProblem(a.cfg.Keys.Delete(ctx, byte(id)))
	})
	if err != nil {
		return err
	}
	return writeNothing(w)
}

// keyProblem turns a conflict into a problem that says what to do.
func keyProblem(err error) error {
	detail, inUse := "", (*opaque.KeyInUseError)(nil)
	switch {
	case errors.Is(err, opaque.ErrRotating):
		detail = "A new key is already waiting. In the list of keys, its mints_from tells when it begins to mint tokens."
	case errors.Is(err, opaque.ErrKeysFull):
		detail = "There are 256 keys. Delete old ones first."
	case errors.As(err, &inUse):
		seconds := (inUse.Wait + time.Second - 1) / time.Second
		detail = fmt.Sprintf("Tokens are minted under this key, or were a moment ago. It may be deleted in %d s.", seconds)
	case errors.Is(err, opaque.ErrKeyInUse):
		detail = "Tokens are minted under this key, or soon will be, or were a moment ago. A key may be deleted 30 seconds after a newer one was made."
	case errors.Is(err, opaque.ErrNoSecret):
		detail = "Making a key needs the deployment secret of this store, and none is configured."
	case errors.Is(err, opaque.ErrSealed):
		detail = "Making a key needs the deployment secret of this store, and the configured one is another store's."
	default:
		return err
	}
	return errConflict.saying(detail).because(err)
}
