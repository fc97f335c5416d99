package store

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/store/record/recordtest"
)

const damagedIDs = 500

// A page of bbolt's begins with a header of so many bytes, and the elements after it
// with so many.
const pageHeaderSize, elementSize = 16, 16

// damagedBase makes a file with a bit of everything in the folder path, and
// returns its content after the last save but one and after the last.
func damagedBase(path string) (before, after []byte, err error) {
	s, err := Open(path, Options{Now: func() time.Time { return time.Unix(2e9, 0) }})
	if err != nil {
		return nil, nil, err
	}
	for _, name := range []string{"a", "b"} {
		b, err := s.Appliance(name)
		if err != nil {
			return nil, nil, err
		}
		c := &ledger.Changes{Seen: map[ledger.ID]ledger.SeenSession{}}
		for n := range damagedIDs {
			c.Seen[recordtest.Session(n)] = ledger.SeenSession{ID: recordtest.Session(n), Day: 20000 + int32(n%10), USN: int64(n), At: time.Unix(20000*86400+int64(n), 0)}
		}
		if err := b.Save(c); err != nil {
			return nil, nil, err
		}
		for seed := range 8 {
			c := recordtest.Changes.Example(seed)
			c.Forget = time.Time{}
			if err := b.Save(c); err != nil {
				return nil, nil, err
			}
		}
		// Pages that are free again.
		if err := b.Save(&ledger.Changes{Forget: time.Unix(20000*86400+150, 0)}); err != nil {
			return nil, nil, err
		}
	}
	if before, err = os.ReadFile(s.path); err != nil {
		return nil, nil, err
	}
	b, err := s.Appliance("a")
	if err != nil {
		return nil, nil, err
	}
	if err := b.Save(remember(-1, 20005)); err != nil {
		return nil, nil, err
	}
	if after, err = os.ReadFile(s.path); err != nil {
		return nil, nil, err
	}
	return before, after, s.Close()
}

// dump is all that a file says.
type dump struct {
	States  []*ledger.State
	IDs     []ledger.SeenSession
	Skipped []ledger.ID
}

func dumpOf(path string) (d dump, err error) {
	s, err := Open(path, Options{Now: func() time.Time { return time.Unix(2e9, 0) }})
	if err != nil {
		return d, err
	}
	defer func() { _ = s.Close() }()
	for _, name := range []string{"a", "b"} {
		b, err := s.Appliance(name)
		if err != nil {
			return d, err
		}
		state, err := b.Load()
		if err != nil {
			return d, err
		}
		d.States = append(d.States, state)
		for n := -1; n < damagedIDs+31; n++ {
			id := recordtest.Session(n)
			if n >= damagedIDs {
				m := byte(n - damagedIDs)
				id = ledger.ID{0: m % 3, 15: m}
			}
			r, found, err := b.Lookup(id, []int32{20000 + int32(max(n, 5)%10)})
			if err != nil {
				return d, err
			}
			if found {
				d.IDs = append(d.IDs, r)
			}
			found, err = b.Skipped(id)
			if err != nil {
				return d, err
			}
			if found {
				d.Skipped = append(d.Skipped, id)
			}
		}
	}
	// It can be written to as well.
	b, err := s.Appliance("a")
	if err != nil {
		return d, err
	}
	if err := b.Save(remember(-2, 20006)); err != nil {
		return d, err
	}
	if err := s.Close(); err != nil {
		return d, err
	}
	if s, err = Open(path, Options{}); err != nil {
		return d, fmt.Errorf("WRONG: after it was written to: %w", err)
	}
	return d, nil
}

// damage changes a copy of content and says whether that concerns what says which
// commit is the last.
func damage(content []byte, pageSize, pages int, n int) (damaged []byte, kind string, meta bool) {
	r := rand.New(rand.NewPCG(uint64(n), 1))
	b := bytes.Clone(content)
	used := pages * pageSize
	page := func(id int) []byte { return b[id*pageSize : (id+1)*pageSize] }
	switch n % 8 {
	case 0, 1:
		at := r.IntN(used)
		b[at] ^= 1 << r.IntN(8)
		return b, "bit", at < 2*pageSize
	case 2: // the headers of pages and elements
		at := r.IntN(pages)*pageSize + r.IntN(pageHeaderSize+4*elementSize)
		b[at] ^= 1 << r.IntN(8)
		return b, "bit of a header", at < 2*pageSize
	case 3:
		at := r.IntN(used - 64)
		for i := range 1 + r.IntN(64) {
			b[at+i] = byte(r.Uint32())
		}
		return b, "bytes", at < 2*pageSize
	case 4:
		return b[:r.IntN(used)], "truncated", false
	case 5:
		id := r.IntN(pages)
		clear(page(id))
		return b, "page of zeros", id < 2
	case 6:
		from, to := r.IntN(pages), r.IntN(pages)
		copy(page(to), page(from))
		return b, "page of another", to < 2
	default:
		from, to := r.IntN(pages), r.IntN(pages)
		x := bytes.Clone(page(to))
		copy(page(to), page(from))
		copy(page(from), x)
		return b, "swapped pages", min(from, to) < 2
	}
}

// damagedChild damages the file args[0] in ways args[1] to args[2], and says of
// each what came of it.
func damagedChild(args []string) {
	try := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	dir, err := os.MkdirTemp(filepath.Dir(args[0]), "")
	try(err)
	content, err := os.ReadFile(args[0])
	try(err)
	before, err := os.ReadFile(args[0] + ".before")
	try(err)
	path := filepath.Join(dir, FileName)
	try(os.WriteFile(path, content, 0o600))
	pageSize := os.Getpagesize()
	s, err := Open(dir, Options{})
	try(err)
	pages := 0
	try(s.file.View(func(tx *bbolt.Tx) error {
		pages = int(tx.Size()) / pageSize
		return nil
	}))
	try(s.Close())
	want, err := dumpOf(dir)
	try(err)
	try(os.WriteFile(path, before, 0o600))
	wantBefore, err := dumpOf(dir)
	try(err)
	if reflect.DeepEqual(want, wantBefore) || len(want.IDs) < damagedIDs || len(want.Skipped) == 0 {
		panic("the file to be damaged is no test")
	}
	from, err := strconv.Atoi(args[1])
	try(err)
	to, err := strconv.Atoi(args[2])
	try(err)
	for n := from; n < to; n++ {
		damaged, kind, meta := damage(content, pageSize, pages, n)
		try(os.WriteFile(path, damaged, 0o600))
		fmt.Println("begin", n, kind)
		got, err := dumpOf(dir)
		result := "WRONG: accepted"
		switch {
		case err != nil:
			result = "refused: " + err.Error()
			if after, _ := os.ReadFile(path); !bytes.Equal(after, damaged) {
				result = "WRONG: refused and changed: " + err.Error()
			}
		case reflect.DeepEqual(got, want):
			result = "same"
		case meta && reflect.DeepEqual(got, wantBefore):
			result = "before"
		}
		fmt.Println("end", n, kind, result)
	}
}

// A damaged file is refused, or has its previous content. If the newest meta page is
// damaged, that is the content before the last save, as after a crash while that page
// was written.
func testOpenDamaged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	before, after, err := damagedBase(dir)
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(dir, FileName)
	if err := os.WriteFile(base, after, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(base+".before", before, 0o600); err != nil {
		t.Fatal(err)
	}
	cases := 96
	if v := os.Getenv("VBAWS_EXPORTER_STORE_DAMAGES"); v != "" {
		if cases, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	results := map[string]int{}
	for n := 0; n < cases; {
		cmd := child(t, "damaged", base, strconv.Itoa(n), strconv.Itoa(cases))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		kind := ""
		for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
			line := lines.Text()
			number, rest, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(line, "begin "), "end "), " ")
			if n, err = strconv.Atoi(number); err != nil {
				t.Fatalf("child said %q", line)
			}
			kind = rest
			if strings.HasPrefix(line, "end ") {
				if strings.Contains(rest, "WRONG") {
					t.Errorf("damage %d, %s", n, rest)
				}
				kind, _, _ = strings.Cut(rest, ":")
				results[kind]++
				n++
				kind = ""
			}
		}
		if cmd.ProcessState.ExitCode() == 0 {
			break
		}
		if kind == "" {
			t.Fatalf("child failed: %v\n%s", err, stderr.Bytes())
		}
		first, _, _ := strings.Cut(stderr.String(), "\n")
		t.Errorf("damage %d, %s: crash: %s", n, kind, first)
		results[kind+" crash"]++
		n++
	}
	if results["bit refused"] == 0 || results["bit same"] == 0 {
		t.Error("nothing was tried")
	}
	t.Log(results)
}
