package main

import (
	"net/url"
	"strings"
	"testing"
)

// guessSecrets asks for tokens with wrong secrets and counts the answers 429.
func guessSecrets(t *testing.T, base string, n int) (refused int) {
	t.Helper()
	for range n {
		status, answer := tokenFor(t, base, "demo", "guessed-secret", url.Values{"grant_type": {"client_credentials"}})
		switch {
		case status == 429 && answer["error"] == "temporarily_unavailable":
			refused++
		case status != 401 || answer["error"] != "invalid_client":
			t.Errorf("a wrong secret: %d %v", status, answer)
		}
	}
	return refused
}

func TestThrottle(t *testing.T) {
	t.Run("6749-2.3.1-07 guesses are refused and logged, and other clients served", func(t *testing.T) {
		g := startDev(t, "--memory")
		if n := guessSecrets(t, g.URL, 100); n < 50 {
			t.Errorf("%d of 100 guesses were refused", n)
		}
		if status, answer := tokenFor(t, g.URL, "demo2", "demo2-secret", passwordForm("alice", "secret123", "")); status != 200 {
			t.Errorf("another client: %d %v", status, answer)
		}
		g.Stop()
		log := g.Stderr()
		if !strings.Contains(log, "status=429") || !strings.Contains(log, "too many failed client authentications from the network") {
			t.Errorf("the log doesn't tell:\n%s", log)
		}
		if strings.Contains(log, "guessed-secret") {
			t.Errorf("the log holds a secret:\n%s", log)
		}
	})
	t.Run("dev --throttle off refuses none", func(t *testing.T) {
		g := startDev(t, "--memory", "--throttle", "off")
		if n := guessSecrets(t, g.URL, 200); n != 0 {
			t.Errorf("%d guesses were refused", n)
		}
	})
}
