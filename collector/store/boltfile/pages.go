package boltfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
)

// The layout that this file describes is that of bbolt's file version 2, in the byte
// order of the machine.

const (
	pageHeaderSize = 16 // id uint64, flags, count uint16, overflow uint32
	elementSize    = 16 // branch: pos, ksize uint32, id uint64. leaf: flags, pos, ksize, vsize uint32
	bucketSize     = 16 // root, sequence uint64

	branchFlag, leafFlag, freelistFlag = 0x01, 0x02, 0x10
	bucketFlag                         = 0x01

	metaMagic   = 0xED0CDAED
	metaVersion = 2
)

var native = binary.NativeEndian

// bboltMeta is one of the two pages that a file begins with. Each commit writes
// the one of its number's parity; the newest valid one counts.
type bboltMeta struct {
	root, freelist, pages, tx uint64
}

// readMeta returns the meta page in slot 0 or 1.
func readMeta(r io.ReaderAt, pageSize int, slot uint64) (bboltMeta, error) {
	var b [pageHeaderSize + 64]byte
	if _, err := r.ReadAt(b[:], int64(slot)*int64(pageSize)); err != nil {
		return bboltMeta{}, fmt.Errorf("read meta page %d: %w", slot, err)
	}
	m := b[pageHeaderSize:]
	sum := fnv.New64a()
	sum.Write(m[:56])
	if native.Uint32(m) != metaMagic || native.Uint32(m[4:]) != metaVersion || native.Uint64(m[56:]) != sum.Sum64() {
		return bboltMeta{}, fmt.Errorf("meta page %d is not valid", slot)
	}
	return bboltMeta{
		root:     native.Uint64(m[16:]),
		freelist: native.Uint64(m[32:]),
		pages:    native.Uint64(m[40:]),
		tx:       native.Uint64(m[48:]),
	}, nil
}

// newestMeta returns the meta page that counts.
func newestMeta(r io.ReaderAt, pageSize int) (bboltMeta, error) {
	m0, err0 := readMeta(r, pageSize, 0)
	m1, err1 := readMeta(r, pageSize, 1)
	switch {
	case err0 == nil && (err1 != nil || m0.tx > m1.tx):
		return m0, nil
	case err1 == nil:
		return m1, nil
	}
	return bboltMeta{}, errors.Join(err0, err1)
}

// checkPages reads a file of bbolt's of the given size and returns what is wrong with
// it: a page that is not what it is referred to as, elements that are not packed as
// they were written, keys out of order, a page that is used twice or not at all. It
// reads by r, and ends on any content.
//
// bbolt maps the file and follows what it reads there, so a damaged page makes it
// crash, or lose records without an error. bbolt's own Tx.Check is no replacement: with
// one flipped bit in the header of a page it can run for ever, allocate without a
// limit, or fault in a goroutine of its own, which ends the process (4 of 240
// damaged files, bbolt 1.5.0).
func checkPages(r io.ReaderAt, size int64, pageSize int) error {
	meta, err := newestMeta(r, pageSize)
	if err != nil {
		return err
	}
	if meta.pages > uint64(size)/uint64(pageSize) {
		return fmt.Errorf("file has %d bytes, want at least %d pages of %d", size, meta.pages, pageSize)
	}
	// The tree is read in its own order, which is slow if nothing of it is in memory yet.
	if _, err := io.Copy(io.Discard, io.NewSectionReader(r, 0, int64(meta.pages)*int64(pageSize))); err != nil {
		return fmt.Errorf("read the file: %w", err)
	}
	c := &pageChecker{r: r, size: uint64(pageSize), used: make([]bool, meta.pages)}
	c.used[0], c.used[1] = true, true
	if err := c.tree(meta.root, nil, nil, 0); err != nil {
		return err
	}
	if err := c.freelist(meta.freelist); err != nil {
		return err
	}
	for id, used := range c.used {
		if !used {
			return fmt.Errorf("page %d is neither used nor free", id)
		}
	}
	return nil
}

type pageChecker struct {
	r       io.ReaderAt
	size    uint64
	used    []bool   // by page
	buffers [][]byte // by depth
}

// use takes note that pages [id, id+n) are in use.
func (c *pageChecker) use(id, n uint64) error {
	if id >= uint64(len(c.used)) || n > uint64(len(c.used))-id {
		return fmt.Errorf("page %d (and %d more) is beyond the end, %d", id, n-1, len(c.used))
	}
	for i := id; i < id+n; i++ {
		if c.used[i] {
			return fmt.Errorf("page %d is used twice", i)
		}
		c.used[i] = true
	}
	return nil
}

// page reads a page and those that it flows over into. What it returns is valid
// until the next call with the same depth.
func (c *pageChecker) page(id uint64, depth int) ([]byte, error) {
	if id >= uint64(len(c.used)) {
		return nil, fmt.Errorf("page %d is beyond the end, %d", id, len(c.used))
	}
	if len(c.buffers) <= depth {
		c.buffers = append(c.buffers, make([]byte, c.size))
	}
	p := c.buffers[depth][:c.size]
	if _, err := c.r.ReadAt(p, int64(id*c.size)); err != nil {
		return nil, fmt.Errorf("read page %d: %w", id, err)
	}
	if got := native.Uint64(p); got != id {
		return nil, fmt.Errorf("page %d has the number %d", id, got)
	}
	n := 1 + uint64(native.Uint32(p[12:]))
	if err := c.use(id, n); err != nil {
		return nil, err
	}
	if n > 1 {
		p = slices.Grow(p, int((n-1)*c.size))[:n*c.size]
		c.buffers[depth] = p
		if _, err := c.r.ReadAt(p, int64(id*c.size)); err != nil {
			return nil, fmt.Errorf("read page %d: %w", id, err)
		}
	}
	return p, nil
}

// tree checks the page id and what is below it. Its keys are not below lo, and
// below hi unless that is nil.
func (c *pageChecker) tree(id uint64, lo, hi []byte, depth int) error {
	p, err := c.page(id, depth)
	if err != nil {
		return err
	}
	// Children are read after all keys are known to be sound.
	var keys [][]byte
	var children []uint64
	switch flags := native.Uint16(p[8:]); flags {
	case leafFlag:
		_, err = c.leaf(p, lo, hi, depth, true)
	case branchFlag:
		_, err = elements(p, lo, hi, func(e, key, _ []byte) error {
			keys, children = append(keys, key), append(children, native.Uint64(e[8:]))
			return nil
		})
		if err == nil && len(children) == 0 {
			err = errors.New("has no branches")
		}
	default:
		err = fmt.Errorf("is of type %#x", flags)
	}
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	keys = append(keys, hi)
	for i, child := range children {
		if err := c.tree(child, keys[i], keys[i+1], depth+1); err != nil {
			return err
		}
	}
	return nil
}

// leaf checks a leaf page and the buckets in it, and returns the end of its last
// element. Buckets within an inline one there are none.
func (c *pageChecker) leaf(p, lo, hi []byte, depth int, buckets bool) (end int, err error) {
	end, err = elements(p, lo, hi, func(e, key, value []byte) error {
		switch flags := native.Uint32(e); {
		case flags == bucketFlag && buckets:
			if err := c.bucket(value, depth); err != nil {
				return fmt.Errorf("bucket %q: %w", key, err)
			}
		case flags != 0:
			return fmt.Errorf("is of type %#x", flags)
		}
		return nil
	})
	// Pages are written with zeros behind what is in them.
	if err == nil && end == pageHeaderSize && len(bytes.Trim(p[end:min(end+elementSize, len(p))], "\x00")) > 0 {
		return 0, errors.New("page has elements and is marked empty")
	}
	return end, err
}

// elements calls fn with each element of a page, its key and its value, and returns the end
// of the last one. They are packed, and their keys are in order, not below lo, and below
// hi unless that is nil.
func elements(p, lo, hi []byte, fn func(element, key, value []byte) error) (end int, err error) {
	branch, count := native.Uint16(p[8:]) == branchFlag, int(native.Uint16(p[10:]))
	end = pageHeaderSize + count*elementSize
	if end > len(p) {
		return 0, fmt.Errorf("%d elements are too many", count)
	}
	last := lo
	for i := range count {
		at := pageHeaderSize + i*elementSize
		e := p[at : at+elementSize]
		pos, ksize, vsize := native.Uint32(e[4:]), native.Uint32(e[8:]), native.Uint32(e[12:])
		if branch {
			pos, ksize, vsize = native.Uint32(e), native.Uint32(e[4:]), 0
		}
		switch {
		case uint64(at)+uint64(pos) != uint64(end):
			return 0, fmt.Errorf("element %d: data is at another offset", i)
		case ksize == 0 || uint64(end)+uint64(ksize)+uint64(vsize) > uint64(len(p)):
			return 0, fmt.Errorf("element %d: key of %d and value of %d bytes don't fit", i, ksize, vsize)
		}
		key, value := p[end:end+int(ksize)], p[end+int(ksize):end+int(ksize)+int(vsize)]
		if order := bytes.Compare(last, key); order > 0 || order == 0 && i > 0 || hi != nil && bytes.Compare(key, hi) >= 0 {
			return 0, fmt.Errorf("element %d: keys are out of order", i)
		}
		if err := fn(e, key, value); err != nil {
			return 0, fmt.Errorf("element %d: %w", i, err)
		}
		last, end = key, end+len(key)+len(value)
	}
	return end, nil
}

// bucket checks what value, the element of a bucket, refers to or holds.
func (c *pageChecker) bucket(value []byte, depth int) error {
	if len(value) < bucketSize {
		return fmt.Errorf("%d bytes are not a bucket", len(value))
	}
	root, inline := native.Uint64(value), value[bucketSize:]
	switch {
	case root != 0 && len(inline) > 0:
		return errors.New("has both a page and a value")
	case root != 0:
		return c.tree(root, nil, nil, depth+1)
	case len(inline) < pageHeaderSize || native.Uint16(inline[8:]) != leafFlag:
		return errors.New("inline page is not a leaf")
	}
	end, err := c.leaf(inline, nil, nil, depth, false)
	if err == nil && end != len(inline) {
		return fmt.Errorf("inline page has %d bytes, not %d", len(inline), end)
	}
	return err
}

// freelist checks the list of free pages, which begins at page id.
func (c *pageChecker) freelist(id uint64) error {
	p, err := c.page(id, 0)
	if err != nil {
		return err
	}
	if flags := native.Uint16(p[8:]); flags != freelistFlag {
		return fmt.Errorf("page %d, the list of free pages, is of type %#x", id, flags)
	}
	count, ids := uint64(native.Uint16(p[10:])), p[pageHeaderSize:]
	if count == 0xFFFF { // the true count does not fit there
		count, ids = native.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return fmt.Errorf("page %d: %d free pages are too many", id, count)
	}
	for i := range count {
		if err := c.use(native.Uint64(ids[8*i:]), 1); err != nil {
			return fmt.Errorf("free page: %w", err)
		}
	}
	return nil
}
