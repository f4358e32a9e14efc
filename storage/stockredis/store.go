package stockredis

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/redisstore"
)

// Config says where the stock tokens are and which rights they keep. All fields
// are required except DefaultScopes, AdminScope, Audiences and Now.
type Config struct {
	// URL of the stock server's Redis, as for redisstore.Open, but no Cluster. Its
	// parameter prefix is the stock store's keyNamespace.
	URL string

	// Store has the users, clients and grants that stock tokens stand for.
	Store storage.Store

	// Username turns a record's UserID into the name that the user has in Store.
	Username func(string) (string, error)

	// Scopes that the server knows. A stock token keeps only those that its
	// client may have in Store, because the stock server may have granted any
	// scope to anybody. A token without a scope has DefaultScopes. AdminScope is
	// a scope for admins only; empty: there is no such scope.
	Scopes, DefaultScopes []string
	AdminScope            string

	// Audiences are the resource servers that the tokens of a client without
	// audiences are for. Defaults to all resource servers.
	Audiences []string

	// RefreshAbsolute bounds the life of every sign-in from its beginning, even
	// if the stock server made its tokens for ever.
	RefreshAbsolute time.Duration

	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// Store finds the tokens of a stock deployment. It is safe for concurrent use.
// Its methods return an error that wraps storage.ErrUnavailable when the stock
// server's Redis or Config.Store can't answer.
type Store struct {
	cfg    Config
	client redis.UniversalClient
	prefix string
}

// Open returns the store. It doesn't connect. An error names the fault of the
// URL and never quotes it.
func Open(c Config) (*Store, error) {
	address, prefix, err := cutPrefix(c.URL)
	if err != nil {
		return nil, err
	}
	client, err := redisstore.NewClient(address)
	if err != nil {
		return nil, err
	}
	if _, cluster := client.(*redis.ClusterClient); cluster {
		_ = client.Close() // it has not connected
		return nil, errors.New("stockredis: bad URL: a Cluster is not supported, because it can't move the keys of a stock sign-in in one step")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Store{cfg: c, client: client, prefix: prefix}, nil
}

// cutPrefix takes the parameter prefix out of the URL.
func cutPrefix(address string) (rest, prefix string, err error) {
	base, query, found := strings.Cut(address, "?")
	if !found {
		return address, "", nil
	}
	values, err := url.ParseQuery(query)
	if err != nil || len(values["prefix"]) > 1 {
		return "", "", errors.New("stockredis: bad URL: the query is not correctly percent-encoded, or has the parameter prefix twice")
	}
	prefix = values.Get("prefix")
	values.Del("prefix")
	if len(values) > 0 {
		base += "?" + values.Encode()
	}
	return base, prefix, nil
}

// Close closes the connections to the stock server's Redis.
func (s *Store) Close() error { return s.client.Close() }

func (s *Store) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Millisecond) }

// texts reads keys. A key that doesn't exist or isn't a text gives "".
func (s *Store) texts(ctx context.Context, keys ...string) ([]string, error) {
	replies, err := s.client.MGet(ctx, keys...).Result()
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	texts := make([]string, len(keys))
	for i, reply := range replies {
		texts[i], _ = reply.(string)
	}
	return texts, nil
}

// unavailable wraps every fault of the stock server's Redis.
func unavailable(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if gone := ctx.Err(); gone != nil {
		return fmt.Errorf("%w: %w: stock tokens: %w", storage.ErrUnavailable, gone, err)
	}
	return fmt.Errorf("%w: stock tokens: %w", storage.ErrUnavailable, err)
}
