package authserver

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// maxBody is the largest body that is read, in bytes.
const maxBody = 32 << 10

// params are the parameters of a request body, decoded. An empty value counts
// as absent (RFC 6749 section 3.2). The values of resource, which may be
// repeated, are joined in one text with a resourceSeparator after each.
type params map[string]string

// resourceSeparator occurs in no value, because cleanText forbids it.
const resourceSeparator = '\x00'

// parseParams reads the body of a POST. It ignores the query of the URI, because
// credentials there would end up in logs (RFC 6749 section 2.3.1).
func parseParams(w http.ResponseWriter, r *http.Request) (params, error) {
	if r.Method != http.MethodPost {
		return nil, errMethod
	}
	if !formMediaType(r.Header) {
		return nil, errMediaType
	}
	if r.ContentLength > maxBody {
		return nil, errTooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, errTooLarge
	case err != nil:
		return nil, ErrInvalidRequest.because(err)
	}
	return parseForm(string(body))
}

// maxAlone bounds the requests that go on after their client has closed the connection.
// Without a bound they would pile up, since such requests cost the client nothing.
const maxAlone = 256

// withoutClient returns a request that isn't cancelled when the client closes the
// connection. A logout must be done though nobody waits for the answer, and a client that
// closes only its half of the connection still reads (RFC 9112 section 9.6); net/http
// can't tell the two apart. While maxAlone requests go on like this, further ones end with
// their client. The caller calls done when the request is answered.
func (s *Server) withoutClient(r *http.Request) (_ *http.Request, done func()) {
	if s.alone.Add(1) > maxAlone {
		s.alone.Add(-1)
		return r, func() {}
	}
	return r.WithContext(context.WithoutCancel(r.Context())), func() { s.alone.Add(-1) }
}

// formMediaType reports whether the body is declared as a form in UTF-8
// (RFC 6749 appendix B), once and not compressed.
func formMediaType(h http.Header) bool {
	types := h.Values("Content-Type")
	if len(types) != 1 || h.Get("Content-Encoding") != "" {
		return false
	}
	if types[0] == "application/x-www-form-urlencoded" {
		return true // what nearly every client sends
	}
	media, attributes, err := mime.ParseMediaType(types[0])
	if err != nil || media != "application/x-www-form-urlencoded" {
		return false
	}
	charset, given := attributes["charset"]
	return !given || strings.EqualFold(charset, "utf-8")
}

// parseForm decodes application/x-www-form-urlencoded. Unlike url.ParseQuery it
// refuses what doesn't decode, text that isn't UTF-8 or holds a NUL, and a
// parameter that occurs twice (RFC 6749 section 3.2), whether known or not;
// only resource may be repeated (RFC 8707 section 2).
func parseForm(body string) (params, error) {
	form := make(params, 8)
	var resources strings.Builder
	for pair := range strings.SplitSeq(body, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, errName := url.QueryUnescape(name)
		value, errValue := url.QueryUnescape(value)
		if errName != nil || errValue != nil {
			return nil, ErrInvalidRequest.telling("a parameter has invalid percent-encoding")
		}
		if !cleanText(name) || !cleanText(value) {
			return nil, ErrInvalidRequest.telling("a parameter is not UTF-8, or contains a NUL")
		}
		if name == "resource" {
			resources.WriteString(value)
			resources.WriteByte(resourceSeparator)
			continue
		}
		if _, repeated := form[name]; repeated {
			return nil, ErrInvalidRequest.telling("a parameter is repeated")
		}
		form[name] = value
	}
	if resources.Len() > 0 {
		form["resource"] = resources.String()
	}
	return form, nil
}

// cleanText reports whether s is UTF-8 without NUL, which ends a string for some
// password hashes.
func cleanText(s string) bool {
	return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}
