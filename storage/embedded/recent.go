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

// recent keeps the grants that were read since the last commit to the file,
// whichever process made it. A commit forgets all of them: what is in it, a revocation
// perhaps, isn't looked at. It is safe for concurrent use; a nil one keeps nothing.
type recent struct {
	index   *walIndex
	trusted bool // else nothing is kept

	mu     sync.RWMutex
	at     commit // what grants was read at
	grants map[storage.GrantID]storage.Grant
}

// newRecent is for the store at path, which SQLite has open already, with a connection
// that writes. It keeps nothing where a file may not be the same to who reads it as to
// who has it in memory, as SQLite does: on systems and file systems that don't promise
// that. The index stays open all the same, since closing it would drop SQLite's locks.
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

// get returns the grant as it is now, if it is kept, and the commit that keep needs
// when it isn't.
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

// keep keeps a grant that was read since get returned before. If there was a commit
// meanwhile, nobody knows whether it was read before or after that, and no get will
// return it: the state before it doesn't come again.
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

// commit tells states of the file apart: it is the header of the index of SQLite's
// write-ahead log, which every commit changes before it is acknowledged ("WAL-mode File
// Format", section 2.1, in SQLite's documentation). It has a count of commits, the
// length of the log, its salt and a checksum of all that is in it: none comes again for
// another state. It costs one read of memory, by a system call, where a transaction
// that only looks whether anything changed has SQLite lock and unlock the file.
type commit [48]byte

// none stands for a state that isn't known.
var none commit

// initialised is where the header says that it is in use.
const initialised = 12

// walIndex is where the last commit is found: the file beside the store's whose name ends
// with -shm.
type walIndex struct {
	path string
	file *os.File
	uses int // stores that have it open; guarded by indexes.mu
}

// indexes are open as long as a store of this process has the same file open: closing
// one would drop the locks that SQLite has on it for all of them (POSIX).
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

// stillAt reports whether the index of the store at path is this one. It is another one
// when the store's file was replaced, or all of this one's stores were just closed.
func (l *walIndex) stillAt(path string) bool {
	opened, err := l.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path + "-shm")
	return err == nil && os.SameFile(opened, there)
}

// follows reports whether a commit is seen here. It makes one, that changes nothing.
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

// last returns the last commit. It is none while one is being written, and when the
// file can't be read: then SQLite is asked. The header is there twice, and who writes
// it writes one after the other.
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
