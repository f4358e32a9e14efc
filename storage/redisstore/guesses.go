package redisstore

import (
	"context"
	"time"

	"github.com/grantd/grantd/storage"
)

// LoadGuesses implements storage.Guesses in one round trip, which concurrent calls
// may share.
func (s *Store) LoadGuesses(ctx context.Context, key storage.GuessKey) ([]byte, error) {
	record, err := s.shared.Get(ctx, guessKey(key)).Bytes()
	if isNil(err) {
		return nil, nil
	}
	return record, unavailable(ctx, err)
}

// SwapGuesses implements storage.Guesses in one round trip. If expiry has
// passed by the clock of Redis, Redis keeps nothing.
func (s *Store) SwapGuesses(ctx context.Context, key storage.GuessKey, old, next []byte, expiry time.Time) ([]byte, error) {
	answer, err := s.shared.run(ctx, guessesScript, []string{guessKey(key)}, old, next, expiry.UnixMilli()).Result()
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	switch kept := answer.(type) {
	case string:
		if kept == "" {
			return nil, storage.ErrConflict
		}
		return []byte(kept), storage.ErrConflict
	default:
		return next, nil
	}
}
