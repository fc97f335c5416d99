package store

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"vbaws_exporter/collector/ledger"
)

// failures are ways of a commit to fail.
var failures = []struct {
	name string
	fail func(*Store, *bbolt.Tx) error
}{
	{"nothing was written", func(_ *Store, tx *bbolt.Tx) error {
		return errors.Join(tx.Rollback(), errors.New("no"))
	}},
	{"all was written, and not synced", func(_ *Store, tx *bbolt.Tx) error {
		return errors.Join(tx.Commit(), errors.New("no"))
	}},
	{"the meta page was written in part", func(s *Store, tx *bbolt.Tx) error {
		slot := int64(tx.ID() % 2)
		err := tx.Commit()
		_, werr := s.file.WriteAt(make([]byte, 40), slot*int64(s.pageSize)+pageHeaderSize+30)
		return errors.Join(err, werr, errors.New("no"))
	}},
	{"bbolt panicked before", func(*Store, *bbolt.Tx) error { panic("no") }},
	{"bbolt panicked after", func(_ *Store, tx *bbolt.Tx) error {
		_ = tx.Commit()
		panic("no")
	}},
}

// However a commit fails, nothing of it remains, and the saves that follow are
// built on what was before.
func TestFailedCommitsAreTakenBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		path, err := os.MkdirTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		b, m := openBook(t, s, "a"), newModel()
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			c := genChanges.Draw(t, "changes")
			if c.Empty() {
				continue
			}
			if rapid.Bool().Draw(t, "works") {
				save(t, b, c)
				m.save(c)
			} else {
				f := failures[rapid.IntRange(0, len(failures)-1).Draw(t, "failure")]
				s.commit = func(tx *bbolt.Tx) error { return f.fail(s, tx) }
				if err := b.Save(c); err == nil {
					t.Fatalf("%s: no error", f.name)
				}
				s.commit = (*bbolt.Tx).Commit
			}
			if rapid.IntRange(0, 3).Draw(t, "reopen") == 0 {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if s, err = Open(path, Options{}); err != nil {
					t.Fatal(err)
				}
				b = openBook(t, s, "a")
			}
			if diff := m.diff(t, b); diff != "" {
				t.Fatalf("state (-want +got):\n%s", diff)
			}
		}
	})
}

// A file that is gone is not made anew by a process that still knows what was in
// it.
func TestFileThatWasRemoved(t *testing.T) {
	path := t.TempDir()
	s := open(t, path)
	b := openBook(t, s, "a")
	save(t, b, remember(1, 20000))
	if err := os.Rename(s.path, s.path+".away"); err != nil {
		t.Fatal(err)
	}
	s.commit = func(tx *bbolt.Tx) error { return errors.Join(tx.Rollback(), errors.New("no")) }
	for range 2 {
		if err := b.Save(remember(2, 20001)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	}
	s.commit = (*bbolt.Tx).Commit
	if err := os.Rename(s.path+".away", s.path); err != nil {
		t.Fatal(err)
	}
	save(t, b, remember(3, 20001))
	if got := resets(t, b); got != 3 {
		t.Errorf("state is of save %d, want 3", got)
	}
}

// A mapped file that gets shorter is an error, and no crash.
func TestFileThatGotShorter(t *testing.T) {
	path := closed(t)
	s := open(t, path)
	b := openBook(t, s, "a")
	if err := os.Truncate(s.path, int64(2*s.pageSize)); err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	if _, err := b.Load(); !errors.As(err, &damaged) {
		t.Errorf("Load: %v", err)
	}
	if err := b.Save(remember(1, 20000)); !errors.As(err, &damaged) {
		t.Errorf("Save: %v", err)
	}
}

// failing makes the saves of s fail.
func failing(s *Store) {
	s.commit = func(tx *bbolt.Tx) error { return errors.Join(tx.Rollback(), errors.New("no")) }
}

// counts is a change of one counter of a series of its own.
func counts(n int, count uint64) *ledger.Changes {
	c := remember(n, 20001)
	c.Series = map[ledger.Key]*ledger.Series{
		countKey: {Key: countKey, Counters: []*ledger.Counter{{Status: "Failed", Count: count}}},
	}
	return c
}

var countKey = ledger.Key{Type: "Policy"}

func countOf(t *testing.T, b Book) uint64 {
	t.Helper()
	state, err := b.Load()
	if err != nil {
		t.Fatal(err)
	}
	return state.Series[countKey].Counters[0].Count
}

// Where the file can't be kept locked while saves fail, another process may write
// to it. What it has written is not overwritten from what was known before.
func TestFileThatAnotherProcessWroteTo(t *testing.T) {
	path := t.TempDir()
	s := open(t, path)
	b := openBook(t, s, "a")
	save(t, b, counts(1, 1))

	unlocked := func() {
		t.Helper()
		failing(s)
		if err := os.Rename(s.path, s.path+".away"); err != nil {
			t.Fatal(err)
		}
		if err := b.Save(counts(2, 2)); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("got %v", err)
		}
		if err := os.Rename(s.path+".away", s.path); err != nil {
			t.Fatal(err)
		}
		s.letGo()
		s.commit = (*bbolt.Tx).Commit
	}
	// One that only looks is not in the way.
	unlocked()
	other := open(t, path)
	if got := countOf(t, openBook(t, other, "a")); got != 1 {
		t.Errorf("another process finds %d, want 1", got)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	save(t, b, counts(2, 2))

	unlocked()
	other = open(t, path)
	save(t, openBook(t, other, "a"), counts(3, 9))
	var inUse *InUseError
	if err := b.Save(counts(4, 3)); !errors.As(err, &inUse) {
		t.Errorf("while another process has it: got %v", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, _, err := b.Lookup(session(3), []int32{20001})
		for _, err := range []error{err, b.Save(counts(4, 3))} {
			if err == nil || !strings.Contains(err.Error(), s.path+" was written to by another process") {
				t.Errorf("got %v", err)
			}
		}
		// Others may have it.
		other = open(t, path)
		if got := countOf(t, openBook(t, other, "a")); got != 9 {
			t.Errorf("count is %d, want 9", got)
		}
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
