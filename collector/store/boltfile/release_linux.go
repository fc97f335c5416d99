package boltfile

import (
	"syscall"

	"go.etcd.io/bbolt"
)

// Release unmaps the pages of the file that were read. The kernel can keep them in its
// cache, but they no longer count as memory of this process. An error is ignored: it
// only costs memory.
//
// The size of a transaction is never beyond what is mapped, since bbolt maps before it
// allocates. The size of the file can be, and the memory after the mapping is not
// bbolt's.
func (f *File) Release() {
	_ = f.View(func(tx *bbolt.Tx) error { // during which bbolt doesn't move the mapping
		_, _, errno := syscall.Syscall(syscall.SYS_MADVISE, tx.DB().Info().Data, uintptr(tx.Size()), syscall.MADV_DONTNEED)
		if errno != 0 {
			return errno
		}
		return nil
	})
}
