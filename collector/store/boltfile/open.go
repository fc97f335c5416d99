package boltfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// lockTimeout is how long another process's lock on the file is waited for.
const lockTimeout = time.Second

// growBy is by how many bytes the file grows at least, once it is larger than that.
const growBy = 1 << 20

// Create makes the empty file f a bbolt file, calls fill with its first transaction,
// and closes it. What it wrote is on the disk then.
func Create(f *os.File, fill func(*bbolt.Tx) error) error {
	db, err := bbolt.Open(f.Name(), 0o600, &bbolt.Options{
		Timeout:  lockTimeout,
		OpenFile: func(string, int, os.FileMode) (*os.File, error) { return f, nil },
	})
	if err != nil {
		return err
	}
	return errors.Join(db.Update(fill), db.Close())
}

// closeBolt closes the file and, if the platform can, keeps it locked.
func (f *File) closeBolt() (err error) {
	if f.held, err = sameOpen(f.file); err != nil {
		return err
	}
	if f.held != nil {
		_ = f.file.Close() // so that bbolt can't unlock it
	}
	_ = f.db.Close() // nothing was written since the last sync
	f.db, f.file = nil, nil
	return nil
}

// reopen opens the file again after closeBolt.
func (f *File) reopen() error {
	if err := f.checkPlace(); err != nil {
		return err
	}
	db, file, err := f.openBolt(false)
	if err != nil {
		if f.held != nil {
			lock(f.held) // bbolt has unlocked it
		}
		return err
	}
	newest := 0
	err = db.View(func(tx *bbolt.Tx) error { newest = tx.ID(); return nil })
	f.unlock() // from now on, db keeps it locked
	if err == nil && uint64(newest) != f.failed-1 {
		f.outdated = fmt.Errorf("%s was modified by another process: restart the exporter", f.path)
		err = f.outdated
	}
	if err != nil {
		return errors.Join(err, db.Close())
	}
	f.db, f.file, f.failed = db, file, 0
	return nil
}

// checkPlace returns an error if the file that is held is no longer at f.path.
func (f *File) checkPlace() error {
	there, err := os.Stat(f.path)
	if err != nil || f.held == nil {
		return err
	}
	info, err := f.held.Stat()
	if err == nil && !os.SameFile(info, there) {
		err = fmt.Errorf("%s was replaced by another file: restart the exporter", f.path)
	}
	return err
}

// unlock closes f.held.
func (f *File) unlock() {
	if f.held != nil {
		_ = f.held.Close()
		f.held = nil
	}
}

// openBolt opens the file by bbolt. If readOnly, bbolt reads the meta pages and nothing
// else; several processes can read at the same time.
func (f *File) openBolt(readOnly bool) (db *bbolt.DB, file *os.File, err error) {
	options := &bbolt.Options{
		Timeout:  lockTimeout,
		ReadOnly: readOnly,
		OpenFile: func(name string, flag int, mode os.FileMode) (opened *os.File, err error) {
			if f.held != nil {
				opened, err = sameOpen(f.held)
			} else {
				// A file that was removed must not be created again, empty.
				opened, err = os.OpenFile(name, flag&^os.O_CREATE, mode)
			}
			if err != nil {
				return nil, err
			}
			file = opened
			// If the meta pages can't be read, bbolt's error is that they are not valid.
			n, err := opened.ReadAt(make([]byte, 2*os.Getpagesize()), 0)
			switch {
			case err != nil && !errors.Is(err, io.EOF):
				return nil, err
			case n == 0: // bbolt would initialize it
				return nil, errors.New("file is empty")
			}
			return opened, nil
		},
	}
	err = f.guard(func() error {
		db, err = bbolt.Open(f.path, 0o600, options)
		return err
	})
	switch {
	case err == nil:
		db.AllocSize = growBy
		return db, file, nil
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, nil, &InUseError{f.path}
	}
	if file != nil {
		_ = file.Close() // bbolt leaves it open when it panics
	}
	return nil, nil, f.classify(err)
}

// classify returns err as a *DamagedError unless it is the operating system's: that
// may pass, and the file may be intact.
func (f *File) classify(err error) error {
	var damaged *DamagedError
	var pathErr *fs.PathError
	var errno syscall.Errno // bbolt's locking and mapping return it as it is
	switch {
	case errors.As(err, &damaged), errors.As(err, &pathErr):
		return err
	case errors.As(err, &errno):
		return fmt.Errorf("open %s: %w", f.path, err)
	}
	return f.damaged(err)
}

// check checks all pages of the file and, by content, what is in them.
func (f *File) check(content func(*bbolt.Tx) error) (err error) {
	db, file, err := f.openBolt(true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := checkPages(file, info.Size(), db.Info().PageSize); err != nil {
		return f.classify(err)
	}
	return f.guard(func() error { return db.View(content) })
}
