package killtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/store"
	"vbaws_exporter/vbaws/vbawstest"
)

var errDisk = errors.New("no space left on device")

// faulty is storage on a disk that fails on demand.
type faulty struct {
	poller.Storage
	failSave, failRead bool
	saves              int // that succeeded
}

func (b *faulty) Save(c *ledger.Changes) error {
	if b.failSave {
		return errDisk
	}
	b.saves++
	return b.Storage.Save(c)
}

func (b *faulty) Lookup(id ledger.ID, near []int32) (ledger.SeenSession, bool, error) {
	if b.failRead {
		return ledger.SeenSession{}, false, errDisk
	}
	return b.Storage.Lookup(id, near)
}

func (b *faulty) Skipped(id ledger.ID) (bool, error) {
	if b.failRead {
		return false, errDisk
	}
	return b.Storage.Skipped(id)
}

// failed makes a poll that must fail by storage, and show as nothing else.
func (p *process) failed() {
	p.t.Helper()
	before := p.Published()
	err := p.Poll(context.Background())
	if !errors.Is(err, errDisk) {
		p.t.Fatalf("poll: %v, want %v", err, errDisk)
	}
	after := p.Published()
	if after.Result != poller.ResultStorage {
		p.t.Fatalf("result %q", after.Result)
	}
	if !after.Up {
		p.t.Fatal("the appliance seems down, and it is the disk")
	}
	if after.View != before.View {
		p.t.Fatal("a view was published that is not on the disk")
	}
	if after.LastSuccess != before.LastSuccess {
		p.t.Fatal("the poll counts as successful")
	}
}

func TestDisk(t *testing.T) {
	t.Parallel()
	t.Run("full", testDiskFull)
	t.Run("fails now and then", testDiskFailsNowAndThen)
}

// testDiskFull: a poll that can't be saved is not shown, and what it had read is
// counted once the disk allows.
func testDiskFull(t *testing.T) {
	t.Parallel()
	f, server := newPlainFleet(t, 7)
	b := &faulty{}
	s := setup{dir: t.TempDir(), hold: 10 * time.Minute, wrap: func(inner poller.Storage) poller.Storage {
		b.Storage = inner
		return b
	}}
	p := start(t, f, server, s)
	b.failSave = true
	p.failed() // initial sync
	if v := p.Published().View; v != nil {
		t.Fatal("something is known before anything was saved")
	}
	if up, ok := p.scrape().values["vbaws_up "]; !ok || up != 1 {
		t.Errorf("vbaws_up is %v", up)
	}
	b.failSave = false
	f.live(30)
	p.poll()
	before := p.scrape()

	b.failSave = true
	for range 20 {
		f.live(10)
		f.advance(5 * time.Minute) // longer than series are held: none is lifted
		p.failed()
		page := p.scrape()
		if d := cmp.Diff(before.sessions(), page.sessions()); d != "" {
			t.Fatalf("what is scraped has changed:\n%s", d)
		}
		if up := page.values["vbaws_up "]; up != 1 {
			t.Errorf("vbaws_up is %v", up)
		}
	}
	p.close()
	// Even a restart changes nothing.
	p = start(t, f, server, s)
	defer p.close()
	if d := cmp.Diff(before.sessions(), p.scrape().sessions()); d != "" {
		t.Fatalf("what is scraped has changed with the restart:\n%s", d)
	}
	p.failed()

	b.failSave = false
	p.poll()
	if wrong := p.scrape().after(before); len(wrong) > 0 {
		t.Error(wrong)
	}
	p.settle(f)
	p.mustEqualTheTruth(f)
	saves := b.saves
	p.poll()
	if b.saves != saves {
		t.Error("a poll without news wrote")
	}
}

// testDiskFailsNowAndThen: whatever is shown is on the disk, whenever the disk
// fails and the process restarts.
func testDiskFailsNowAndThen(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := newFleet(rapid.Uint64().Draw(t, "seed"), false, vbawstest.Config{})
		server := vbawstest.NewHTTPServer(f.a)
		defer server.Close()
		kept := store.NewMemory() // which outlives the processes
		b := &faulty{Storage: kept}
		s := setup{hold: 10 * time.Minute, wrap: func(poller.Storage) poller.Storage { return b }}
		p := start(t, f, server, s)
		last := p.scrape()
		for range rapid.IntRange(1, 25).Draw(t, "polls") {
			f.live(rapid.IntRange(0, 10).Draw(t, "steps"))
			f.advance(time.Duration(rapid.IntRange(0, 90).Draw(t, "minutes")) * time.Minute)
			b.failSave = rapid.IntRange(0, 2).Draw(t, "save fails") == 0
			b.failRead = rapid.IntRange(0, 4).Draw(t, "read fails") == 0
			err := p.Poll(context.Background())
			if err != nil && !(errors.Is(err, errDisk) && (b.failSave || b.failRead)) {
				t.Fatal(err)
			}
			p.mustBeOn(kept)
			b.failSave, b.failRead = false, false
			if rapid.IntRange(0, 4).Draw(t, "restart") == 0 {
				p.close()
				p = start(t, f, server, s)
			}
			now := p.scrape()
			if wrong := now.after(last); len(wrong) > 0 {
				t.Fatal(wrong)
			}
			last = now
		}
		p.settle(f)
		p.mustEqualTheTruth(f)
		p.close()
	})
}

// mustBeOn compares what is published with what is stored.
func (p *process) mustBeOn(b poller.Storage) {
	p.t.Helper()
	state, err := b.Load()
	if err != nil {
		p.t.Fatal(err)
	}
	shown := make(map[ledger.Key]*ledger.Series)
	if v := p.Published().View; v != nil {
		for _, s := range v.Series {
			shown[s.Key] = s.Series
		}
	}
	if d := cmp.Diff(state.Series, shown); d != "" {
		p.t.Fatalf("-stored +published:\n%s", d)
	}
}
