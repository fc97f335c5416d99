//go:build unix && !aix && !android && !solaris

package boltfile

import (
	"io/fs"
	"os"
	"syscall"
)

// bbolt locks by flock here. Such a lock belongs to an open file, however many descriptors
// refer to it, and ends when all are closed or one of them is used to unlock it.

// sameOpen returns another descriptor of the same open file.
func sameOpen(file *os.File) (*os.File, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := syscall.Dup(int(file.Fd()))
	if err != nil {
		return nil, &fs.PathError{Op: "dup", Path: file.Name(), Err: err}
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), file.Name()), nil
}

// lock locks an open file as bbolt does, if no other process has.
func lock(file *os.File) { _ = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
