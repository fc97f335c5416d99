// Package boltfile is one bbolt file that stays usable whatever the disk does.
//
// bbolt trusts its file and its disk: it follows damaged pages until it crashes or
// loses records, and after a commit that failed it can't go on, and doesn't return whether
// the commit is in the file. This package checks each page before bbolt uses the file,
// returns panics of bbolt as errors, undoes a commit that failed, and keeps the file
// locked meanwhile. The content of the file is its caller's.
//
// The parts are in these files: boltfile.go has the transactions, open.go opens and
// checks the file, pages.go checks pages, rollback.go undoes a commit, lock_*.go keeps
// the file locked while bbolt closes it.
package boltfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"sync"

	"go.etcd.io/bbolt"
)

// DamagedError is the error of a file whose content is not what was written to it.
type DamagedError struct {
	Path string
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s is damaged: %v; restore it from a backup, or move it away: counters then start at 0", e.Path, e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// InUseError is the error of a file that another process has opened.
type InUseError struct{ Path string }

func (e *InUseError) Error() string { return e.Path + " is in use by another process" }

// File is an open file. Its methods can be called by any goroutine.
//
// A commit that failed is undone, and the file is opened again, before anything else is
// done with it: at once if the disk allows it, else by the next call after the disk has
// recovered. Until then each call returns the disk's error. The file stays locked meanwhile
// if the platform allows it. If another process has written to it nevertheless, each later
// call returns an error: the caller's knowledge of the file is out of date.
type File struct {
	// Commit commits a transaction. Only tests replace it.
	Commit func(*bbolt.Tx) error

	path string

	writing sync.Mutex // held by a writer until its failure is dealt with

	mu       sync.RWMutex // held for reading while db is used
	db       *bbolt.DB    // nil if it could not be opened again
	file     *os.File     // db's
	failed   uint64       // number of the commit that failed; 0 for none
	held     *os.File     // while db is nil, another descriptor of file, which keeps it locked; nil if the platform has none
	outdated error        // another process has written to the file
	closed   bool
}

// Open opens the file at path, which must exist, and checks all of it, the content by
// check: a million records take 0.2 s and the time to read 90 MB from the disk. Errors are
// a *DamagedError, an *InUseError, the operating system's and those of check. A file that
// is refused is not changed.
func Open(path string, check func(*bbolt.Tx) error) (*File, error) {
	f := &File{Commit: (*bbolt.Tx).Commit, path: path}
	if err := f.check(check); err != nil {
		return nil, err
	}
	var err error
	if f.db, f.file, err = f.openBolt(false); err != nil {
		return nil, err
	}
	return f, nil
}

// Err returns why the file can't be used; nil if it can.
func (f *File) Err() error {
	err := f.rlock()
	if err == nil {
		f.mu.RUnlock()
	}
	return err
}

// View calls fn with a read-only transaction.
func (f *File) View(fn func(*bbolt.Tx) error) error {
	if err := f.rlock(); err != nil {
		return err
	}
	defer f.mu.RUnlock()
	return f.guard(func() error { return f.db.View(fn) })
}

// Update calls fn with a read-write transaction and commits it. If it returns an
// error, nothing of the transaction is in the file.
func (f *File) Update(fn func(*bbolt.Tx) error) error {
	f.writing.Lock()
	defer f.writing.Unlock()
	if err := f.rlock(); err != nil {
		return err
	}
	failed, err := f.update(fn)
	f.mu.RUnlock()
	if failed == 0 {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = failed
	return errors.Join(err, f.recover())
}

// update is Update without recovery; failed is the number of the commit if that failed.
func (f *File) update(fn func(*bbolt.Tx) error) (failed uint64, err error) {
	var tx *bbolt.Tx
	err = f.guard(func() error {
		tx, err = f.db.Begin(true)
		if err != nil {
			return err
		}
		return fn(tx)
	})
	if err == nil {
		number := uint64(tx.ID()) // which a transaction that has ended no longer knows
		if err = f.guard(func() error { return f.Commit(tx) }); err == nil {
			return 0, nil
		}
		failed = number
		if _, named := errors.AsType[*fs.PathError](err); !named {
			err = fmt.Errorf("write %s: %w", f.path, err)
		}
	}
	if tx != nil { // it is still open if the commit panicked
		_ = f.guard(tx.Rollback)
	}
	return failed, err
}

// guard calls fn and returns what bbolt panics with as an error. That includes the
// fault of reading a mapped file that got shorter or can't be read.
func (f *File) guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = f.damaged(fmt.Errorf("bbolt: %v", r))
		}
	}()
	return fn()
}

func (f *File) damaged(err error) error { return &DamagedError{Path: f.path, Err: err} }

// rlock locks f.mu for reading and returns nil if f.db can be used, else an error,
// with f.mu not locked.
func (f *File) rlock() error {
	for {
		f.mu.RLock()
		if f.failed == 0 && !f.closed {
			return nil
		}
		f.mu.RUnlock()
		f.mu.Lock()
		err := f.recover()
		f.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// recover makes the file usable after a failure. f.mu is held.
func (f *File) recover() error {
	switch {
	case f.closed:
		return fmt.Errorf("%s: %w", f.path, fs.ErrClosed)
	case f.outdated != nil:
		return f.outdated
	case f.failed == 0:
		return nil // another goroutine has recovered it
	}
	if f.db != nil {
		if err := f.undo(); err != nil {
			return err
		}
		// bbolt's list of free pages is still that of the commit.
		if err := f.closeBolt(); err != nil {
			return err
		}
	}
	return f.reopen()
}

// undo undoes the commit that failed. f.mu is held.
func (f *File) undo() error {
	if err := undoCommit(f.file, f.db.Info().PageSize, f.failed); err != nil {
		return fmt.Errorf("roll back the failed save to %s: %w", f.path, err)
	}
	return nil
}

// Close waits for transactions to end and closes the file. Later calls fail. A failed
// commit that could not be undone may be found as a whole when the file is opened
// again; Close returns an error then.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	defer f.unlock()
	if f.db == nil {
		return nil
	}
	var err error
	if f.failed != 0 {
		err = f.undo()
	}
	if cerr := f.db.Close(); cerr != nil {
		err = errors.Join(err, fmt.Errorf("close %s: %w", f.path, cerr))
	}
	return err
}
