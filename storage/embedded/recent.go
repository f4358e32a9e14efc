package embedded

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/grantd/grantd/storage"
)

// maxRecent bounds the grants that are kept in memory: a few MiB.
const maxRecent = 8192

// recent keeps the grants that were read since the last commit to the file,
// whichever process made it. A commit forgets all of them: what is in it, a revocation
// perhaps, isn't looked at. It is safe for concurrent use; a nil one keeps nothing.
type recent struct {
	index *walIndex

	mu     sync.RWMutex
	at     commit // what grants was read at
	grants map[storage.GrantID]storage.Grant
}

// newRecent is for the store at path, which SQLite has open already. On OpenBSD it keeps
// nothing: a file is not the same there to who reads it as to who has it in memory,
// as SQLite does.
func newRecent(path string) (*recent, error) {
	if runtime.GOOS == "openbsd" {
		return nil, nil
	}
	index, err := openIndex(path)
	if err != nil {
		return nil, err
	}
	return &recent{index: index}, nil
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
	if r == nil {
		return g, false, now
	}
	now = r.index.last()
	r.mu.RLock()
	defer r.mu.RUnlock()
	if now != none && now == r.at {
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
// write-ahead log, which every commit changes before it is acknowledged and nothing
// sets back ("WAL-mode File Format", section 2.1, in SQLite's documentation). It costs
// one read of memory, by a system call, where a transaction that only looks whether
// anything changed has SQLite lock and unlock the file.
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
	if l == nil {
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

// close is for when the store's connections are closed.
func (l *walIndex) close() error {
	indexes.mu.Lock()
	defer indexes.mu.Unlock()
	if l.uses--; l.uses > 0 {
		return nil
	}
	delete(indexes.open, l.path)
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
