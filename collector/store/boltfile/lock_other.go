//go:build !unix || aix || android || solaris

package boltfile

import "os"

// sameOpen returns nil: bbolt's lock ends here when bbolt closes the file.
func sameOpen(*os.File) (*os.File, error) { return nil, nil }

// lock is for what sameOpen returned.
func lock(*os.File) {}
