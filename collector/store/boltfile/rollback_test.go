package boltfile

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// However a commit fails, nothing of it remains, and later commits build on the
// content before it.
func TestFailedCommitsAreUndone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	change := rapid.MapOf(rapid.SampledFrom([]string{"a", "b", "c", "d"}), rapid.Custom(func(t *rapid.T) string {
		return strings.Repeat(rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "value"), rapid.SampledFrom([]int{1, 10_000}).Draw(t, "length"))
	}))
	rapid.Check(t, func(t *rapid.T) {
		folder, err := os.MkdirTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		path, err := create(folder, 0)
		if err != nil {
			t.Fatal(err)
		}
		f, err := Open(path, unchecked)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		want := map[string]string{}
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			c := change.Draw(t, "changes") // an empty value removes the key
			apply := func(tx *bbolt.Tx) (err error) {
				b := tx.Bucket(bucket)
				for k, v := range c {
					if v == "" {
						err = errors.Join(err, b.Delete([]byte(k)))
					} else {
						err = errors.Join(err, b.Put([]byte(k), []byte(v)))
					}
				}
				return err
			}
			if rapid.Bool().Draw(t, "works") {
				if err := f.Update(apply); err != nil {
					t.Fatal(err)
				}
				maps.Copy(want, c)
				maps.DeleteFunc(want, func(_, v string) bool { return v == "" })
			} else {
				way := failures[rapid.IntRange(0, len(failures)-1).Draw(t, "failure")]
				f.Commit = func(tx *bbolt.Tx) error { return way.fail(f, tx) }
				if err := f.Update(apply); err == nil {
					t.Fatalf("%s: no error", way.name)
				}
				working(f)
			}
			if rapid.IntRange(0, 3).Draw(t, "reopen") == 0 {
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				if f, err = Open(path, unchecked); err != nil {
					t.Fatal(err)
				}
			}
			got := map[string]string{}
			err := f.View(func(tx *bbolt.Tx) error {
				return tx.Bucket(bucket).ForEach(func(k, v []byte) error {
					if string(k) != string(key) {
						got[string(k)] = string(v)
					}
					return nil
				})
			})
			if err != nil || !maps.Equal(got, want) {
				t.Fatalf("content is %.200q, %v, want %.200q", got, err, want)
			}
		}
	})
}

// A file that was removed is not created again by a process that knows what was in it.
func TestFileThatWasRemoved(t *testing.T) {
	f := open(t, newFile(t))
	save(t, f, 1)
	if err := os.Rename(f.path, f.path+".away"); err != nil {
		t.Fatal(err)
	}
	failing(f)
	for range 2 {
		if err := f.Update(value(2)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	}
	working(f)
	if err := os.Rename(f.path+".away", f.path); err != nil {
		t.Fatal(err)
	}
	save(t, f, 3)
	mustHave(t, f, 3)
}

// A mapped file that gets shorter is an error, not a crash.
func TestFileThatGotShorter(t *testing.T) {
	f := open(t, newFile(t))
	err := f.Update(func(tx *bbolt.Tx) error {
		for n := range byte(200) {
			if err := tx.Bucket(bucket).Put([]byte{n}, make([]byte, 100)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(f.path, int64(2*f.db.Info().PageSize)); err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	if _, err := load(f); !errors.As(err, &damaged) {
		t.Errorf("View: %v", err)
	}
	if err := f.Update(value(1)); !errors.As(err, &damaged) {
		t.Errorf("Update: %v", err)
	}
}

// If the file can't be kept locked while commits fail, another process can write to
// it. That is not overwritten from what was known before.
func TestFileThatAnotherProcessWroteTo(t *testing.T) {
	path := newFile(t)
	f := open(t, path)
	save(t, f, 1)

	unlocked := func() {
		t.Helper()
		failing(f)
		if err := os.Rename(path, path+".away"); err != nil {
			t.Fatal(err)
		}
		if err := f.Update(value(2)); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("got %v", err)
		}
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
		f.unlock()
		working(f)
	}
	// A process that only reads changes nothing.
	unlocked()
	other := open(t, path)
	mustHave(t, other, 1)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	save(t, f, 2)

	unlocked()
	other = open(t, path)
	save(t, other, 9)
	var inUse *InUseError
	if err := f.Update(value(3)); !errors.As(err, &inUse) {
		t.Errorf("while another process has it: got %v", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, err := range []error{f.Err(), f.Update(value(3))} {
			if err == nil || !strings.Contains(err.Error(), path+" was modified by another process") {
				t.Errorf("got %v", err)
			}
		}
		// Other processes can open it.
		other = open(t, path)
		mustHave(t, other, 9)
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
