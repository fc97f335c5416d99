package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/store/record"
	"vbaws_exporter/collector/store/record/recordtest"
	"vbaws_exporter/collector/store/transfer"
)

func init() { children["import"] = importChild }

// records returns all records of an appliance but that of its moves, as they are
// in the file, and nil for one that isn't known.
func records(t TB, s *Store, appliance string) map[string]string {
	t.Helper()
	var all map[string]string
	err := s.file.View(func(tx *bbolt.Tx) error {
		root := tx.Bucket([]byte(appliancesBucket)).Bucket([]byte(appliance))
		if root == nil {
			return nil
		}
		all = map[string]string{}
		return root.ForEach(func(key, sealed []byte) error {
			if sealed != nil {
				if string(key) != record.MoveKey {
					all[string(key)] = hex.EncodeToString(sealed)
				}
				return nil
			}
			return root.Bucket(key).ForEach(func(k, sealed []byte) error {
				all[fmt.Sprintf("%s %x", key, k)] = hex.EncodeToString(sealed)
				return nil
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func export(t TB, s *Store, appliance string) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := s.Export(appliance, "1.2.3", &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// reopen returns the store as a new process would find it.
func reopen(t TB, s *Store) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(filepath.Dir(s.path), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMove(t *testing.T) {
	t.Run("export and import", testMoveExportAndImport)
	t.Run("memory", testMoveMemory)
	t.Run("open existing", testMoveOpenExisting)
}

// testMoveExportAndImport moves an appliance from store to store, between which it lives on, and
// looks for it in all of them. Files of earlier moves turn up again.
func testMoveExportAndImport(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		stores := make([]*Store, 3)
		neighbours := make([]map[string]string, len(stores))
		for i := range stores {
			path, err := os.MkdirTemp(dir, "")
			if err != nil {
				t.Fatal(err)
			}
			if stores[i], err = Open(path, Options{}); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = stores[i].Close() }()
			stores[i].importBatch = rapid.IntRange(200, 5000).Draw(t, "batch")
			save(t, openAppliance(t, stores[i], "neighbour"), recordtest.Movable.Draw(t, "neighbour"))
			neighbours[i] = records(t, stores[i], "neighbour")
		}
		m, at := newModel(), 0
		live := func() {
			b := openAppliance(t, stores[at], "a")
			for range rapid.IntRange(1, 3).Draw(t, "saves") {
				c := recordtest.Movable.Draw(t, "changes")
				if !c.Empty() {
					save(t, b, c)
					m.save(c)
				}
			}
		}
		save(t, openAppliance(t, stores[0], "a"), remember(1, 20000))
		m.save(remember(1, 20000))
		live()
		var files [][]byte
		seen := make([]int, len(stores)) // by each store, the newest of them
		for move := range rapid.IntRange(1, 5).Draw(t, "moves") {
			from, to := stores[at], rapid.IntRange(0, len(stores)-1).Draw(t, "to")
			from = reopen(t, from)
			stores[at] = from
			want := records(t, from, "a")
			file := export(t, from, "a")
			if diff := cmp.Diff(want, records(t, from, "a")); diff != "" {
				t.Fatalf("exporting changed (-before +after):\n%s", diff)
			}
			if _, err := from.Appliance("a"); err == nil || !strings.Contains(err.Error(), `the state of appliance "a" in `) {
				t.Fatalf("open what was exported: %v", err)
			}
			if !bytes.Equal(file, export(t, from, "a")) {
				t.Fatal("what is exported again is another")
			}
			stores[to] = reopen(t, stores[to])
			seen[at] = move + 1
			for i, old := range files[:min(len(files), seen[to])] {
				var exists *ExistsError
				if _, err := stores[to].Import(bytes.NewReader(old), false); !errors.As(err, &exists) {
					t.Fatalf("the file of move %d, at move %d: %v", i, move, err)
				}
			}
			h, err := stores[to].Import(bytes.NewReader(file), to == at)
			if err != nil {
				t.Fatalf("move %d: %v", move, err)
			}
			if h.Appliance != "a" || h.Move != uint64(move+1) || h.Exporter != "1.2.3" {
				t.Fatalf("header %+v", h)
			}
			at, seen[to] = to, move+1
			if rapid.Bool().Draw(t, "restart") {
				stores[at] = reopen(t, stores[at])
			}
			if diff := cmp.Diff(want, records(t, stores[at], "a")); diff != "" {
				t.Fatalf("records (-exported +imported):\n%s", diff)
			}
			if diff := m.diff(t, openAppliance(t, stores[at], "a")); diff != "" {
				t.Fatalf("state (-want +got):\n%s", diff)
			}
			files = append(files, file)
			live()
		}
		for i, s := range stores {
			if diff := cmp.Diff(neighbours[i], records(t, s, "neighbour")); diff != "" {
				t.Fatalf("neighbour (-before +after):\n%s", diff)
			}
			if _, err := s.Appliance("a"); i != at && records(t, s, "a") != nil && err == nil {
				t.Fatalf("it lives in store %d and in store %d", at, i)
			}
		}
		stores[at] = reopen(t, stores[at])
		if diff := m.diff(t, openAppliance(t, stores[at], "a")); diff != "" {
			t.Fatalf("state in the end (-want +got):\n%s", diff)
		}
	})
}

// exported returns the file of appliance a of closed.
func exported(t testing.TB) []byte {
	t.Helper()
	path := t.TempDir()
	s := open(t, path)
	s.now = func() time.Time { return time.Unix(1.8e9, 0) }
	c := remember(0, 20000)
	for n := range 5 {
		id := recordtest.Session(n)
		c.Seen[id] = ledger.SeenSession{ID: id, Day: 20000 + int32(n%2), At: time.Unix(20000*86400, 0)}
	}
	key := ledger.Key{Type: "Policy"}
	c.Series = map[ledger.Key]*ledger.Series{key: {Key: key, Counters: []*ledger.Counter{{Status: "Failed", Held: true, Count: 3,
		Exemplar: &ledger.Exemplar{SessionID: "x"}, Histogram: &ledger.Histogram{Sum: 4e6, Buckets: []uint64{3}, Exemplars: []*ledger.Exemplar{nil}, Zero: 1,
			Native: []ledger.NativeBucket{{Index: 9, Count: 2}}}}}}}
	c.Unfinished = map[ledger.ID]*ledger.Unfinished{recordtest.Session(9): {Policy: "daily"}}
	c.Policies = map[ledger.PolicyKey]*ledger.Policy{{ID: "1"}: {PolicyKey: ledger.PolicyKey{ID: "1"}}}
	c.Skipped = map[ledger.ID]time.Time{recordtest.Session(8): time.Unix(1e9, 0)}
	save(t, openAppliance(t, s, "a"), c)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	s.now = func() time.Time { return time.Unix(1.8e9+60, 0) }
	return export(t, s, "a")
}

// resum puts the right checksum at the end.
func resum(file []byte) []byte {
	body := file[:max(0, len(file)-sha256.Size)]
	sum := sha256.Sum256(body)
	return append(bytes.Clone(body), sum[:]...)
}

func TestImport(t *testing.T) {
	t.Parallel()
	t.Run("rejected", testImportRejected)
	t.Run("implausible", testImportImplausible)
}

// What isn't what was written is refused in words, and leaves nothing.
func testImportRejected(t *testing.T) {
	t.Parallel()
	file := exported(t)
	path := t.TempDir()
	s := open(t, path)
	save(t, openAppliance(t, s, "b"), remember(1, 20000))
	before := records(t, s, "b")
	refuse := func(name string, file []byte, want ...string) {
		t.Helper()
		_, err := s.Import(bytes.NewReader(file), false)
		if _, ok := errors.AsType[*transfer.FileError](err); !ok {
			t.Fatalf("%s: got %v", name, err)
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q doesn't say %q", name, err, w)
			}
		}
		left := false
		if err := s.file.View(func(tx *bbolt.Tx) error { left = tx.Bucket([]byte(importingBucket)) != nil; return nil }); err != nil {
			t.Fatal(err)
		}
		if left || records(t, s, "a") != nil || !cmp.Equal(before, records(t, s, "b")) {
			t.Fatalf("%s: something of it is there", name)
		}
	}
	for n := range file {
		// Now and then some of it is on the disk by then.
		if s.importBatch = importBatch; n%50 == 0 {
			s.importBatch = 1
		}
		refuse(fmt.Sprintf("the first %d bytes", n), file[:n])
		damaged := bytes.Clone(file)
		damaged[n] ^= 1 << (n % 8)
		refuse(fmt.Sprintf("byte %d is another", n), damaged)
	}
	header := bytes.IndexByte(file[len("vbaws_exporter state 1\n"):], '\n') + len("vbaws_exporter state 1\n") + 1
	edit := func(from, to string) []byte { return resum(bytes.Replace(file, []byte(from), []byte(to), 1)) }
	refuse("empty", nil, "is empty")
	refuse("text", []byte("some text\n"), "the file is not an exported state")
	refuse("newer", edit("state 1\n", "state 2\n"), "has version 2, and this exporter knows only version 1")
	refuse("newer records", edit(`"format":"1"`, `"format":"2"`), `records of format "2"`, `exporter "1.2.3"`)
	refuse("unknown words", edit(`"format":`, `"more":1,"format":`), "is damaged: header", `more`)
	refuse("no name", edit(`"appliance":"a"`, `"appliance":""`), "appliance name has 0 bytes")
	refuse("other counts", edit(`"records":11`, `"records":12`), "it has 11 records, want 12")
	refuse("other sessions", edit(`"sessions":5`, `"sessions":4`), "it has 5 sessions, want 4")
	refuse("cut off", file[:header+20], "is cut off at byte", "of 11 records")
	refuse("cut off at the end", file[:len(file)-1], "is cut off at byte", "after 11 of 11 records")
	refuse("longer", append(bytes.Clone(file), 0), "data after its end")
	refuse("checksum", append(bytes.Clone(file[:len(file)-1]), file[len(file)-1]^1), "its checksum doesn't match")

	if _, err := s.Import(bytes.NewReader(file), false); err != nil {
		t.Fatal(err)
	}
	var exists *ExistsError
	if _, err := s.Import(bytes.NewReader(file), false); !errors.As(err, &exists) || !strings.Contains(err.Error(), "already has state of appliance \"a\"") {
		t.Errorf("a second time: %v", err)
	}
	errDisk := errors.New("can't read")
	if _, err := s.Import(io.MultiReader(bytes.NewReader(file[:header+9]), errReader{errDisk}), true); !errors.Is(err, errDisk) {
		t.Errorf("a disk that can't be read: %v", err)
	}
}

// rewritten returns the file with changes to its header, or to one record, and
// sums that are right.
func rewritten(t *testing.T, file []byte, header func(*transfer.Header), bucket, from, to string) []byte {
	t.Helper()
	var out bytes.Buffer
	var e *transfer.Writer
	found := bucket == "header"
	err := transfer.Read(bytes.NewReader(file), func(h transfer.Header) error {
		if header != nil {
			header(&h)
		}
		e = transfer.NewWriter(&out, h)
		return nil
	}, func(in string, key, payload []byte) error {
		if in == bucket && bytes.Contains(payload, []byte(from)) && !found {
			found = true
			payload = bytes.Replace(payload, []byte(from), []byte(to), 1)
		}
		e.Record(in, key, payload)
		return nil
	})
	if err = errors.Join(err, e.Finish()); err != nil {
		t.Fatal(err)
	}
	if !found {
		t.Fatalf("no record of %q has %s", bucket, from)
	}
	return out.Bytes()
}

// testImportImplausible: a file with right checksums, that no exporter
// wrote. What is in it would overflow a counter or a later export, end the process
// or every scrape, or steer the terminal that the error is printed on.
func testImportImplausible(t *testing.T) {
	t.Parallel()
	file := exported(t)
	s := open(t, t.TempDir())
	const escapes = "\x1b]0;owned\a\r\u202e"
	refuse := func(name string, file []byte, want string) {
		t.Helper()
		_, err := s.Import(bytes.NewReader(file), false)
		var bad *transfer.FileError
		if !errors.As(err, &bad) || !strings.HasPrefix(err.Error(), "the file ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", name, err, want)
			return
		}
		if len(err.Error()) > 900 || strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%s: the error has %d bytes, and is %.999q", name, len(err.Error()), err.Error())
		}
		if records(t, s, "a") != nil {
			t.Fatalf("%s: something of it is there", name)
		}
	}
	for name, change := range map[string]func(*transfer.Header){
		"range: count of 18446744073709551615": func(h *transfer.Header) { h.Move = math.MaxUint64 },
		"range: count of 9007199254740993":     func(h *transfer.Header) { h.Move = 1<<53 + 1 },
		"year 10000 is out of range": func(h *transfer.Header) {
			h.Exported = time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("", -3600*5))
		},
		"year 1 is out of range":         func(h *transfer.Header) { h.Exported = time.Time{} },
		"has a control character":        func(h *transfer.Header) { h.Appliance = "a" + escapes },
		"appliance name has 40000 bytes": func(h *transfer.Header) { h.Appliance = strings.Repeat("a", 40000) },
	} {
		want := strings.TrimPrefix(name, "range: ")
		refuse(name, rewritten(t, file, change, "header", "", ""), want)
	}
	long := strings.Repeat("x", 1e6)
	for _, c := range []struct{ bucket, old, new, want string }{
		{record.SeriesBucket, `"count":3`, `"count":18446744073709551615`, "count of 18446744073709551615 is out of range"},
		{record.SeriesBucket, `"count":3`, `"count":18446744073709551616`, "out of range"},
		{record.SeriesBucket, `"count":3`, `"count":-3`, "-3"},
		{record.SeriesBucket, `"count":3`, `"count":NaN`, "invalid"},
		{record.SeriesBucket, `"count":3`, `"count":4`, "buckets have 3 and 3 sessions, not 4"},
		{record.SeriesBucket, `"count":3`, `"count":1`, "buckets have 3 and 3 sessions, not 1"},
		{record.SeriesBucket, `"sum":4000000`, `"sum":-1`, "sum of -1 microseconds"},
		{record.SeriesBucket, `"sum":4000000`, `"sum":9223372036854775807`, "sum of 9223372036854775807 microseconds"},
		{record.SeriesBucket, `"sum":4000000`, `"sum":1e999`, "1e999"},
		{record.SeriesBucket, `"sum":4000000`, `"sum":4000000,"base":4`, "histogram begins at 4 sessions of 3"},
		{record.SeriesBucket, `"buckets":[3]`, `"buckets":[1,2]`, "histogram has 2 buckets and 1 exemplars, not 1"},
		{record.SeriesBucket, `"buckets":[3]`, `"buckets":[18446744073709551615]`, "count of 18446744073709551615"},
		{record.SeriesBucket, `"exemplars":[null]`, `"exemplars":[null,null]`, "histogram has 1 buckets and 2 exemplars"},
		{record.SeriesBucket, `"buckets":[3],"exemplars":[null],`, ``, "histogram has 0 buckets"},
		{record.SeriesBucket, `"zero":1`, `"zero":18446744073709551615`, "count of 18446744073709551615"},
		{record.SeriesBucket, `{"i":9,"n":2}`, `{"i":9,"n":1},{"i":9,"n":1}`, "native bucket 9 is out of range or out of order"},
		{record.SeriesBucket, `{"i":9,"n":2}`, `{"i":2147483647,"n":2}`, "native bucket 2147483647"},
		{record.SeriesBucket, `{"i":9,"n":2}`, `{"i":-2147483648,"n":2}`, "native bucket -2147483648"},
		{record.SeriesBucket, `"counters":[`, `"counters":[{"status":"Failed"},`, "statuses are not in order"},
		{record.SeriesBucket, `"counters":[`, `"counters":[null,`, "counter is null"},
		{record.SeriesBucket, `"status":"Failed"`, `"status":"` + long + `","born":"9223372036854775807.000000000"`, "time 9223372036854775807 is out of range"},
		{record.SeriesBucket, `"status":"Failed"`, `"status":"\u001b[2J","end":"253500000000.000000000"`, `"/counters/0/end": time 253500000000 is out of range`},
		{record.SeriesBucket, `"type":"Policy"`, `"type":"` + long + `"`, "has the key of another"},
		{record.SeriesBucket, `"type":"Policy"`, `"\u001b[2J":1,"type":"Policy"`, "unknown"},
		{record.UnfinishedBucket, `"policy":"daily"`, `"policy":"daily","missing":-1`, "-1 is not a valid number of polls"},
		{record.UnfinishedBucket, `"policy":"daily"`, `"policy":"daily","missing":9223372036854775807`, "is not a valid number of polls"},
		{record.UnfinishedBucket, `"policy":"daily"`, `"policy":"daily","start":"-9223372036854775808.999999999"`, "time -9223372036854775808 is out of range"},
		{record.UnfinishedBucket, `"policy":"daily"`, `"policy":"daily","stop":"\u001b` + long + `.0"`, "time"},
		{record.PoliciesBucket, `"id":"1"`, `"id":"1","missing":-1`, "-1 is not a valid number of polls"},
		{record.PoliciesBucket, `"id":"1"`, `"id":"1","since":"-99999999999.000000000"`, "time -99999999999 is out of range"},
		{record.PoliciesBucket, `"id":"1"`, `"id":"\u001b[2J"`, "has the key of another"},
		{record.PoliciesBucket, `"id":"1"`, `"id":"1","schedule":{"daily":{"RunsPerHour":2147483647}}`, "2147483647 runs an hour are out of range"},
		{record.PoliciesBucket, `"id":"1"`, `"id":"1","last_readable":{"yearly":{"Month":-1}}`, "month -1 is out of range"},
		{record.PoliciesBucket, `"id":"1"`, `"id":"1","schedule":{"weekly":{"At":86400000000000}}`, "time of day 24h0m0s is out of range"},
		{record.PoliciesBucket, `"id":"1"`, `"id":"1","schedule":{"monthly":{"At":-1}}`, "time of day -1ns is out of range"},
		{record.PoliciesBucket, `"id":"1"`, `"id":"1","schedule":{"monthly":{"Day":{"Week":6}}}`, "week 6 is out of range"},
		{record.PoliciesBucket, `"id":"1"`, `"id":"1","schedule":{"yearly":{"Month":1,"Day":{"Week":-1}}}`, "week -1 is out of range"},
		{record.PoliciesBucket, `"id":"1"`, `"id":"1","last_readable":{"every":1}`, "interval of 1ns is out of range"},
		{record.OwnBucket, `{"at":"`, `{"at":"99`, "is out of range"},
		{record.OwnBucket, `{"at":"1`, `{"at":"-1`, "year 1912 is out of range"},
		{record.OwnBucket, `{}`, `{"resets":18446744073709551615}`, "count of 18446744073709551615"},
		{record.OwnBucket, `{}`, `{"skipped":{"gone":9007199254740993}}`, "count of 9007199254740993"},
		{record.OwnBucket, `{}`, `{"sweep_interval":9223372036854775807}`, "interval of"},
		{record.OwnBucket, `{}`, `{"sweep_interval":-1}`, "interval of"},
		{record.OwnBucket, `{}`, `{"bounds":[1,1]}`, "bounds of buckets are not in order"},
		{record.OwnBucket, `{}`, `{"bounds":[` + strings.Repeat("1,", 1e5) + `1]}`, "100001 bounds of buckets"},
		{record.OwnBucket, `{}`, `{"bounds":[1]}`, "histogram has 1 buckets and 1 exemplars, not 2"},
		{record.OwnBucket, `{}`, `{"first_contact":"999999999999.000000000"}`, "time 999999999999 is out of range"},
	} {
		refuse(fmt.Sprintf("%s %.40s", c.bucket, c.new), rewritten(t, file, nil, c.bucket, c.old, c.new), c.want)
	}
	h, err := s.Import(bytes.NewReader(rewritten(t, file, func(h *transfer.Header) { h.Move = record.MaxCount }, "header", "", "")), false)
	if err != nil || h.Move != record.MaxCount {
		t.Fatalf("unchanged except for the largest number: %+v, %v", h, err)
	}
	next, err := s.Export("a", "", io.Discard)
	if err != nil || next.Move != record.MaxCount+1 {
		t.Errorf("the next export is %+v, %v", next, err)
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

type errWriter struct{ left int }

func (e *errWriter) Write(p []byte) (int, error) {
	if e.left -= len(p); e.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

var errFull = errors.New("disk full")

func TestExport(t *testing.T) {
	t.Run("fails", testExportFails)
	t.Run("file", testExportFile)
	t.Run("touches no other file", testExportTouchesNoOtherFile)
	t.Run("replaces nothing", testExportReplacesNothing)
}

// An export that fails changes nothing.
func testExportFails(t *testing.T) {
	path := closed(t)
	s := open(t, path)
	for _, left := range []int{0, 5000} {
		if _, err := s.Export("a", "", &errWriter{left}); !errors.Is(err, errFull) {
			t.Errorf("the disk is full after %d bytes: %v", left, err)
		}
	}
	file := filepath.Join(path, "file")
	if _, err := s.ExportFile("a", "", filepath.Join(path, "nowhere", "file")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such folder: %v", err)
	}
	if _, err := s.ExportFile("b", "", file); err == nil || !strings.Contains(err.Error(), `has no state of appliance "b", only of ["a"]`) {
		t.Errorf("unknown appliance: %v", err)
	}
	if _, err := open(t, filepath.Join(t.TempDir(), "data")).ExportFile("b", "", file); err == nil || !strings.Contains(err.Error(), `has no state of appliance "b", and of no other`) {
		t.Errorf("no appliance: %v", err)
	}
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ExportFile("a", "", file); !errors.Is(err, fs.ErrExist) {
		t.Errorf("there is such a file: %v", err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "precious" {
		t.Errorf("it was overwritten: %q, %v", got, err)
	}
	failing := s.file.Commit
	s.file.Commit = func(*bbolt.Tx) error { return errFull }
	if _, err := s.ExportFile("a", "", file+"2"); !errors.Is(err, errFull) {
		t.Errorf("the state's disk is full: %v", err)
	}
	s.file.Commit = failing
	if entries, err := os.ReadDir(path); err != nil || len(entries) != 2 {
		t.Errorf("folder holds %v, %v", entries, err)
	}
	openAppliance(t, s, "a")
}

func testExportFile(t *testing.T) {
	path := closed(t)
	s := open(t, path)
	file := filepath.Join(path, "file")
	h, err := s.ExportFile("a", "1.2.3", file)
	if err != nil || h.Sessions != 200 || h.Records != 200+6 || h.Move != 1 {
		t.Fatalf("%+v, %v", h, err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("%v, %v", info, err)
	}
	got, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, export(t, s, "a")) {
		t.Errorf("it isn't what Export writes, %v", err)
	}
	if entries, err := os.ReadDir(path); err != nil || len(entries) != 2 {
		t.Errorf("folder holds %v, %v", entries, err)
	}
	all, err := s.Summaries()
	if err != nil || len(all) != 1 || all[0].Appliance != "a" || all[0].Sessions != 200 || !all[0].Away || all[0].Bytes < 200*40 {
		t.Errorf("summary %+v, %v", all, err)
	}
	// Back to the store that it came from: only with replace.
	var exists *ExistsError
	if _, err := s.Import(bytes.NewReader(got), false); !errors.As(err, &exists) || !strings.Contains(err.Error(), "from which this file was exported") {
		t.Errorf("got %v", err)
	}
	if _, err := s.Import(bytes.NewReader(got), true); err != nil {
		t.Fatal(err)
	}
	if got := resets(t, openAppliance(t, s, "a")); got != 199 {
		t.Errorf("state is of save %d, want 199", got)
	}
}

// tree returns the files below path: their names, modes and contents, and the targets of
// links.
func tree(t *testing.T, path string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var content []byte
		switch {
		case d.Type() == fs.ModeSymlink:
			to, err := os.Readlink(name)
			if err != nil {
				return err
			}
			content = []byte(to)
		case !d.IsDir():
			if content, err = os.ReadFile(name); err != nil {
				return err
			}
		}
		all[name] = fmt.Sprint(info.Mode(), " ", string(content))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// testExportTouchesNoOtherFile: whatever is in the folder, exporting changes
// nothing of it, whether it succeeds or not.
func testExportTouchesNoOtherFile(t *testing.T) {
	s, dir := open(t, closed(t)), t.TempDir()
	output := filepath.Join(dir, "output")
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"output.new", "output.tmp", "victim", "open"} {
		if err := os.WriteFile(at(name), []byte("precious "+name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(at("open"), 0o666); err != nil {
		t.Fatal(err)
	}
	links := os.Symlink(at("victim"), at("link")) == nil && os.Symlink(at("nowhere"), at("dangling")) == nil &&
		os.Symlink(at("victim"), at("other.new")) == nil
	before := tree(t, dir)
	check := func(what string) {
		t.Helper()
		if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
			t.Errorf("%s (-before +after):\n%s", what, diff)
		}
	}

	for _, name := range []string{"output", "other", "none"} {
		if _, err := s.ExportFile("typo", "", at(name)); err == nil || !strings.Contains(err.Error(), `has no state of appliance "typo"`) {
			t.Errorf("unknown appliance: %v", err)
		}
		check("unknown appliance, " + name)
	}
	there := []string{"victim", "open", "output.new", "."}
	if links {
		there = append(there, "link", "dangling")
	}
	for _, name := range there {
		if _, err := s.ExportFile("a", "", at(name)); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s is there: %v", name, err)
		}
		check(name)
	}
	if _, err := s.ExportFile("a", "", ""); err == nil {
		t.Error("a file without a name was written")
	}
	failing := s.file.Commit
	s.file.Commit = func(*bbolt.Tx) error { return errFull }
	if _, err := s.ExportFile("a", "", output); !errors.Is(err, errFull) {
		t.Errorf("the state's disk is full: %v", err)
	}
	s.file.Commit = failing
	check("a full disk")
	openAppliance(t, s, "a") // is still here
	s = reopen(t, s)
	defer func() { _ = s.Close() }()

	for i, link := range []func(string, string) error{os.Link, noLinks} {
		s.link = link
		name := fmt.Sprint("output", i)
		if _, err := s.ExportFile("a", "", at(name)); err != nil {
			t.Fatal(err)
		}
		got := tree(t, dir)
		if want := "-rw------- vbaws_exporter state "; !strings.HasPrefix(got[at(name)], want) && runtime.GOOS != "windows" {
			t.Errorf("%s is %.60q", name, got[at(name)])
		}
		before[at(name)] = got[at(name)]
		check(name)
	}
	if before[at("output0")] != before[at("output1")] {
		t.Error("the file is another without links")
	}
}

// noLinks is os.Link on a file system that has no hard links.
func noLinks(from, to string) error {
	return &os.LinkError{Op: "link", Old: from, New: to, Err: errors.ErrUnsupported}
}

// testExportReplacesNothing that appears while it is written.
func testExportReplacesNothing(t *testing.T) {
	for name, link := range map[string]func(string, string) error{"links": os.Link, "no links": noLinks} {
		t.Run(name, func(t *testing.T) {
			s, dir := open(t, closed(t)), t.TempDir()
			output := filepath.Join(dir, "output")
			s.link = func(from, to string) error {
				if err := os.WriteFile(output, []byte("precious"), 0o644); err != nil {
					t.Fatal(err)
				}
				return link(from, to)
			}
			_, err := s.ExportFile("a", "", output)
			if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), `appliance "a" is exported, but`) {
				t.Errorf("got %v", err)
			}
			if got, err := os.ReadFile(output); err != nil || string(got) != "precious" {
				t.Errorf("it holds %q, %v", got, err)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
				t.Errorf("folder holds %v, %v", entries, err)
			}
			s.link = link
			if _, err := s.ExportFile("a", "", output+"2"); err != nil {
				t.Errorf("again, to another file: %v", err)
			}
		})
	}
}

func testMoveOpenExisting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	if _, err := Open(path, Options{Existing: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder was made: %v", err)
	}
	s, err := Open(closed(t), Options{Existing: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// importChild imports the file args[1] to the folder args[0] until it comes to the
// point args[2] for the time len(args[3]), and ends there as a crash would end it.
func importChild(args []string) {
	points := 0
	s, err := Open(args[0], Options{Crash: func(point string) {
		if point == args[2] {
			if points++; points == len(args[3]) {
				os.Exit(7)
			}
		}
	}})
	if err != nil {
		panic(err)
	}
	s.importBatch = 1000
	f, err := os.Open(args[1])
	if err != nil {
		panic(err)
	}
	if _, err := s.Import(f, true); err != nil {
		panic(err)
	}
}

// A process that ends while it imports leaves what was there, or what it imports,
// as a whole; and the next import isn't hindered.
func testCrashImport(t *testing.T) {
	t.Parallel()
	from := closed(t)
	file := filepath.Join(t.TempDir(), "file")
	source := open(t, from)
	if _, err := source.ExportFile("a", "", file); err != nil {
		t.Fatal(err)
	}
	imported := records(t, source, "a")
	for _, there := range []bool{false, true} {
		for _, point := range []struct {
			name, visit string
			done        bool
		}{{CrashStaged, "x", false}, {CrashStaged, "xxxxx", false}, {CrashSwapped, "x", false}, {CrashImported, "x", true}} {
			path := t.TempDir()
			s := open(t, path)
			save(t, openAppliance(t, s, "b"), remember(1, 20000))
			if there {
				save(t, openAppliance(t, s, "a"), remember(1, 20000))
			}
			before, neighbour := records(t, s, "a"), records(t, s, "b")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			out, err := child(t, "import", path, file, point.name, point.visit).CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 7 {
				t.Fatalf("%v: %v\n%s", point, err, out)
			}
			want := before
			if point.done {
				want = imported
			}
			s = open(t, path)
			if diff := cmp.Diff(want, records(t, s, "a")); diff != "" {
				t.Errorf("%v: records (-want +got):\n%s", point, diff)
			}
			err = s.file.View(func(tx *bbolt.Tx) error {
				if tx.Bucket([]byte(importingBucket)) != nil {
					t.Errorf("%v: what is left of it isn't dropped", point)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Import(bytes.NewReader(f), true); err != nil {
				t.Errorf("%v: the next import: %v", point, err)
			}
			if !cmp.Equal(imported, records(t, s, "a")) || !cmp.Equal(neighbour, records(t, s, "b")) {
				t.Errorf("%v: after the next import, something is another", point)
			}
		}
	}
}

// The memory that a move takes doesn't grow with what is remembered.
func testMoveMemory(t *testing.T) {
	s := open(t, t.TempDir())
	const sessions = 150_000
	for done := 0; done < sessions; done += 5000 {
		c := &ledger.Changes{Seen: map[ledger.ID]ledger.SeenSession{}}
		for n := done; n < done+5000; n++ {
			id := recordtest.Session(n)
			c.Seen[id] = ledger.SeenSession{ID: id, Day: 20000 + int32(n/1000), At: time.Unix(1e9, 0)}
		}
		save(t, openAppliance(t, s, "a"), c)
	}
	s = reopen(t, s)
	defer func() { _ = s.Close() }()
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	most := uint64(0)
	measure := func() {
		runtime.GC()
		runtime.ReadMemStats(&now)
		most = max(most, now.HeapAlloc-min(before.HeapAlloc, now.HeapAlloc))
	}
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		_, err := s.Export("a", "", w)
		ended <- errors.Join(err, w.Close())
	}()
	into, err := Open(t.TempDir(), Options{Crash: func(string) { measure() }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = into.Close() }()
	into.importBatch = 200_000
	h, err := into.Import(r, false)
	if err = errors.Join(err, <-ended); err != nil || h.Sessions != sessions {
		t.Fatalf("%d sessions, %v", h.Sessions, err)
	}
	// As records in memory they would be some 20 MB.
	if most > 4<<20 {
		t.Errorf("it takes %d KiB of heap", most>>10)
	}
	t.Logf("%d KiB of heap", most>>10)
}
