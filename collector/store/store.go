package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"vbaws_exporter/collector/store/boltfile"
	"vbaws_exporter/collector/store/record"
)

// FileName is the name of the file in the folder that Open is given.
const FileName = "vbaws_exporter.db"

// Top buckets and their keys.
const (
	formatBucket     = "format"
	versionKey       = "version"
	appliancesBucket = "appliances"
)

// Points at which Options.Crash is called.
const (
	CrashBegin  = "save.begin"  // nothing is written
	CrashFilled = "save.filled" // the transaction is complete, and not committed
	CrashDone   = "save.done"   // it is on the disk
)

// Options of Open. The zero value is the usual.
type Options struct {
	// Now is the clock of the time at which an appliance was last saved; time.Now if nil.
	Now func() time.Time
	// Existing is set if the file must be there already.
	Existing bool
	// Crash, if not nil, is called at the Crash points of every Save and Import, for
	// tests that end the process there.
	Crash func(point string)
}

// DamagedError is the error of a file whose content is not what this exporter wrote to
// it.
type DamagedError = boltfile.DamagedError

// InUseError is the error of a file that another process has opened.
type InUseError = boltfile.InUseError

// Store is an open file. Its methods can be called by any goroutine. A save that the
// disk refuses leaves nothing, and later saves succeed when the disk does: that is
// package boltfile.
type Store struct {
	path string
	now  func() time.Time
	// crash, link and importBatch are replaced by tests.
	crash       func(point string)
	link        func(oldName, newName string) error
	importBatch int

	file    *boltfile.File
	touched atomic.Int64 // writes since the last release
}

// Open opens the file in the folder path, and makes both if they don't exist.
// It reads and checks all that is in the file: a million sessions take 0.2 s, and
// the time to read 90 MB from the disk. Errors are a *DamagedError, that
// of an unknown format, or the operating system's. Nothing is changed in a file that is
// refused.
func Open(path string, opts Options) (*Store, error) {
	s := &Store{
		path:        filepath.Join(path, FileName),
		now:         opts.Now,
		crash:       opts.Crash,
		link:        os.Link,
		importBatch: importBatch,
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.crash == nil {
		s.crash = func(string) {}
	}
	if !opts.Existing {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, fmt.Errorf("create the state directory: %w", err)
		}
	}
	switch _, err := os.Stat(s.path); {
	case err != nil && opts.Existing:
		return nil, err
	case errors.Is(err, fs.ErrNotExist):
		if err := createEmpty(s.path); err != nil {
			return nil, fmt.Errorf("create %s: %w", s.path, err)
		}
	case err != nil:
		return nil, err
	}
	var err error
	if s.file, err = boltfile.Open(s.path, s.checkRecords); err != nil {
		return nil, err
	}
	if err := s.dropImport(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// createEmpty makes an empty file, which appears under its name once it is complete.
// Another process may be faster: its file is the one then.
func createEmpty(path string) error {
	err := createFile(path, os.Link, func(f *os.File) error {
		return boltfile.Create(f, func(tx *bbolt.Tx) error {
			if _, err := tx.CreateBucket([]byte(appliancesBucket)); err != nil {
				return err
			}
			format, err := tx.CreateBucket([]byte(formatBucket))
			if err != nil {
				return err
			}
			return format.Put([]byte(versionKey), []byte(record.FormatVersion))
		})
	})
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// checkRecords reads the format's version, then every record.
func (s *Store) checkRecords(tx *bbolt.Tx) error {
	var version []byte
	if format := tx.Bucket([]byte(formatBucket)); format != nil {
		version = format.Get([]byte(versionKey))
	}
	if string(version) != record.FormatVersion {
		return fmt.Errorf("%s has format %q, and this exporter knows only format %q: use the exporter that wrote it, or another --storage.path", s.path, version, record.FormatVersion)
	}
	err := tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
		// What an import has left isn't looked at: Open drops it.
		if n := string(name); n != formatBucket && n != appliancesBucket && n != importingBucket {
			return &DamagedError{Path: s.path, Err: fmt.Errorf("bucket %q is unknown", name)}
		}
		return nil
	})
	if err != nil {
		return err
	}
	appliances := tx.Bucket([]byte(appliancesBucket))
	if appliances == nil {
		return &DamagedError{Path: s.path, Err: fmt.Errorf("bucket %q is missing", appliancesBucket)}
	}
	return appliances.ForEach(func(name, value []byte) error {
		if value != nil {
			return applianceTx{path: s.path, appliance: string(name)}.damaged("", nil, errors.New("is not a bucket"))
		}
		return s.in(tx, string(name)).check()
	})
}

// Appliance opens the state of an appliance, which need not be known, and fails for one
// that was exported. Only one Appliance of a name can be open.
func (s *Store) Appliance(appliance string) (*Appliance, error) {
	if err := record.CheckName(appliance); err != nil {
		return nil, err
	}
	a := &Appliance{store: s, name: appliance}
	err := s.file.View(func(tx *bbolt.Tx) (err error) {
		p := a.in(tx)
		if err = p.here(); err == nil {
			a.seen, err = p.index()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	s.file.Release() // the pages that index has read
	return a, nil
}

// errUnchanged ends a transaction that has nothing to change.
var errUnchanged = errors.New("nothing to change")

// DropUnused removes the appliances that are not in keep and were not saved since
// before, and returns their names, sorted. No Appliance can be open. If none at all was
// saved since before, it removes none: then the clock is wrong, or the exporter was away
// for as long.
func (s *Store) DropUnused(keep []string, before time.Time) (names []string, err error) {
	err = s.file.Update(func(tx *bbolt.Tx) error {
		all := tx.Bucket([]byte(appliancesBucket))
		recent := false // one was saved since before
		err := all.ForEach(func(name, _ []byte) error {
			p := s.in(tx, string(name))
			saved, err := p.saved()
			switch {
			case err != nil:
				return err
			case !saved.Before(before):
				recent = true
			case !slices.Contains(keep, p.appliance):
				names = append(names, p.appliance)
			}
			return nil
		})
		switch {
		case err != nil:
			return err
		case !recent || len(names) == 0:
			return errUnchanged
		}
		for _, name := range names {
			if err := all.DeleteBucket([]byte(name)); err != nil {
				return fmt.Errorf("drop appliance %q: %w", name, err)
			}
		}
		return nil
	})
	switch {
	case errors.Is(err, errUnchanged):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return names, nil
}

// Close closes the file after what is under way. Every Appliance fails from then on. A failed save
// that could not be taken back yet may be found as a whole when the file is opened
// again.
func (s *Store) Close() error { return s.file.Close() }
