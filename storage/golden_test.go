package storage_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantd/grantd/storage"
)

// testdata/stored has records as they were first stored. Its files are never
// changed, because every later version must read them. A version that writes
// another form gets files of its own beside these.

// golden returns the bytes that the file has as hex or JSON.
func golden(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "stored", name))
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.TrimSpace(text)
	if filepath.Ext(name) != ".hex" {
		return text
	}
	b, err := hex.DecodeString(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func storedGrants() map[string]storage.Grant {
	grants := map[string]storage.Grant{
		"grant-user.hex":     aliceGrant(),
		"grant-client.hex":   serviceGrant(),
		"grant-narrowed.hex": with(func(g *storage.Grant) { g.Scope, g.Generation, g.Epoch = "read write", 300, 1_795_000_000 }),
		"grant-audience.hex": audience("https://api.test urn:b", "urn:b"),
		"grant-text-user.hex": with(func(g *storage.Grant) {
			g.UserID, g.Address = "usr_bilDjHfcNKtQ7Djc", netip.MustParseAddr("2001:db8::1")
		}),
	}
	for name, g := range grants {
		g.ID = storage.GrantID{1, 2, 3}
		grants[name] = g
	}
	return grants
}

func TestStoredGrantsAreRead(t *testing.T) {
	for name, want := range storedGrants() {
		b := golden(t, name)
		got, err := storage.DecodeGrant(want.ID, b)
		if diff := sameGrant(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
		if now := encode(t, want); !bytes.Equal(now, b) {
			t.Errorf("%s: it is written as %x now", name, now)
		}
	}
}

func TestAStoredRetryIsRead(t *testing.T) {
	want := storage.Retry{Generation: 2, Refresh: digest(2), Mix: [16]byte{1, 15: 2}, KeyID: 7, Until: signIn}
	b := golden(t, "retry.hex")
	got, err := storage.DecodeRetry(b)
	if diff := cmp.Diff(want, got, byValue); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if now := storage.AppendRetry(nil, want); !bytes.Equal(now, b) {
		t.Errorf("it is written as %x now", now)
	}
}

func storedDocuments() map[string]any {
	secret := storage.SecretVerifier{Salt: []byte("salt of 16 bytes"), Hash: bytes.Repeat([]byte{0xab}, 32)}
	return map[string]any{
		"user.json":       &storage.User{ID: "usr_bilDjHfcNKtQ7Djc", Name: "alice", Password: "$argon2id$v=19$m=64,t=1,p=1$c2FsdA$aGFzaA", Created: signIn, Revision: 3},
		"user-admin.json": &storage.User{ID: "usr_y1za207PHxO9CxK8", Name: "admin", Disabled: true, Admin: true, Created: signIn, Revision: 1},
		"client.json": &storage.Client{
			ID: "web", Secret: secret, PreviousSecret: secret, PreviousUntil: signIn.Add(time.Hour),
			Grants: []string{"password", "refresh_token"}, Scopes: []string{"read", "write"}, RedirectURIs: []string{"https://app.test/callback"},
			Audiences: []string{"https://api.test"}, Origins: []string{"https://app.test"}, Introspect: true,
			AccessLifetime: 15 * time.Minute, Narrowed: true, Created: signIn, Revision: 2,
		},
		"client-public.json": &storage.Client{ID: "spa", Public: true, Grants: []string{"refresh_token"}, Scopes: []string{"read"}, Created: signIn, Revision: 1},
		"key.json":           &storage.Key{ID: 7, Sealed: []byte("sealed under the deployment secret"), Created: signIn},
		"receipt.json": &storage.Receipt{
			ID: "rev_7v9q5bl8b0000000000000000", Created: signIn, Target: storage.Target{UserID: "usr_bilDjHfcNKtQ7Djc", Before: signIn},
			Epochs: map[byte]uint32{66: 1_795_000_000}, Username: "alice", By: "admin", Cause: storage.ActRevocation, Expected: 3,
			Swept:    storage.Swept{Grants: 3, Oldest: signIn.Add(-time.Hour), Newest: signIn},
			Sweeping: signIn, Completed: signIn, Verified: signIn, Survivors: 0, Revision: 4,
		},
		"receipt-grant.json": &storage.Receipt{ID: "rev_7v9q5bl8b0000000000000001", Created: signIn, Grant: storage.GrantID{1, 2, 3}.String(), By: "local", Cause: storage.ActGrantEnd, Expected: -1, Revision: 1},
	}
}

func TestStoredDocumentsAreRead(t *testing.T) {
	for name, want := range storedDocuments() {
		text := golden(t, name)
		got := map[string]any{"user": &storage.User{}, "client": &storage.Client{}, "key": &storage.Key{}, "receipt": &storage.Receipt{}}[kind(name)]
		err := decode(text, got)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
		if now, err := json.Marshal(want); err != nil || !bytes.Equal(now, text) {
			t.Errorf("%s: it is written as %s now, %v", name, now, err)
		}
	}
}

func decode(text []byte, record any) error {
	switch r := record.(type) {
	case *storage.User:
		return storage.DecodeRecord(text, r)
	case *storage.Client:
		return storage.DecodeRecord(text, r)
	case *storage.Key:
		return storage.DecodeRecord(text, r)
	case *storage.Receipt:
		return storage.DecodeRecord(text, r)
	}
	return fmt.Errorf("%T is no record", record)
}

// kind returns the name up to its first dash or dot.
func kind(name string) string { return name[:strings.IndexAny(name, "-.")] }

func TestAStoredAuditEventIsRead(t *testing.T) {
	want := storage.AuditEvent{
		ID: "17", Time: signIn, Action: storage.ActSignIn, Outcome: storage.Success, ActorUser: "alice", ActorUserID: "usr_bilDjHfcNKtQ7Djc",
		ActorClient: "web", Local: true, Username: "bob", UserID: "usr_y1za207PHxO9CxK8", ClientID: "spa", GrantID: storage.GrantID{1, 2, 3}.String(),
		Object: "7", Address: netip.MustParseAddr("203.0.113.9"), RequestID: "req", Detail: "a fixed text",
	}
	text := golden(t, "audit.json")
	got, err := storage.DecodeAudit(want.ID, text)
	if diff := cmp.Diff(want, got, byValue); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if now, _ := storage.EncodeAudit([]storage.AuditEvent{want}); len(now) != 1 || !bytes.Equal(now[0], text) {
		t.Errorf("it is written as %s now", now)
	}
	// An event with a member that a newer version added is still shown.
	if e, err := storage.DecodeAudit("17", []byte(`{"new":1,`+string(text[1:]))); err != nil || cmp.Diff(want, e, byValue) != "" {
		t.Errorf("with a member more: %+v, %v", e, err)
	}
}

func TestDocumentsOfANewerVersionAreUnavailable(t *testing.T) {
	for name := range storedDocuments() {
		text := string(golden(t, name))
		for what, changed := range map[string]string{
			"a member more": `{"until":1,` + text[1:], "a text behind it": text + " {}", "half of it": text[:len(text)/2], "nothing": "", "another type": `[]`,
		} {
			var record any = &storage.Client{}
			switch kind(name) {
			case "user":
				record = &storage.User{}
			case "key":
				record = &storage.Key{}
			case "receipt":
				record = &storage.Receipt{}
			}
			err := decode([]byte(changed), record)
			if !errors.Is(err, storage.ErrUnavailable) || err.Error() != storage.ErrUnreadable.Error() { // its text quotes nothing of the record
				t.Errorf("%s with %s: %v", name, what, err)
			}
		}
	}
}
