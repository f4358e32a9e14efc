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

// lookEvery is how long, in milliseconds, reads may rely on the last look.
const lookEvery = 1000

// errMoved is the error of a process whose file isn't where it was.
var errMoved = fmt.Errorf("%w: its file was moved, deleted or replaced: restart this process", storage.ErrUnavailable)

// identity tells whether the files at the path of a store (with its log and the log's
// index) are still those that the process has open. SQLite goes on with the open files
// even if they are moved or deleted. Then the process would miss the changes of others
// at the path, such as ended grants, and its own writes would be lost with it.
//
// A file that comes back isn't trusted again: it may have been used with another log
// meanwhile. An identity is safe for concurrent use. A nil identity, for a store in
// memory, is always in order.
type identity struct {
	files   []opened
	looked  atomic.Int64 // when a check last found all in order, by the store's clock
	looking atomic.Bool  // a check is under way
	gone    atomic.Bool
}

// opened is a file as it was when the store was opened.
type opened struct {
	path string
	info fs.FileInfo
}

// add remembers the file at path as one that the store has open.
func (i *identity) add(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return unavailable(err)
	}
	i.files = append(i.files, opened{path, info})
	return nil
}

// addLog adds the files beside the store's file at path, once SQLite has made them. Then
// it checks all files: one that was added before SQLite opened it may have been replaced
// meanwhile.
func (i *identity) addLog(path string) error {
	path, err := filepath.EvalSymlinks(path) // beside the file itself
	if err != nil {
		return unavailable(err)
	}
	return errors.Join(i.add(path+"-wal"), i.add(path+"-shm"), i.look())
}

// check is look for reads. Only a read that comes a second after the last look calls look,
// and only one read at a time: on a file system that hangs a look may take forever, and
// other reads are still answered from memory. now is in milliseconds; if the clock was put
// back, the difference counts as large.
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

// look returns errMoved unless every file is still the same, and from then on always. It
// costs a system call for each of the three files. If it may not read a file's status, it
// can't tell; it may later.
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
