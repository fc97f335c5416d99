package boltfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"
)

// childVar says which of children a process of the test binary is.
const childVar = "VBAWS_EXPORTER_BOLTFILE_CHILD"

// children run in processes of their own, whose limits they change.
var children = map[string]func(path string){}

func TestMain(m *testing.M) {
	if name := os.Getenv(childVar); name != "" {
		children[name](os.Args[1])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(t *testing.T, name, path string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], path)
	cmd.Env = append(os.Environ(), childVar+"="+name)
	return cmd
}

var (
	bucket = []byte("bucket")
	key    = []byte("key")
)

// create makes a file in the folder dir that has value n.
func create(dir string, n int) (path string, err error) {
	path = filepath.Join(dir, "file.db")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	return path, Create(f, func(tx *bbolt.Tx) error {
		if _, err := tx.CreateBucket(bucket); err != nil {
			return err
		}
		return value(n)(tx)
	})
}

// newFile makes a file that has value 0.
func newFile(t testing.TB) (path string) {
	t.Helper()
	path, err := create(t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// open opens a file until the end of the test.
func open(t testing.TB, path string) *File {
	t.Helper()
	f, err := Open(path, unchecked)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// value returns the transaction that sets the value of a file.
func value(n int) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).Put(key, binary.AppendVarint(nil, int64(n)))
	}
}

// unchecked is for files of which the content isn't checked.
func unchecked(*bbolt.Tx) error { return nil }

func load(f *File) (n int, err error) {
	err = f.View(func(tx *bbolt.Tx) error {
		v, _ := binary.Varint(tx.Bucket(bucket).Get(key))
		n = int(v)
		return nil
	})
	return n, err
}

func save(t testing.TB, f *File, n int) {
	t.Helper()
	if err := f.Update(value(n)); err != nil {
		t.Fatal(err)
	}
}

// mustHave compares the value of a file.
func mustHave(t testing.TB, f *File, want int) {
	t.Helper()
	if got, err := load(f); got != want || err != nil {
		t.Errorf("value is %d, %v, want %d", got, err, want)
	}
}

// failing makes the commits of f fail with nothing written.
func failing(f *File) {
	f.Commit = func(tx *bbolt.Tx) error { return errors.Join(tx.Rollback(), errors.New("no")) }
}

func working(f *File) { f.Commit = (*bbolt.Tx).Commit }

// failures are ways in which a commit fails.
var failures = []struct {
	name string
	fail func(*File, *bbolt.Tx) error
}{
	{"nothing was written", func(_ *File, tx *bbolt.Tx) error {
		return errors.Join(tx.Rollback(), errors.New("no"))
	}},
	{"all was written, and not synced", func(_ *File, tx *bbolt.Tx) error {
		return errors.Join(tx.Commit(), errors.New("no"))
	}},
	{"the meta page was written in part", func(f *File, tx *bbolt.Tx) error {
		slot := int64(tx.ID() % 2)
		err := tx.Commit()
		_, werr := f.file.WriteAt(make([]byte, 40), slot*int64(f.db.Info().PageSize)+pageHeaderSize+30)
		return errors.Join(err, werr, errors.New("no"))
	}},
	{"bbolt panicked before", func(*File, *bbolt.Tx) error { panic("no") }},
	{"bbolt panicked after", func(_ *File, tx *bbolt.Tx) error {
		_ = tx.Commit()
		panic("no")
	}},
}

// A file of which the newest meta page was not written as a whole is as it was before
// that commit.
func TestOpenAfterTornMetaPage(t *testing.T) {
	path := newFile(t)
	f := open(t, path)
	save(t, f, 1)
	pageSize := f.db.Info().PageSize
	newest, err := newestMeta(f.file, pageSize)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[int(newest.tx%2)*pageSize+pageHeaderSize+20] ^= 1
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	mustHave(t, open(t, path), 0)
}

// The content decides whether a file is opened.
func TestOpenChecksTheContent(t *testing.T) {
	path, errCheck := newFile(t), errors.New("content is wrong")
	var fail error
	check := func(tx *bbolt.Tx) error {
		if tx.Bucket(bucket) == nil {
			t.Error("check sees no content")
		}
		return fail
	}
	f, err := Open(path, check)
	if err != nil {
		t.Fatal(err)
	}
	save(t, f, 2)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	fail = errCheck
	if _, err := Open(path, check); !errors.Is(err, errCheck) {
		t.Errorf("Open: got %v, want %v", err, errCheck)
	}
	if err := f.Err(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close: got %v, want %v", err, fs.ErrClosed)
	}
	mustHave(t, open(t, path), 2)
}

// A panic in a transaction is an error, and the next transaction works.
func TestPanicInTransaction(t *testing.T) {
	f := open(t, newFile(t))
	var damaged *DamagedError
	if err := f.Update(func(tx *bbolt.Tx) error { return errors.Join(value(1)(tx), func() error { panic("no") }()) }); !errors.As(err, &damaged) {
		t.Errorf("Update: got %v", err)
	}
	if err := f.View(func(*bbolt.Tx) error { panic("no") }); !errors.As(err, &damaged) {
		t.Errorf("View: got %v", err)
	}
	mustHave(t, f, 0)
	save(t, f, 2)
	mustHave(t, f, 2)
}

// base returns the content of a file with each kind of page: branches, leaves, a
// bucket in a page of its own and one within a page, and free pages.
func base(t testing.TB) []byte {
	t.Helper()
	path := newFile(t)
	f := open(t, path)
	small := func(tx *bbolt.Tx) error {
		b, err := tx.Bucket(bucket).CreateBucketIfNotExists([]byte(inlineBucket))
		for n := range 3 {
			err = errors.Join(err, b.Put(fmt.Appendf(nil, "%d", n), bytes.Repeat([]byte{1}, 10)))
		}
		return err
	}
	large := func(tx *bbolt.Tx) error {
		b, err := tx.Bucket(bucket).CreateBucketIfNotExists([]byte("large"))
		for n := range 4000 {
			err = errors.Join(err, b.Put(fmt.Appendf(nil, "%020d", n), bytes.Repeat([]byte{2}, 40)))
		}
		return err
	}
	free := func(tx *bbolt.Tx) (err error) {
		b := tx.Bucket(bucket).Bucket([]byte("large"))
		for n := range 1000 {
			err = errors.Join(err, b.Delete(fmt.Appendf(nil, "%020d", n)))
		}
		return err
	}
	for _, fn := range []func(*bbolt.Tx) error{small, large, free, value(1), value(2)} {
		if err := f.Update(fn); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// inlineBucket is the name of a bucket in base that is within a page.
const inlineBucket = "small and within a page"

// refuses checks that a file with that content is refused as damaged and left as it is.
func refuses(t *testing.T, content []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path, unchecked)
	if err == nil {
		_ = f.Close()
		t.Error("the file was opened")
	}
	var damaged *DamagedError
	if !errors.As(err, &damaged) || damaged.Path != path || !strings.HasPrefix(err.Error(), path+" is damaged: ") {
		t.Errorf("got %v, want that %s is damaged", err, path)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(content, after) {
		t.Errorf("the file was changed, %v", err)
	}
}

func TestOpenOfAnotherFormat(t *testing.T) {
	for name, content := range map[string][]byte{
		"empty": {},
		"short": []byte("short"),
		"text":  bytes.Repeat([]byte("some text\n"), 5000),
		"zeros": make([]byte, 1<<16),
	} {
		t.Run(name, func(t *testing.T) { refuses(t, content) })
	}
}

// TestFailedCommitNamesTheFileOnce has a commit that fails as on a full disk, and one
// that fails without the file's name.
func TestFailedCommitNamesTheFileOnce(t *testing.T) {
	path := newFile(t)
	f := open(t, path)
	for _, cause := range []error{&fs.PathError{Op: "write", Path: path, Err: syscall.ENOSPC}, errors.New("no")} {
		f.Commit = func(tx *bbolt.Tx) error {
			_ = tx.Rollback()
			return cause
		}
		if err := f.Update(value(1)); !errors.Is(err, cause) || strings.Count(err.Error(), path) != 1 {
			t.Errorf("%v: got %v", cause, err)
		}
	}
}
