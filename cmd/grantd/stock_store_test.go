package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-oauth2/oauth2/v4/manage"
)

// storeDefects are about the form of tokens, and how they are stored.
var storeDefects = []defect{
	{
		ids:  "V50 stock-20 6749-10.10-01 6749-10.10-02 6750-5.2-01",
		text: "a token is a UUID in base64, upper-cased: 122 bits",
		check: func(_ *testing.T, s target) error {
			var tokens []string
			for range 64 {
				a := s.ask(web, machineForm)
				if err := a.ok(); err != nil {
					return err
				}
				tokens = append(tokens, a.member("access_token"))
			}
			if err := hardToGuess(tokens); err != nil {
				return err
			}
			return notUUID(s.signIn(web, "read").refresh)
		},
		shows: "is a UUID: at most 122 bits, want 160",
	},
	{
		ids:  "V51 stock-15 6749-10.3-01 6749-10.4-01",
		text: "access and refresh tokens are stored in clear",
		check: func(_ *testing.T, s target) error {
			first := s.signIn(web, "read")
			second := s.refreshed(web, first)
			dump := s.dump()
			if !strings.Contains(dump, web.id) {
				s.t.Fatalf("the dump of %d bytes shows nothing", len(dump))
			}
			var found []string
			for name, text := range map[string]string{"access": second.access, "refresh": second.refresh, "first access": first.access, "first refresh": first.refresh} {
				if strings.Contains(dump, text) {
					found = append(found, name)
				}
			}
			if len(found) > 0 {
				return fmt.Errorf("tokens in the store: %q", found)
			}
			return nil
		},
		shows: "tokens in the store",
	},
	{
		ids:  "stock-16",
		text: "every refresh without rotation leaves a record behind",
		on:   redisOnly,
		check: func(_ *testing.T, s target) error {
			const refreshes = 50
			p := s.signIn(web, "read")
			before := len(s.keys())
			for range refreshes {
				a := s.ask(web, refreshForm(p.refresh, ""))
				if err := a.ok(); err != nil {
					return err
				}
				if next := a.member("refresh_token"); next != "" { // grantd always rotates
					p.refresh = next
				}
			}
			// One key more is allowed, for the repetition of a refresh.
			if n := len(s.keys()) - before; n > 1 {
				return fmt.Errorf("%d keys more after %d refreshes", n, refreshes)
			}
			return nil
		},
		toolkit: func(k *toolkit) { k.manager.SetRefreshTokenCfg(&manage.RefreshingConfig{IsRemoveAccess: true}) },
		shows:   "50 keys more after 50 refreshes",
	},
	{
		ids:  "stock-17",
		text: "a refresh lifetime of 0 takes the expiry from all keys of a sign-in",
		on:   redisOnly,
		check: func(_ *testing.T, s target) error {
			for key, life := range s.added() {
				if life <= 0 {
					return fmt.Errorf("the key %q has no expiry", key)
				}
			}
			return nil
		},
		toolkit: func(k *toolkit) { k.lifetimes(2*time.Hour, 0) },
		grantd:  func(c *config) { c.RefreshIdle = 0 },
		shows:   "has no expiry",
	},
	{
		ids:  "stock-21",
		text: "the keys of a sign-in lie in different slots of a Redis Cluster, which can't write them in one step",
		on:   redisOnly,
		check: func(_ *testing.T, s target) error {
			slots := map[uint16]bool{}
			for key := range s.added() {
				if strings.HasPrefix(key, "grantd:guess:") {
					continue // the records of the throttle aren't part of the sign-in, and are written separately
				}
				slots[slot(key)] = true
			}
			if len(slots) != 1 {
				return fmt.Errorf("the keys lie in %d slots, want 1", len(slots))
			}
			return nil
		},
		shows: "in 3 slots",
	},
	{
		ids:  "stock-21",
		text: "the store can't use a Redis Cluster of version 7 at all",
		on:   clusterOnly,
		check: func(_ *testing.T, s target) error {
			a := s.ask(web, signInForm("read"))
			if err := a.ok(); err != nil {
				return err
			}
			if next := s.refreshed(web, s.must(a)); !s.lives(next.access) {
				return errors.New("the refreshed access token is refused")
			}
			return nil
		},
		shows: "500 server_error",
	},
}

const week = 7 * 24 * time.Hour

// lifetimes sets the lifetimes of the password grant.
func (k *toolkit) lifetimes(access, refresh time.Duration) {
	k.manager.SetPasswordTokenCfg(&manage.Config{AccessTokenExp: access, RefreshTokenExp: refresh, IsGenerateRefresh: true})
}

// added returns the keys that a sign-in adds.
func (s target) added() map[string]time.Duration {
	before := s.keys()
	s.signIn(web, "read")
	after := s.keys()
	for key := range before {
		delete(after, key)
	}
	if len(after) == 0 {
		s.t.Fatal("the sign-in left no key")
	}
	return after
}

// hardToGuess returns an error when the tokens vary too little. It adds up the
// variation at each position of the text, in bits. That doesn't prove good
// random numbers, but it detects a counter, a clock or a short token.
func hardToGuess(tokens []string) error {
	seen := map[int]map[byte]bool{}
	for _, token := range tokens {
		if err := notUUID(token); err != nil {
			return err
		}
		for i := range len(token) {
			if seen[i] == nil {
				seen[i] = map[byte]bool{}
			}
			seen[i][token[i]] = true
		}
	}
	bits := 0.0
	for _, values := range seen {
		bits += math.Log2(float64(len(values)))
	}
	if bits < 160 {
		return fmt.Errorf("the tokens vary by %.0f bits, want 160", bits)
	}
	return nil
}

// A UUID of version 3 or 5 has 122 bits that are not fixed.
var uuidText = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[35][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// notUUID returns an error when the token is the base64 of a UUID's text.
// It works although the token is upper-cased: three characters of a UUID become
// four of base64 that are unique even in upper case.
func notUUID(token string) error {
	var text strings.Builder
	for i := 0; i+4 <= len(token); i += 4 {
		text.WriteString(upperCased[token[i:i+4]])
	}
	if len(token) == 48 && uuidText.MatchString(text.String()) {
		return fmt.Errorf("the token %s is a UUID: at most 122 bits, want 160", token)
	}
	return nil
}

// upperCased maps four characters of upper-cased base64 back to three
// characters of a UUID.
var upperCased = func() map[string]string {
	const digits = "0123456789abcdef-"
	back := map[string]string{}
	for _, a := range digits {
		for _, b := range digits {
			for _, c := range digits {
				text := string([]rune{a, b, c})
				back[strings.ToUpper(base64.URLEncoding.EncodeToString([]byte(text)))] = text
			}
		}
	}
	return back
}()

// slot is the slot of a key in a Redis Cluster: CRC-16/XMODEM of the key, or of
// the hash tag in it, modulo 16384.
func slot(key string) uint16 {
	if _, after, found := strings.Cut(key, "{"); found {
		if tag, _, found := strings.Cut(after, "}"); found && tag != "" {
			key = tag
		}
	}
	var crc uint16
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc % 16384
}

func TestStockSlotIsTheOneOfTheClusterSpecification(t *testing.T) {
	// The check value of CRC-16/XMODEM, which is also in the specification of
	// Redis Cluster, and the specification's examples of hash tags.
	if got := slot("123456789"); got != 0x31C3%16384 {
		t.Errorf("got %#x", got)
	}
	if slot("{user1000}.following") != slot("user1000") || slot("foo{}{bar}") == slot("bar") || slot("foo{{bar}}zap") != slot("{bar") {
		t.Error("hash tags are read in another way")
	}
}
