//go:build unix && !aix && !android && !solaris

package store

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"
)

// waitForLock waits until the file can be had for reading, as others have it who
// check it. The lock is let go of at the end of the test.
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
	path := t.TempDir()
	s := open(t, path)
	b := openBook(t, s, "a")
	save(t, b, remember(1, 20000))
	got := waitForLock(t, s.path)
	for range 10 {
		for _, f := range failures {
			s.commit = func(tx *bbolt.Tx) error { return f.fail(s, tx) }
			err := b.Save(remember(2, 20001))
			select {
			case <-got:
				t.Fatalf("%s: another got in", f.name)
			default:
			}
			var inUse *InUseError
			if err == nil || errors.As(err, &inUse) {
				t.Fatalf("%s: got %v", f.name, err)
			}
		}
	}
	s.commit = (*bbolt.Tx).Commit
	save(t, b, remember(3, 20001))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// Nor where the file can't be opened again.
func TestFileStaysLockedWhileItIsNotOpen(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	s := open(t, path)
	b := openBook(t, s, "a")
	save(t, b, counts(1, 1))
	failing(s)
	if err := os.Rename(s.path, s.path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := b.Save(counts(2, 2)); err == nil || s.db != nil {
		t.Fatalf("got %v, and it is open", err)
	}
	if err := os.Rename(s.path+".away", s.path); err != nil {
		t.Fatal(err)
	}
	var inUse *InUseError
	if _, err := Open(path, Options{}); !errors.As(err, &inUse) {
		t.Errorf("another got in: %v", err)
	}
	s.commit = (*bbolt.Tx).Commit
	save(t, b, counts(2, 2))
	if _, err := Open(path, Options{}); !errors.As(err, &inUse) {
		t.Errorf("another got in later: %v", err)
	}
	if got := countOf(t, b); got != 2 {
		t.Errorf("count is %d, want 2", got)
	}
	// It is let go of in the end, open or not.
	failing(s)
	if err := os.Rename(s.path, s.path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := b.Save(counts(3, 3)); err == nil {
		t.Fatal("no error")
	}
	if err := errors.Join(os.Rename(s.path+".away", s.path), s.Close()); err != nil {
		t.Fatal(err)
	}
	if got := countOf(t, openBook(t, open(t, path), "a")); got != 2 {
		t.Errorf("count is %d, want 2", got)
	}
}

// A lock that was lost is got back, if nobody has written to the file.
func TestFileThatWasUnlocked(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	s := open(t, path)
	b := openBook(t, s, "a")
	save(t, b, counts(1, 1))
	lose := func() {
		t.Helper()
		s.commit = func(tx *bbolt.Tx) error {
			return errors.Join(tx.Rollback(), os.Rename(s.path, s.path+".away"), errors.New("no"))
		}
		if err := b.Save(counts(2, 2)); err == nil || s.db != nil {
			t.Fatalf("got %v, and it is open", err)
		}
		s.commit = (*bbolt.Tx).Commit
		if err := errors.Join(os.Rename(s.path+".away", s.path), syscall.Flock(int(s.held.Fd()), syscall.LOCK_UN)); err != nil {
			t.Fatal(err)
		}
	}
	lose()
	save(t, b, counts(2, 2))

	lose()
	other := open(t, path)
	var inUse *InUseError
	if err := b.Save(counts(3, 3)); !errors.As(err, &inUse) {
		t.Errorf("while another has it: got %v", err)
	}
	save(t, openBook(t, other, "a"), counts(4, 9))
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Save(counts(3, 3)); err == nil || !strings.Contains(err.Error(), "written to by another process") {
		t.Errorf("after another had it: got %v", err)
	}
	if got := countOf(t, openBook(t, open(t, path), "a")); got != 9 {
		t.Errorf("count is %d, want 9", got)
	}
}

// A file that took the place of the one that was open is not written to.
func TestFileThatWasReplaced(t *testing.T) {
	t.Parallel()
	path, from := t.TempDir(), t.TempDir()
	s, other := open(t, path), open(t, from)
	b := openBook(t, s, "a")
	save(t, b, counts(1, 1))
	save(t, openBook(t, other, "a"), counts(2, 9))
	if err := errors.Join(other.Close(), os.Rename(other.path, s.path)); err != nil {
		t.Fatal(err)
	}
	failing(s)
	if err := b.Save(counts(2, 2)); err == nil {
		t.Fatal("no error")
	}
	s.commit = (*bbolt.Tx).Commit
	if err := b.Save(counts(2, 2)); err == nil || !strings.Contains(err.Error(), s.path+" is another file than the one that was opened") {
		t.Errorf("got %v", err)
	}
	if got := countOf(t, openBook(t, open(t, path), "a")); got != 9 {
		t.Errorf("count is %d, want 9", got)
	}
}
