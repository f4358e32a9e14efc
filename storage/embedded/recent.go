package embedded

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/grantd/grantd/storage"
)

// maxRecent bounds the grants that are kept in memory, usually to a few MiB.
const maxRecent = 8192

// recent keeps the grants that were read since the last commit to the file by any
// process. A commit, whatever it changes, makes recent forget them all, because it may
// be a revocation. recent is safe for concurrent use; a nil recent keeps nothing.
type recent struct {
	index   *walIndex
	trusted bool // if false, nothing is kept

	mu     sync.RWMutex
	at     commit // the state at which grants were read
	grants map[storage.GrantID]storage.Grant
}

// newRecent returns the recent of the store at path, which SQLite has open already;
// writer is a connection that writes. On some systems and file systems, reading a file
// may not show what another has written through its memory map, as SQLite does. There
// it keeps nothing. The index stays open all the same, since closing it would drop
// SQLite's locks.
func newRecent(path string, writer *conn) (*recent, error) {
	switch runtime.GOOS {
	case "linux", "darwin", "freebsd":
	default:
		return nil, nil
	}
	index, err := openIndex(path)
	if err != nil {
		return nil, err
	}
	return &recent{index: index, trusted: index.follows(writer)}, nil
}

// close is for when the store's connections are closed.
func (r *recent) close() error {
	if r == nil {
		return nil
	}
	return r.index.close()
}

// get returns the current grant if it is kept, and otherwise the commit that
// keep needs.
func (r *recent) get(id storage.GrantID) (g storage.Grant, found bool, now commit) {
	if r == nil || !r.trusted {
		return g, false, now
	}
	now = r.index.last()
	r.mu.RLock()
	defer r.mu.RUnlock()
	if now == r.at {
		g, found = r.grants[id]
	}
	return g, found, now
}

// keep keeps a grant that was read after get returned before. If there was a
// commit meanwhile, the grant may have been read before or after it. Then no
// get will return it, because the state before never comes again.
func (r *recent) keep(g storage.Grant, before commit) {
	if r == nil || before == none {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at != before {
		r.at, r.grants = before, map[storage.GrantID]storage.Grant{}
	}
	if len(r.grants) < maxRecent {
		r.grants[g.ID] = g
	}
}

// commit identifies a state of the file. It is the header of the index of SQLite's
// write-ahead log, which every commit changes before it is acknowledged ("WAL-mode File
// Format", section 2.1, in SQLite's documentation). The header has a count of commits,
// the length of the log, its salt and a checksum of its contents, so no two states have
// the same. To read it costs one system call that copies memory. A transaction that
// only checks for changes would make SQLite lock and unlock the file.
type commit [48]byte

// none stands for an unknown state.
var none commit

// initialised is the offset of the byte in the header that says that it is in
// use.
const initialised = 12

// walIndex is the file with the last commit: beside the store's file, with -shm at the
// end of its name.
type walIndex struct {
	path string
	file *os.File
	uses int // stores that have it open; guarded by indexes.mu
}

// indexes are the open indexes. Each stays open as long as a store of this
// process has the same file open: closing it would drop the locks that SQLite
// has on it for all these stores (POSIX).
var indexes = struct {
	mu   sync.Mutex
	open map[string]*walIndex
}{open: map[string]*walIndex{}}

// openIndex opens the index of the store at path, which SQLite has open already.
func openIndex(path string) (*walIndex, error) {
	path, err := filepath.EvalSymlinks(path) // beside the file itself
	if err != nil {
		return nil, err
	}
	indexes.mu.Lock()
	defer indexes.mu.Unlock()
	l := indexes.open[path]
	if l == nil || !l.stillAt(path) {
		f, err := os.Open(path + "-shm")
		if err != nil {
			return nil, err
		}
		l = &walIndex{path: path, file: f}
		indexes.open[path] = l
	}
	l.uses++
	return l, nil
}

// stillAt reports whether the index of the store at path is still this file. It is
// another if the store's file was replaced, or if all stores of this one were just
// closed.
func (l *walIndex) stillAt(path string) bool {
	opened, err := l.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path + "-shm")
	return err == nil && os.SameFile(opened, there)
}

// follows reports whether a commit can be seen in the index. To find out, it
// makes a commit that changes nothing.
func (l *walIndex) follows(writer *conn) bool {
	before := l.last()
	err := writer.wait(false)
	if err == nil {
		err = whileBusy(maxBusy, func() error {
			_, err := writer.exec(fmt.Sprintf("PRAGMA user_version = %d", len(steps)))
			return err
		})
	}
	after := l.last()
	return err == nil && before != none && after != none && after != before
}

// close is for when the store's connections are closed.
func (l *walIndex) close() error {
	indexes.mu.Lock()
	defer indexes.mu.Unlock()
	if l.uses--; l.uses > 0 {
		return nil
	}
	if indexes.open[l.path] == l {
		delete(indexes.open, l.path)
	}
	return l.file.Close()
}

// last returns the last commit, or none if the header is being written or the
// file can't be read; then SQLite has to be asked. The file has the header
// twice, and SQLite writes one copy after the other.
func (l *walIndex) last() commit {
	var twice [2 * len(commit{})]byte
	if _, err := l.file.ReadAt(twice[:], 0); err != nil {
		return none
	}
	c := commit(twice[:len(commit{})])
	if !bytes.Equal(c[:], twice[len(c):]) || c[initialised] != 1 {
		return none
	}
	return c
}
