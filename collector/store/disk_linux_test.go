package store

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"vbaws_exporter/collector/ledger"
)

func init() {
	children["disk"] = diskChild
	children["memory"] = memoryChild
	children["memory again"] = memoryAgainChild
}

// limit lets files of this process be written up to size only, as a full disk
// would: beyond it writing fails, also where something is overwritten.
func limit(size uint64) {
	hard := syscall.Rlimit{}
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &hard); err != nil {
		panic(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: min(size, hard.Max), Max: hard.Max}); err != nil {
		panic(err)
	}
}

// full reports whether err is the disk's. Where the file can't grow bbolt says so
// in words only.
func full(err error) bool {
	return err != nil && strings.Contains(err.Error(), syscall.EFBIG.Error())
}

// diskChild saves to the folder args[0] while the disk fails.
func diskChild(args []string) {
	signal.Ignore(syscall.SIGXFSZ)
	must := func(ok bool, format string, args ...any) {
		if !ok {
			fmt.Printf(format+"\n", args...)
			os.Exit(1)
		}
	}
	s, err := Open(args[0], Options{})
	must(err == nil, "open: %v", err)
	b, err := s.Book("a")
	must(err == nil, "book: %v", err)
	load := func() uint64 {
		state, err := b.Load()
		must(err == nil, "load: %v", err)
		return state.Meta.Resets
	}
	saveOK := func(n int) {
		err := b.Save(remember(n, 20000+int32(n)))
		must(err == nil, "save %d: %v", n, err)
		must(load() == uint64(n), "state is of save %d, want %d", load(), n)
		day, _ := b.NewestDay()
		must(day == 20000+int32(n), "the newest day after save %d is %d", n, day)
	}
	// refused is true if a failed save has left nothing.
	refused := func(n int, err error, last uint64) {
		must(full(err), "save %d: %v", n, err)
		day, _ := b.NewestDay()
		must(day != 20000+int32(n), "day of failed save %d is known", n)
		must(load() == last, "state is of save %d, want %d", load(), last)
		_, found, err := b.Lookup(session(n), nil)
		must(err == nil && !found, "session of failed save %d is known, %v", n, err)
	}
	saveOK(1)

	// The file can't grow.
	info, err := os.Stat(s.path)
	must(err == nil, "%v", err)
	limit(uint64(info.Size()))
	many := remember(2, 20002)
	for n := range 5000 {
		many.Seen[session(100+n)] = ledger.SeenSession{Day: 20002}
	}
	refused(2, b.Save(many), 1)
	refused(2, b.Save(many), 1)
	// What fits into the pages that are free is none the worse.
	saveOK(3)
	limit(math.MaxUint64)
	must(b.Save(many) == nil, "save that had failed: %v", err)
	must(load() == 2, "state is of save %d, want 2", load())

	// No page can be written, nor can it be told what was: nothing is known until
	// the disk is well again.
	limit(0)
	for range 3 {
		err := b.Save(remember(4, 20004))
		must(full(err), "save 4: %v", err)
		_, err = b.Load()
		must(full(err), "load: %v", err)
	}
	limit(math.MaxUint64)
	must(load() == 2, "state is of save %d, want 2", load())
	day, _ := b.NewestDay()
	must(day != 20004, "day of failed save 4 is known")
	saveOK(4)

	// The meta page is written, and to sync it fails. So does to take it back.
	s.commit = func(tx *bbolt.Tx) error {
		err := tx.Commit()
		must(err == nil, "commit: %v", err)
		limit(0)
		return syscall.EFBIG
	}
	err = b.Save(remember(5, 20005))
	must(full(err), "save 5: %v", err)
	_, err = b.Load()
	must(full(err), "load: %v", err)
	_, _, err = b.Lookup(session(5), []int32{20005})
	must(full(err), "lookup: %v", err)
	limit(math.MaxUint64)
	s.commit = (*bbolt.Tx).Commit
	refused(5, syscall.EFBIG, 4)
	saveOK(6)
	must(s.Close() == nil, "close")
	s, err = Open(args[0], Options{})
	must(err == nil, "open again: %v", err)
	b, err = s.Book("a")
	must(err == nil, "book again: %v", err)
	must(load() == 6, "state is of save %d, want 6", load())
	fmt.Println("done")
}

// After a save that the disk has refused all is as before it, and goes on when
// the disk does.
func TestFailingDisk(t *testing.T) {
	t.Parallel()
	cmd := child(t, "disk", t.TempDir())
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

// memoryChild opens the folder args[0] while its file is larger than what may be
// mapped.
func memoryChild(args []string) {
	limitMemory(8 << 30)
	_, err := Open(args[0], Options{})
	var damaged *DamagedError
	fmt.Printf("damaged: %v, no memory: %v\n%v\n", errors.As(err, &damaged), errors.Is(err, syscall.ENOMEM), err)
}

// What the system has no memory for isn't damaged: there is nothing to restore, or
// to move away.
func TestOpenWithoutMemory(t *testing.T) {
	t.Parallel()
	path := closed(t)
	file := filepath.Join(path, FileName)
	// It takes no room on the disk, and what is beyond the last page isn't looked at.
	if err := os.Truncate(file, 64<<30); err != nil {
		t.Fatal(err)
	}
	out, err := child(t, "memory", path).CombinedOutput()
	want := "damaged: false, no memory: true\nopen " + file + ": " + syscall.ENOMEM.Error() + "\n"
	if err != nil || string(out) != want {
		t.Errorf("%v, got %s, want %s", err, out, want)
	}
	open(t, path)
}

// memoryAgainChild saves to the folder args[0], while its file can't be mapped again.
func memoryAgainChild(args []string) {
	try := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	s, err := Open(args[0], Options{})
	try(err)
	b, err := s.Book("a")
	try(err)
	try(b.Save(remember(1, 20000)))
	try(os.Truncate(s.path, 64<<30))
	other, err := os.Open(s.path)
	try(err)
	lift := limitMemory(8 << 30)
	failing(s)
	for range 2 {
		err = b.Save(remember(2, 20001))
		var damaged *DamagedError
		fmt.Printf("damaged: %v, no memory: %v, lock of another: %v\n",
			errors.As(err, &damaged), errors.Is(err, syscall.ENOMEM), syscall.Flock(int(other.Fd()), syscall.LOCK_SH|syscall.LOCK_NB))
	}
	lift()
	s.commit = (*bbolt.Tx).Commit
	try(b.Save(remember(3, 20001)))
	try(s.Close())
}

// bbolt unlocks a file that it can't open. It stays locked all the same.
func TestFileStaysLockedWithoutMemory(t *testing.T) {
	t.Parallel()
	path := closed(t)
	out, err := child(t, "memory again", path).CombinedOutput()
	want := strings.Repeat("damaged: false, no memory: true, lock of another: "+syscall.EWOULDBLOCK.Error()+"\n", 2)
	if err != nil || string(out) != want {
		t.Errorf("%v, got %s, want %s", err, out, want)
	}
	if got := resets(t, openBook(t, open(t, path), "a")); got != 3 {
		t.Errorf("state is of save %d, want 3", got)
	}
}
