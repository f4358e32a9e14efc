package storage

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"
)

// The binary form of a grant, version 1: its fields in this order. Integers are
// unsigned varints, texts are length-prefixed, times are milliseconds.
//
//	version     1 byte
//	generation  varint
//	epoch       varint
//	flags       1 byte
//	type        1 byte
//	access      20 bytes: stores look for it without decoding the rest
//	refresh     20 bytes, if flagRefresh
//	created     since 1970
//	issued      since created
//	access expiry   since issued
//	refresh expiry  since issued, if flagRefresh
//	end         since created
//	client id, user id, username, scope
//	access scope    if flagNarrowed
//	audience        if flagAudience
//	access audience if flagNarrowedAudience
//	address     length-prefixed, 0, 4 or 16 bytes
//	user agent  the rest
//
// The id isn't part of it: it is the key of the record.
const grantVersion = 1

const (
	flagRefresh          = 1 << iota // a refresh token was issued
	flagNarrowed                     // the access token's scope differs from the grant's
	flagRawUser                      // the user id is stored as the bytes that its base64url text stands for
	flagAudience                     // the grant has an audience
	flagNarrowedAudience             // the access token's audience differs from the grant's

	knownFlags = flagRefresh | flagNarrowed | flagRawUser | flagAudience | flagNarrowedAudience
)

// grantTypes are the types of grants by their code. None has the code 0.
var grantTypes = [...]GrantType{1: Password, 2: ClientCredentials}

// Faults of records.
var (
	// ErrEncoding: the value to write isn't a valid record, or the bytes read
	// aren't a record of a version that this package knows.
	ErrEncoding = errors.New("storage: record can't be encoded or decoded")

	// ErrUnreadable is ErrEncoding for a record that the store holds. It is
	// ErrUnavailable too: while a deployment is being updated, another process may
	// be able to read the record. So nobody is told that the record doesn't exist,
	// or gets in without it.
	ErrUnreadable = fmt.Errorf("%w: %w", ErrUnavailable, ErrEncoding)
)

// AppendGrant appends the binary form of g, without its id, to b. It returns
// ErrEncoding when DecodeGrant couldn't give g back: it has an unknown type,
// times out of order or centuries apart, or no generation. The zone of an IPv6
// address isn't kept.
func AppendGrant(b []byte, g Grant) ([]byte, error) {
	kind := slices.Index(grantTypes[:], g.Type)
	refresh := g.Refresh != Digest{}
	if kind < 1 || g.Generation == 0 || refresh == g.RefreshExpiry.IsZero() {
		return nil, ErrEncoding
	}
	flags := presence(g)
	user := g.UserID
	if raw, ok := decodeBase64(user); ok {
		user, flags = string(raw), flags|flagRawUser
	}

	b = append(b, grantVersion)
	b = binary.AppendUvarint(b, uint64(g.Generation))
	b = binary.AppendUvarint(b, uint64(g.Epoch))
	b = append(b, flags, byte(kind))
	b = append(b, g.Access[:]...)
	if refresh {
		b = append(b, g.Refresh[:]...)
	}

	b, ok := appendTimes(b, g)
	if !ok {
		return nil, ErrEncoding
	}
	b = appendText(b, g.ClientID, user, g.Username, g.Scope)
	b = appendTextIf(b, flags&flagNarrowed, g.AccessScope)
	b = appendTextIf(b, flags&flagAudience, g.Audience)
	b = appendTextIf(b, flags&flagNarrowedAudience, g.AccessAudience)
	b = appendText(b, string(g.Address.AsSlice()))
	return append(b, g.UserAgent...), nil
}

// presence returns the flags for the fields that only some grants need.
func presence(g Grant) (flags byte) {
	if g.Refresh != (Digest{}) {
		flags |= flagRefresh
	}
	if g.AccessScope != g.Scope {
		flags |= flagNarrowed
	}
	if g.Audience != "" {
		flags |= flagAudience
	}
	if g.AccessAudience != g.Audience {
		flags |= flagNarrowedAudience
	}
	return flags
}

// appendTimes appends the times of g, and reports whether they can be read
// again.
func appendTimes(b []byte, g Grant) ([]byte, bool) {
	e := times{b: b}
	e.span(time.UnixMilli(0), g.Created)
	e.span(g.Created, g.Issued)
	e.span(g.Issued, g.AccessExpiry)
	if !g.RefreshExpiry.IsZero() {
		e.span(g.Issued, g.RefreshExpiry)
	}
	e.span(g.Created, g.End)
	return e.b, !e.bad
}

// times appends times as milliseconds since another time.
type times struct {
	b   []byte
	bad bool // a time was before its base, or too long after it
}

func (e *times) span(from, to time.Time) {
	ms := to.UnixMilli() - from.UnixMilli()
	e.bad = e.bad || ms < 0 || ms > maxSpan
	e.b = binary.AppendUvarint(e.b, uint64(ms))
}

func appendText(b []byte, texts ...string) []byte {
	for _, s := range texts {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

func appendTextIf(b []byte, flag byte, s string) []byte {
	if flag == 0 {
		return b
	}
	return appendText(b, s)
}

// DecodeGrant reads what AppendGrant wrote and gives it the id. It returns
// ErrUnreadable for anything else, and never more memory than b has bytes.
func DecodeGrant(id GrantID, b []byte) (Grant, error) {
	d := decoder{b: b}
	if d.byte() != grantVersion {
		return Grant{}, ErrUnreadable
	}
	g := Grant{ID: id, Generation: d.uint32(), Epoch: d.uint32()}
	flags := d.byte()
	d.bad = d.bad || flags&^knownFlags != 0
	g.Type = d.grantType()
	d.fill(g.Access[:])
	if flags&flagRefresh != 0 {
		d.fill(g.Refresh[:])
		d.bad = d.bad || g.Refresh == Digest{}
	}
	d.times(&g, flags)
	d.texts(&g, flags)
	if d.bad || g.Generation == 0 {
		return Grant{}, ErrUnreadable
	}
	return g, nil
}

func (d *decoder) times(g *Grant, flags byte) {
	g.Created = d.after(time.UnixMilli(0).UTC())
	g.Issued = d.after(g.Created)
	g.AccessExpiry = d.after(g.Issued)
	if flags&flagRefresh != 0 {
		g.RefreshExpiry = d.after(g.Issued)
	}
	g.End = d.after(g.Created)
}

// texts reads the rest. The texts are slices of one string, so one conversion
// is enough.
func (d *decoder) texts(g *Grant, flags byte) {
	d.text = string(d.b)
	g.ClientID, g.UserID, g.Username = d.string(), d.string(), d.string()
	if flags&flagRawUser != 0 {
		g.UserID = base64.RawURLEncoding.EncodeToString([]byte(g.UserID))
	}
	g.Scope = d.string()
	g.AccessScope = d.stringIf(flags&flagNarrowed, g.Scope)
	g.Audience = d.stringIf(flags&flagAudience, "")
	g.AccessAudience = d.stringIf(flags&flagNarrowedAudience, g.Audience)
	g.Address = d.address()
	g.UserAgent = d.text
}

// decoder takes fields off the front of b, then of text. After a fault it
// returns zeros; its user checks bad once, at the end.
type decoder struct {
	b    []byte
	text string
	bad  bool
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) fill(dst []byte) {
	if len(d.b) < len(dst) {
		d.bad = true
		return
	}
	d.b = d.b[copy(dst, d.b):]
}

func (d *decoder) uint64() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) uint32() uint32 {
	v := d.uint64()
	d.bad = d.bad || v > math.MaxUint32
	return uint32(v)
}

func (d *decoder) grantType() GrantType {
	code := int(d.byte())
	if code < 1 || code >= len(grantTypes) {
		d.bad = true
		return ""
	}
	return grantTypes[code]
}

// maxSpan is 292 years, the most that a time.Duration can hold.
const maxSpan = math.MaxInt64 / int64(time.Millisecond)

func (d *decoder) after(from time.Time) time.Time {
	ms := d.uint64()
	if ms > uint64(maxSpan) {
		d.bad = true
		return from
	}
	return from.Add(time.Duration(ms) * time.Millisecond)
}

func (d *decoder) string() string {
	n, size := uvarintString(d.text)
	if size <= 0 || n > uint64(len(d.text)-size) {
		d.bad = true
		return ""
	}
	s := d.text[size : size+int(n)]
	d.text = d.text[size+int(n):]
	return s
}

// stringIf returns the next text if the flag is set, else otherwise.
func (d *decoder) stringIf(flag byte, otherwise string) string {
	if flag == 0 {
		return otherwise
	}
	return d.string()
}

func uvarintString(s string) (uint64, int) {
	head := s[:min(len(s), binary.MaxVarintLen64)]
	return binary.Uvarint([]byte(head))
}

func (d *decoder) address() netip.Addr {
	s := d.string()
	if s == "" {
		return netip.Addr{}
	}
	a, ok := netip.AddrFromSlice([]byte(s))
	d.bad = d.bad || !ok
	return a
}

// The binary form of a retry, version 1: version, generation varint, until in
// milliseconds since 1970 varint, key id, digest, mix.

// AppendRetry appends the binary form of r to b.
func AppendRetry(b []byte, r Retry) []byte {
	b = append(b, grantVersion)
	b = binary.AppendUvarint(b, uint64(r.Generation))
	b = binary.AppendUvarint(b, uint64(r.Until.UnixMilli()))
	b = append(b, r.KeyID)
	b = append(b, r.Refresh[:]...)
	return append(b, r.Mix[:]...)
}

// DecodeRetry reads what AppendRetry wrote, or returns ErrUnreadable.
func DecodeRetry(b []byte) (Retry, error) {
	d := decoder{b: b}
	if d.byte() != grantVersion {
		return Retry{}, ErrUnreadable
	}
	r := Retry{Generation: d.uint32(), Until: d.after(time.UnixMilli(0).UTC()), KeyID: d.byte()}
	d.fill(r.Refresh[:])
	d.fill(r.Mix[:])
	if d.bad || len(d.b) != 0 {
		return Retry{}, ErrUnreadable
	}
	return r, nil
}

// DecodeRecord reads the JSON of a user, a client, a receipt or a key into the
// record. It returns ErrUnreadable for anything else, and for a member that
// this version doesn't know: it may be a restriction of a newer version, which
// must be neither overlooked nor lost by a change.
func DecodeRecord[T User | Client | Receipt | Key](b []byte, record *T) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if d.Decode(record) != nil || d.InputOffset() != int64(len(b)) {
		return ErrUnreadable // the cause might quote the record
	}
	return nil
}
