package resource

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode"
)

// maxForm is the longest form body that is searched for a token, in bytes.
const maxForm = 32 << 10

// The faults of a request. They are made once, so that a refusal costs little.
var (
	errGarbled    = fmt.Errorf("%w: not a b64token", ErrInvalidToken)
	errHeaders    = fmt.Errorf("%w: more than one Authorization header", ErrInvalidRequest)
	errMethods    = fmt.Errorf("%w: credentials in the header and in the body", ErrInvalidRequest)
	errFormRepeat = fmt.Errorf("%w: access_token is repeated", ErrInvalidRequest)
	errFormASCII  = fmt.Errorf("%w: the form is not ASCII", ErrInvalidRequest)
	errFormSyntax = fmt.Errorf("%w: the form can't be parsed", ErrInvalidRequest)
)

// token finds the one token of the request and checks its grammar. It never
// reads a token from the query, because URLs end up in logs (OAuth 2.1 section
// 5.1.2).
func (g *Guard) token(w http.ResponseWriter, r *http.Request) (string, error) {
	headers := r.Header["Authorization"]
	if len(headers) > 1 {
		return "", errHeaders
	}
	if g.formBody && mayCarryToken(r) {
		token, found, err := formToken(w, r)
		if err != nil {
			return "", err
		}
		if found && len(headers) > 0 {
			return "", errMethods
		}
		if found {
			return checked(token)
		}
	}
	if len(headers) == 0 {
		return "", ErrNoCredentials
	}
	return parseBearer(headers[0])
}

// parseBearer takes the token out of an Authorization header:
//
//	credentials = "Bearer" 1*SP b64token    ; RFC 6750 section 2.1
//
// The scheme is compared without regard to case (RFC 9110 section 11.1).
// Credentials of another scheme are ErrNoCredentials. A header that begins with
// Bearer and doesn't fit the grammar is ErrInvalidToken.
func parseBearer(header string) (string, error) {
	const scheme = "Bearer"
	n := 0
	for n < len(header) && isTokenChar(header[n]) {
		n++
	}
	if !strings.EqualFold(header[:n], scheme) {
		return "", ErrNoCredentials
	}
	token := strings.TrimLeft(header[n:], " ")
	if len(token) == len(header)-n {
		return "", errGarbled // no space: "Bearer" alone, or another separator
	}
	return checked(token)
}

func checked(token string) (string, error) {
	if !isB64Token(token) {
		return "", errGarbled
	}
	return token, nil
}

// isB64Token checks the grammar of RFC 6750 section 2.1:
//
//	b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
func isB64Token(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		if !b64Chars[s[i]] {
			return false
		}
	}
	return s != ""
}

// b64Chars are the characters of a b64token, without the padding.
var b64Chars = func() (is [256]bool) {
	for c := range is {
		is[c] = isAlphanumeric(byte(c)) || strings.IndexByte("-._~+/", byte(c)) >= 0
	}
	return is
}()

// isTokenChar reports whether c is a tchar of RFC 9110 section 5.6.2; scheme
// names consist of them.
func isTokenChar(c byte) bool {
	return isAlphanumeric(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// mayCarryToken checks the conditions of RFC 6750 section 2.2 that don't need
// the body: a method whose body has a meaning, and a single-part form.
func mayCarryToken(r *http.Request) bool {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
	default:
		return false
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && media == "application/x-www-form-urlencoded" && r.Body != nil
}

// formToken looks for the parameter access_token in the form body, and puts the
// body back for the guarded handler.
func formToken(w http.ResponseWriter, r *http.Request) (token string, found bool, err error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return "", false, fmt.Errorf("%w: reading the form: %w", ErrInvalidRequest, err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))

	if bytes.ContainsFunc(body, func(c rune) bool { return c > unicode.MaxASCII }) {
		return "", false, errFormASCII
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "", false, errFormSyntax // the text of err would quote the form
	}
	switch tokens := form["access_token"]; len(tokens) {
	case 0:
		return "", false, nil
	case 1:
		return tokens[0], true, nil
	}
	return "", false, errFormRepeat
}
