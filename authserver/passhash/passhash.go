package passhash

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"
)

// The errors that callers branch on. Compare with errors.Is.
var (
	// ErrBusy: too many hashes are under way. It says nothing about the
	// password; try again in a second.
	ErrBusy = errors.New("passhash: too many passwords are being hashed")

	// ErrPassword: nobody can have this password. The text of an error that
	// wraps it tells whoever chose the password why. It never holds the
	// password.
	ErrPassword = errors.New("passhash: password not acceptable")

	// ErrUsername: nobody can have this name.
	ErrUsername = errors.New("passhash: username not acceptable")
)

const (
	defaultMemory  = 19456 // KiB; with time 2 and 1 thread, the minimum that OWASP recommends
	defaultTime    = 2
	defaultThreads = 1
	defaultQueue   = 64
)

// Params sets the cost of new hashes and how many run at once. A zero field
// means its default.
type Params struct {
	Memory  uint32 // of one hash, in KiB; default 19456
	Time    uint32 // passes over the memory; default 2
	Threads uint8  // lanes of one hash; default 1
	Slots   int    // hashes that run at once; default GOMAXPROCS
	Queue   int    // callers that wait behind them; default 64

	// Note is called after each password that was hashed, or verified at the
	// cost of a hash, and for each that waited in vain. It must be safe for
	// concurrent use. Default: not called.
	Note func(context.Context, Run)
}

// Run describes one use of the hasher, whatever its result.
type Run struct {
	Began  time.Time
	Waited time.Duration // before the hash began
	Took   time.Duration // after that
	Busy   bool          // it waited in vain: ErrBusy
}

// Hasher hashes and verifies passwords. It is safe for concurrent use.
//
// Its own hashes use at most Slots × Memory at once. The garbage collector lags
// behind, so the heap may hold twice that, or three times in a process that keeps much
// else. An imported hash may take up to 256 MiB instead of Memory.
type Hasher struct {
	cost cost
	gate *gate
	uses atomic.Uint64
	note func(context.Context, Run)
	// derive is argon2.IDKey; tests watch it.
	derive func(password, salt []byte, time, memory uint32, threads uint8, keyLen uint32) []byte
}

// New returns a hasher, or an error when the parameters are out of bounds. The
// bounds are those of [Hasher.Verify], so that the hasher can verify its own
// hashes.
func New(p Params) (*Hasher, error) {
	c := cost{
		memory:  cmp.Or(p.Memory, defaultMemory),
		time:    cmp.Or(p.Time, defaultTime),
		threads: cmp.Or(p.Threads, defaultThreads),
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if p.Slots < 0 || p.Queue < 0 {
		return nil, errors.New("passhash: Slots and Queue must not be negative")
	}
	note := p.Note
	if note == nil {
		note = func(context.Context, Run) {}
	}
	return &Hasher{
		cost:   c,
		gate:   newGate(cmp.Or(p.Slots, runtime.GOMAXPROCS(0)), cmp.Or(p.Queue, defaultQueue)),
		derive: argon2.IDKey,
		note:   note,
	}, nil
}

// Hash returns the PHC string of the password under a new salt. It fails with
// ErrPassword when the password isn't acceptable, and with ErrBusy when the
// queue is full or the context ended before its turn. It doesn't check whether
// the password is a good one: see [Policy].
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	prepared, err := prepare(password)
	if err != nil {
		return "", err
	}
	leave, err := h.enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	p := phc{cost: h.cost, salt: make([]byte, saltLen)}
	rand.Read(p.salt) // never fails since Go 1.24
	p.key = h.key(p, keyLen, prepared)
	return p.String(), nil
}

// Result is the result of a verification.
type Result struct {
	// OK: the password is the one that was hashed.
	OK bool
	// Rehash: OK, and the hash is weaker than a new one or of another kind.
	// Replace it by a new hash of the same password.
	Rehash bool
}

// Verify reports whether encoded is a hash of the password. It reads its own
// hashes (argon2id) and those of other systems:
//
//   - argon2id and argon2i as PHC strings, version 19, of at most 256 MiB, 16
//     passes and 1 GiB over all passes,
//   - bcrypt ($2a$, $2b$, $2y$) of cost 4 to 14, also over SHA-256 as Django and
//     passlib have it,
//   - PBKDF2 as Django, passlib and Werkzeug spell it, of at most 2,000,000
//     rounds,
//   - scrypt as they spell it, of at most 128 MiB over all lanes,
//   - SHA-crypt ($5$, $6$) of 1000 to 1,000,000 rounds,
//   - and those behind the prefixes of Django, Spring Security and Dovecot.
//
// Each of these takes about a second at most. Every other text, "" included,
// matches no password and costs as much as a new hash. The only error is
// ErrBusy.
//
// A password that isn't acceptable is refused without that cost. This depends
// on the password alone, so its time tells nothing about the user.
//
// Other systems hash a password's bytes as they are sent. So when preparation
// changes the password, Verify tries the bytes as sent too. That can double the
// cost, for unknown users as well.
func (h *Hasher) Verify(ctx context.Context, encoded, password string) (Result, error) {
	prepared, err := prepare(password)
	if err != nil {
		return Result{}, nil //nolint:nilerr // nobody has such a password: it is wrong, and nothing failed
	}
	leave, err := h.enter(ctx)
	if err != nil {
		return Result{}, err
	}
	defer leave()
	d, err := parse(encoded)
	known := err == nil
	if !known {
		d = h.nobody()
	}
	for _, try := range slices.Compact([]string{prepared, password}) {
		if d.matches(h, try) && known {
			own, isArgon2 := d.(phc)
			return Result{OK: true, Rehash: !isArgon2 || own.weaker(h.cost) || try != prepared}, nil
		}
	}
	return Result{}, nil
}

// enter waits for a slot. The caller must call leave when the hash is made.
func (h *Hasher) enter(ctx context.Context) (leave func(), err error) {
	began := time.Now()
	err = h.gate.enter(ctx)
	entered := time.Now()
	run := Run{Began: began, Waited: entered.Sub(began), Busy: err != nil}
	if err != nil {
		h.note(ctx, run)
		return nil, err
	}
	h.uses.Add(1)
	return func() {
		h.gate.leave()
		run.Took = time.Since(entered)
		h.note(ctx, run)
	}, nil
}

// Load returns how many hashes are being made and how many callers wait.
func (h *Hasher) Load() (running, waiting int) { return len(h.gate.slots), int(h.gate.waiting.Load()) }

// Uses returns how many passwords were hashed or verified so far, at the cost of
// a hash.
func (h *Hasher) Uses() uint64 { return h.uses.Load() }

// nobody returns a hash that costs as much as a new one. The result of matching
// it is ignored.
func (h *Hasher) nobody() phc {
	return phc{cost: h.cost, salt: make([]byte, saltLen), key: make([]byte, keyLen)}
}

func (h *Hasher) key(p phc, length int, prepared string) []byte {
	derive := h.derive
	if p.independent {
		derive = argon2.Key
	}
	return derive([]byte(prepared), p.salt, p.time, p.memory, p.threads, uint32(length))
}
