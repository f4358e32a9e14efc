package stockredis

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
)

// Tally counts what a walk found: sign-ins, unless a field says otherwise. Keys
// that Redis moves during the walk may count twice.
type Tally struct {
	Keys int `json:"keys"` // keys that were read

	// Clients has the live tokens that grantd honours, by client id.
	Clients map[string]Tokens `json:"clients"`

	NoUser   int `json:"no_user"`   // the user doesn't exist in the Store, or is disabled
	NoClient int `json:"no_client"` // the client doesn't exist in the Store
	NoScope  int `json:"no_scope"`  // the client may have nothing of the scope
	Ended    int `json:"ended"`     // all tokens of the user or the client were ended
	Expired  int `json:"expired"`   // expired, or older than RefreshAbsolute
	Future   int `json:"future"`    // made in the future, by the clock of grantd

	Eternal   int `json:"eternal"`   // keys of the stock store without an expiry
	Codes     int `json:"codes"`     // authorization codes, which aren't honoured
	Malformed int `json:"malformed"` // records that can't be read
	Foreign   int `json:"foreign"`   // keys that aren't the stock store's
	Markers   int `json:"markers"`   // markers of tokens that moved before

	Moved   int `json:"moved"`   // by this walk
	Deleted int `json:"deleted"` // by this walk, of the ended and expired
}

// Tokens counts live tokens.
type Tokens struct {
	Access  int `json:"access"`
	Refresh int `json:"refresh"`
}

// Count walks over all keys and changes nothing. It calls progress now and then
// with the count so far; progress may be nil.
func (s *Store) Count(ctx context.Context, progress func(Tally)) (Tally, error) {
	return (&walk{Store: s, progress: progress}).run(ctx)
}

// Move walks over all keys and creates grants in Store for all sign-ins whose
// tokens are honoured. The clients' tokens stay good. Move deletes sign-ins
// that were ended or have expired. It leaves the others, whose users or clients
// may still be made, and records that it can't read, and foreign keys. It can
// run at any time beside servers, and again after an error: sign-ins that moved
// are gone from the stock store.
func (s *Store) Move(ctx context.Context, progress func(Tally)) (Tally, error) {
	return (&walk{Store: s, move: true, progress: progress}).run(ctx)
}

type walk struct {
	*Store
	move     bool
	progress func(Tally)
	tally    Tally
}

const (
	scanCount = 1000 // keys that Redis reads for one answer
	batch     = 100  // keys that are read at once
)

func (w *walk) run(ctx context.Context) (Tally, error) {
	w.tally.Clients = map[string]Tokens{}
	for cursor := uint64(0); ; {
		keys, next, err := w.client.Scan(ctx, cursor, globText(w.prefix)+"*", scanCount).Result()
		if err != nil {
			return w.tally, unavailable(ctx, err)
		}
		for some := range slices.Chunk(keys, batch) {
			if err := w.visitAll(ctx, some); err != nil {
				return w.tally, err
			}
		}
		if w.progress != nil {
			w.progress(w.tally)
		}
		if cursor = next; cursor == 0 {
			return w.tally, nil
		}
	}
}

// globText returns the pattern that matches only the text s.
func globText(text string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`).Replace(text)
}

// visitAll reads the keys and counts them. Of a value it reads no more than the
// longest record and one byte.
func (w *walk) visitAll(ctx context.Context, keys []string) error {
	values := make([]*redis.StringCmd, len(keys))
	lives := make([]*redis.DurationCmd, len(keys))
	_, _ = w.client.Pipelined(ctx, func(p redis.Pipeliner) error { // every command has its own error
		for i, key := range keys {
			values[i] = p.GetRange(ctx, key, 0, maxRecord)
			lives[i] = p.PTTL(ctx, key)
		}
		return nil
	})
	for i, key := range keys {
		w.tally.Keys++
		text, err := values[i].Result()
		switch {
		case err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE"):
			text = "" // of another type
		case err != nil:
			return unavailable(ctx, err)
		}
		life, err := lives[i].Result()
		if err != nil {
			return unavailable(ctx, err)
		}
		if life == goneLife {
			continue
		}
		if err := w.visit(ctx, strings.TrimPrefix(key, w.prefix), text, life == eternalLife); err != nil {
			return err
		}
	}
	return nil
}

// The answers of PTTL for a key without an expiry, and for a missing key.
const (
	eternalLife = -1 * time.Nanosecond
	goneLife    = -2 * time.Nanosecond
)

func (w *walk) visit(ctx context.Context, name, text string, eternal bool) error {
	switch {
	case strings.HasPrefix(name, movedPrefix):
		w.tally.Markers++
	case name == endedKey:
		// ours as well
	case isID(text) && Shaped(name):
		w.countEternal(eternal)
	case isID(name) && strings.HasPrefix(text, "{"):
		w.countEternal(eternal)
		return w.record(ctx, name, text)
	case strings.HasPrefix(text, "{") && isCode(name, text):
		w.countEternal(eternal)
		w.tally.Codes++
	default:
		w.tally.Foreign++
	}
	return nil
}

func (w *walk) countEternal(eternal bool) {
	if eternal {
		w.tally.Eternal++
	}
}

// record counts the sign-in, by those of its tokens whose keys exist.
func (w *walk) record(ctx context.Context, id, text string) error {
	r, ok := parseRecord(text)
	if !ok {
		w.tally.Malformed++
		return nil
	}
	t := token{text: r.Access, recordID: id, record: r}
	g, err := w.grantOf(ctx, id, r)
	if err != nil {
		return w.refused(ctx, t, err)
	}
	found, err := w.texts(ctx, w.key(r.Access), w.key(r.Refresh))
	if err != nil {
		return err
	}
	access := found[0] == id && w.now().Before(g.AccessExpiry)
	refresh := r.Refresh != "" && found[1] == id && w.now().Before(g.RefreshExpiry)
	if !access && !refresh {
		w.tally.Expired++
		return w.discard(ctx, t)
	}
	w.honoured(g.ClientID, access, refresh)
	if !w.move {
		return nil
	}
	if refresh {
		t.text = r.Refresh
	}
	return w.moveOver(ctx, t)
}

func (w *walk) honoured(clientID string, access, refresh bool) {
	n := w.tally.Clients[clientID]
	if access {
		n.Access++
	}
	if refresh {
		n.Refresh++
	}
	w.tally.Clients[clientID] = n
}

// refused counts a sign-in that is not honoured. It keeps the sign-in if that
// may still change.
func (w *walk) refused(ctx context.Context, t token, why error) error {
	switch {
	case errors.Is(why, errNoUser):
		w.tally.NoUser++
	case errors.Is(why, errNoClient):
		w.tally.NoClient++
	case errors.Is(why, errNoScope):
		w.tally.NoScope++
	case errors.Is(why, errFuture):
		w.tally.Future++
	case errors.Is(why, errEnded):
		w.tally.Ended++
		return w.discard(ctx, t)
	default:
		return why
	}
	return nil
}

// discard deletes a sign-in that will never be honoured again.
func (w *walk) discard(ctx context.Context, t token) error {
	if !w.move {
		return nil
	}
	if err := w.forget(ctx, t); err != nil {
		return err
	}
	w.tally.Deleted++
	return nil
}

// maxAttempts is how often a sign-in is tried when revocations come between.
const maxAttempts = 5

// moveOver creates the grant and settles the token. If others were faster,
// nothing is left to do.
func (w *walk) moveOver(ctx context.Context, t token) error {
	var err error
	for range maxAttempts {
		if err = w.keepGrant(ctx, t); !errors.Is(err, storage.ErrRevoked) {
			break
		}
	}
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil // moved, or ended, meanwhile
	case errors.Is(err, storage.ErrRevoked):
		return unavailable(ctx, err)
	case err != nil:
		return err
	}
	w.tally.Moved++
	return nil
}

func (w *walk) keepGrant(ctx context.Context, t token) error {
	g, err := w.begin(ctx, t)
	if err != nil {
		return err
	}
	if t.text == t.record.Access { // there is no live refresh token
		g.Refresh, g.RefreshExpiry, g.End = storage.Digest{}, time.Time{}, g.AccessExpiry
	}
	if err := w.cfg.Store.CreateGrant(ctx, g); err != nil && !errors.Is(err, storage.ErrExists) {
		return err
	}
	err = w.Settle(ctx, t.text, g.ID, storage.Digest{})
	if !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if e := w.cfg.Store.DeleteGrant(ctx, g.ID); e != nil { // it was ended meanwhile
		return e
	}
	return err
}
