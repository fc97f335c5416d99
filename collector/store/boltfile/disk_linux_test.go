package boltfile

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"
)

func init() {
	children["disk"] = diskChild
	children["memory"] = memoryChild
	children["memory again"] = memoryAgainChild
}

// limit lets files of this process be written up to size only, as a full disk
// would: writing beyond it fails, also if that overwrites something.
func limit(size uint64) {
	hard := syscall.Rlimit{}
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &hard); err != nil {
		panic(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: min(size, hard.Max), Max: hard.Max}); err != nil {
		panic(err)
	}
}

// full reports whether err is the disk's. If the file can't grow, bbolt has that in the
// text of the error only.
func full(err error) bool {
	return err != nil && strings.Contains(err.Error(), syscall.EFBIG.Error())
}

// diskChild writes to the file at path while the disk fails.
func diskChild(path string) {
	signal.Ignore(syscall.SIGXFSZ)
	must := func(ok bool, format string, args ...any) {
		if !ok {
			fmt.Printf(format+"\n", args...)
			os.Exit(1)
		}
	}
	f, err := Open(path, unchecked)
	must(err == nil, "open: %v", err)
	has := func(want int) {
		got, err := load(f)
		must(err == nil && got == want, "value is %d, %v, want %d", got, err, want)
	}
	saveOK := func(n int) {
		err := f.Update(value(n))
		must(err == nil, "save %d: %v", n, err)
		has(n)
	}
	saveOK(1)

	// The file can't grow.
	info, err := os.Stat(path)
	must(err == nil, "%v", err)
	limit(uint64(info.Size()))
	many := func(tx *bbolt.Tx) error {
		for n := range 5000 {
			if err := tx.Bucket(bucket).Put(fmt.Appendf(nil, "%d", n), make([]byte, 50)); err != nil {
				return err
			}
		}
		return value(2)(tx)
	}
	for range 2 {
		err := f.Update(many)
		must(full(err), "save 2: %v", err)
		has(1)
	}
	// A transaction that fits into the free pages succeeds.
	saveOK(3)
	limit(math.MaxUint64)
	err = f.Update(many)
	must(err == nil, "save 2 again: %v", err)
	has(2)

	// No page can be written, and the commit can't be undone: nothing is known until
	// the disk has recovered.
	limit(0)
	for range 3 {
		err := f.Update(value(4))
		must(full(err), "save 4: %v", err)
		_, err = load(f)
		must(full(err), "load: %v", err)
		must(full(f.Err()), "err: %v", f.Err())
	}
	limit(math.MaxUint64)
	has(2)
	saveOK(4)

	// The meta page is written, its sync fails, and so does the undoing.
	f.Commit = func(tx *bbolt.Tx) error {
		err := tx.Commit()
		must(err == nil, "commit: %v", err)
		limit(0)
		return syscall.EFBIG
	}
	err = f.Update(value(5))
	must(full(err), "save 5: %v", err)
	_, err = load(f)
	must(full(err), "load: %v", err)
	limit(math.MaxUint64)
	working(f)
	has(4)
	saveOK(6)
	must(f.Close() == nil, "close")
	f, err = Open(path, unchecked)
	must(err == nil, "open again: %v", err)
	has(6)
	fmt.Println("done")
}

// After a transaction that the disk refused, the content is as before it, and later
// transactions succeed when the disk has recovered.
func TestFailingDisk(t *testing.T) {
	t.Parallel()
	cmd := child(t, "disk", newFile(t))
	cmd.Stderr = os.Stderr
	if out, err := cmd.Output(); err != nil || string(out) != "done\n" {
		t.Errorf("%s%v", out, err)
	}
}

// limitMemory lets this process map no more than that much beyond what it has, and
// returns what takes that back.
func limitMemory(more uint64) (lift func()) {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		panic(err)
	}
	var pages uint64
	if _, err := fmt.Sscan(string(statm), &pages); err != nil {
		panic(err)
	}
	before := syscall.Rlimit{}
	if err := syscall.Getrlimit(syscall.RLIMIT_AS, &before); err != nil {
		panic(err)
	}
	limited := syscall.Rlimit{Cur: min(pages*uint64(os.Getpagesize())+more, before.Max), Max: before.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_AS, &limited); err != nil {
		panic(err)
	}
	return func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_AS, &before); err != nil {
			panic(err)
		}
	}
}

// memoryChild opens the file at path while it is larger than what can be mapped.
func memoryChild(path string) {
	limitMemory(8 << 30)
	_, err := Open(path, unchecked)
	var damaged *DamagedError
	fmt.Printf("damaged: %v, no memory: %v\n%v\n", errors.As(err, &damaged), errors.Is(err, syscall.ENOMEM), err)
}

// A file that the system has no memory for is not damaged: there is nothing to restore,
// or to move away.
func TestOpenWithoutMemory(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	// It takes no room on the disk, and content after the last page is not read.
	if err := os.Truncate(path, 64<<30); err != nil {
		t.Fatal(err)
	}
	out, err := child(t, "memory", path).CombinedOutput()
	want := "damaged: false, no memory: true\nopen " + path + ": " + syscall.ENOMEM.Error() + "\n"
	if err != nil || string(out) != want {
		t.Errorf("%v, got %s, want %s", err, out, want)
	}
	mustHave(t, open(t, path), 0)
}

// memoryAgainChild writes to the file at path while it can't be mapped again.
func memoryAgainChild(path string) {
	try := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	f, err := Open(path, unchecked)
	try(err)
	try(f.Update(value(1)))
	try(os.Truncate(path, 64<<30))
	other, err := os.Open(path)
	try(err)
	lift := limitMemory(8 << 30)
	failing(f)
	for range 2 {
		err = f.Update(value(2))
		var damaged *DamagedError
		fmt.Printf("damaged: %v, no memory: %v, lock of another: %v\n",
			errors.As(err, &damaged), errors.Is(err, syscall.ENOMEM), syscall.Flock(int(other.Fd()), syscall.LOCK_SH|syscall.LOCK_NB))
	}
	lift()
	working(f)
	try(f.Update(value(3)))
	try(f.Close())
}

// bbolt unlocks a file that it can't open. The file stays locked nevertheless.
func TestFileStaysLockedWithoutMemory(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	out, err := child(t, "memory again", path).CombinedOutput()
	want := strings.Repeat("damaged: false, no memory: true, lock of another: "+syscall.EWOULDBLOCK.Error()+"\n", 2)
	if err != nil || string(out) != want {
		t.Errorf("%v, got %s, want %s", err, out, want)
	}
	mustHave(t, open(t, path), 3)
}
