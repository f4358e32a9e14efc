package storage_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

func TestSecretVerifier(t *testing.T) {
	v := storage.NewSecretVerifier("s3cret")
	if !v.Verify("s3cret") {
		t.Error("the secret isn't recognised")
	}
	for _, wrong := range []string{"", "s3cre", "s3cret ", "S3cret", "s3cret\x00", string(v.Salt) + "s3cret", string(v.Hash)} {
		if v.Verify(wrong) {
			t.Errorf("%q is recognised", wrong)
		}
	}
}

func TestNoSecretIsRecognisedByNobody(t *testing.T) {
	for name, v := range map[string]storage.SecretVerifier{"of an empty secret": storage.NewSecretVerifier(""), "zero": {}} {
		for _, secret := range []string{"", "s3cret"} {
			if v.Verify(secret) {
				t.Errorf("6749-2.2-01 the verifier %s recognises %q", name, secret)
			}
		}
	}
}

func TestSecretVerifiersShowNothing(t *testing.T) {
	a, b := storage.NewSecretVerifier("s3cret"), storage.NewSecretVerifier("s3cret")
	if bytes.Equal(a.Hash, b.Hash) || bytes.Equal(a.Salt, b.Salt) || len(a.Salt) < 16 {
		t.Error("the same secret gives the same verifier: the salt is missing, or short")
	}
	if text, err := json.Marshal(a); err != nil || bytes.Contains(text, []byte("s3cret")) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestSecretVerifierSurvivesJSON(t *testing.T) {
	text, err := json.Marshal(storage.NewSecretVerifier("s3cret"))
	if err != nil {
		t.Fatal(err)
	}
	var got storage.SecretVerifier
	if err := json.Unmarshal(text, &got); err != nil || !got.Verify("s3cret") {
		t.Errorf("%s: %v", text, err)
	}
}

func TestTheZeroSecretVerifierRecognisesNothing(t *testing.T) {
	for _, v := range []storage.SecretVerifier{{}, {Salt: []byte("salt")}, {Hash: []byte{}}} {
		for _, secret := range []string{"", "s3cret", "salt"} {
			if v.Verify(secret) {
				t.Errorf("%v recognises %q", v, secret)
			}
		}
	}
}

func TestTwoSecrets(t *testing.T) {
	end := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	both := storage.Client{Secret: storage.NewSecretVerifier("new"), PreviousSecret: storage.NewSecretVerifier("old"), PreviousUntil: end}
	for _, test := range []struct {
		name   string
		client storage.Client
		secret string
		now    time.Time
		want   bool
	}{
		{"the current one", both, "new", end.Add(-1), true},
		{"the current one after the window", both, "new", end, true},
		{"the previous one in the window", both, "old", end.Add(-1), true},
		{"the previous one when it closes", both, "old", end, false},
		{"another", both, "other", end.Add(-1), false},
		{"none", both, "", end.Add(-1), false},
		{"a previous one without a window", storage.Client{PreviousSecret: both.PreviousSecret}, "old", end, false},
		{"none of a client without any", storage.Client{PreviousUntil: end}, "", end.Add(-1), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.client.VerifySecret(test.secret, test.now); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}
