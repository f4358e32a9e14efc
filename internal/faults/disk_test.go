//go:build linux

package faults

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// onSmallDisk runs the command appended to it. For that command a directory is
// a disk of its own, of so many bytes, with a copy of a file. Other processes
// see the disk below /proc/PID/root.
const onSmallDisk = `mount -t tmpfs -o size=%d tmpfs '%s' && cp '%s' '%[2]s' && exec "$@"`

const diskSize = 16 << 20

// ownMounts returns the command that gives another command mounts of its own,
// whether or not the user is root.
func ownMounts(t *testing.T) []string {
	t.Helper()
	var errs error
	for _, with := range [][]string{
		{"unshare", "--mount"},
		{"unshare", "--mount", "--user", "--map-root-user"},
	} {
		out, err := exec.Command(with[0], append(with[1:], "mount", "-t", "tmpfs", "tmpfs", t.TempDir())...).CombinedOutput()
		if err == nil {
			return with
		}
		errs = errors.Join(errs, fmt.Errorf("%w: %s", err, out))
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("no disk can be mounted here: %v", errs)
	}
	t.Skipf("no disk can be mounted here: %v", errs)
	return nil
}

func TestTheDiskBelowSQLiteIsFull(t *testing.T) {
	s := size(t)
	disk, seed := t.TempDir(), filepath.Join(t.TempDir(), "grantd.db")
	within := append(ownMounts(t), "sh", "-c", fmt.Sprintf(onSmallDisk, diskSize, disk, seed), "sh")
	d := deploy(t, storeConfig{data: seed}, s.clients, 0)
	d.store.data = filepath.Join(disk, "grantd.db")
	n := &node{within: within}
	d.add(n)
	inside := filepath.Join("/proc", strconv.Itoa(n.cmd.Process.Pid), "root", disk)
	ballast := filepath.Join(inside, "ballast")

	l := newLoad(t, "SQLite, disk full", s, d)
	l.start()
	l.calm()
	l.during(func() {
		fill(t, ballast)
		time.Sleep(s.fault)
		if err := os.Remove(ballast); err != nil {
			t.Error(err)
		}
	})
	if n := l.count(unavailable, usersMe, introspect); n > 0 {
		t.Errorf("%d looks were answered 503: they need no room", n)
	}
	for _, kind := range []string{usersMe, introspect} {
		if l.count(granted, kind) == 0 {
			t.Errorf("no %s was answered while the disk was full", kind)
		}
	}
	if l.count(unavailable, signIn, refresh, revoke) == 0 {
		t.Error("nothing was answered 503 while the disk was full")
	}
	l.awaitService()
	l.calm()
	l.finish(func(ctx context.Context) ([]string, error) { return grantsIn(ctx, inside, t.TempDir()) })
}

// When the disk is too small for the copy, the error names the copy, not the
// store that is read.
func TestTheDiskOfACopyIsFull(t *testing.T) {
	const page = 4096
	grantd, err := program()
	if err != nil {
		t.Fatal(err)
	}
	disk, store := t.TempDir(), filepath.Join(t.TempDir(), "grantd.db")
	client := exec.Command(grantd, "client", "add", "web", "--grant", "client_credentials", "--config", os.DevNull)
	client.Env = []string{"GRANTD_DATA=" + store}
	if out, err := client.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	within := append(ownMounts(t), "sh", "-c", fmt.Sprintf(onSmallDisk, page, disk, os.DevNull), "sh")
	to := filepath.Join(disk, "copy.db")
	for _, args := range [][]string{{"backup", to, "--data", store}, {"restore", store, "--data", to}} {
		argv := append(slices.Clone(within), append([]string{grantd}, args...)...)
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if want := "grantd: writing " + to + ": no space left on device\n"; err == nil || string(out) != want {
			t.Errorf("%s: %v, %q, want %q", args[0], err, out, want)
		}
	}
}

// fill writes to the file until the disk is full.
func fill(t *testing.T, file string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
}

// grantsIn returns the ids of the grants in the directory's database. It reads a copy,
// because SQLite would follow /proc/PID/root to another directory.
func grantsIn(ctx context.Context, dir, scratch string) (ids []string, err error) {
	for _, name := range []string{"grantd.db", "grantd.db-wal"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(scratch, name), b, 0o600); err != nil {
			return nil, err
		}
	}
	db, err := sql.Open("sqlite", filepath.Join(scratch, "grantd.db"))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, "SELECT hex(id) FROM grants")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}
