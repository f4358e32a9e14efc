package storage_test

import (
	"bytes"
	"encoding/json"
	"testing"

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
