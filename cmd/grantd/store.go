package main

import (
	"context"
	"errors"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
	"github.com/grantd/grantd/storage/redisstore"
)

// openStore opens the store that the configuration names. A Redis that can't be reached
// is no error: calls of the store fail until it can.
func openStore(c *config) (storage.Store, error) {
	if c.Redis.URL == "" {
		s, err := embedded.Open(c.Data)
		if err != nil {
			told := failedf("%s", ofFile(err))
			if text := err.Error(); strings.Contains(text, "file is not a database") || strings.Contains(text, "unable to open database file") {
				told = told.withHint("check that " + c.Data + " is a store of grantd, and that this user may write to its directory")
			}
			return nil, told
		}
		return s, nil
	}
	u, err := c.redisURL()
	if err != nil {
		return nil, usagef("redis.password: %w", err)
	}
	s, err := redisstore.Open(u, redisstore.WithReplicas(c.Redis.WaitReplicas))
	if err != nil {
		return nil, usagef("redis.url: %w", err)
	}
	return s, nil
}

// storeName names the store for the log. The user of Redis is left out: without a colon
// it may be a password in the wrong place.
func (c *config) storeName() string {
	if c.Redis.URL != "" {
		scheme, rest, _ := strings.Cut(redactURL(c.Redis.URL), "://")
		return scheme + "://" + rest[strings.LastIndexByte(rest, '@')+1:]
	}
	if path, err := filepath.Abs(c.Data); err == nil && c.Data != embedded.Memory {
		return path
	}
	return c.Data
}

// ofFile returns the text of err without "unavailable", which doesn't suit a file.
func ofFile(err error) string {
	return strings.Replace(err.Error(), storage.ErrUnavailable.Error()+": ", "", 1)
}

// redisURL returns redis.url with redis.password in it. It doesn't use net/url, which
// takes no list of hosts, and whose errors quote the URL.
func (c *config) redisURL() (string, error) {
	scheme, rest, found := strings.Cut(c.Redis.URL, "://")
	if c.Redis.Password.IsZero() || !found {
		return c.Redis.URL, nil
	}
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	user := ""
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, authority = authority[:i], authority[i+1:]
	}
	if strings.Contains(user, ":") {
		return "", errors.New("redis.url contains a password already: remove one of them")
	}
	name, err := url.PathUnescape(user)
	if err != nil {
		return "", errors.New("the user in redis.url is not correctly percent-encoded")
	}
	return scheme + "://" + url.UserPassword(name, c.Redis.Password.Reveal()).String() + "@" + authority + tail, nil
}

// eachUser calls f with every user, in the order of names, until f returns false.
func eachUser(ctx context.Context, users storage.Users, f func(storage.User) bool) error {
	return eachPage(func(u storage.User) string { return u.Name }, f, func(after string) ([]storage.User, error) {
		return users.ListUsers(ctx, after, pageSize)
	})
}

// eachClient is eachUser for clients, in the order of ids.
func eachClient(ctx context.Context, clients storage.Clients, f func(storage.Client) bool) error {
	return eachPage(func(c storage.Client) string { return c.ID }, f, func(after string) ([]storage.Client, error) {
		return clients.ListClients(ctx, after, pageSize)
	})
}

const pageSize = 500

func eachPage[T any](key func(T) string, f func(T) bool, page func(after string) ([]T, error)) error {
	after := ""
	for {
		records, err := page(after)
		if err != nil {
			return err
		}
		for _, r := range records {
			if !f(r) {
				return nil
			}
		}
		if len(records) < pageSize {
			return nil
		}
		after = key(records[len(records)-1])
	}
}

// redactURL hides the password in the userinfo of a Redis URL, and all parameters, since
// one of them is a password.
func redactURL(text string) string {
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		return text
	}
	rest, _, hasQuery := strings.Cut(rest, "?")
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		if user, _, secret := strings.Cut(rest[:i], ":"); secret {
			rest = user + ":" + redacted + rest[i:]
		}
	}
	if hasQuery {
		rest += "?" + redacted
	}
	return scheme + "://" + rest
}
