package resource

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"time"
	"unicode/utf8"
)

var errMalformed = errors.New("the answer is not an introspection response (RFC 7662 section 2.2)")

// introspection is an answer of RFC 7662 section 2.2. Times that are missing in it are
// zero.
type introspection struct {
	Identity
	active            bool
	bound             bool // cnf is there: whoever presents the token has to prove a key
	expires           bool // exp is there; it may be the zero time
	tokenType, issuer string
}

// parseIntrospection is strict where a lenient parser could accept a bad token: member
// names are case-sensitive, and none may come twice. A null counts as absent.
func parseIntrospection(body []byte) (introspection, error) {
	var a introspection
	var active *bool
	var issued, expires *int64
	var audience, confirmation json.RawMessage
	into := map[string]any{
		"active": &active, "sub": &a.Subject, "username": &a.Username, "client_id": &a.ClientID, "scope": &a.Scope,
		"aud": &audience, "iat": &issued, "exp": &expires, "token_type": &a.tokenType, "iss": &a.issuer, "cnf": &confirmation,
	}
	if !utf8.Valid(body) || !decodeMembers(body, into) || active == nil {
		return introspection{}, errMalformed
	}
	a.active, a.IssuedAt, a.ExpiresAt, a.expires = *active, timeOf(issued), timeOf(expires), expires != nil
	a.bound = confirmation != nil && string(confirmation) != "null"
	if audience == nil || string(audience) == "null" {
		return a, nil
	}
	a.Audience = make([]string, 1)
	if json.Unmarshal(audience, &a.Audience[0]) == nil {
		return a, nil
	}
	if json.Unmarshal(audience, &a.Audience) != nil || len(a.Audience) == 0 { // an empty audience would mean every resource server
		return introspection{}, errMalformed
	}
	return a, nil
}

// decodeMembers decodes the members of a JSON object into their places and skips those
// that have none.
func decodeMembers(body []byte, into map[string]any) bool {
	d := json.NewDecoder(bytes.NewReader(body))
	if begin, err := d.Token(); err != nil || begin != json.Delim('{') {
		return false
	}
	for d.More() {
		token, err := d.Token()
		name, isName := token.(string)
		place, known := into[name]
		if !known {
			place = new(json.RawMessage)
		}
		if err != nil || !isName || d.Decode(place) != nil {
			return false
		}
		into[name] = nil // a second member of this name fails to decode
	}
	end, _ := d.Token()
	_, err := d.Token()
	return end == json.Delim('}') && errors.Is(err, io.EOF)
}

func timeOf(seconds *int64) time.Time {
	if seconds == nil {
		return time.Time{}
	}
	return time.Unix(*seconds, 0)
}
