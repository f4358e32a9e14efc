package admin

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// checkQuery refuses parameters that are unknown, repeated or empty. A script
// whose variable is unset must not list everything.
func checkQuery(r *http.Request, known []string) error {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return errRequest.saying("The query of the URL isn't well-formed.")
	}
	var faults []FieldError
	var madeUp []string
	for name, values := range q {
		fault := ""
		switch {
		case !slices.Contains(known, name):
			fault = "isn't a parameter of this request"
			madeUp = append(madeUp, fieldName(name))
		case len(values) > 1:
			fault = "is given more than once"
		case values[0] == "":
			fault = "is empty: leave it out"
		case !utf8.ValidString(values[0]):
			fault = "isn't UTF-8"
		}
		if fault != "" {
			faults = append(faults, FieldError{fieldName(name), fault})
		}
	}
	if len(faults) == 0 {
		return nil
	}
	slices.SortFunc(faults, func(a, b FieldError) int { return strings.Compare(a.Field, b.Field) })
	return wrongFields(faults).hiding(madeUp)
}

// queryBool returns the value of the parameter, nil when it is absent.
func queryBool(q url.Values, name string) (*bool, error) {
	switch q.Get(name) {
	case "":
		return nil, nil
	case "true":
		return new(true), nil
	case "false":
		return new(false), nil
	}
	return nil, wrong(name, "has to be true or false")
}

// The pages of lists.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

// pageOf reads limit and cursor. list is the name of the list: cursors of other
// lists are refused.
func pageOf(q url.Values, list string) (after string, limit int, err error) {
	limit, err = limitOf(q)
	if err != nil || q.Get("cursor") == "" {
		return "", limit, err
	}
	after, ok := parseCursor(list, q.Get("cursor"))
	if !ok {
		return "", 0, wrong("cursor", "isn't a cursor of this list")
	}
	return after, limit, nil
}

func limitOf(q url.Values) (int, error) {
	text := q.Get("limit")
	if text == "" {
		return defaultLimit, nil
	}
	limit, err := strconv.ParseUint(text, 10, 16)
	if err != nil || limit < 1 || limit > maxLimit {
		return 0, wrong("limit", fmt.Sprintf("has to be a whole number from 1 to %d", maxLimit))
	}
	return int(limit), nil
}

// newCursor returns the cursor that continues a list after position. It is base64url,
// and hides nothing.
func newCursor(list, position string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(list + "\x00" + position))
}

func parseCursor(list, cursor string) (position string, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	// Package base64 skips line breaks, strict or not, so the length must fit as well.
	if err != nil || base64.RawURLEncoding.EncodedLen(len(b)) != len(cursor) || !utf8.Valid(b) {
		return "", false
	}
	return strings.CutPrefix(string(b), list+"\x00")
}
