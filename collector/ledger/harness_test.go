package ledger_test

import (
	"encoding/json"
	"fmt"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/store"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

var epoch = time.Date(2026, time.March, 1, 22, 0, 0, 0, time.UTC)

var bounds = []float64{60, 600, 3600}

// tb is what testing.T and rapid.T share.
type tb interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Errorf(string, ...any)
}

// testLedger is a ledger whose state is in memory.
type testLedger struct {
	tb
	*ledger.Ledger
	storage *store.Memory
	opts    ledger.Options
	now     time.Time
	// ahead is how far the appliance's clock is ahead of now: far enough for what tests
	// make, that look at no clock.
	ahead time.Duration
}

// open returns a ledger of an appliance that was never read.
func open(t tb, opts ledger.Options) *testLedger {
	if opts.Bounds == nil {
		opts.Bounds = bounds
	}
	b := &testLedger{tb: t, storage: store.NewMemory(), opts: opts, now: epoch, ahead: 60 * 24 * time.Hour}
	b.restart()
	return b
}

// synced returns a ledger after its initial sync, with the given cutoff.
func synced(t tb, opts ledger.Options, cutoff time.Time) *testLedger {
	b := open(t, opts)
	b.transact(func(tx *ledger.Tx) {
		tx.BeginInitialSync(b.now.Add(-24 * time.Hour))
		tx.EndInitialSync()
		tx.SetCutoff(cutoff)
	})
	return b
}

// restart opens the ledger again, as another process would.
func (b *testLedger) restart() {
	b.Helper()
	state, err := b.storage.Load()
	if err != nil {
		b.Fatal(err)
	}
	b.Ledger = ledger.New(state, b.storage, b.opts, b.now)
}

// Begin begins a transaction, by the appliance's clock.
func (b *testLedger) Begin(now time.Time) *ledger.Tx {
	tx := b.Ledger.Begin(now)
	tx.SetClock(now.Add(b.ahead))
	return tx
}

// transact makes one transaction and saves it.
func (b *testLedger) transact(f func(*ledger.Tx)) *ledger.View {
	b.Helper()
	tx := b.Begin(b.now)
	f(tx)
	if c := tx.Changes(); !c.Empty() {
		if err := b.storage.Save(c); err != nil {
			b.Fatal(err)
		}
	}
	return tx.Commit(b.now)
}

// fold makes one transaction that folds the sessions, all of one policy.
func (b *testLedger) fold(policy string, from ledger.Origin, sessions ...vbaws.Session) *ledger.View {
	b.Helper()
	return b.transact(func(tx *ledger.Tx) {
		for _, s := range sessions {
			b.into(tx, s, policy, from)
		}
	})
}

func (b *testLedger) into(tx *ledger.Tx, s vbaws.Session, policy string, from ledger.Origin) {
	b.Helper()
	b.entry(tx, &s).Fold(policy, from)
}

// entry looks a session up.
func (b *testLedger) entry(tx *ledger.Tx, s *vbaws.Session) *ledger.Entry {
	b.Helper()
	e, err := tx.Entry(s)
	if err != nil {
		b.Fatal(err)
	}
	return e
}

// missing takes in that the appliance doesn't have the n-th session.
func (b *testLedger) missing(tx *ledger.Tx, n int) {
	b.Helper()
	if err := tx.MarkMissing(ledger.ParseID(vbawstest.ID(n))); err != nil {
		b.Fatal(err)
	}
}

// counts returns the counters that are not 0, by policy, type and status.
func counts(v *ledger.View) map[string]uint64 {
	m := make(map[string]uint64)
	for _, s := range v.Series {
		for _, c := range s.Counters {
			if c.Count > 0 {
				m[fmt.Sprintf("%s/%s/%s", s.Key.Policy, s.Key.Type, c.Status)] += c.Count
			}
		}
	}
	return m
}

// counter returns one counter of a view, or nil.
func counter(v *ledger.View, policy, status string) *ledger.Counter {
	if s := series(v, policy); s != nil {
		for _, c := range s.Counters {
			if c.Status == status {
				return c
			}
		}
	}
	return nil
}

func series(v *ledger.View, policy string) *ledger.SeriesView {
	for i := range v.Series {
		if v.Series[i].Key.Policy == policy {
			return &v.Series[i]
		}
	}
	return nil
}

// session returns the n-th session, which took from start to stop.
func session(n int, status string, start, stop time.Time) vbaws.Session {
	return vbaws.Session{
		ID: vbawstest.ID(n), Type: vbaws.TypePolicy, Status: status, Start: start, Stop: stop, USN: int64(n),
	}
}

// ended returns the n-th session, which began at start and took ten minutes.
func ended(n int, status string, start time.Time) vbaws.Session {
	return session(n, status, start, start.Add(10*time.Minute))
}

func running(n int, start time.Time) vbaws.Session {
	return session(n, vbaws.StatusRunning, start, time.Time{})
}

// dump writes out all of a view, what its pointers point at included.
func dump(t tb, v *ledger.View) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
