// Package transfer writes and reads the file of an exported appliance.
//
// It has the order, the limits and the checksum of the file, and streams it: it holds one
// record in memory. The content of records is of package record, their storage of package
// store.
//
// # The file
//
// It begins with two lines of text: "vbaws_exporter state" with the version of
// this format, and a JSON object:
//
//	appliance  its name
//	move       the number of the export in the life of the state
//	exported   when that was
//	exporter   the version of the exporter
//	format     the version of the records
//	sessions   how many records are in ids
//	records    how many there are in all
//
// Then come the records, in the order of record.Buckets (numbered from 1) and keys: the
// number of the bucket in a byte, then key and payload, each after its length as a
// varint. A byte 0 ends them. The SHA-256 of all before it ends the file.
package transfer

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"vbaws_exporter/collector/store/record"
)

// What an exported appliance's file begins with: a line of these words and the
// version of what is described above.
const (
	words   = "vbaws_exporter state "
	version = 1
)

// Limits that distinguish a damaged file from one that needs memory, and on what of a file
// gets into an error, in bytes.
const (
	maxLine   = 1 << 16
	maxRecord = 1 << 24
	maxReason = 300
	maxQuoted = 60
)

// Header describes the file of an exported appliance.
type Header struct {
	Appliance string `json:"appliance"`
	// Move numbers the exports that the state has gone through, this one included:
	// of two files of one appliance, the one with the higher number is the later.
	Move uint64 `json:"move"`
	// Exported is when it was exported for the first time, to the second.
	Exported time.Time `json:"exported"`
	// Exporter is the version of the exporter that wrote the file.
	Exporter string `json:"exporter"`
	// Format is record.FormatVersion; a Writer sets it.
	Format string `json:"format"`
	// Sessions are the seen sessions, and Records all that the file holds.
	Sessions uint64 `json:"sessions"`
	Records  uint64 `json:"records"`
}

// Writer writes the file of an exported appliance. All its errors are those of Finish.
type Writer struct {
	w    io.Writer
	sum  hash.Hash
	buf  *bufio.Writer // to both
	left uint64        // records that must come
	err  error         // what can't be written
}

// NewWriter writes the header to w.
func NewWriter(w io.Writer, h Header) *Writer {
	h.Format = record.FormatVersion
	line, err := json.Marshal(h)
	sum := sha256.New()
	e := &Writer{w: w, sum: sum, left: h.Records, buf: bufio.NewWriterSize(io.MultiWriter(w, sum), 1<<16), err: err}
	fmt.Fprintf(e.buf, "%s%d\n%s\n", words, version, line)
	return e
}

// Record writes one record; it has to be called in the order of the file.
func (e *Writer) Record(bucket string, key, payload []byte) {
	if len(key) > maxRecord || len(payload) > maxRecord {
		e.err = fmt.Errorf("record of %d bytes is too long", len(key)+len(payload))
	}
	e.left--
	head := append(e.buf.AvailableBuffer(), byte(slices.Index(record.Buckets, bucket)+1))
	head = binary.AppendUvarint(head, uint64(len(key)))
	head = append(head, key...)
	head = binary.AppendUvarint(head, uint64(len(payload)))
	_, _ = e.buf.Write(head)
	_, _ = e.buf.Write(payload)
}

// Finish writes the end, and fails if there were not Header.Records records.
func (e *Writer) Finish() error {
	if e.left != 0 && e.err == nil {
		e.err = fmt.Errorf("%d records of the header are missing", int64(e.left))
	}
	if err := cmp.Or(e.err, e.buf.WriteByte(0), e.buf.Flush()); err != nil {
		return err
	}
	_, err := e.w.Write(e.sum.Sum(nil))
	return err
}

// FileError is the reason why a file can't be imported: it was cut off or damaged, an
// exporter of another kind wrote it, or it is something else. Its text is a sentence about
// "the file", of at most some hundred characters, in which nothing of the file can steer a
// terminal.
type FileError struct{ Err error }

func (e *FileError) Error() string { return e.Err.Error() }

func (e *FileError) Unwrap() error { return e.Err }

// quoted returns s in quotes, with escapes for what isn't printed, and cut off if it is
// long.
func quoted(s string) string { return strconv.Quote(cut(s, maxQuoted)) }

func cut(s string, limit int) string {
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// checkName returns why no appliance can have that name, as package config
// allows names.
func checkName(appliance string) error {
	if err := record.CheckName(appliance); err != nil {
		return err
	}
	if strings.ContainsFunc(appliance, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }) {
		return fmt.Errorf("appliance name %s has a control character", quoted(appliance))
	}
	return nil
}

// reader reads what Writer writes.
type reader struct {
	r   *bufio.Reader
	sum hash.Hash
	// at is how many bytes were read, and of them none is the checksum's.
	at     int64
	header Header
	done   uint64 // records that were read
}

// Write counts what was read of r.
func (e *reader) Write(p []byte) (int, error) {
	e.at += int64(len(p))
	return e.sum.Write(p)
}

// Read reads the file of an exported appliance. It calls header, then each
// with every record, in the order of the file, which is that of record.Buckets and
// of the keys; key and payload are valid until it returns. Only when Read
// returns nil was the file what was written, and all of it. Its errors are an
// *FileError, and those of header, each and r.
func Read(r io.Reader, header func(Header) error, each func(bucket string, key, payload []byte) error) error {
	e := &reader{r: bufio.NewReaderSize(r, maxLine), sum: sha256.New()}
	if err := e.readHeader(); err != nil {
		return err
	}
	if err := header(e.header); err != nil {
		return err
	}
	if err := e.readRecords(each); err != nil {
		return err
	}
	return e.readEnd()
}

// bad returns the error of a file that isn't what was written.
func (e *reader) bad(format string, args ...any) error {
	what := fmt.Errorf(format, args...)
	if text := cut(what.Error(), maxReason); text != what.Error() || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		what = errors.New(strconv.Quote(text))
	}
	return &FileError{fmt.Errorf("the file is damaged: %w; export it again, or copy it again", what)}
}

// failed returns the error of having read less than there must be.
func (e *reader) failed(err error) error {
	switch {
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("read it: %w", err)
	case e.header.Format == "":
		return &FileError{errors.New("the file is cut off before its first record; export it again, or copy it again as a whole")}
	}
	return &FileError{fmt.Errorf("the file is cut off at byte %d, after %d of %d records; export it again, or copy it again as a whole", e.at, e.done, e.header.Records)}
}

// line reads a line, which is valid until something else is read.
func (e *reader) line() ([]byte, error) {
	line, err := e.r.ReadSlice('\n')
	_, _ = e.Write(line)
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, e.bad("line is too long")
	case err != nil:
		return nil, e.failed(err)
	}
	return line[:len(line)-1], nil
}

func (e *reader) readHeader() error {
	prefix, err := e.r.Peek(len(words))
	switch {
	case len(prefix) == 0 && errors.Is(err, io.EOF):
		return &FileError{errors.New("the file is empty")}
	case !strings.HasPrefix(words, string(prefix)):
		return &FileError{errors.New("the file is not an exported state")}
	case err != nil:
		return e.failed(err)
	}
	line, err := e.line()
	if err != nil {
		return err
	}
	number := string(line[len(words):])
	switch v, err := strconv.ParseUint(number, 10, 32); {
	case err != nil:
		return e.bad("version %s is not a number", quoted(number))
	case v != version:
		return &FileError{fmt.Errorf("the file has version %d, and this exporter knows only version %d: import it with the exporter that wrote it, or a newer one", v, version)}
	}
	text, err := e.line()
	if err != nil {
		return err
	}
	var h Header
	if err := json.Unmarshal(text, &h, json.RejectUnknownMembers(true)); err != nil {
		return e.bad("header: %w", err)
	}
	if h.Format != record.FormatVersion {
		return &FileError{fmt.Errorf("the file has records of format %s, written by exporter %s, and this exporter knows format %q only: import it with the exporter that wrote it, or a newer one", quoted(h.Format), quoted(h.Exporter), record.FormatVersion)}
	}
	if _, err := json.Marshal(h); err != nil {
		return e.bad("header: %w", err)
	}
	if err := cmp.Or(checkName(h.Appliance), record.CheckCount(h.Move), record.CheckClock(h.Exported)); err != nil {
		return e.bad("header: %w", err)
	}
	h.Exported = h.Exported.UTC()
	e.header = h
	return nil
}

func (e *reader) readRecords(each func(bucket string, key, payload []byte) error) error {
	var key, last, payload bytes.Buffer
	var ids uint64
	var checker record.Checker
	before, seen := byte(0), false
	for {
		index, err := e.r.ReadByte()
		if err != nil {
			return e.failed(err)
		}
		_, _ = e.Write([]byte{index})
		if index == 0 {
			break
		}
		e.done++
		if int(index) > len(record.Buckets) || index < before {
			return e.bad("record %d: unexpected bucket", e.done)
		}
		bucket := record.Buckets[index-1]
		if index != before {
			last.Reset()
		}
		if err := e.field(&key); err != nil {
			return err
		}
		if index == before && bytes.Compare(key.Bytes(), last.Bytes()) <= 0 {
			return e.bad("record %d is out of order", e.done)
		}
		if err := e.field(&payload); err != nil {
			return err
		}
		if err := checker.Check(bucket, key.Bytes(), payload.Bytes()); err != nil {
			return e.bad("record %d: %s: %w (or exporter %s, which wrote it, is newer than this)",
				e.done, cmp.Or(bucket, "appliance"), err, quoted(e.header.Exporter))
		}
		if bucket == record.IDsBucket {
			ids++
		}
		seen = seen || bucket == "" && key.String() == record.SavedKey
		if err := each(bucket, key.Bytes(), payload.Bytes()); err != nil {
			return err
		}
		before, key, last = index, last, key
	}
	switch {
	case e.done != e.header.Records:
		return e.bad("it has %d records, want %d", e.done, e.header.Records)
	case ids != e.header.Sessions:
		return e.bad("it has %d sessions, want %d", ids, e.header.Sessions)
	case !seen:
		return e.bad("the time of the last save is missing")
	}
	return nil
}

// field reads a length, and as many bytes to b.
func (e *reader) field(b *bytes.Buffer) error {
	b.Reset()
	head, err := e.r.Peek(binary.MaxVarintLen64) // the checksum alone is longer
	n, size := binary.Uvarint(head)
	if size < 0 || n > maxRecord {
		return e.bad("record %d is too long", e.done)
	}
	if size > 0 {
		_, _ = e.Write(head[:size])
		_, _ = e.r.Discard(size)
		// The buffer grows with what is there, not with what is claimed.
		_, err = io.CopyN(b, io.TeeReader(e.r, e), int64(n))
	}
	if err != nil {
		e.done-- // it isn't there as a whole
		return e.failed(err)
	}
	return nil
}

// readEnd compares the checksum.
func (e *reader) readEnd() error {
	want := make([]byte, sha256.Size)
	if _, err := io.ReadFull(e.r, want); err != nil {
		return e.failed(err)
	}
	if !bytes.Equal(want, e.sum.Sum(nil)) {
		return e.bad("its checksum doesn't match")
	}
	switch _, err := e.r.ReadByte(); {
	case err == nil:
		return e.bad("data after its end")
	case !errors.Is(err, io.EOF):
		return e.failed(err)
	}
	return nil
}
