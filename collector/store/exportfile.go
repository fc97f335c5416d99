package store

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
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// What an exported appliance's file begins with: a line of these words and the
// version of what doc.go describes.
const (
	exportWords   = "vbaws_exporter state "
	exportVersion = 1
)

// Limits that distinguish a damaged file from one that needs memory, and on what of a file
// gets into an error, in bytes.
const (
	maxExportLine   = 1 << 16
	maxExportRecord = 1 << 24
	maxReason       = 300
	maxQuoted       = 60
)

// exportBuckets are the buckets in the order of the file, in which a bucket is
// its index plus one. The first is the appliance's own.
var exportBuckets = []string{"", policiesBucket, seriesBucket, skippedBucket, unfinishedBucket, idsBucket}

// Header is what the file of an exported appliance says of itself.
type Header struct {
	Appliance string
	// Move numbers the exports that the state has gone through, this one included:
	// of two files of one appliance, the one with the higher number is the later.
	Move uint64
	// Exported is when it was exported for the first time, to the second.
	Exported time.Time
	// Exporter is the version of the exporter that wrote the file.
	Exporter string
	// Sessions are the remembered ones, and Records all that the file holds.
	Sessions, Records uint64
}

// headerRecord is a Header as it is written. Format is that of the records.
type headerRecord struct {
	Appliance string    `json:"appliance"`
	Move      uint64    `json:"move"`
	Exported  time.Time `json:"exported"`
	Exporter  string    `json:"exporter"`
	Format    string    `json:"format"`
	Sessions  uint64    `json:"sessions"`
	Records   uint64    `json:"records"`
}

// exportWriter writes the file of an exported appliance. Its errors are those of
// w, and come with finish at the latest.
type exportWriter struct {
	w       io.Writer
	sum     hash.Hash
	buf     *bufio.Writer // to both
	records uint64
}

func newExportWriter(w io.Writer, h Header) (*exportWriter, error) {
	line, err := encode(headerRecord{h.Appliance, h.Move, h.Exported, h.Exporter, formatVersion, h.Sessions, h.Records})
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	e := &exportWriter{w: w, sum: sum, buf: bufio.NewWriterSize(io.MultiWriter(w, sum), 1<<16)}
	_, err = fmt.Fprintf(e.buf, "%s%d\n%s\n", exportWords, exportVersion, line)
	return e, err
}

// record writes a record of the bucket that is the index-th of exportBuckets.
func (e *exportWriter) record(index int, key, payload []byte) error {
	if len(key) > maxExportRecord || len(payload) > maxExportRecord {
		return fmt.Errorf("record of %d bytes is too long", len(key)+len(payload))
	}
	e.records++
	head := append(e.buf.AvailableBuffer(), byte(index+1))
	head = binary.AppendUvarint(head, uint64(len(key)))
	head = append(head, key...)
	head = binary.AppendUvarint(head, uint64(len(payload)))
	_, err := e.buf.Write(head)
	return cmp.Or(err, second(e.buf.Write(payload)))
}

func second(_ int, err error) error { return err }

// finish writes the end.
func (e *exportWriter) finish() error {
	if err := cmp.Or(e.buf.WriteByte(0), e.buf.Flush()); err != nil {
		return err
	}
	return second(e.w.Write(e.sum.Sum(nil)))
}

// ExportFileError says why what is in a file can't be imported: it was cut off or
// damaged, an exporter of another kind wrote it, or it is something else. Its text
// is a sentence about "the file", of at most some hundred characters, in which
// nothing of the file can steer a terminal.
type ExportFileError struct{ Err error }

func (e *ExportFileError) Error() string { return e.Err.Error() }

func (e *ExportFileError) Unwrap() error { return e.Err }

// quoted returns s in quotes, with escapes for what isn't printed, and cut off
// where it is long.
func quoted(s string) string { return strconv.Quote(cut(s, maxQuoted)) }

func cut(s string, limit int) string {
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// checkImported returns why no appliance can have that name, as package config
// allows names.
func checkImported(appliance string) error {
	if err := checkName(appliance); err != nil {
		return err
	}
	if strings.ContainsFunc(appliance, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }) {
		return fmt.Errorf("appliance name %s has a control character", quoted(appliance))
	}
	return nil
}

// exportReader reads what exportWriter writes.
type exportReader struct {
	r   *bufio.Reader
	sum hash.Hash
	// at is how many bytes were read, and of them none is the checksum's.
	at     int64
	header headerRecord
	done   uint64 // records that were read
}

// ReadByte and Read let what is read count for the checksum.
func (e *exportReader) ReadByte() (byte, error) {
	b, err := e.r.ReadByte()
	if err == nil {
		e.at++
		e.sum.Write([]byte{b})
	}
	return b, err
}

func (e *exportReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	e.at += int64(n)
	e.sum.Write(p[:n])
	return n, err
}

// readExport reads the file of an exported appliance. It calls header, then record
// with each record, in the order of the file, which is that of exportBuckets and
// of the keys; key and payload are valid until it returns. Only when readExport
// returns nil was the file what was written, and all of it. Its errors are an
// *ExportFileError, and those of header, record and r.
func readExport(r io.Reader, header func(Header) error, record func(bucket string, key, payload []byte) error) error {
	e := &exportReader{r: bufio.NewReaderSize(r, 1<<16), sum: sha256.New()}
	if err := e.readHeader(); err != nil {
		return err
	}
	h := e.header
	if err := header(Header{h.Appliance, h.Move, h.Exported.UTC(), h.Exporter, h.Sessions, h.Records}); err != nil {
		return err
	}
	if err := e.readRecords(record); err != nil {
		return err
	}
	return e.readEnd()
}

// bad returns the error of a file that isn't what was written.
func (e *exportReader) bad(format string, args ...any) error {
	what := fmt.Errorf(format, args...)
	if text := cut(what.Error(), maxReason); text != what.Error() || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		what = errors.New(strconv.Quote(text))
	}
	return &ExportFileError{fmt.Errorf("the file is damaged: %w; export it again, or copy it again", what)}
}

// failed returns the error of having read less than there must be.
func (e *exportReader) failed(err error) error {
	switch {
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("read it: %w", err)
	case e.header.Format == "":
		return &ExportFileError{errors.New("the file is cut off before its first record; export it again, or copy it again as a whole")}
	}
	return &ExportFileError{fmt.Errorf("the file is cut off at byte %d, after %d of %d records; export it again, or copy it again as a whole", e.at, e.done, e.header.Records)}
}

// line reads a line.
func (e *exportReader) line() ([]byte, error) {
	var line []byte
	for {
		b, err := e.ReadByte()
		switch {
		case err != nil:
			return line, err
		case b == '\n':
			return line, nil
		case len(line) == maxExportLine:
			return nil, errors.New("line is too long")
		}
		line = append(line, b)
	}
}

func (e *exportReader) readHeader() error {
	words := make([]byte, len(exportWords))
	if n, err := io.ReadFull(e, words); n == 0 && errors.Is(err, io.EOF) {
		return &ExportFileError{errors.New("the file is empty")}
	} else if !strings.HasPrefix(exportWords, string(words[:n])) {
		return &ExportFileError{errors.New("the file is not an exported state")}
	} else if err != nil {
		return e.failed(err)
	}
	version, err := e.line()
	if err != nil {
		return e.failed(err)
	}
	switch v, err := strconv.ParseUint(string(version), 10, 32); {
	case err != nil:
		return e.bad("version %s is not a number", quoted(string(version)))
	case v != exportVersion:
		return &ExportFileError{fmt.Errorf("the file has version %d, and this exporter knows version %d only: import it with the exporter that wrote it, or a newer one", v, exportVersion)}
	}
	text, err := e.line()
	if err != nil {
		return e.failed(err)
	}
	var h headerRecord
	if err := decode(text, &h); err != nil {
		return e.bad("header: %w", err)
	}
	if h.Format != formatVersion {
		return &ExportFileError{fmt.Errorf("the file has records of format %s, written by exporter %s, and this exporter knows format %q only: import it with the exporter that wrote it, or a newer one", quoted(h.Format), quoted(h.Exporter), formatVersion)}
	}
	if _, err := encode(h); err != nil {
		return e.bad("header: %w", err)
	}
	if err := cmp.Or(checkImported(h.Appliance), count(h.Move), written(h.Exported)); err != nil {
		return e.bad("header: %w", err)
	}
	e.header = h
	return nil
}

func (e *exportReader) readRecords(record func(bucket string, key, payload []byte) error) error {
	var key, last, payload bytes.Buffer
	var ids uint64
	var plausible plausible
	before, seen := byte(0), false
	for {
		index, err := e.ReadByte()
		if err != nil {
			return e.failed(err)
		}
		if index == 0 {
			break
		}
		e.done++
		if int(index) > len(exportBuckets) || index < before {
			return e.bad("record %d: unexpected bucket", e.done)
		}
		bucket := exportBuckets[index-1]
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
		if err := plausible.check(bucket, key.Bytes(), payload.Bytes()); err != nil {
			return e.bad("record %d: %s: %w (or exporter %s, which wrote it, is newer than this)",
				e.done, cmp.Or(bucket, "appliance"), err, quoted(e.header.Exporter))
		}
		if bucket == idsBucket {
			ids++
		}
		seen = seen || bucket == "" && key.String() == seenKey
		if err := record(bucket, key.Bytes(), payload.Bytes()); err != nil {
			return err
		}
		before, key, last = index, last, key
	}
	switch {
	case e.done != e.header.Records:
		return e.bad("it has %d records, but its header says %d", e.done, e.header.Records)
	case ids != e.header.Sessions:
		return e.bad("it has %d sessions, but its header says %d", ids, e.header.Sessions)
	case !seen:
		return e.bad("it doesn't say when the appliance was saved last")
	}
	return nil
}

// field reads a length, and as many bytes to b.
func (e *exportReader) field(b *bytes.Buffer) error {
	b.Reset()
	n, err := binary.ReadUvarint(e)
	if err == nil && n > maxExportRecord {
		return e.bad("record %d is %d bytes long", e.done, n)
	}
	if err == nil {
		// The buffer grows with what is there, not with what is claimed.
		_, err = io.CopyN(b, e, int64(n))
	}
	if err != nil {
		e.done-- // it isn't there as a whole
		if errors.Is(err, errOverflow) {
			return e.bad("length of a record is not a number")
		}
		return e.failed(err)
	}
	return nil
}

// errOverflow is what binary.ReadUvarint returns for what is no number.
var errOverflow = func() error {
	_, err := binary.ReadUvarint(bytes.NewReader(bytes.Repeat([]byte{0xff}, 11)))
	return err
}()

// readEnd compares the checksum.
func (e *exportReader) readEnd() error {
	want := make([]byte, sha256.Size)
	if _, err := io.ReadFull(e.r, want); err != nil {
		return e.failed(err)
	}
	if !bytes.Equal(want, e.sum.Sum(nil)) {
		return e.bad("its checksum doesn't match")
	}
	switch _, err := e.r.ReadByte(); {
	case err == nil:
		return e.bad("something follows its end")
	case !errors.Is(err, io.EOF):
		return e.failed(err)
	}
	return nil
}

// moveRecord is the payload that says how often the state was exported, and
// whether it belongs to another exporter since.
type moveRecord struct {
	Number   uint64    `json:"number"`
	Exported time.Time `json:"exported"`
	Away     bool      `json:"away,omitzero"`
}

func decodeMove(payload []byte) (r moveRecord, err error) {
	err = decode(payload, &r)
	return r, err
}
