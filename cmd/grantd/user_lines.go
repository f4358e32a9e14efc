package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
)

// The code below reads users from a file, line by line. Lines have a maximal length,
// files don't.

const maxLine = 64 << 10 // bytes

var errLongLine = fmt.Errorf("longer than %d bytes", maxLine)

// userLine is a line of a file; err says why it can't be read. An error of the file
// itself comes with the last one.
type userLine struct {
	number int // from 1
	text   string
	err    error
	broken bool // err is an error of the file
}

// readLines reads the lines of r that aren't blank, until ctx ends.
func readLines(ctx context.Context, r io.Reader) <-chan userLine {
	const ahead = 256
	lines := make(chan userLine, ahead)
	go func() {
		defer close(lines)
		in := bufio.NewReaderSize(r, maxLine)
		for number := 1; ; number++ {
			text, err := readLine(in)
			if errors.Is(err, io.EOF) {
				return
			}
			if number == 1 {
				text = strings.TrimPrefix(text, "\ufeff") // the byte order mark of spreadsheets
			}
			if err == nil && strings.TrimSpace(text) == "" {
				continue
			}
			l := userLine{number, text, err, err != nil && !errors.Is(err, errLongLine)}
			select {
			case lines <- l:
			case <-ctx.Done():
				return
			}
			if l.broken {
				return
			}
		}
	}()
	return lines
}

// readLine returns a line without its line ending. For a line that is too long it
// returns errLongLine and skips the line. The last line needs no ending. After it
// readLine returns io.EOF.
func readLine(in *bufio.Reader) (string, error) {
	b, err := in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = in.ReadSlice('\n')
		}
		if err == nil || errors.Is(err, io.EOF) {
			err = errLongLine
		}
		return "", err
	}
	if errors.Is(err, io.EOF) && len(b) > 0 {
		err = nil
	}
	return strings.TrimRight(string(b), "\r\n"), err
}

// decoder decodes a line.
type decoder func(text string) (portableUser, error)

// newDecoder returns the decoder for the format, json or csv. If format is empty, the
// first line decides. header reports whether that line is a header.
func newDecoder(format, first string) (d decoder, header bool, err error) {
	switch {
	case format == "json", format == "" && strings.HasPrefix(strings.TrimSpace(first), "{"):
		return decodeJSON, false, nil
	case format == "" && strings.HasPrefix(strings.TrimSpace(first), "["):
		return nil, false, failedf("the file is one JSON array").withHint("the file must have one JSON object per line: jq -c '.[]' FILE converts it")
	}
	d, err = newCSVDecoder(first)
	return d, true, err
}

func decodeJSON(text string) (p portableUser, err error) {
	if err := checkNames(text); err != nil {
		return p, err
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	err = dec.Decode(&p)
	if err == nil {
		if _, after := dec.Token(); !errors.Is(after, io.EOF) {
			return p, errors.New("more than one JSON object")
		}
		return p, nil
	}
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return p, fmt.Errorf("%s must be a %s", kind.Field, kind.Type)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return p, errors.New("the JSON object has no end")
	}
	return p, errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

// checkNames refuses a text that isn't an object. It also refuses what package json
// would accept: a name that is there twice, and one in another case. A text that isn't
// JSON passes.
func checkNames(text string) error {
	d := json.NewDecoder(strings.NewReader(text))
	start, err := d.Token()
	if err == nil && start != json.Delim('{') {
		return errors.New("must be a JSON object")
	}
	seen := map[string]bool{}
	for err == nil && d.More() {
		var token json.Token
		if token, err = d.Token(); err != nil {
			break
		}
		name, _ := token.(string)
		if !slices.Contains(columns, name) {
			return fmt.Errorf("unknown field %q", printable(name, 80))
		}
		if seen[name] {
			return fmt.Errorf("%s appears twice", name)
		}
		seen[name] = true
		var value json.RawMessage
		err = d.Decode(&value)
	}
	return nil //nolint:nilerr // decodeJSON says what isn't JSON
}

var columns = []string{"id", "username", "password_hash", "disabled", "admin", "created"}

// newCSVDecoder reads the header. An unknown column is an error, since it could be a
// misspelt one.
func newCSVDecoder(header string) (decoder, error) {
	names, err := csvFields(header, 0)
	if err != nil {
		return nil, failedf("the header of the CSV: %w", err)
	}
	at := map[string]int{}
	for i, name := range names {
		name = strings.ToLower(strings.TrimSpace(name))
		if _, twice := at[name]; twice || !slices.Contains(columns, name) {
			return nil, failedf("the column %q of the CSV is unknown or appears twice", name).
				withHint("the columns are " + strings.Join(columns, ", ") + ", in any order")
		}
		at[name] = i
	}
	if _, named := at["username"]; !named {
		return nil, failedf("the CSV has no column username").withHint("the first line of the file has to name the columns")
	}
	return func(text string) (p portableUser, err error) {
		fields, err := csvFields(text, len(names))
		if err != nil {
			return p, err
		}
		field := func(name string) string {
			if i, there := at[name]; there {
				return fields[i]
			}
			return ""
		}
		p = portableUser{ID: field("id"), Username: field("username"), PasswordHash: field("password_hash"), Created: field("created")}
		if p.Disabled, err = truth(field("disabled")); err != nil {
			return p, fmt.Errorf("disabled %w", err)
		}
		if p.Admin, err = truth(field("admin")); err != nil {
			return p, fmt.Errorf("admin %w", err)
		}
		return p, nil
	}, nil
}

// csvFields splits a line into n fields, or into any number of them if n is 0.
func csvFields(text string, n int) ([]string, error) {
	r := csv.NewReader(strings.NewReader(text))
	r.FieldsPerRecord = n
	fields, err := r.Read()
	var parse *csv.ParseError
	if errors.As(err, &parse) {
		err = parse.Err // without the number of a line: this is always the first
	}
	return fields, err
}

func truth(text string) (bool, error) {
	if text == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		return false, errors.New("must be true or false")
	}
	return b, nil
}

// ownID matches the ids that newUser makes.
var ownID = regexp.MustCompile(`^` + storage.UserIDPrefix + `[A-Za-z0-9_-]{16}$`)

// user converts p, and checks all that can be checked without the store.
func (p portableUser) user() (storage.User, error) {
	name, err := passhash.Username(p.Username)
	if err != nil {
		return storage.User{}, fmt.Errorf("%q can't be a user's name", printable(p.Username, 80))
	}
	hash := p.PasswordHash
	if marksNoPassword(hash) {
		hash = ""
	}
	if hash != "" {
		if err := passhash.CheckHash(hash); err != nil {
			return storage.User{}, err
		}
	}
	u := newUser(name, hash, p.Admin)
	u.Disabled = p.Disabled
	if p.Created != "" {
		if u.Created, err = parseCreated(p.Created); err != nil {
			return storage.User{}, err
		}
	}
	if p.ID != "" {
		if !ownID.MatchString(p.ID) {
			return storage.User{}, errors.New("the id wasn't made by grantd: leave it out, and the user gets a new one")
		}
		u.ID = p.ID
	}
	return u, nil
}

// marksNoPassword reports whether the hash marks a user without a password: "!" and 40
// characters in Django, the others in /etc/shadow.
func marksNoPassword(hash string) bool {
	const django = 1 + 40
	return hash == "!" || hash == "*" || hash == "!!" ||
		len(hash) == django && hash[0] == '!' && strings.Trim(hash[1:], alphanumeric) == ""
}

const alphanumeric = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// createdLayouts are RFC 3339 and the formats of databases. A time without a zone is
// UTC.
var createdLayouts = []string{
	time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05Z07", "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly,
}

func parseCreated(text string) (time.Time, error) {
	for _, layout := range createdLayouts {
		t, err := time.Parse(layout, text)
		if t = t.UTC(); err == nil && t.Unix() >= 0 && t.Before(time.Now().AddDate(1, 0, 0)) {
			return t, nil
		}
	}
	return time.Time{}, errors.New("created must be a time such as 2026-01-31T12:00:00Z, from 1970 to now")
}
