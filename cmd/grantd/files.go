package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// randomText returns n random bytes in base64url.
func randomText(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(b)
}

// createFile makes a file with the mode and the text, unless the path exists, and
// reports whether it did. Nobody ever sees half of the file. If several processes
// make it at once, one succeeds.
func createFile(path string, mode fs.FileMode, text string) (bool, error) {
	return fillFile(path, mode, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
}

// fillFile is createFile for a content that is too long for a string: fill writes it.
func fillFile(path string, mode fs.FileMode, fill func(io.Writer) error) (bool, error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // path remains
	err = fill(tmp)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err != nil {
		return false, err
	}
	err = os.Link(tmp.Name(), path)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}
