package killtest

import (
	"flag"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/store"
	"vbaws_exporter/internal/polltest"
	"vbaws_exporter/vbaws/vbawstest"
)

var history = flag.Int("history", 10_000, "sessions that TestHistoryCostsDiskAlone stores at most")

// costs are what n seen sessions cost.
type costs struct {
	n int
	// heap is what a process that has loaded its state and made a poll adds to the heap,
	// in bytes.
	heap int64
	file int64 // bytes
	// open is how long it takes to open and check the file and to load the state,
	// idle a poll without news, busy one with a session that ended, resync one that
	// reads by time.
	open, idle, busy, resync time.Duration
	// requests and lookups are those of the busy polls together.
	requests, lookups int
}

// counting counts look-ups in storage.
type counting struct {
	poller.Storage
	lookups int
}

func (c *counting) Lookup(id ledger.ID, near []int32) (ledger.SeenSession, bool, error) {
	c.lookups++
	return c.Storage.Lookup(id, near)
}

// TestHistoryCostsDiskAlone measures what 400 days of history cost: neither heap
// nor requests nor look-ups, some bytes on the disk. Times are logged only.
func TestHistoryCostsDiskAlone(t *testing.T) {
	few := measure(t, 1000)
	many := measure(t, *history)
	for _, c := range []costs{few, many} {
		t.Logf("%d sessions: heap %d KiB, file %.1f MiB (%.0f bytes a session), open %v, poll without news %v, with a session %v, with a resync %v",
			c.n, c.heap>>10, float64(c.file)/(1<<20), float64(c.file)/float64(c.n), c.open, c.idle, c.busy, c.resync)
	}
	// A filter of three bytes a session at most.
	if grown := many.heap - few.heap; grown > 256<<10+3*int64(many.n) {
		t.Errorf("%d sessions more take %d KiB more of the heap", many.n-few.n, grown>>10)
	}
	if per := float64(many.file) / float64(many.n); many.n >= 10_000 && per > 150 {
		t.Errorf("the file has %.0f bytes a session", per)
	}
	if many.requests != few.requests || many.lookups != few.lookups {
		t.Errorf("polls took %d requests and %d look-ups with %d sessions, and %d and %d with %d",
			few.requests, few.lookups, few.n, many.requests, many.lookups, many.n)
	}
}

func measure(t *testing.T, n int) (c costs) {
	t.Helper()
	const polls, processes = 20, 5
	c.n = n
	f, server := newPlainFleet(t, 8)
	s := setup{dir: t.TempDir()}
	p := start(t, f, server, s)
	p.poll()
	storage, err := p.store.Appliance(polltest.Appliance)
	if err != nil {
		t.Fatal(err)
	}
	remember(t, storage, n, f.clock.Now())
	p.close()

	b := &counting{}
	s.wrap = func(inner poller.Storage) poller.Storage {
		b.Storage = inner
		return b
	}
	// Connections of an earlier process can end while the heap is measured. The median does
	// not depend on them.
	var heaps []int64
	for n := range processes {
		before := heap()
		begun := time.Now()
		p = start(t, f, server, s)
		c.open = time.Since(begun)
		p.poll()
		heaps = append(heaps, heap()-before)
		if n < processes-1 {
			p.close()
		}
	}
	slices.Sort(heaps)
	c.heap = heaps[processes/2]

	best := func(prepare func()) time.Duration {
		least := time.Duration(math.MaxInt64)
		for range polls {
			prepare()
			begun := time.Now()
			p.poll()
			least = min(least, time.Since(begun))
		}
		return least
	}
	c.idle = best(func() {})
	asked, looked := len(f.a.Requests()), b.lookups
	c.busy = best(func() {
		s := f.a.Start(vbawstest.Session{Type: "Policy", ExtendedType: "PolicyBackup", Name: "finance", PolicyID: f.policy[3].ID})
		f.advance(time.Second)
		f.a.Finish(s.ID, "Succeeded", time.Time{})
	})
	c.requests, c.lookups = len(f.a.Requests())-asked, b.lookups-looked
	c.resync = best(func() { f.advance(time.Hour) })
	p.close()
	info, err := os.Stat(filepath.Join(s.dir, store.FileName))
	if err != nil {
		t.Fatal(err)
	}
	c.file = info.Size()
	return c
}

// remember saves n seen sessions of the 400 days before now, in the order of their ends.
func remember(t *testing.T, storage poller.Storage, n int, now time.Time) {
	t.Helper()
	const span = 400 * 24 * time.Hour
	perSave := max(1, n/500)
	for i := 0; i < n; {
		c := &ledger.Changes{Seen: make(map[ledger.ID]ledger.SeenSession, perSave)}
		for range min(perSave, n-i) {
			at := now.Add(-span + time.Duration(float64(span)*float64(i)/float64(n)))
			id := ledger.ID(uuid.New())
			c.Seen[id] = ledger.SeenSession{
				ID: id, Day: int32(at.Unix() / (24 * 60 * 60)), USN: int64(i), Fingerprint: uint32(i), At: at.Truncate(time.Second),
			}
			i++
		}
		if err := storage.Save(c); err != nil {
			t.Fatal(err)
		}
	}
}

// heap returns how much of it is in use.
func heap() int64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
