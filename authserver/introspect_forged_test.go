package authserver_test

import (
	"testing"

	"github.com/grantd/grantd/storage/opaque"
)

// An access token carries a tag under a deployment key: the signature that
// RFC 7662 section 4 wants verified.
func TestIntrospectVerifiesTheTag(t *testing.T) {
	f := newFixture(t)
	access := signIn(t, f).text("access_token")
	parsed, err := f.keys.Parse(opaque.Access, access)
	if err != nil {
		t.Fatal(err)
	}

	t.Run("7662-4-05 no character can be changed", func(t *testing.T) {
		for i := range access {
			other := byte('A')
			if access[i] == other {
				other = 'B'
			}
			wantInactive(t, f, access[:i]+string(other)+access[i+1:])
		}
		wantActive(t, f, access)
	})
	t.Run("7662-2.1-06 a token of which a key is missing to tell", func(t *testing.T) {
		others, err := opaque.NewKeyring(opaque.NewKey(2))
		if err != nil {
			t.Fatal(err)
		}
		elsewhere, _ := others.Mint(opaque.Access, parsed.Grant, parsed.Generation)
		wantInactive(t, f, elsewhere)
	})
}
