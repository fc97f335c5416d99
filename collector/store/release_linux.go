package store

import (
	"syscall"

	"go.etcd.io/bbolt"
)

// release unmaps the pages of the file that were read: the kernel's cache keeps them
// as long as it likes, but they no longer count as the memory of this process. What
// fails, fails to save memory.
//
// A transaction's size is never beyond what is mapped, since bbolt maps before it
// allocates. That of the file may be, and what follows the mapping is others' memory.
func (s *Store) release() {
	_ = s.view(func(tx *bbolt.Tx) error { // which keeps the file where it is mapped
		_, _, errno := syscall.Syscall(syscall.SYS_MADVISE, tx.DB().Info().Data, uintptr(tx.Size()), syscall.MADV_DONTNEED)
		if errno != 0 {
			return errno
		}
		return nil
	})
}
