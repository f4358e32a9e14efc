package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxBody is the largest body that is read, in bytes.
const maxBody = 32 << 10

// members are the members that a body may have, by name, with the places for
// their values: a *string, *bool, *int64 or *[]string; or a pointer to such a
// pointer, which stays nil when the member is absent.
type members map[string]any

// decode reads the body: a JSON object (RFC 8259) with any of the members, each
// at most once and of its type, and no others. Every fault names its field.
func decode(w http.ResponseWriter, r *http.Request, into members) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	return decodeObject(body, into)
}

// decodeOptional is decode for a body that may be missing.
func decodeOptional(w http.ResponseWriter, r *http.Request, into members) error {
	if r.ContentLength == 0 && r.Header.Get("Content-Type") == "" {
		return nil
	}
	return decode(w, r, into)
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if !jsonMediaType(r.Header) {
		return nil, errMediaType
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, errTooLarge
	case err != nil:
		return nil, errRequest.saying("The body didn't arrive completely. Repeat the request.").because(err)
	}
	return body, nil
}

// jsonMediaType reports whether the body is declared as JSON, once and not
// compressed. RFC 8259 defines no charset parameter, but charset=utf-8 is
// accepted.
func jsonMediaType(h http.Header) bool {
	types := h.Values("Content-Type")
	if len(types) != 1 || h.Get("Content-Encoding") != "" {
		return false
	}
	media, attributes, err := mime.ParseMediaType(types[0])
	if err != nil || media != "application/json" {
		return false
	}
	charset, given := attributes["charset"]
	return !given || strings.EqualFold(charset, "utf-8")
}

func decodeObject(body []byte, into members) error {
	if !utf8.Valid(body) {
		return errRequest.saying("The body isn't UTF-8.")
	}
	if !json.Valid(body) { // trailing data too
		return errRequest.saying("The body isn't JSON.")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return errRequest.saying("The body has to be a JSON object.")
	}
	var faults []FieldError
	var madeUp []string
	seen := map[string]bool{}
	for d.More() {
		name, value, err := nextMember(d)
		if err != nil {
			return errRequest.saying("The body isn't JSON.").because(err)
		}
		if fault := setMember(name, value, into, seen); fault != "" {
			faults = append(faults, FieldError{fieldName(name), fault})
			if _, known := into[name]; !known {
				madeUp = append(madeUp, fieldName(name))
			}
		}
	}
	if len(faults) > 0 {
		return wrongFields(faults).hiding(madeUp)
	}
	return nil
}

func nextMember(d *json.Decoder) (name string, value json.RawMessage, err error) {
	t, err := d.Token()
	if err != nil {
		return "", nil, err
	}
	err = d.Decode(&value)
	return t.(string), value, err
}

// setMember sets the member. It returns what is wrong with it, or "" if it was
// set.
func setMember(name string, value json.RawMessage, into members, seen map[string]bool) string {
	to, known := into[name]
	switch {
	case !known:
		if len(into) == 0 {
			return "isn't known: the body may have no members"
		}
		return "isn't known: the body may have " + strings.Join(slices.Sorted(maps.Keys(into)), ", ")
	case seen[name]:
		return "is given more than once"
	}
	seen[name] = true
	// Package json accepts null for any type, and leaves the value unchanged.
	if string(value) == "null" || json.Unmarshal(value, to) != nil || hasNull(to, value) {
		return "has to be " + kind(to)
	}
	if !cleanTexts(to) {
		return "contains half a surrogate pair or U+FFFD"
	}
	return ""
}

// hasNull reports whether a list has a null, which would become an empty text.
func hasNull(to any, value json.RawMessage) bool {
	switch to.(type) {
	case *[]string, **[]string:
		var items []*string
		return json.Unmarshal(value, &items) != nil || slices.Contains(items, nil)
	}
	return false
}

// cleanTexts reports whether no text has U+FFFD. Package json reads half a
// surrogate pair as U+FFFD, so that different texts would become the same.
func cleanTexts(to any) bool {
	clean := func(s string) bool { return !strings.ContainsRune(s, utf8.RuneError) }
	switch to := to.(type) {
	case *string:
		return clean(*to)
	case **string:
		return clean(**to)
	case *[]string:
		return !slices.ContainsFunc(*to, func(s string) bool { return !clean(s) })
	case **[]string:
		return !slices.ContainsFunc(**to, func(s string) bool { return !clean(s) })
	}
	return true
}

func kind(to any) string {
	switch to.(type) {
	case *string, **string:
		return "a string"
	case *bool, **bool:
		return "true or false"
	case *int64, **int64:
		return "a whole number"
	case *[]string, **[]string:
		return "a list of strings"
	}
	panic("admin: a member of another type")
}

// fieldName returns the name of an unknown field as it is sent back: cut, and
// without invisible characters.
func fieldName(name string) string {
	const longest = 64
	visible := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, name)
	if len(visible) > longest {
		visible = strings.ToValidUTF8(visible[:longest], "") + "…"
	}
	return visible
}

// element returns the name of an element of a list.
func element(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }
