package storage

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"
)

// Receipt tells of a revocation: who asked for it, what it ended and how far its
// sweep has come.
type Receipt struct {
	ID      string    `json:"id"`      // see NewReceiptID
	Created time.Time `json:"created"` // when the grants were dead

	// Revocation is what was asked for, unless it was a single grant.
	Target Target          `json:"target,omitzero"`
	Epochs map[byte]uint32 `json:"epochs,omitempty"`

	Username string `json:"username,omitempty"` // of Target.UserID, as it was
	Grant    string `json:"grant,omitempty"`    // the id of the single grant

	By    string      `json:"by"`    // who asked: a user's name, a client's id, or "local"
	Cause AuditAction `json:"cause"` // the act that ended the grants

	// Expected is at least how many grants there were to end; -1 when nobody
	// counted them.
	Expected int   `json:"expected"`
	Swept    Swept `json:"swept"`

	Sweeping  time.Time `json:"sweeping,omitzero"`  // when the sweep last showed a sign of life
	Completed time.Time `json:"completed,omitzero"` // when the sweep had ended all; zero: it has not
	Verified  time.Time `json:"verified,omitzero"`  // when Survivors were counted last
	Survivors int       `json:"survivors"`

	Revision uint64 `json:"revision"` // counts changes, from 1; the store sets it
}

// Revocation is what the receipt's sweep is of.
func (r Receipt) Revocation() Revocation { return Revocation{Target: r.Target, Epochs: r.Epochs} }

// Receipts keeps the receipts of revocations, the newest first: that is the order
// of their ids.
type Receipts interface {
	// CreateReceipt keeps r with revision 1, or returns ErrExists when the id is
	// taken by another. Of a call that is repeated it may say so too.
	CreateReceipt(ctx context.Context, r Receipt) error

	// LoadReceipt returns the receipt of that id, or ErrNotFound.
	LoadReceipt(ctx context.Context, id string) (Receipt, error)

	// UpdateReceipt replaces the receipt of r.ID when its revision is r.Revision,
	// and counts the revision up. It returns ErrConflict when the revision is
	// another, ErrNotFound when there is none.
	UpdateReceipt(ctx context.Context, r Receipt) error

	// DeleteReceipt forgets the receipt. An unknown id is no error.
	DeleteReceipt(ctx context.Context, id string) error

	// ListReceipts returns up to limit receipts whose id is greater than after,
	// by id in byte order: the newest first. With ReceiptsBefore the list begins
	// at the first that is older.
	ListReceipts(ctx context.Context, after string, limit int) ([]Receipt, error)
}

const receiptPrefix = "rev_"

// receiptText is base32 whose digits are in byte order.
var receiptText = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// NewReceiptID draws the id of a receipt of that time, to the millisecond: "rev_"
// and 26 letters and digits. Ids of later ones are less, in byte order, so that any
// list by id has the newest first.
func NewReceiptID(created time.Time) string {
	var b [16]byte
	rand.Read(b[6:]) // never fails since Go 1.24
	countDown(&b, created)
	return receiptPrefix + receiptText.EncodeToString(b[:])
}

// ReceiptsBefore is where a list has to begin for the receipts created before
// that millisecond.
func ReceiptsBefore(created time.Time) string {
	b := [16]byte{6: 0xff, 7: 0xff, 8: 0xff, 9: 0xff, 10: 0xff, 11: 0xff, 12: 0xff, 13: 0xff, 14: 0xff, 15: 0xff}
	countDown(&b, created)
	return receiptPrefix + receiptText.EncodeToString(b[:])
}

// countDown puts into the first 6 bytes the milliseconds that are left at that
// time until they have no room for more, in the year 10889.
func countDown(b *[16]byte, at time.Time) {
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(1<<48-1-at.UnixMilli()))
	copy(b[:6], ms[2:])
}

// ValidReceiptID reports whether the text could be an id of NewReceiptID.
func ValidReceiptID(text string) bool {
	rest, found := strings.CutPrefix(text, receiptPrefix)
	b, err := receiptText.DecodeString(rest)
	return found && err == nil && len(b) == 16 && receiptText.EncodeToString(b) == rest
}
