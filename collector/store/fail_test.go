package store

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"vbaws_exporter/collector/store/record/recordtest"
)

// failures are ways in which a commit fails.
var failures = []struct {
	name string
	fail func(*bbolt.Tx) error
}{
	{"nothing was written", func(tx *bbolt.Tx) error {
		return errors.Join(tx.Rollback(), errors.New("no"))
	}},
	{"all was written, and not synced", func(tx *bbolt.Tx) error {
		return errors.Join(tx.Commit(), errors.New("no"))
	}},
	{"bbolt panicked before", func(*bbolt.Tx) error { panic("no") }},
	{"bbolt panicked after", func(tx *bbolt.Tx) error {
		_ = tx.Commit()
		panic("no")
	}},
}

// However a commit fails, nothing of it remains in the file, in the state or in its index
// of ids, and later saves build on what was there before.
func testCrashFailedCommit(t *testing.T) {
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
		b, m := openAppliance(t, s, "a"), newModel()
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			c := recordtest.Changes.Draw(t, "changes")
			if c.Empty() {
				continue
			}
			if rapid.Bool().Draw(t, "works") {
				save(t, b, c)
				m.save(c)
			} else {
				f := failures[rapid.IntRange(0, len(failures)-1).Draw(t, "failure")]
				s.commit = f.fail
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
				b = openAppliance(t, s, "a")
			}
			if diff := m.diff(t, b); diff != "" {
				t.Fatalf("state (-want +got):\n%s", diff)
			}
		}
	})
}

// While the file can't be used, an appliance says so, also of ids that it doesn't know.
func testApplianceUnusableFile(t *testing.T) {
	s := open(t, t.TempDir())
	b := openAppliance(t, s, "a")
	save(t, b, remember(1, 20000))
	if err := os.Rename(s.path, s.path+".away"); err != nil {
		t.Fatal(err)
	}
	s.commit = func(tx *bbolt.Tx) error { return errors.Join(tx.Rollback(), errors.New("no")) }
	if err := b.Save(remember(2, 20001)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Save: got %v", err)
	}
	for n := range 3 {
		if _, _, err := b.Lookup(recordtest.Session(n), nil); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Lookup of session %d: got %v", n, err)
		}
	}
	if _, err := b.Load(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load: got %v", err)
	}
	s.commit = (*bbolt.Tx).Commit
	if err := os.Rename(s.path+".away", s.path); err != nil {
		t.Fatal(err)
	}
	if day, _ := b.NewestDay(); day != 20000 {
		t.Errorf("newest day is %d, want 20000", day)
	}
	if _, found, err := b.Lookup(recordtest.Session(2), nil); found || err != nil {
		t.Errorf("session of the failed save: found %v, %v", found, err)
	}
	save(t, b, remember(3, 20001))
	if got := resets(t, b); got != 3 {
		t.Errorf("state is of save %d, want 3", got)
	}
}
