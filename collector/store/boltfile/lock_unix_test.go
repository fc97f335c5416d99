//go:build unix && !aix && !android && !solaris

package boltfile

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"
)

// waitForLock waits until the file can be had for reading, as others have it who
// check it. The lock is released at the end of the test.
func waitForLock(t *testing.T, path string) (got <-chan error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	waiting, result := make(chan struct{}), make(chan error, 1)
	go func() {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
		close(waiting)
		for errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
			err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH)
		}
		result <- err
	}()
	<-waiting
	return result
}

// However often saves fail, and however: no other process gets in.
func TestFileStaysLockedWhileSavesFail(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	f := open(t, path)
	save(t, f, 1)
	got := waitForLock(t, path)
	for range 10 {
		for _, way := range failures {
			f.Commit = func(tx *bbolt.Tx) error { return way.fail(f, tx) }
			err := f.Update(value(2))
			select {
			case <-got:
				t.Fatalf("%s: another got in", way.name)
			default:
			}
			var inUse *InUseError
			if err == nil || errors.As(err, &inUse) {
				t.Fatalf("%s: got %v", way.name, err)
			}
		}
	}
	working(f)
	save(t, f, 3)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// No other process gets in while the file can't be opened again.
func TestFileStaysLockedWhileItIsNotOpen(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	f := open(t, path)
	save(t, f, 1)
	failing(f)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := f.Update(value(2)); err == nil || f.db != nil {
		t.Fatalf("got %v, and it is open", err)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	var inUse *InUseError
	if _, err := Open(path, unchecked); !errors.As(err, &inUse) {
		t.Errorf("another got in: %v", err)
	}
	working(f)
	save(t, f, 2)
	if _, err := Open(path, unchecked); !errors.As(err, &inUse) {
		t.Errorf("another got in later: %v", err)
	}
	mustHave(t, f, 2)
	// It is released in the end, open or not.
	failing(f)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := f.Update(value(3)); err == nil {
		t.Fatal("no error")
	}
	if err := errors.Join(os.Rename(path+".away", path), f.Close()); err != nil {
		t.Fatal(err)
	}
	mustHave(t, open(t, path), 2)
}

// A lost lock is taken again, if no other process has written to the file.
func TestFileThatWasUnlocked(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	f := open(t, path)
	save(t, f, 1)
	lose := func() {
		t.Helper()
		f.Commit = func(tx *bbolt.Tx) error {
			return errors.Join(tx.Rollback(), os.Rename(path, path+".away"), errors.New("no"))
		}
		if err := f.Update(value(2)); err == nil || f.db != nil {
			t.Fatalf("got %v, and it is open", err)
		}
		working(f)
		if err := errors.Join(os.Rename(path+".away", path), syscall.Flock(int(f.held.Fd()), syscall.LOCK_UN)); err != nil {
			t.Fatal(err)
		}
	}
	lose()
	save(t, f, 2)

	lose()
	other := open(t, path)
	var inUse *InUseError
	if err := f.Update(value(3)); !errors.As(err, &inUse) {
		t.Errorf("while another has it: got %v", err)
	}
	save(t, other, 9)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Update(value(3)); err == nil || !strings.Contains(err.Error(), "modified by another process") {
		t.Errorf("after another had it: got %v", err)
	}
	mustHave(t, open(t, path), 9)
}

// A file that took the place of the one that was open is not written to.
func TestFileThatWasReplaced(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	f, other := open(t, path), open(t, newFile(t))
	save(t, f, 1)
	save(t, other, 9)
	if err := errors.Join(other.Close(), os.Rename(other.path, path)); err != nil {
		t.Fatal(err)
	}
	failing(f)
	if err := f.Update(value(2)); err == nil {
		t.Fatal("no error")
	}
	working(f)
	if err := f.Update(value(2)); err == nil || !strings.Contains(err.Error(), path+" was replaced by another file") {
		t.Errorf("got %v", err)
	}
	mustHave(t, open(t, path), 9)
}
