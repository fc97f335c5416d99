package store

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/store/record/recordtest"
)

func TestCrash(t *testing.T) {
	t.Run("within a commit", testCrashWithinACommit)
	t.Run("points", testCrashPoints)
	t.Run("points in order", testCrashPointsInOrder)
	t.Run("failed commit", testCrashFailedCommit)
	t.Run("import", testCrashImport)
}

// A crash of the machine in the middle of a commit is simulated on the file as
// it was before the commit and as it is after it.
//
// bbolt's Tx.Commit grows the file and syncs it, writes all pages but the meta
// page, syncs, writes the meta page, syncs. Pages are written nowhere else. What
// a crash leaves is then one of two things:
//
//   - before the first sync of pages was over: the old meta pages, and of the
//     other pages that the commit has changed any subset, each sector on its own,
//     since the disk may write them in any order, or not;
//   - after it: all those pages, and of the meta page any subset of its sectors
//     or, if the disk tears sectors, any part.
//
// A page that was written and is as it was is the same in all of them, so the
// difference of the two files is all that has to be known.
func testCrashWithinACommit(t *testing.T) {
	t.Parallel()
	const sector = 512
	dir := t.TempDir()
	file := filepath.Join(dir, FileName)
	read := func(t *rapid.T) []byte {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	outcomes := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		s, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		b, m := openAppliance(t, s, "a"), newModel()
		change := func(c *ledger.Changes) {
			save(t, b, c)
			m.save(c)
		}
		// Enough for a tree with branches, of which pages are free again.
		many := &ledger.Changes{Seen: map[ledger.ID]ledger.SeenSession{}}
		for n := range rapid.IntRange(0, 600).Draw(t, "many") {
			at := time.Unix(20000*86400+int64(n%40)*10800, 0)
			many.Seen[recordtest.Session(n)] = ledger.SeenSession{ID: recordtest.Session(n), Day: 19999, At: at}
		}
		change(many)
		for range rapid.IntRange(0, 4).Draw(t, "saves") {
			change(recordtest.Changes.Draw(t, "changes"))
		}
		before, mBefore := read(t), m.clone()
		change(recordtest.Changes.Draw(t, "last"))
		after, pageSize := read(t), os.Getpagesize()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}

		meta := 2 * pageSize
		crashed := bytes.Clone(before)
		if rapid.Bool().Draw(t, "grown") {
			crashed = append(crashed, make([]byte, len(after)-len(before))...)
		}
		// apply writes the sectors from..to that differ and that keep says.
		apply := func(from, to int, keep func() bool) {
			for at := from; at < to; at += sector {
				old := make([]byte, sector)
				if at < len(crashed) {
					copy(old, crashed[at:])
				}
				if bytes.Equal(old, after[at:at+sector]) || !keep() {
					continue
				}
				if len(crashed) < at+sector {
					crashed = append(crashed, make([]byte, at+sector-len(crashed))...)
				}
				copy(crashed[at:], after[at:at+sector])
			}
		}
		if rapid.Bool().Draw(t, "pages are synced") {
			crashed = append(crashed, make([]byte, len(after)-len(crashed))...)
			apply(meta, len(after), func() bool { return true })
			if rapid.Bool().Draw(t, "sectors are whole") {
				apply(0, meta, func() bool { return rapid.IntRange(0, 3).Draw(t, "sector") > 0 })
			} else {
				from := rapid.IntRange(0, meta).Draw(t, "from")
				to := rapid.IntRange(from, meta).Draw(t, "to")
				copy(crashed[from:to], after[from:to])
			}
		} else {
			odds := rapid.IntRange(0, 4).Draw(t, "odds")
			apply(meta, len(after), func() bool { return rapid.IntRange(0, 4).Draw(t, "sector") < odds })
		}
		if err := os.WriteFile(file, crashed, 0o600); err != nil {
			t.Fatal(err)
		}

		if s, err = Open(dir, Options{}); err != nil {
			t.Fatal(err)
		}
		b = openAppliance(t, s, "a")
		switch toBefore, toAfter := mBefore.diff(t, b), m.diff(t, b); {
		case toAfter == "":
			outcomes["after"]++
		case toBefore == "":
			outcomes["before"]++
			m = mBefore
		default:
			t.Fatalf("neither the state before (-want +got):\n%s\nnor after:\n%s", toBefore, toAfter)
		}
		// And it goes on from there.
		change(recordtest.Changes.Draw(t, "next"))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(dir, Options{}); err != nil {
			t.Fatal(err)
		}
		if diff := m.diff(t, openAppliance(t, s, "a")); diff != "" {
			t.Fatalf("state after the next save (-want +got):\n%s", diff)
		}
	})
	t.Log(outcomes)
}
