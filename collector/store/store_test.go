package store

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/store/record"
	"vbaws_exporter/collector/store/record/recordtest"
)

// childVar says which of children a process of the test binary is to be.
const childVar = "VBAWS_EXPORTER_STORE_CHILD"

// children are run in processes of their own, which may die.
var children = map[string]func(args []string){
	"damaged": damagedChild,
	"kill":    killChild,
}

func TestMain(m *testing.M) {
	if name := os.Getenv(childVar); name != "" {
		children[name](os.Args[1:])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(t *testing.T, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), childVar+"="+name)
	return cmd
}

// remember is a change of one session, dealt with on the given day.
func remember(n int, day int32) *ledger.Changes {
	id := recordtest.Session(n)
	return &ledger.Changes{
		Meta: &ledger.Meta{Resets: uint64(n)},
		Seen: map[ledger.ID]ledger.SeenSession{
			id: {ID: id, Day: day, USN: int64(n), At: time.Unix(int64(day)*86400+3600, 0).UTC()},
		},
	}
}

func resets(t *testing.T, b state) uint64 {
	t.Helper()
	s, err := b.Load()
	if err != nil {
		t.Fatal(err)
	}
	return s.Meta.Resets
}

func TestOpen(t *testing.T) {
	t.Run("private folder and file", testOpenPrivateFolderAndFile)
	t.Run("touches no other file", testOpenTouchesNoOtherFile)
	t.Run("symbolic link", testOpenSymbolicLink)
	t.Run("locked", testOpenLocked)
	t.Run("file can't be created", testOpenFileCantBeCreated)
	t.Run("folder can't be created", testOpenFolderCantBeCreated)
	t.Run("other contents", testOpenOtherContents)
	t.Run("not a bbolt file", testOpenNotABboltFile)
	t.Run("damaged", testOpenDamaged)
}

func testOpenPrivateFolderAndFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "data")
	open(t, path)
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) != 1 || entries[0].Name() != FileName {
		t.Errorf("folder holds %v, %v", entries, err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	for name, want := range map[string]fs.FileMode{path: 0o700 | fs.ModeDir, filepath.Join(path, FileName): 0o600} {
		info, err := os.Stat(name)
		if err != nil || info.Mode() != want {
			t.Errorf("mode of %s is %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
}

// testOpenTouchesNoOtherFile: the file is made beside whatever is in the folder
// already, such as a copy that somebody is about to put in place.
func testOpenTouchesNoOtherFile(t *testing.T) {
	path := t.TempDir()
	precious := filepath.Join(path, FileName+".new")
	if err := os.WriteFile(precious, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	save(t, openAppliance(t, open(t, path), "a"), remember(1, 20000))
	if got, err := os.ReadFile(precious); err != nil || string(got) != "precious" {
		t.Errorf("%s holds %q, %v", precious, got, err)
	}
	if entries, err := os.ReadDir(path); err != nil || len(entries) != 2 {
		t.Errorf("folder holds %v, %v", entries, err)
	}
}

// testOpenSymbolicLink: a link to nowhere in place of the file is not written through.
func testOpenSymbolicLink(t *testing.T) {
	path, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "file")
	if err := os.Symlink(elsewhere, filepath.Join(path, FileName)); err != nil {
		t.Skip(err)
	}
	if _, err := Open(path, Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(elsewhere); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was written through the link: %v", err)
	}
	if entries, err := os.ReadDir(path); err != nil || len(entries) != 1 {
		t.Errorf("folder holds %v, %v", entries, err)
	}
}

func testOpenLocked(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	s := open(t, path)
	save(t, openAppliance(t, s, "a"), remember(1, 20000))
	_, err := Open(path, Options{})
	if want := filepath.Join(path, FileName) + " is in use by another process"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	// The first is none the worse.
	save(t, openAppliance(t, s, "a"), remember(2, 20000))
}

// What can't be read isn't damaged: there is nothing to restore, or to move away.
func testOpenFileCantBeCreated(t *testing.T) {
	path := t.TempDir()
	if err := os.Mkdir(filepath.Join(path, FileName), 0o700); err != nil {
		t.Fatal(err)
	}
	var pathErr *fs.PathError
	var damaged *DamagedError
	if _, err := Open(path, Options{}); !errors.As(err, &pathErr) || errors.As(err, &damaged) {
		t.Errorf("got %v", err)
	}
}

func testOpenFolderCantBeCreated(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var pathErr *fs.PathError
	if _, err := Open(file, Options{}); !errors.As(err, &pathErr) {
		t.Errorf("got %v", err)
	}
}

// edit changes a closed file by bbolt's means.
func edit(t *testing.T, path string, fn func(tx *bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(path, FileName), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(fn), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// closed returns a folder whose file holds appliance a.
func closed(t *testing.T) (path string) {
	t.Helper()
	path = t.TempDir()
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := openAppliance(t, s, "a")
	c := remember(0, 20000)
	for n := range 200 {
		maps.Copy(c.Seen, remember(n, 20000).Seen)
	}
	c.Meta.Resets = 199
	save(t, b, c)
	series := &ledger.Series{Key: ledger.Key{Type: "Policy"}, Counters: []*ledger.Counter{{Status: "Failed", Count: 3}}}
	save(t, b, &ledger.Changes{
		Series:     map[ledger.Key]*ledger.Series{series.Key: series},
		Unfinished: map[ledger.ID]*ledger.Unfinished{recordtest.Session(1): {Policy: "daily"}},
		Policies:   map[ledger.PolicyKey]*ledger.Policy{{ID: "1"}: {PolicyKey: ledger.PolicyKey{ID: "1"}}},
		Skipped:    map[ledger.ID]time.Time{recordtest.Session(2): time.Unix(1e9, 0)},
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func a(tx *bbolt.Tx) *bbolt.Bucket {
	return tx.Bucket([]byte(appliancesBucket)).Bucket([]byte("a"))
}

// What is not what was written is refused by name, and left alone.
func testOpenOtherContents(t *testing.T) {
	t.Parallel()
	flip := func(bucket string) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error {
			b := a(tx).Bucket([]byte(bucket))
			key, record := b.Cursor().First()
			record = bytes.Clone(record)
			record[len(record)-1] ^= 1
			return b.Put(key, record)
		}
	}
	for name, tt := range map[string]struct {
		edit func(*bbolt.Tx) error
		want []string
	}{
		"newer format": {
			func(tx *bbolt.Tx) error { return tx.Bucket([]byte("format")).Put([]byte("version"), []byte("2")) },
			[]string{`has format "2"`, `knows only format "1"`},
		},
		"no format": {
			func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("format")) },
			[]string{`has format ""`},
		},
		"unknown top bucket": {
			func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("other")); return err },
			[]string{`bucket "other" is unknown`, "move it away", "backup"},
		},
		"no appliances": {
			func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("appliances")) },
			[]string{`bucket "appliances" is missing`},
		},
		"unknown key": {
			func(tx *bbolt.Tx) error {
				return a(tx).Put([]byte("x"), record.PlaceOf("a", record.OwnBucket).Seal([]byte("x"), []byte("y")))
			},
			[]string{`appliance "a"`, "key 78", "is unknown"},
		},
		"unknown bucket": {
			func(tx *bbolt.Tx) error { _, err := a(tx).CreateBucket([]byte("x")); return err },
			[]string{`appliance "a"`, "key 78", "is unknown"},
		},
		"key instead of an appliance": {
			func(tx *bbolt.Tx) error { return tx.Bucket([]byte("appliances")).Put([]byte("b"), []byte("y")) },
			[]string{`appliance "b"`, "is not a bucket"},
		},
		"missing bucket": {
			func(tx *bbolt.Tx) error { return a(tx).DeleteBucket([]byte("series")) },
			[]string{`appliance "a", series`, "bucket is missing"},
		},
		"missing record": {
			func(tx *bbolt.Tx) error { return a(tx).Delete([]byte("seen")) },
			[]string{"key 7365656e", "record is missing"},
		},
		"renamed appliance": {
			func(tx *bbolt.Tx) error {
				all := tx.Bucket([]byte("appliances"))
				b, err := all.CreateBucket([]byte("b"))
				if err != nil {
					return err
				}
				for _, name := range record.Buckets[1:] {
					if err := tx.MoveBucket([]byte(name), a(tx), b); err != nil {
						return err
					}
				}
				return errors.Join(b.Put([]byte("seen"), a(tx).Get([]byte("seen"))), all.DeleteBucket([]byte("a")))
			},
			[]string{`appliance "b"`, "key 7365656e", "checksum"},
		},
		"series":     {flip("series"), []string{`appliance "a", series, key `, "checksum"}},
		"unfinished": {flip("unfinished"), []string{`appliance "a", unfinished, key `, "checksum"}},
		"policies":   {flip("policies"), []string{`appliance "a", policies, key `, "checksum"}},
		"ids":        {flip("ids"), []string{`appliance "a", ids, key 80004e20`, "checksum"}},
		"skipped":    {flip("skipped"), []string{`appliance "a", skipped, key `, "checksum"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := closed(t)
			edit(t, path, tt.edit)
			file := filepath.Join(path, FileName)
			before, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Open(path, Options{})
			if err == nil {
				t.Fatal("was opened")
			}
			for _, want := range append(tt.want, file) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error says %q, and not %q", err, want)
				}
			}
			after, err := os.ReadFile(file)
			if err != nil || !bytes.Equal(before, after) {
				t.Errorf("file was changed, %v", err)
			}
		})
	}
}

func testOpenNotABboltFile(t *testing.T) {
	for name, content := range map[string][]byte{
		"empty": {},
		"short": []byte("short"),
		"text":  bytes.Repeat([]byte("some text\n"), 5000),
		"zeros": make([]byte, 1<<16),
	} {
		path := t.TempDir()
		file := filepath.Join(path, FileName)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path, Options{})
		var damaged *DamagedError
		if !errors.As(err, &damaged) || damaged.Path != file {
			t.Errorf("%s: got %v", name, err)
		}
		if after, err := os.ReadFile(file); err != nil || !bytes.Equal(content, after) {
			t.Errorf("%s: file was changed, %v", name, err)
		}
	}
}

func testApplianceWrittenByTheFirstSave(t *testing.T) {
	path := t.TempDir()
	s := open(t, path)
	before, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	b := openAppliance(t, s, "a")
	if _, err := b.Load(); err != nil {
		t.Fatal(err)
	}
	save(t, b, &ledger.Changes{})
	after, err := os.ReadFile(s.path)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("file was changed, %v", err)
	}
	for _, name := range []string{"", strings.Repeat("x", bbolt.MaxKeySize+1)} {
		if _, err := s.Appliance(name); err == nil {
			t.Errorf("name of %d bytes was accepted", len(name))
		}
	}
}

// What can't be written down is refused before anything is written, and what
// comes later is not hindered.
func testApplianceWhatCantBeEncoded(t *testing.T) {
	b := openAppliance(t, open(t, t.TempDir()), "a")
	save(t, b, remember(1, 20000))
	bad := "\xff"
	for name, c := range map[string]*ledger.Changes{
		"series":     {Series: map[ledger.Key]*ledger.Series{{Policy: bad}: {Key: ledger.Key{Policy: bad}}}},
		"unfinished": {Unfinished: map[ledger.ID]*ledger.Unfinished{{1}: {Policy: bad}}},
		"policy":     {Policies: map[ledger.PolicyKey]*ledger.Policy{{ID: bad}: {PolicyKey: ledger.PolicyKey{ID: bad}}}},
		"meta":       {Meta: &ledger.Meta{Skipped: map[string]uint64{bad: 1}}},
	} {
		c.Seen = remember(2, 20001).Seen
		if err := b.Save(c); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), `appliance "a"`) {
			t.Errorf("%s: got %v", name, err)
		}
		if day, _ := b.NewestDay(); day != 20000 {
			t.Errorf("%s: something was saved", name)
		}
	}
	save(t, b, remember(2, 20001))
}

func testApplianceUnusedDropped(t *testing.T) {
	path := t.TempDir()
	now := time.Unix(2e9, 0)
	s, err := Open(path, Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for _, name := range []string{"kept", "old", "older"} {
		save(t, openAppliance(t, s, name), remember(1, 20000))
	}
	now = now.Add(time.Hour)
	save(t, openAppliance(t, s, "new"), remember(1, 20000))
	s = reopen(t, s)

	drop := func(before time.Time, want ...string) {
		t.Helper()
		got, err := s.DropUnused([]string{"kept", "unknown"}, before)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("dropped (-want +got): %v\n%s", err, diff)
		}
	}
	drop(now.Add(-time.Hour))
	drop(now, "old", "older")
	drop(now)
	// By a clock that is far ahead, the last save is long ago.
	drop(now.Add(time.Second))

	check := func() {
		t.Helper()
		for name, want := range map[string]bool{"kept": true, "new": true, "old": false, "older": false} {
			b := openAppliance(t, s, name)
			_, found, err := b.Lookup(recordtest.Session(1), nil)
			if _, stored := b.NewestDay(); err != nil || found != want || stored != want || (resets(t, b) == 1) != want {
				t.Errorf("%s is there: %v, %v, want %v", name, found, err, want)
			}
		}
	}
	check()
	s = reopen(t, s)
	check()
	save(t, openAppliance(t, s, "old"), remember(2, 20001))
	if _, found, err := openAppliance(t, s, "old").Lookup(recordtest.Session(1), []int32{20000}); found || err != nil {
		t.Error("a dropped appliance does not begin empty", err)
	}
}

func testApplianceClosed(t *testing.T) {
	s := open(t, t.TempDir())
	b := openAppliance(t, s, "a")
	save(t, b, remember(1, 20000))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, loadErr := b.Load()
	_, _, lookupErr := b.Lookup(recordtest.Session(1), []int32{20000})
	_, skippedErr := b.Skipped(recordtest.Session(1))
	_, _, forgettableErr := b.Forgettable(time.Unix(2e9, 0))
	_, applianceErr := s.Appliance("b")
	_, dropErr := s.DropUnused(nil, time.Unix(2e9, 0))
	for i, err := range []error{loadErr, lookupErr, skippedErr, forgettableErr, applianceErr, dropErr, b.Save(remember(2, 20000))} {
		if !errors.Is(err, fs.ErrClosed) {
			t.Errorf("call %d: got %v", i, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// Appliances are polled, and saved, at the same time.
func testApplianceIndependent(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c"} {
		b := openAppliance(t, s, name)
		wg.Go(func() {
			for n := range 20 {
				if err := b.Save(remember(n, 20000+int32(n))); err != nil {
					t.Error(err)
				}
				if _, found, err := b.Lookup(recordtest.Session(n), []int32{20000 + int32(n)}); !found || err != nil {
					t.Errorf("session %d: %v, %v", n, found, err)
				}
				b.NewestDay()
				if _, _, err := b.Forgettable(time.Unix(20010*86400, 0)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, name := range []string{"a", "b", "c"} {
		if got := resets(t, openAppliance(t, s, name)); got != 19 {
			t.Errorf("appliance %s is at %d, want 19", name, got)
		}
	}
}

// The search for what is to be forgotten does not go through what is not.
func testSeenForgetReadsOldDaysOnly(t *testing.T) {
	path := closed(t)
	edit(t, path, func(tx *bbolt.Tx) error {
		return a(tx).Bucket([]byte(record.IDsBucket)).Put(record.IDKey(20001, recordtest.Session(1)), []byte("no record"))
	})
	db, err := bbolt.Open(filepath.Join(path, FileName), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	err = db.View(func(tx *bbolt.Tx) error {
		p := applianceTx{appliance: "a", root: a(tx)}
		n := 0
		if err := p.expired(time.Unix(20001*86400-1, 0), func([]byte, ledger.SeenSession) { n++ }); err != nil || n != 200 {
			t.Errorf("found %d of 200, %v", n, err)
		}
		if err := p.expired(time.Unix(20001*86400, 0), func([]byte, ledger.SeenSession) {}); err == nil {
			t.Error("the last day was not read")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// killChild saves in the folder args[0] until it comes to the point args[1] of
// save args[2], and ends there as a crash would end it.
func killChild(args []string) {
	points := 0
	s, err := Open(args[0], Options{Crash: func(point string) {
		if point == args[1] {
			if points++; points == len(args[2]) {
				os.Exit(7)
			}
		}
	}})
	if err != nil {
		panic(err)
	}
	b, err := s.Appliance("a")
	if err != nil {
		panic(err)
	}
	for n := range 10 {
		if err := b.Save(remember(n+1, 20000)); err != nil {
			panic(err)
		}
	}
}

// A process that ends at a named point leaves the state of before the commit, or
// of after it.
func testCrashPoints(t *testing.T) {
	t.Parallel()
	for point, want := range map[string]uint64{CrashBegin: 2, CrashFilled: 2, CrashDone: 3} {
		path := t.TempDir()
		out, err := child(t, "kill", path, point, "xxx").CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 7 {
			t.Fatalf("%s: %v\n%s", point, err, out)
		}
		if got := resets(t, openAppliance(t, open(t, path), "a")); got != want {
			t.Errorf("%s: state is of save %d, want %d", point, got, want)
		}
	}
}

func testCrashPointsInOrder(t *testing.T) {
	var points []string
	s, err := Open(t.TempDir(), Options{Crash: func(point string) { points = append(points, point) }})
	if err != nil {
		t.Fatal(err)
	}
	save(t, openAppliance(t, s, "a"), &ledger.Changes{})
	save(t, openAppliance(t, s, "a"), remember(1, 20000))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(points, []string{CrashBegin, CrashFilled, CrashDone}) {
		t.Errorf("got %v", points)
	}
}
