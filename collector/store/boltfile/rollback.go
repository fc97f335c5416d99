package boltfile

import (
	"fmt"
	"io"
)

// readWriterAt is the part of a file that undoCommit needs.
type readWriterAt interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// undoCommit undoes the commit with the number tx, which failed and was the last. The
// commit may have written its meta page, since the sync of that page is the last step
// of a commit. The meta page of the commit before is in the other slot, and no commit
// has overwritten the pages that it refers to: a copy of it replaces the meta page in
// doubt. undoCommit can be repeated until it succeeds.
func undoCommit(f readWriterAt, pageSize int, tx uint64) error {
	slot, before := tx%2, 1-tx%2
	m, err := readMeta(f, pageSize, before)
	if err != nil {
		return err
	}
	if m.tx != tx-1 {
		return fmt.Errorf("meta page %d is of commit %d, not %d", before, m.tx, tx-1)
	}
	page := make([]byte, pageSize)
	if _, err := f.ReadAt(page, int64(before)*int64(pageSize)); err != nil {
		return fmt.Errorf("read meta page %d: %w", before, err)
	}
	native.PutUint64(page, slot) // the page's own number
	if _, err := f.WriteAt(page, int64(slot)*int64(pageSize)); err != nil {
		return fmt.Errorf("write meta page %d: %w", slot, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync meta page %d: %w", slot, err)
	}
	return nil
}
