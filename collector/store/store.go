package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"vbaws_exporter/collector/ledger"
)

// Book is one appliance's state. Its methods may be called by any goroutine.
type Book interface {
	ledger.SeenIndex
	// Load returns what is stored, and an empty State, its maps not nil, for an
	// appliance that isn't known. All times are in UTC.
	Load() (*ledger.State, error)
	// Save writes all of changes in one transaction and returns once they are on
	// the disk. When it fails, nothing of them is there. ledger.SeenSession.At and
	// the times of skipped rows are kept to the second.
	Save(changes *ledger.Changes) error
}

// FileName is the name of the file in the folder that Open is given.
const FileName = "vbaws_exporter.db"

// formatVersion is the version of what doc.go describes.
const formatVersion = "1"

// lockTimeout is how long Open waits for another process to let go of the file.
const lockTimeout = time.Second

// growBy is by how many bytes the file grows at least, once it is larger than
// that.
const growBy = 1 << 20

// Top buckets and their keys.
const (
	formatBucket     = "format"
	versionKey       = "version"
	appliancesBucket = "appliances"
)

// Buckets and keys of an appliance.
const (
	metaKey          = "meta"
	seenKey          = "seen"
	seriesBucket     = "series"
	unfinishedBucket = "unfinished"
	policiesBucket   = "policies"
	idsBucket        = "ids"
	skippedBucket    = "skipped"
)

var applianceBuckets = []string{idsBucket, policiesBucket, seriesBucket, skippedBucket, unfinishedBucket}

// Points at which Options.Crash is called.
const (
	CrashBegin  = "save.begin"  // nothing is written
	CrashFilled = "save.filled" // the transaction is complete, and not committed
	CrashDone   = "save.done"   // it is on the disk
)

// Options of Open. The zero value is the usual.
type Options struct {
	// Now is the clock that says when a book was last saved; time.Now if nil.
	Now func() time.Time
	// Existing says that the file must be there already.
	Existing bool
	// Crash, if not nil, is called at the Crash points of every Save and Import, for
	// tests that end the process there.
	Crash func(point string)
}

// DamagedError says that what is in the file is not what was written to it, or
// was not written by this exporter.
type DamagedError struct {
	Path string
	// Appliance, Bucket and Key are empty where it isn't known, or isn't one
	// record, that is damaged.
	Appliance, Bucket string
	Key               []byte
	Err               error
}

func (e *DamagedError) Error() string {
	where := ""
	if e.Appliance != "" {
		where = fmt.Sprintf(": appliance %q", e.Appliance)
	}
	if e.Bucket != "" {
		where += ", " + e.Bucket
	}
	if len(e.Key) > 0 {
		where += fmt.Sprintf(", key %x", e.Key)
	}
	return fmt.Sprintf("%s is damaged%s: %v; restore it from a backup, or move it away: counters then start anew", e.Path, where, e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// InUseError says that another process has the file open.
type InUseError struct{ Path string }

func (e *InUseError) Error() string { return e.Path + " is in use by another process" }

// FormatError says that the file was written in a format that this exporter
// doesn't know.
type FormatError struct {
	Path, Version string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("%s has format %q, and this exporter knows format %q only: use the exporter that wrote it, or another storage path", e.Path, e.Version, formatVersion)
}

// Store is an open file. Its methods may be called by any goroutine.
//
// After a failed commit bbolt's picture of the file is not to be trusted, and
// whether the commit is in the file isn't known. It is taken back, and the file
// checked and opened anew, before anything else is done with it: at once if the
// disk allows, else by the next call that finds it does. It stays locked meanwhile.
// Where it can't, or another has got in all the same and written to it, the Store
// fails from then on: what its books and those who use them know is out of date.
type Store struct {
	path string
	now  func() time.Time
	// crash, commit, link and importBatch are replaced by tests.
	crash       func(point string)
	commit      func(*bbolt.Tx) error
	link        func(oldName, newName string) error
	importBatch int

	touched atomic.Int64 // writes since the last release

	writing sync.Mutex // held by the one that writes, until a failure is dealt with

	mu       sync.RWMutex // held for reading while db is used
	db       *bbolt.DB    // nil where it could not be opened again
	file     *os.File     // db's
	held     *os.File     // the same open file, to keep it locked; nil where that can't be
	pageSize int
	failed   uint64 // number of the commit to be taken back; 0 for none
	left     uint64 // number of the last commit when db was closed; 0 before
	outdated error  // says that another process has written to the file since
	closed   bool

	booksMu sync.Mutex
	books   map[string]*book
}

// Open opens the file in the folder path and makes both where they don't exist.
// It reads and checks all that is in the file: a million sessions take 0.2 s, and
// the time to read 90 MB from the disk. Errors are a *DamagedError, a
// *FormatError, or the operating system's. Nothing is changed in a file that is
// refused.
func Open(path string, opts Options) (*Store, error) {
	s := &Store{
		path:   filepath.Join(path, FileName),
		now:    opts.Now,
		crash:  opts.Crash,
		commit: (*bbolt.Tx).Commit,
		link:   os.Link,
		books:  map[string]*book{},

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
			return nil, fmt.Errorf("make the storage folder: %w", err)
		}
	}
	switch _, err := os.Stat(s.path); {
	case err != nil && opts.Existing:
		return nil, err
	case errors.Is(err, fs.ErrNotExist):
		if err := create(s.path); err != nil {
			return nil, fmt.Errorf("create %s: %w", s.path, err)
		}
	case err != nil:
		return nil, err
	}
	s.mu.Lock()
	err := s.open()
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := s.dropImport(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// create makes an empty file, which appears under its name once it is complete.
// Another process may be faster: its file is the one then.
func create(path string) error {
	err := createFile(path, os.Link, func(f *os.File) (err error) {
		db, err := bbolt.Open(f.Name(), 0o600, &bbolt.Options{
			Timeout:  lockTimeout,
			OpenFile: func(string, int, os.FileMode) (*os.File, error) { return f, nil },
		})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		return db.Update(func(tx *bbolt.Tx) error {
			if _, err := tx.CreateBucket([]byte(appliancesBucket)); err != nil {
				return err
			}
			format, err := tx.CreateBucket([]byte(formatBucket))
			if err != nil {
				return err
			}
			return format.Put([]byte(versionKey), []byte(formatVersion))
		})
	})
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// syncDir makes durable which files there are in a folder.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil // folders can't be synced there
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// open opens the file, after having checked it. s.mu is held.
func (s *Store) open() (err error) {
	again := s.held != nil
	if again {
		err = s.checkHeld()
	} else {
		err = s.check()
	}
	if err != nil {
		return err
	}
	db, file, err := s.openBolt(false)
	if err != nil {
		if again {
			_ = s.lock(s.held) // which bbolt has unlocked
		}
		return err
	}
	err = s.asLeft(file, db.Info().PageSize)
	if err == nil && again {
		err = s.guard(func() error { return db.View(s.checkRecords) })
	}
	if err == nil && !again {
		s.held, err = sameOpen(file)
	}
	if err != nil {
		s.closeBolt(db, file)
		return err
	}
	db.AllocSize = growBy
	s.db, s.file, s.pageSize = db, file, db.Info().PageSize
	return nil
}

// asLeft returns an error, which becomes that of all that follows, for a file that
// was written to since db was closed.
func (s *Store) asLeft(file *os.File, pageSize int) error {
	if s.left == 0 {
		return nil
	}
	newest, err := newestMeta(file, pageSize)
	if err != nil {
		return s.blame(err)
	}
	if newest.tx == s.left {
		return nil
	}
	s.outdated = fmt.Errorf("%s was written to by another process while it could not be written to by this one, whose counters are out of date: restart the exporter", s.path)
	s.letGo()
	return s.outdated
}

// closeBolt closes what openBolt has opened, and keeps what is held of it locked.
// Nothing is lost if it fails: it is only opened again.
func (s *Store) closeBolt(db *bbolt.DB, file *os.File) {
	if s.held != nil {
		_ = file.Close() // bbolt can't unlock it then
	}
	_ = db.Close()
}

// letGo lets others have the file once bbolt has closed it.
func (s *Store) letGo() {
	if s.held != nil {
		_ = s.held.Close()
		s.held = nil
	}
}

// openBolt opens the file by bbolt. For reading bbolt looks at the meta pages
// and nothing else; several processes may read at the same time.
func (s *Store) openBolt(readOnly bool) (db *bbolt.DB, file *os.File, err error) {
	opts := &bbolt.Options{
		Timeout:  lockTimeout,
		ReadOnly: readOnly,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			var f *os.File
			if s.held != nil {
				f, err = sameOpen(s.held)
			} else {
				// A file that is gone must not come back empty.
				f, err = os.OpenFile(name, flag&^os.O_CREATE, mode)
			}
			if err != nil {
				return nil, err
			}
			file = f
			// Where the meta pages can't be read, bbolt says that they are not valid.
			n, err := f.ReadAt(make([]byte, 2*os.Getpagesize()), 0)
			switch {
			case err != nil && !errors.Is(err, io.EOF):
				return nil, err
			case n == 0: // bbolt would make it anew
				return nil, errors.New("file is empty")
			}
			return f, nil
		},
	}
	err = s.guard(func() error {
		db, err = bbolt.Open(s.path, 0o600, opts)
		return err
	})
	switch {
	case err == nil:
		return db, file, nil
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, nil, &InUseError{s.path}
	}
	if file != nil {
		_ = file.Close() // bbolt leaves it open when it panics
	}
	return nil, nil, s.blame(err)
}

// blame makes a *DamagedError of what is wrong with the file. What the operating
// system says of it, which may pass, is no damage.
func (s *Store) blame(err error) error {
	var damaged *DamagedError
	var pathErr *fs.PathError
	var sysErr *os.SyscallError
	var errno syscall.Errno // bbolt's locking and mapping return it as it is
	switch {
	case errors.As(err, &damaged), errors.As(err, &pathErr):
		return err
	case errors.As(err, &sysErr), errors.As(err, &errno):
		return fmt.Errorf("open %s: %w", s.path, err)
	}
	return &DamagedError{Path: s.path, Err: err}
}

// check reads all that is in the file and says what is wrong with it.
func (s *Store) check() (err error) {
	db, file, err := s.openBolt(true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := s.checkPages(file, info.Size(), db.Info().PageSize); err != nil {
		return err
	}
	return s.guard(func() error { return db.View(s.checkRecords) })
}

// checkHeld is check for the file that is held, except for its records: to open it
// for reading, bbolt would trade its lock for one that others may have as well.
func (s *Store) checkHeld() error {
	if err := s.lock(s.held); err != nil {
		return err
	}
	info, err := s.held.Stat()
	if err != nil {
		return err
	}
	switch there, err := os.Stat(s.path); {
	case err != nil:
		return err
	case !os.SameFile(info, there):
		return fmt.Errorf("%s is another file than the one that was opened: restart the exporter", s.path)
	}
	return s.checkPages(s.held, info.Size(), s.pageSize)
}

// checkPages is the function of that name, and tells damage from what can't be read.
func (s *Store) checkPages(r io.ReaderAt, size int64, pageSize int) error {
	if err := checkPages(r, size, pageSize); err != nil {
		return s.blame(err)
	}
	return nil
}

// checkRecords reads the format's version, then every record.
func (s *Store) checkRecords(tx *bbolt.Tx) error {
	format := tx.Bucket([]byte(formatBucket))
	if format == nil {
		return &FormatError{Path: s.path}
	}
	if v := string(format.Get([]byte(versionKey))); v != formatVersion {
		return &FormatError{Path: s.path, Version: v}
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
	return appliances.ForEach(func(name, _ []byte) error {
		root := appliances.Bucket(name)
		if root == nil {
			return &DamagedError{Path: s.path, Appliance: string(name), Err: errors.New("is no bucket")}
		}
		p := bookTx{path: s.path, appliance: string(name), root: root}
		return p.check()
	})
}

// guard calls fn and turns what bbolt panics with into an error, the faults of a
// file that is shorter than what is mapped of it, or that can't be read,
// included.
func (s *Store) guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = &DamagedError{Path: s.path, Err: fmt.Errorf("bbolt: %v", r)}
		}
	}()
	return fn()
}

// rlock locks s.mu for reading, and returns nil if s.db can be used then, else
// an error, with s.mu not locked.
func (s *Store) rlock() error {
	for {
		s.mu.RLock()
		if s.db != nil && s.failed == 0 && !s.closed {
			return nil
		}
		s.mu.RUnlock()
		s.mu.Lock()
		err := s.recover()
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// recover makes the file usable after a failure. s.mu is held.
func (s *Store) recover() error {
	if s.closed {
		return fmt.Errorf("%s: %w", s.path, fs.ErrClosed)
	}
	if s.outdated != nil {
		return s.outdated
	}
	if s.failed != 0 {
		if err := takeBack(s.file, s.pageSize, s.failed); err != nil {
			return fmt.Errorf("take back the failed save to %s: %w", s.path, err)
		}
		s.left, s.failed = s.failed-1, 0
		s.closeBolt(s.db, s.file)
		s.db, s.file = nil, nil
	}
	if s.db != nil {
		return nil // another goroutine was faster
	}
	return s.open()
}

// usable returns why the file can't be used; nil if it can.
func (s *Store) usable() error {
	err := s.rlock()
	if err == nil {
		s.mu.RUnlock()
	}
	return err
}

// view calls fn with a transaction that reads.
func (s *Store) view(fn func(*bbolt.Tx) error) error {
	if err := s.rlock(); err != nil {
		return err
	}
	defer s.mu.RUnlock()
	return s.guard(func() error { return s.db.View(fn) })
}

// update calls fn with a transaction that writes, and commits it.
func (s *Store) update(fn func(*bbolt.Tx) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	tx, err := s.fill(fn)
	if err != nil {
		return err
	}
	// The number has to be known when the transaction is gone.
	number := uint64(tx.ID())
	err = s.guard(func() error { return s.commit(tx) })
	if err != nil {
		err = fmt.Errorf("write %s: %w", s.path, err)
		// It is still open if the commit panicked.
		_ = s.guard(tx.Rollback)
	}
	s.mu.RUnlock()
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = number
	return errors.Join(err, s.recover())
}

// fill returns a transaction that fn has filled. Unless it fails, s.mu is locked
// for reading.
func (s *Store) fill(fn func(*bbolt.Tx) error) (tx *bbolt.Tx, err error) {
	if err := s.rlock(); err != nil {
		return nil, err
	}
	err = s.guard(func() error {
		tx, err = s.db.Begin(true)
		if err != nil {
			return fmt.Errorf("write %s: %w", s.path, err)
		}
		return fn(tx)
	})
	if err != nil {
		if tx != nil {
			_ = s.guard(tx.Rollback)
		}
		s.mu.RUnlock()
		return nil, err
	}
	return tx, nil
}

// checkName says why an appliance can't have a book.
func checkName(appliance string) error {
	if appliance == "" || len(appliance) > bbolt.MaxKeySize {
		return fmt.Errorf("appliance name has %d bytes: it must have from 1 to %d", len(appliance), bbolt.MaxKeySize)
	}
	return nil
}

// Book returns the book of an appliance, which need not be known. It is the same
// one each time. For one that was exported the error is a *MovedError.
func (s *Store) Book(appliance string) (Book, error) {
	if err := checkName(appliance); err != nil {
		return nil, err
	}
	s.booksMu.Lock()
	defer s.booksMu.Unlock()
	if b := s.books[appliance]; b != nil {
		return b, nil
	}
	b := &book{store: s, appliance: appliance}
	err := s.view(func(tx *bbolt.Tx) (err error) {
		p := b.in(tx)
		if err = p.here(); err == nil {
			b.seen, err = p.index()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	s.release() // the pages that index has read
	s.books[appliance] = b
	return b, nil
}

// DropUnused removes the books that are not in keep and were not saved since
// before, and returns their appliances, sorted. A Book that is at hand is empty
// then. If no book at all was saved since before, it removes none: then it is the
// clock that is wrong, or the exporter was away for as long.
func (s *Store) DropUnused(keep []string, before time.Time) ([]string, error) {
	s.booksMu.Lock()
	defer s.booksMu.Unlock()
	var names []string
	find := func(tx *bbolt.Tx) error {
		names = nil
		saved := false // since before
		appliances := tx.Bucket([]byte(appliancesBucket))
		err := appliances.ForEach(func(name, _ []byte) error {
			p := bookTx{path: s.path, appliance: string(name), root: appliances.Bucket(name)}
			seen, err := p.seen()
			switch {
			case err != nil:
				return err
			case !seen.Before(before):
				saved = true
			case !slices.Contains(keep, p.appliance):
				names = append(names, p.appliance)
			}
			return nil
		})
		if !saved {
			names = nil
		}
		return err
	}
	if err := s.view(find); err != nil || len(names) == 0 {
		return nil, err
	}
	// What a Save at the same time adds to the days of a book is added after they
	// are cleared.
	for _, name := range names {
		if b := s.books[name]; b != nil {
			b.mu.Lock()
			defer b.mu.Unlock()
		}
	}
	candidates := names
	err := s.update(func(tx *bbolt.Tx) error {
		if err := find(tx); err != nil {
			return err
		}
		names = slices.DeleteFunc(names, func(name string) bool { return !slices.Contains(candidates, name) })
		for _, name := range names {
			if err := tx.Bucket([]byte(appliancesBucket)).DeleteBucket([]byte(name)); err != nil {
				return fmt.Errorf("drop appliance %q: %w", name, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if b := s.books[name]; b != nil {
			b.seen = newSeen(0)
		}
	}
	return names, nil
}

// Close closes the file, once what is under way is done. Books fail from then
// on. A failed save that could not be taken back yet may be found when the file
// is opened again, as a whole.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	defer s.letGo()
	if s.db == nil {
		return nil
	}
	var err error
	if s.failed != 0 {
		if err = takeBack(s.file, s.pageSize, s.failed); err != nil {
			err = fmt.Errorf("take back the failed save to %s: %w", s.path, err)
		}
	}
	if cerr := s.db.Close(); cerr != nil {
		err = errors.Join(err, fmt.Errorf("close %s: %w", s.path, cerr))
	}
	return err
}
