package storage

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"
)

// Receipt describes a revocation: who asked for it, what it ended and how far
// its sweep has come.
type Receipt struct {
	ID      string    `json:"id"`      // see NewReceiptID
	Created time.Time `json:"created"` // when the grants had died

	// The revocation, unless a single grant was ended.
	Target Target          `json:"target,omitzero"`
	Epochs map[byte]uint32 `json:"epochs,omitempty"`

	Username string `json:"username,omitempty"` // of Target.UserID at the time
	Grant    string `json:"grant,omitempty"`    // the id of the single grant

	By    string      `json:"by"`    // who asked: a user's name, a client's id, or "local"
	Cause AuditAction `json:"cause"` // the act that ended the grants

	// Expected is at least the number of grants to end; -1 if they weren't
	// counted.
	Expected int   `json:"expected"`
	Swept    Swept `json:"swept"`

	Sweeping  time.Time `json:"sweeping,omitzero"`  // when the sweep last showed a sign of life
	Completed time.Time `json:"completed,omitzero"` // when the sweep was complete; zero: it isn't
	Verified  time.Time `json:"verified,omitzero"`  // when Survivors was last counted
	Survivors int       `json:"survivors"`

	Revision uint64 `json:"revision"` // counts changes, from 1; the store sets it
}

// Revocation returns the revocation that the receipt's sweep is for.
func (r Receipt) Revocation() Revocation { return Revocation{Target: r.Target, Epochs: r.Epochs} }

// Receipts keeps the receipts of revocations. The order of their ids is the
// newest first.
type Receipts interface {
	// CreateReceipt keeps r with revision 1, or returns ErrExists when another
	// receipt has the id. A repeated call may return ErrExists too.
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
	// by id in byte order: the newest first. With after from ReceiptsBefore, the
	// list begins with the first older receipt.
	ListReceipts(ctx context.Context, after string, limit int) ([]Receipt, error)
}

const receiptPrefix = "rev_"

// receiptText is base32 with its digits in byte order.
var receiptText = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// NewReceiptID draws the id of a receipt created at that time: "rev_" and 26
// letters and digits. A receipt of a later millisecond has a lesser id, in byte
// order, so that every list by id has the newest first.
func NewReceiptID(created time.Time) string {
	var b [16]byte
	rand.Read(b[6:]) // never fails since Go 1.24
	countDown(&b, created)
	return receiptPrefix + receiptText.EncodeToString(b[:])
}

// ReceiptsBefore returns the id after which a list has the receipts created
// before that millisecond.
func ReceiptsBefore(created time.Time) string {
	b := [16]byte{6: 0xff, 7: 0xff, 8: 0xff, 9: 0xff, 10: 0xff, 11: 0xff, 12: 0xff, 13: 0xff, 14: 0xff, 15: 0xff}
	countDown(&b, created)
	return receiptPrefix + receiptText.EncodeToString(b[:])
}

// countDown puts into the first 6 bytes the milliseconds from that time to the
// year 10889, when their count since 1970 no longer fits.
func countDown(b *[16]byte, at time.Time) {
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(1<<48-1-at.UnixMilli()))
	copy(b[:6], ms[2:])
}

// ValidReceiptID reports whether text has the form of an id of NewReceiptID.
func ValidReceiptID(text string) bool {
	rest, found := strings.CutPrefix(text, receiptPrefix)
	b, err := receiptText.DecodeString(rest)
	return found && err == nil && len(b) == 16 && receiptText.EncodeToString(b) == rest
}
