package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"vbaws_exporter/collector/store/record"
	"vbaws_exporter/collector/store/transfer"
)

const (
	// importingBucket is the top bucket in which an import is prepared.
	importingBucket = "importing"
	// importBatch is how many bytes of records an import writes at once.
	importBatch = 1 << 20
)

// Points at which Options.Crash is called by Import.
const (
	CrashStaged   = "import.staged"   // a part is on the disk, and not the appliance's
	CrashSwapped  = "import.swapped"  // the transaction is complete, and not committed
	CrashImported = "import.imported" // it is on the disk
)

// ExistsError is the error of an import that would overwrite state.
type ExistsError struct {
	Path     string
	Existing Summary
	Imported transfer.Header
}

func (e *ExistsError) Error() string {
	have := fmt.Sprintf("%s already has state of appliance %q", e.Path, e.Existing.Appliance)
	switch move, m := e.Existing.Number, e.Imported; {
	case !e.Existing.Away:
		return fmt.Sprintf("%s, last saved on %s, with %d sessions; the file's was exported on %s, with %d sessions",
			have, e.Existing.Saved.Format(time.RFC3339), e.Existing.Sessions, m.Exported.Format(time.RFC3339), m.Sessions)
	case move == m.Move:
		return fmt.Sprintf("%s, from which this file was exported: another exporter could have continued with it since", have)
	default:
		return fmt.Sprintf("%s, which was exported on %s, after this file: the file is move %d of the state, and the last export from here was move %d",
			have, e.Existing.Exported.Format(time.RFC3339), m.Move, move)
	}
}

// Summary describes the state of an appliance.
type Summary struct {
	Appliance string
	// Saved is when it was saved last.
	Saved time.Time
	// Sessions is how many sessions the seen index has, Bytes the size of the state in the
	// file.
	Sessions, Bytes uint64
	records         uint64 // in the buckets
	// Move has the exports that it has gone through.
	record.Move
}

// Summaries returns the summaries of all appliances, sorted by name.
func (s *Store) Summaries() (all []Summary, err error) {
	err = s.file.View(func(tx *bbolt.Tx) error {
		all = nil
		return tx.Bucket([]byte(appliancesBucket)).ForEach(func(name, _ []byte) error {
			one, err := s.in(tx, string(name)).summary()
			all = append(all, one)
			return err
		})
	})
	return all, err
}

func (p applianceTx) summary() (Summary, error) {
	s := Summary{Appliance: p.appliance}
	var err error
	if s.Saved, err = p.saved(); err != nil {
		return s, err
	}
	if s.Move, err = p.move(); err != nil {
		return s, err
	}
	for _, name := range record.Buckets[1:] {
		b, err := p.bucket(name)
		if err != nil {
			return s, err
		}
		if b == nil {
			continue
		}
		stats := b.Stats()
		s.Bytes += uint64(stats.LeafAlloc + stats.BranchAlloc + stats.InlineBucketInuse)
		s.records += uint64(stats.KeyN)
		if name == record.IDsBucket {
			s.Sessions = uint64(stats.KeyN)
		}
	}
	return s, nil
}

// move returns the appliance's Move; zero if it was never exported or imported.
func (p applianceTx) move() (m record.Move, err error) {
	_, err = p.get(record.OwnBucket, []byte(record.MoveKey), func(payload []byte) error {
		m, err = record.DecodeMove(payload)
		return err
	})
	return m, err
}

// here returns an error if the appliance was exported to another exporter.
func (p applianceTx) here() error {
	move, err := p.move()
	if err == nil && move.Away {
		err = fmt.Errorf("the state of appliance %q in %s was exported on %s to another exporter: remove the appliance from this configuration, or move it back with vbaws_exporter state import",
			p.appliance, p.path, move.Exported.Format(time.RFC3339))
	}
	return err
}

// known returns an error for an appliance without state.
func (p applianceTx) known(tx *bbolt.Tx) error {
	if p.root != nil {
		return nil
	}
	var known []string
	_ = tx.Bucket([]byte(appliancesBucket)).ForEach(func(name, _ []byte) error {
		known = append(known, string(name))
		return nil
	})
	if len(known) == 0 {
		return fmt.Errorf("%s has no state of appliance %q, and of no other", p.path, p.appliance)
	}
	return fmt.Errorf("%s has no state of appliance %q, only of %q", p.path, p.appliance, known)
}

// Export writes the state of an appliance to w, and then gives it up: Appliance
// returns an error until it is imported here again. It may be exported
// again, and what is written is the same again. The appliance must not be
// open. exporter is the version of the exporter. If it fails, nothing changes
// except what was written to w.
func (s *Store) Export(appliance, exporter string, w io.Writer) (transfer.Header, error) {
	return s.export(appliance, exporter, w, func() error { return nil })
}

// ExportFile is Export to a new file at path, readable by its owner alone. It
// appears once it is complete and on the disk. What is at path already is not
// touched: the error is fs.ErrExist, and all is as before.
//
// Only if something appears at path during the export, or the file can't be put
// there, the appliance is exported although there is an error, whose text has that;
// exporting it again gives the same file.
func (s *Store) ExportFile(appliance, exporter, path string) (h transfer.Header, err error) {
	switch _, err := os.Lstat(path); {
	case path == "":
		return transfer.Header{}, errors.New("name of the file is empty")
	case err == nil:
		return transfer.Header{}, fmt.Errorf("%s: %w", path, fs.ErrExist)
	case !errors.Is(err, fs.ErrNotExist):
		return transfer.Header{}, err
	}
	exported := false
	err = createFile(path, s.link, func(f *os.File) (err error) {
		h, err = s.export(appliance, exporter, f, f.Sync)
		exported = err == nil
		return err
	})
	switch {
	case err != nil && exported:
		return transfer.Header{}, fmt.Errorf("appliance %q is exported, but the file could not be put in place: %w; export it again", appliance, err)
	case err != nil:
		return transfer.Header{}, err
	}
	return h, nil
}

// export writes to w, and marks the state as exported when durable has returned nil.
func (s *Store) export(appliance, exporter string, w io.Writer, durable func() error) (h transfer.Header, err error) {
	err = s.file.Update(func(tx *bbolt.Tx) error {
		p := s.in(tx, appliance)
		if err := p.known(tx); err != nil {
			return err
		}
		move, err := p.move()
		if err != nil {
			return err
		}
		if !move.Away {
			move = record.Move{Number: move.Number + 1, Exported: s.now().UTC().Truncate(time.Second), Away: true}
		}
		h, err = p.export(w, transfer.Header{Appliance: appliance, Move: move.Number, Exported: move.Exported, Exporter: exporter})
		if err == nil {
			err = durable()
		}
		if err != nil {
			return err
		}
		moved, err := record.EncodeMove(appliance, move)
		if err != nil {
			return err
		}
		return p.write([]record.Write{moved})
	})
	if err != nil {
		return transfer.Header{}, fmt.Errorf("export appliance %q: %w", appliance, err)
	}
	return h, nil
}

// export writes all records but that of the move.
func (p applianceTx) export(w io.Writer, h transfer.Header) (transfer.Header, error) {
	s, err := p.summary()
	if err != nil {
		return transfer.Header{}, err
	}
	h.Sessions, h.Records = s.Sessions, s.records+1 // when it was saved
	if p.root.Get([]byte(record.MetaKey)) != nil {
		h.Records++
	}
	e := transfer.NewWriter(w, h)
	for _, name := range record.Buckets {
		err := p.each(name, nil, func(key, payload []byte) error {
			if name != record.OwnBucket || string(key) != record.MoveKey {
				e.Record(name, key, payload)
			}
			return nil
		})
		if err != nil {
			return transfer.Header{}, err
		}
	}
	return h, e.Finish()
}

// Import takes in the state of an appliance that Export wrote, as a whole or not
// at all. It refuses to overwrite what is there by an *ExistsError, unless that
// was exported from here before, or replace is set. If what is read is not valid, the
// error is a *transfer.FileError. The appliance must not be open.
func (s *Store) Import(r io.Reader, replace bool) (h transfer.Header, err error) {
	if err := s.dropImport(); err != nil {
		return transfer.Header{}, err
	}
	in := importing{store: s}
	err = transfer.Read(r, func(read transfer.Header) error {
		h = read
		in.appliance = h.Appliance
		return s.mayImport(h, replace)
	}, in.add)
	if err == nil {
		err = in.finish(h)
	}
	if err != nil {
		return transfer.Header{}, errors.Join(err, s.dropImport())
	}
	s.crash(CrashImported)
	return h, nil
}

// mayImport returns an error if a state is not allowed to be imported.
func (s *Store) mayImport(h transfer.Header, replace bool) error {
	return s.file.View(func(tx *bbolt.Tx) error {
		p := s.in(tx, h.Appliance)
		if p.root == nil || replace {
			return nil
		}
		existing, err := p.summary()
		if err != nil || existing.Away && h.Move > existing.Number {
			return err
		}
		return &ExistsError{s.path, existing, h}
	})
}

// dropImport removes what an incomplete import has left.
func (s *Store) dropImport() error {
	err := s.file.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte(importingBucket)) })
	switch {
	case errors.Is(err, bbolterrors.ErrBucketNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("drop an incomplete import: %w", err)
	}
	return nil
}

// importing is an import under way. What it holds in memory is a batch: a whole
// state needn't fit.
type importing struct {
	store     *Store
	appliance string
	batch     []record.Write
	size      int
}

// add takes in one record.
func (in *importing) add(bucket string, key, payload []byte) error {
	key = bytes.Clone(key)
	sealed := record.PlaceOf(in.appliance, bucket).Seal(key, payload)
	in.batch = append(in.batch, record.Write{Bucket: bucket, Key: key, Record: sealed})
	if in.size += len(key) + len(sealed); in.size < in.store.importBatch {
		return nil
	}
	return in.flush()
}

// flush writes the batch to the disk.
func (in *importing) flush() error {
	err := in.store.file.Update(func(tx *bbolt.Tx) error {
		all, err := tx.CreateBucketIfNotExists([]byte(importingBucket))
		if err != nil {
			return err
		}
		p, err := in.store.create(all, in.appliance)
		if err != nil {
			return err
		}
		return p.write(in.batch)
	})
	if err != nil {
		return fmt.Errorf("import appliance %q: %w", in.appliance, err)
	}
	clear(in.batch)
	in.batch, in.size = in.batch[:0], 0
	in.store.crash(CrashStaged)
	return nil
}

// finish makes what was taken in the state of the appliance.
func (in *importing) finish(h transfer.Header) error {
	move, err := record.EncodeMove(in.appliance, record.Move{Number: h.Move, Exported: h.Exported})
	if err != nil {
		return err
	}
	in.batch = append(in.batch, move)
	if err := in.flush(); err != nil {
		return err
	}
	// By a transaction of its own: bbolt moves a bucket as it is on the disk.
	err = in.store.file.Update(func(tx *bbolt.Tx) error {
		appliances, name := tx.Bucket([]byte(appliancesBucket)), []byte(in.appliance)
		if appliances.Bucket(name) != nil {
			if err := appliances.DeleteBucket(name); err != nil {
				return err
			}
		}
		if err := tx.MoveBucket(name, tx.Bucket([]byte(importingBucket)), appliances); err != nil {
			return err
		}
		if err := tx.DeleteBucket([]byte(importingBucket)); err != nil {
			return err
		}
		in.store.crash(CrashSwapped)
		return nil
	})
	if err != nil {
		return fmt.Errorf("import appliance %q: %w", in.appliance, err)
	}
	return nil
}
