package vbaws

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
)

// Limits on what the client holds and reads of an answer. Answers are decoded while they
// are received, so the client holds one value, the rows, and their texts: below 100 MiB
// for the worst list within all limits, and 30 MiB for 100,000 real sessions.
const (
	maxValue   = 4 << 20  // bytes of one row, of one other member of a page, or of a document without a list
	maxLog     = 64 << 20 // bytes of a session's log, of which little is held
	maxProblem = 64 << 10 // bytes read of an error's document

	// maxPage is in bytes of an answer, uncompressed. An appliance that ignores Limit
	// sends all sessions at once, of about 600 bytes each with their links, so 100,000
	// of them fit four times. The limit bounds the time: the bytes are not held.
	maxPage = 256 << 20
	// maxElements is how many elements a list can have, or ten times the requested number
	// if that is more. An element of two bytes can take 200 bytes of memory.
	maxElements = 100_000
	// maxHeld is in bytes of the texts that are kept of an answer.
	maxHeld = 16 << 20
	// maxWords is how many words the rows of an answer share. There are a few statuses and
	// types, and a name for each policy.
	maxWords = 1000
	// maxLogLines is how many errors, and how many warnings, are kept of a log.
	maxLogLines = 20
)

// body reads an answer within limits.
type body struct {
	r     io.Reader
	head  []byte            // the beginning of the answer
	date  time.Time         // of the answer, to the second; zero if it has none
	value int64             // bytes left for the current value
	page  int64             // bytes left for the answer
	held  int               // bytes of the texts that were kept
	most  int               // the largest number of elements of a list
	words map[string]string // of rows
	err   error             // of r: the transport's, not the document's
}

// maxHead is how much of an answer is kept for an error: more than the error shows, so
// that the search for secrets finds whole ones.
const maxHead = 4 << 10

func newBody(r io.Reader) *body {
	head := make([]byte, maxHead)
	n, _ := io.ReadFull(r, head) // An error is returned by the next read too.
	head = head[:n]
	return &body{
		r: io.MultiReader(bytes.NewReader(head), r), head: head,
		value: maxValue, page: maxPage, most: maxElements, words: make(map[string]string),
	}
}

func (b *body) Read(p []byte) (int, error) {
	switch {
	case b.page <= 0:
		return 0, errors.New("the answer is too large")
	case b.value <= 0:
		return 0, fmt.Errorf("a value is larger than %d bytes", maxValue)
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.page, b.value)])
	b.page -= int64(n)
	b.value -= int64(n)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// asked sets most for a request of limit elements.
func (b *body) asked(limit int) { b.most = max(maxElements, 10*limit) }

// next begins another value.
func (b *body) next() { b.value = maxValue }
