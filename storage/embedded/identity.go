package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"github.com/grantd/grantd/storage"
)

// lookEvery is how long, in milliseconds, a read may go by what the last look found.
const lookEvery = 1000

// errMoved is what a process is told whose file isn't where it was.
var errMoved = fmt.Errorf("%w: its file was moved, deleted or replaced: this process has to be restarted", storage.ErrUnavailable)

// identity tells whether the files at the path of a store, its log and the log's index
// among them, are still those that it has open. SQLite goes on with those wherever they
// are: what others do to the store at the path, end grants perhaps, isn't in them,
// and what is written to them is gone with the process.
//
// A file that comes back isn't trusted again: where it was, it may have been used with
// another log. It is safe for concurrent use; a nil one, in memory, is always well.
type identity struct {
	files   []opened
	looked  atomic.Int64 // when a check last found all well, by the store's clock
	looking atomic.Bool  // a check is at it
	gone    atomic.Bool
}

// opened is a file as it was when the store was opened.
type opened struct {
	path string
	info fs.FileInfo
}

// add takes the file at path for one that the store has open.
func (i *identity) add(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return unavailable(err)
	}
	i.files = append(i.files, opened{path, info})
	return nil
}

// addLog adds what is beside the store's file at path, once SQLite has made it. All is
// looked at then: what was added before SQLite opened it may have been replaced meanwhile.
func (i *identity) addLog(path string) error {
	path, err := filepath.EvalSymlinks(path) // beside the file itself
	if err != nil {
		return unavailable(err)
	}
	return errors.Join(i.add(path+"-wal"), i.add(path+"-shm"), i.look())
}

// check is look for reads, of which those pay for it that come a second after the last
// one, one at a time: on a file system that hangs a look may take forever, and what is in
// memory is answered all the same. now is in milliseconds; a clock that was put back makes a
// great number of the difference.
func (i *identity) check(now int64) error {
	switch {
	case i == nil:
		return nil
	case i.gone.Load():
		return errMoved
	case uint64(now-i.looked.Load()) < lookEvery || !i.looking.CompareAndSwap(false, true):
		return nil
	}
	defer i.looking.Store(false)
	err := i.look()
	if err == nil {
		i.looked.Store(now)
	}
	return err
}

// look returns errMoved, from then on for ever, unless every file is the one that it was.
// It costs a system call for each of the three. Who may not look doesn't know, and
// may later.
func (i *identity) look() error {
	if i == nil {
		return nil
	}
	if i.gone.Load() {
		return errMoved
	}
	for _, f := range i.files {
		there, err := os.Stat(f.path)
		absent := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
		if err != nil && !absent {
			return unavailable(err)
		}
		if absent || !os.SameFile(f.info, there) {
			i.gone.Store(true)
			return errMoved
		}
	}
	return nil
}
