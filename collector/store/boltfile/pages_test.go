package boltfile

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
)

// Each way of a page to be wrong is named. Most of them bbolt would not notice:
// it would do without some of the records.
func TestCheckPages(t *testing.T) {
	content, pageSize := base(t), os.Getpagesize()
	meta, err := newestMeta(bytes.NewReader(content), pageSize)
	if err != nil {
		t.Fatal(err)
	}
	check := func(content []byte) error {
		return checkPages(bytes.NewReader(content), int64(len(content)), pageSize)
	}
	if err := check(content); err != nil {
		t.Fatal(err)
	}
	c := &pageChecker{r: bytes.NewReader(content), size: uint64(pageSize), used: make([]bool, meta.pages)}
	if err := c.tree(meta.root, nil, nil, 0); err != nil {
		t.Fatal(err)
	}
	at := func(id uint64) int { return int(id) * pageSize }
	// find returns a page in use that has several elements, none of them a bucket.
	find := func(flag uint16) (page int) {
		for id := uint64(2); id < meta.pages; id++ {
			p := content[at(id):]
			if c.used[id] && native.Uint16(p[8:]) == flag && native.Uint16(p[10:]) > 3 &&
				(flag != leafFlag || native.Uint32(p[pageHeaderSize:]) == 0) {
				return at(id)
			}
		}
		t.Fatalf("no page of type %d", flag)
		return 0
	}
	leaf, branch, free := find(leafFlag), find(branchFlag), at(meta.freelist)
	inline := 0 // a bucket within a page
	for i := range content {
		if end := i + len(inlineBucket); c.used[i/pageSize] && bytes.HasPrefix(content[i:], []byte(inlineBucket)) &&
			native.Uint64(content[end:]) == 0 && native.Uint16(content[end+bucketSize+10:]) > 1 {
			inline = end
		}
		if (i+1)/pageSize >= len(c.used) {
			break
		}
	}
	if inline == 0 {
		t.Fatal("no bucket is inline")
	}

	put16 := func(b []byte, offset int, v uint16) { native.PutUint16(b[offset:], v) }
	put32 := func(b []byte, offset int, v uint32) { native.PutUint32(b[offset:], v) }
	element := func(n int) int { return pageHeaderSize + n*elementSize }
	for name, tt := range map[string]struct {
		damage func(b []byte)
		want   string
	}{
		"number":           {func(b []byte) { b[leaf]++ }, "has the number"},
		"type":             {func(b []byte) { put16(b, leaf+8, 0x20) }, "is of type 0x20"},
		"no elements":      {func(b []byte) { put16(b, leaf+10, 0) }, "is marked empty"},
		"elements too few": {func(b []byte) { put16(b, leaf+10, native.Uint16(b[leaf+10:])-1) }, "at another offset"},
		"elements too many": {func(b []byte) { put16(b, leaf+10, 0xFFFF) },
			"too many"},
		"overflow":         {func(b []byte) { put32(b, leaf+12, 1) }, "is used twice"},
		"overflow too far": {func(b []byte) { put32(b, leaf+12, 0xFFFFFFFF) }, "is beyond the end"},
		"place":            {func(b []byte) { b[leaf+element(1)+4]++ }, "at another offset"},
		"key size":         {func(b []byte) { b[leaf+element(1)+8]++ }, "at another offset"},
		"value size": {func(b []byte) { put32(b, leaf+element(1)+12, 0x7FFFFFFF) },
			"don't fit"},
		"no key": {func(b []byte) {
			put32(b, leaf+element(1)+12, native.Uint32(b[leaf+element(1)+12:])+native.Uint32(b[leaf+element(1)+8:]))
			put32(b, leaf+element(1)+8, 0)
		}, "don't fit"},
		"element's type": {func(b []byte) { b[leaf+element(0)] = 2 }, "is of type 0x2"},
		"record that has the number a bucket": {func(b []byte) { b[leaf+element(0)] = bucketFlag },
			"bucket"},
		"order of keys": {func(b []byte) {
			// Elements of one size change places.
			size := int(native.Uint32(b[leaf+element(0)+8:]) + native.Uint32(b[leaf+element(0)+12:]))
			data := leaf + element(0) + int(native.Uint32(b[leaf+element(0)+4:]))
			first := bytes.Clone(b[data : data+size])
			copy(b[data:], b[data+size:data+2*size])
			copy(b[data+size:], first)
		}, "keys are out of order"},
		"order of branches": {func(b []byte) {
			x, y := b[branch+element(0)+8:branch+element(1)], b[branch+element(1)+8:branch+element(2)]
			first := bytes.Clone(x)
			copy(x, y)
			copy(y, first)
		}, "keys are out of order"},
		"no branches": {func(b []byte) { put16(b, branch+10, 0) }, "has no branches"},
		"branches too few": {func(b []byte) { put16(b, branch+10, native.Uint16(b[branch+10:])-1) },
			"at another offset"},
		"branches too many": {func(b []byte) { put16(b, branch+10, 0xFFFF) }, "too many"},
		"branch to itself": {func(b []byte) { native.PutUint64(b[branch+element(0)+8:], uint64(branch/pageSize)) },
			"is used twice"},
		"branch to nowhere": {func(b []byte) { native.PutUint64(b[branch+element(0)+8:], 1<<60) },
			"is beyond the end"},
		"inline bucket": {func(b []byte) { put16(b, inline+bucketSize+10, native.Uint16(b[inline+bucketSize+10:])-1) },
			"at another offset"},
		"inline bucket that has a page": {func(b []byte) { b[inline]++ }, "both a page and a value"},
		"inline bucket of another type": {func(b []byte) { b[inline+bucketSize+8] = branchFlag }, "is not a leaf"},
		"free pages are none":           {func(b []byte) { put16(b, free+8, leafFlag) }, "list of free pages, is of type"},
		"free pages too few": {func(b []byte) { put16(b, free+10, native.Uint16(b[free+10:])-1) },
			"is neither used nor free"},
		"free pages too many": {func(b []byte) { put16(b, free+10, 0xFFFE) }, "too many"},
		"very many free pages": {func(b []byte) {
			put16(b, free+10, 0xFFFF)
			native.PutUint64(b[free+pageHeaderSize:], 1<<62)
		}, "too many"},
		"free page that is used": {func(b []byte) { native.PutUint64(b[free+pageHeaderSize:], uint64(leaf/pageSize)) },
			"is used twice"},
		"both meta pages": {func(b []byte) {
			b[pageHeaderSize]++
			b[pageSize+pageHeaderSize]++
		}, "meta page 1 is not valid"},
	} {
		t.Run(name, func(t *testing.T) {
			b := bytes.Clone(content)
			tt.damage(b)
			if err := check(b); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			refuses(t, b)
		})
	}
	if err := check(content[:(meta.pages-1)*uint64(pageSize)]); err == nil || !strings.Contains(err.Error(), "want at least") {
		t.Errorf("shorter file: %v", err)
	}
}

// failingReader is a file of which nothing can be read from offset at on.
type failingReader struct {
	io.ReaderAt
	at  int64
	err error
}

func (r failingReader) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > r.at {
		return 0, r.err
	}
	return r.ReaderAt.ReadAt(p, off)
}

// What can't be read isn't damaged, wherever it is.
func TestCheckPagesOfAFailingDisk(t *testing.T) {
	content, pageSize, eio := base(t), os.Getpagesize(), &fs.PathError{Op: "read", Path: "file.db", Err: syscall.EIO}
	meta, err := newestMeta(bytes.NewReader(content), pageSize)
	if err != nil {
		t.Fatal(err)
	}
	f := &File{path: "file.db"}
	for at := 0; at < int(meta.pages)*pageSize; at += pageSize / 2 {
		err := f.classify(checkPages(failingReader{bytes.NewReader(content), int64(at), eio}, int64(len(content)), pageSize))
		var damaged *DamagedError
		if !errors.Is(err, eio) || errors.As(err, &damaged) {
			t.Fatalf("from byte %d on: got %v", at, err)
		}
	}
}

// checkPages ends for any file, and doesn't panic.
func FuzzCheckPages(f *testing.F) {
	content, pageSize := base(f), os.Getpagesize()
	newest, err := newestMeta(bytes.NewReader(content), pageSize)
	if err != nil {
		f.Fatal(err)
	}
	if err := checkPages(bytes.NewReader(content), int64(len(content)), pageSize); err != nil {
		f.Fatal(err)
	}
	// A change of a few bytes of a sound file, since nothing else gets far.
	f.Add(uint32(0), []byte{})
	f.Add(uint32(pageSize+pageHeaderSize+16), []byte{3})
	for id := range uint32(newest.pages) {
		at := id * uint32(pageSize)
		f.Add(at+8, []byte{1})                                // a leaf that has the number a branch
		f.Add(at+10, []byte{0xFF, 0xFF})                      // elements
		f.Add(at+10, []byte{0, 0})                            // no elements
		f.Add(at+12, []byte{0xFF, 0xFF, 0xFF, 0xFF})          // overflow
		f.Add(at+16, []byte{0xFF, 0xFF, 0xFF, 0xFF})          // the first element's flags or place
		f.Add(at+20, []byte{0xFF, 0xFF, 0xFF, 0xFF})          // place or size
		f.Add(at+24, []byte{byte(id), 0, 0, 0, 0, 0, 0, 0})   // a branch to itself
		f.Add(at+10, []byte{0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 1}) // free pages
	}
	f.Fuzz(func(t *testing.T, at uint32, change []byte) {
		at %= uint32(len(content))
		change = change[:min(len(change), len(content)-int(at))]
		sound := bytes.Clone(content[at : int(at)+len(change)])
		copy(content[at:], change)
		_ = checkPages(bytes.NewReader(content), int64(len(content)), pageSize)
		copy(content[at:], sound)
	})
}
