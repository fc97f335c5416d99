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

// open checks the file and opens it, for the first time or again. f.mu is held.
func (f *File) open() (err error) {
	again := f.held != nil
	if again {
		err = f.checkHeld()
	} else {
		err = f.check()
	}
	if err != nil {
		return err
	}
	db, file, err := f.openBolt(false)
	if err != nil {
		if again {
			_ = f.lock(f.held) // bbolt has unlocked it
		}
		return err
	}
	err = f.checkUnchanged(file, db.Info().PageSize)
	if err == nil && again {
		err = f.guard(func() error { return db.View(f.options.Check) })
	}
	if err == nil && !again {
		f.held, err = sameOpen(file)
	}
	if err != nil {
		f.closeBolt(db, file)
		return err
	}
	db.AllocSize = growBy
	f.db, f.file, f.pageSize = db, file, db.Info().PageSize
	return nil
}

// checkUnchanged returns an error, which all later calls return, if the file was
// written to since db was closed.
func (f *File) checkUnchanged(file *os.File, pageSize int) error {
	if f.left == 0 {
		return nil
	}
	newest, err := newestMeta(file, pageSize)
	if err != nil {
		return f.classify(err)
	}
	if newest.tx == f.left {
		return nil
	}
	f.outdated = fmt.Errorf("%s was modified by another process: restart the exporter", f.path)
	f.unlock()
	return f.outdated
}

// closeBolt closes what openBolt has opened. If f.held is not nil, the file stays
// locked. Its errors don't matter: nothing was written since the last sync.
func (f *File) closeBolt(db *bbolt.DB, file *os.File) {
	if f.held != nil {
		_ = file.Close() // so that bbolt can't unlock it
	}
	_ = db.Close()
}

// unlock unlocks the file if bbolt has closed it.
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
	var sysErr *os.SyscallError
	var errno syscall.Errno // bbolt's locking and mapping return it as it is
	switch {
	case errors.As(err, &damaged), errors.As(err, &pathErr):
		return err
	case errors.As(err, &sysErr), errors.As(err, &errno):
		return fmt.Errorf("open %s: %w", f.path, err)
	}
	return f.damaged(err)
}

// check checks all pages of the file and its content.
func (f *File) check() (err error) {
	db, file, err := f.openBolt(true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := f.checkPages(file, info.Size(), db.Info().PageSize); err != nil {
		return err
	}
	return f.guard(func() error { return db.View(f.options.Check) })
}

// checkHeld checks all pages of the file that is held, and not its content: to open it
// for reading, bbolt would exchange its lock for a shared one.
func (f *File) checkHeld() error {
	if err := f.lock(f.held); err != nil {
		return err
	}
	info, err := f.held.Stat()
	if err != nil {
		return err
	}
	switch there, err := os.Stat(f.path); {
	case err != nil:
		return err
	case !os.SameFile(info, there):
		return fmt.Errorf("%s was replaced by another file: restart the exporter", f.path)
	}
	return f.checkPages(f.held, info.Size(), f.pageSize)
}

// checkPages calls the function of that name and classifies its error.
func (f *File) checkPages(r io.ReaderAt, size int64, pageSize int) error {
	if err := checkPages(r, size, pageSize); err != nil {
		return f.classify(err)
	}
	return nil
}
