package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// unfinishedFiles is the pattern of the names of files that are being written.
const unfinishedFiles = "vbaws_exporter-unfinished-*"

// createFile makes a file that appears at path once it is complete. fill writes
// it under another name in the same folder, syncs it, and may close it. Only its
// owner may read it.
//
// It changes, replaces and removes no file that it did not make, and follows no
// link: if anything is at path in the end, the error is fs.ErrExist. A crash may
// leave the file under its other name.
//
// link is os.Link, unlike os.Rename it replaces nothing.
func createFile(path string, link func(oldName, newName string) error, fill func(*os.File) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, unfinishedFiles) // by O_EXCL, with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		// On Windows an open file can't be removed.
		if closeErr := f.Close(); !errors.Is(closeErr, fs.ErrClosed) {
			err = errors.Join(err, closeErr)
		}
		err = errors.Join(err, os.Remove(f.Name()))
	}()
	if err := fill(f); err != nil {
		return err
	}
	err = link(f.Name(), path)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		// Not every file system has hard links.
		err = copyFile(f.Name(), path)
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

// copyFile copies a file to a new one, and removes that if it fails.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return errors.Join(fmt.Errorf("copy to %s: %w", to, err), os.Remove(to))
	}
	return nil
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
