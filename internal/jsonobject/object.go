// Package jsonobject writes flat JSON objects of texts and numbers in a
// fraction of the time that package json takes. The answers to requests are
// such objects, and so are the records of the audit trail.
package jsonobject

import (
	"encoding/json"
	"strconv"
)

// Object is a JSON object that is being written. Names of members are written
// unchanged: they must need no escaping. The zero Object isn't usable: see
// Begin.
type Object struct{ b []byte }

// Begin begins an empty object and appends it to b.
func Begin(b []byte) Object { return Object{append(b, '{')} }

// End ends the object and returns b with the object.
func (o *Object) End() []byte { return append(o.b, '}') }

func (o *Object) name(name string) {
	if o.b[len(o.b)-1] != '{' {
		o.b = append(o.b, ',')
	}
	o.b = append(o.b, '"')
	o.b = append(o.b, name...)
	o.b = append(o.b, '"', ':')
}

// Text adds a member.
func (o *Object) Text(name, value string) {
	o.name(name)
	o.b = appendText(o.b, value)
}

// TextIfAny adds a member unless the text is empty.
func (o *Object) TextIfAny(name, value string) {
	if value != "" {
		o.Text(name, value)
	}
}

// Number adds a member.
func (o *Object) Number(name string, value int64) {
	o.name(name)
	o.b = strconv.AppendInt(o.b, value, 10)
}

// Truth adds a member.
func (o *Object) Truth(name string, value bool) {
	o.name(name)
	o.b = strconv.AppendBool(o.b, value)
}

// Texts adds a member: a string for one text, an array for several, and no
// member for none, like aud in RFC 7662 section 2.2.
func (o *Object) Texts(name string, values []string) {
	switch len(values) {
	case 0:
	case 1:
		o.Text(name, values[0])
	default:
		o.name(name)
		separator := byte('[')
		for _, v := range values {
			o.b = appendText(append(o.b, separator), v)
			separator = ','
		}
		o.b = append(o.b, ']')
	}
}

// appendText leaves texts that need escaping to package json.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if !plain[s[i]] {
			quoted, _ := json.Marshal(s) // a string always encodes
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// plain are the bytes that package json writes unchanged.
var plain = func() (is [256]bool) {
	for c := ' '; c <= '~'; c++ {
		switch c {
		case '"', '\\', '<', '>', '&':
		default:
			is[c] = true
		}
	}
	return is
}()
