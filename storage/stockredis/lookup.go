package stockredis

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/opaque"
)

// Every script may run twice for one call, because go-redis repeats a command
// if its connection breaks. The second run must change nothing more and give
// the same answer.
var (
	//go:embed script/settle.lua
	settleText   string
	settleScript = redis.NewScript(settleText)

	//go:embed script/forget.lua
	forgetText   string
	forgetScript = redis.NewScript(forgetText)

	//go:embed script/end.lua
	endText   string
	endScript = redis.NewScript(endText)
)

// token is what Redis has for a text: the grant that it became, or its record.
type token struct {
	text     string
	moved    bool
	access   bool            // if moved: it is known for an access token
	grant    storage.GrantID // if moved
	recordID string          // unless moved
	record   record          // unless moved
}

// look looks the token up. It returns storage.ErrNotFound for a text that is no
// token. It accepts only a record that names the text, because tokens of all
// kinds, records, and maybe somebody else's keys share the stock store's space
// of keys.
//
// It reads the record after its id. If the record is gone by then, the token
// has just moved, and look reads what it became.
func (s *Store) look(ctx context.Context, text string) (token, error) {
	if !Shaped(text) {
		return token{}, storage.ErrNotFound
	}
	t, err := s.lookOnce(ctx, text)
	if errors.Is(err, errNoRecord) {
		t, err = s.lookOnce(ctx, text)
	}
	return t, err
}

// errNoRecord: the token's key names a record that doesn't exist.
var errNoRecord = refusal("its record is gone")

func (s *Store) lookOnce(ctx context.Context, text string) (token, error) {
	found, err := s.texts(ctx, s.movedKey(text), s.key(text))
	if err != nil {
		return token{}, err
	}
	if id, moved := markerGrant(found[0]); moved {
		return token{text: text, moved: true, access: found[0] == accessMarker(id, text), grant: id}, nil
	}
	recordID := found[1]
	if !isID(recordID) {
		return token{}, storage.ErrNotFound
	}
	if found, err = s.texts(ctx, s.key(recordID)); err != nil {
		return token{}, err
	}
	if found[0] == "" {
		return token{}, errNoRecord
	}
	r, ok := parseRecord(found[0])
	if !ok || r.Access != text && r.Refresh != text {
		return token{}, storage.ErrNotFound
	}
	return token{text: text, recordID: recordID, record: r}, nil
}

// AccessGrant returns the grant that the access token stands for, or
// storage.ErrNotFound when text is no access token, has expired or was ended.
// AccessGrant asks Redis three times and Store up to two times, or each once for a
// token that moved.
func (s *Store) AccessGrant(ctx context.Context, text string) (storage.Grant, error) {
	t, err := s.look(ctx, text)
	if err != nil {
		return storage.Grant{}, err
	}
	return s.live(ctx, t)
}

// live returns the grant that the token stands for as a live access token.
func (s *Store) live(ctx context.Context, t token) (g storage.Grant, err error) {
	switch {
	case t.moved:
		g, err = s.cfg.Store.LoadGrant(ctx, t.grant)
	case t.record.Access == t.text:
		g, err = s.grantOf(ctx, t.recordID, t.record)
	default:
		err = storage.ErrNotFound // a refresh token
	}
	if err != nil {
		return storage.Grant{}, err
	}
	if !g.Access.Equal(opaque.Adopt(opaque.Access, g.ID, t.text).Digest()) || !s.now().Before(g.AccessExpiry) {
		return storage.Grant{}, errExpired // or replaced by a refresh
	}
	return g, nil
}

// RefreshGrant returns the grant that the refresh token stands for, for the caller to
// create and refresh, or storage.ErrNotFound. If the token moved, its grant was created
// before and only its id is known here. Then the caller has to load the grant and check
// the token against it, as for any refresh token.
func (s *Store) RefreshGrant(ctx context.Context, text string) (g storage.Grant, moved bool, err error) {
	t, err := s.look(ctx, text)
	if err == nil && !t.moved {
		if g, err = s.begin(ctx, t); errors.Is(err, errMoved) {
			if t, err = s.look(ctx, text); err == nil && !t.moved {
				err = errMoved // and its marker has expired
			}
		}
	}
	if err == nil && t.moved && !t.access {
		return storage.Grant{ID: t.grant}, true, nil
	}
	if err != nil {
		return storage.Grant{}, false, err
	}
	if t.record.Refresh != text || !s.now().Before(g.RefreshExpiry) {
		return storage.Grant{}, false, errExpired // or an access token
	}
	return g, false, nil
}

// AnyGrant is AccessGrant and RefreshGrant for a token of either kind, and returns the
// kind. Of an access token that moved and isn't live any more, only the grant's id is
// returned, and moved.
func (s *Store) AnyGrant(ctx context.Context, text string) (kind opaque.Kind, g storage.Grant, moved bool, err error) {
	t, err := s.look(ctx, text)
	if err == nil {
		g, err = s.live(ctx, t)
	}
	switch {
	case !errors.Is(err, storage.ErrNotFound):
		return opaque.Access, g, false, err
	case t.moved && t.access:
		return opaque.Access, storage.Grant{ID: t.grant}, true, nil
	}
	g, moved, err = s.RefreshGrant(ctx, text)
	return opaque.Refresh, g, moved, err
}

// errMoved: other requests moved the token first.
var errMoved = refusal("moved meanwhile")

// begin is grantOf with the epoch. It reads the epoch before all that the grant
// rests on: see storage.Revocations. The partition depends on the user, so
// begin reads the user once before that as well.
func (s *Store) begin(ctx context.Context, t token) (storage.Grant, error) {
	before, err := s.grantOf(ctx, t.recordID, t.record)
	if err != nil {
		return before, err
	}
	epoch, err := s.cfg.Store.Epoch(ctx, before.ID)
	if err != nil {
		return before, err
	}
	again, err := s.look(ctx, t.text)
	if err != nil {
		return before, err
	}
	if again.moved {
		return before, errMoved
	}
	g, err := s.grantOf(ctx, again.recordID, again.record)
	if err == nil && g.ID != before.ID {
		err = storage.ErrNotFound // the user was replaced meanwhile
	}
	g.Epoch = epoch
	return g, err
}

// Settle takes a token whose grant was created in Store out of the stock store.
// It deletes the token's keys, and leaves a marker that leads to the grant for
// as long as the token could have lived. pair is the digest of the access token
// that a refresh with the token gave, or zero if it was not spent.
//
// Settle returns storage.ErrNotFound when the token was ended meanwhile or gave
// another pair before. Then the caller must delete the grant. Repeating a call
// that succeeded succeeds.
func (s *Store) Settle(ctx context.Context, text string, id storage.GrantID, pair storage.Digest) error {
	t, err := s.look(ctx, text)
	if err != nil {
		return err
	}
	keys := []string{s.key(endedKey), s.movedKey(text)}
	if !t.moved {
		keys = append(keys, s.tokenKeys(t)...)
		if sibling := t.record.sibling(text); sibling != "" {
			keys = append(keys, s.movedKey(sibling))
		}
	}
	own, sibling := marker(id, pair), accessMarker(id, t.record.Access)
	if t.access || !t.moved && text == t.record.Access {
		own, sibling = accessMarker(id, text), marker(id, storage.Digest{})
	}
	settled, err := settleScript.Run(ctx, s.client, keys,
		own, marker(id, storage.Digest{}), sibling, t.recordID, s.markerLife(t.record).Milliseconds(),
		endedGrant+id.String()).Bool()
	if err != nil {
		return unavailable(ctx, err)
	}
	if !settled {
		return storage.ErrNotFound
	}
	return nil
}

// markerLife returns how long the tokens of the record could still live, and a
// minute more for requests under way.
func (s *Store) markerLife(r record) time.Duration {
	var g storage.Grant
	s.setTimes(&g, r)
	s.setRefresh(&g, r)
	return time.Minute + max(0, g.Expiry().Sub(s.now()))
}

// Forget takes the token and its sibling out of the stock store, so that
// neither leads to a grant any more. An unknown text is no error.
func (s *Store) Forget(ctx context.Context, text string) error {
	t, err := s.look(ctx, text)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.forget(ctx, t)
}

func (s *Store) forget(ctx context.Context, t token) error {
	keys := []string{s.movedKey(t.text)}
	if !t.moved {
		keys = append(keys, s.tokenKeys(t)...)
	}
	return unavailable(ctx, forgetScript.Run(ctx, s.client, keys, t.recordID).Err())
}

// tokenKeys returns the keys in the stock store: those of the token, of its
// record and of its sibling, if it has one.
func (s *Store) tokenKeys(t token) []string {
	keys := []string{s.key(t.text), s.key(t.recordID)}
	if sibling := t.record.sibling(t.text); sibling != "" {
		keys = append(keys, s.key(sibling))
	}
	return keys
}
