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

// Tally counts what a walk found, sign-ins unless it says otherwise. Keys that
// Redis moves while they are walked may count twice.
type Tally struct {
	Keys int `json:"keys"` // that were looked at

	// Clients has the live tokens that grantd honours, by client id.
	Clients map[string]Tokens `json:"clients"`

	NoUser   int `json:"no_user"`   // the user doesn't exist in the Store, or is disabled
	NoClient int `json:"no_client"` // the client doesn't exist in the Store
	NoScope  int `json:"no_scope"`  // the client may have nothing of the scope
	Ended    int `json:"ended"`     // all of the user or the client were ended
	Expired  int `json:"expired"`   // or older than RefreshAbsolute

	Eternal   int `json:"eternal"`   // keys of the stock store without an expiry
	Codes     int `json:"codes"`     // authorization codes, which nobody honours
	Malformed int `json:"malformed"` // records that can't be read
	Foreign   int `json:"foreign"`   // keys that are none of the stock store's
	Markers   int `json:"markers"`   // keys that tokens left which moved before

	Moved   int `json:"moved"`   // by this walk
	Deleted int `json:"deleted"` // by this walk: of those ended or expired
}

// Tokens counts live tokens.
type Tokens struct {
	Access  int `json:"access"`
	Refresh int `json:"refresh"`
}

// Count walks over all keys and changes nothing. progress is called now and
// then with what was counted so far; it may be nil.
func (s *Store) Count(ctx context.Context, progress func(Tally)) (Tally, error) {
	return (&walk{Store: s, progress: progress}).run(ctx)
}

// Move walks over all keys and makes grants in Store of all sign-ins whose tokens
// are honoured; what the clients hold stays good. Those that are ended or expired
// are deleted. All others, of users and clients who may yet be made, stay as they
// are, and so does what it can't read or doesn't know. It can be run at any time,
// beside servers, and again after an error: what moved is not there any more.
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
	scanCount = 1000 // keys that Redis looks at for one answer
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

// globText is the pattern that matches the text alone.
func globText(text string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`).Replace(text)
}

// visitAll reads no more of a value than a record may have.
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
			text = "" // of another type: no text is like it
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

// What PTTL answers for a key without an expiry, and for none.
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

// record counts the sign-in, by its access and refresh tokens whose keys are
// there.
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

// refused counts a sign-in that is not honoured. It is kept when that may yet
// change.
func (w *walk) refused(ctx context.Context, t token, why error) error {
	switch {
	case errors.Is(why, errNoUser):
		w.tally.NoUser++
	case errors.Is(why, errNoClient):
		w.tally.NoClient++
	case errors.Is(why, errNoScope):
		w.tally.NoScope++
	case errors.Is(why, errEnded):
		w.tally.Ended++
		return w.discard(ctx, t)
	default:
		return why
	}
	return nil
}

// discard deletes a sign-in that nobody honours any more.
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

// maxAttempts is how often a sign-in is begun again because a revocation came
// between.
const maxAttempts = 5

// moveOver keeps the grant and settles the token. If others were faster it has
// nothing left to do.
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
