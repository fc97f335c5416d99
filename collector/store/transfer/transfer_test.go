package transfer

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/collector/store/record"
	"vbaws_exporter/collector/store/record/recordtest"
)

// example returns the file of an appliance with a bit of everything.
func example(tb testing.TB) []byte {
	tb.Helper()
	writes, err := record.Encode("a", recordtest.Movable.Example(1), time.Unix(1e9, 0))
	if err != nil {
		tb.Fatal(err)
	}
	writes = slices.DeleteFunc(writes, func(w record.Write) bool { return w.Record == nil })
	var file bytes.Buffer
	h := Header{Appliance: "a", Move: 1, Exported: time.Unix(1e9, 0).UTC(), Exporter: "1.2.3", Records: uint64(len(writes))}
	for _, w := range writes {
		if w.Bucket == record.IDsBucket {
			h.Sessions++
		}
	}
	e := NewWriter(&file, h)
	for _, bucket := range record.Buckets {
		for _, w := range writes {
			if w.Bucket != bucket {
				continue
			}
			payload, err := record.PlaceOf("a", bucket).Unseal(w.Key, w.Record)
			if err != nil {
				tb.Fatal(err)
			}
			e.Record(bucket, w.Key, payload)
		}
	}
	if err := e.Finish(); err != nil {
		tb.Fatal(err)
	}
	return file.Bytes()
}

// resum puts the right checksum at the end.
func resum(file []byte) []byte {
	body := file[:max(0, len(file)-sha256.Size)]
	sum := sha256.Sum256(body)
	return append(bytes.Clone(body), sum[:]...)
}

func ignore(Header) error                       { return nil }
func ignoreRecord(string, []byte, []byte) error { return nil }

// A line that doesn't end is refused, and not kept in memory.
func TestReadLongLine(t *testing.T) {
	for _, line := range []string{words, words + "1\n{"} {
		var bad *FileError
		err := Read(strings.NewReader(line+strings.Repeat("1", maxLine+1)), ignore, ignoreRecord)
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), "line is too long") {
			t.Errorf("%.30q: got %v", line, err)
		}
	}
}

// A header that promises more or fewer records than there are isn't completed.
func TestFinishCounts(t *testing.T) {
	for _, n := range []uint64{0, 2} {
		e := NewWriter(&bytes.Buffer{}, Header{Appliance: "a", Records: n})
		e.Record(record.OwnBucket, []byte(record.SavedKey), nil)
		if err := e.Finish(); err == nil {
			t.Errorf("1 record of %d is complete", n)
		}
	}
}

// FuzzRead: whatever is in a file, it is read without a panic, and what is
// taken for good can be written, and is the same then.
func FuzzRead(f *testing.F) {
	file := example(f)
	f.Add(file[:len(file)-sha256.Size])
	f.Add([]byte(words + "1\n"))
	f.Add([]byte(words + "2\n{}\n"))
	f.Add(file[:len(file)/2])
	f.Add([]byte("PK\x03\x04"))
	type row struct {
		bucket       string
		key, payload []byte
	}
	read := func(file []byte) (h Header, rows []row, err error) {
		err = Read(bytes.NewReader(file), func(got Header) error { h = got; return nil },
			func(bucket string, key, payload []byte) error {
				rows = append(rows, row{bucket, bytes.Clone(key), bytes.Clone(payload)})
				return nil
			})
		return h, rows, err
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		// As it is, and with the right checksum, which fuzzing does not find.
		file := resum(append(bytes.Clone(body), make([]byte, sha256.Size)...))
		if _, _, err := read(body); err == nil && !bytes.Equal(body, resum(body)) {
			t.Fatal("a wrong checksum is right")
		}
		h, rows, err := read(file)
		if err != nil {
			if _, ok := errors.AsType[*FileError](err); !ok {
				t.Fatalf("got %T: %v", err, err)
			}
			return
		}
		var again bytes.Buffer
		e := NewWriter(&again, h)
		for _, r := range rows {
			e.Record(r.bucket, r.key, r.payload)
		}
		if err := e.Finish(); err != nil {
			t.Fatal(err)
		}
		h2, rows2, err := read(again.Bytes())
		if err != nil {
			t.Fatalf("what was written again: %v", err)
		}
		if diff := cmp.Diff(h, h2); diff != "" {
			t.Fatal(diff)
		}
		if diff := cmp.Diff(rows, rows2, cmp.AllowUnexported(row{})); diff != "" {
			t.Fatal(diff)
		}
	})
}
