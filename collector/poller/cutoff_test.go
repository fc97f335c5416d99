package poller_test

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

const day = 24 * time.Hour

// off is what is wrong with the clocks when an appliance is first read.
type off struct {
	date   time.Duration // the Date header alone, as by a proxy
	noDate bool
	clock  time.Duration // the appliance's clock
	ours   time.Duration
}

func TestCutoff(t *testing.T) {
	t.Run("wrong clocks at the initial sync", testCutoffWrongClocksAtTheInitialSync)
	t.Run("wrong clocks without a state directory", testCutoffWrongClocksWithoutAStateDirectory)
	t.Run("Date header that steps", testCutoffDateHeaderThatSteps)
	t.Run("appliance restored from a backup", testCutoffApplianceRestoredFromABackup)
	t.Run("own clock years ahead, no Date header", testCutoffOwnClockYearsAheadNoDateHeader)
	t.Run("other watermark", testCutoffOtherWatermark)
	t.Run("sessions without a USN", testCutoffSessionsWithoutAUSN)
	t.Run("sessions without times", testCutoffSessionsWithoutTimes)
	t.Run("log lines of a poll", testCutoffLogLinesOfAPoll)
}

// Whatever clock is wrong at the initial sync, and whether it is put right or not, what
// ends from then on is counted.
func testCutoffWrongClocksAtTheInitialSync(t *testing.T) {
	offs := map[string]off{
		"Date is 2 days ahead":                   {date: 2 * day},
		"Date is 4 days ahead":                   {date: 4 * day},
		"Date is 400 days ahead":                 {date: 400 * day},
		"Date is 4 days behind":                  {date: -4 * day},
		"the appliance is 2 days ahead":          {clock: 2 * day},
		"the appliance is 7 days ahead":          {clock: 7 * day},
		"ours is 4 days ahead":                   {ours: 4 * day},
		"ours is 4 days ahead, and no Date":      {ours: 4 * day, noDate: true},
		"ours is 400 days ahead, and no Date":    {ours: 400 * day, noDate: true},
		"ours is 4 days behind, and no Date":     {ours: -4 * day, noDate: true},
		"ours is 4 days behind, Date 4 ahead":    {ours: -4 * day, date: 4 * day},
		"ours is 4 days ahead, Date 4 days, too": {ours: 4 * day, date: 4 * day},
	}
	// All of them take a while: by default every pair of two is tested.
	combine := pairwise
	if *steps >= 1000 {
		combine = product
	}
	for _, row := range combine([][]any{
		anySorted(maps.Keys(offs)), {poller.WatermarkUSN, poller.WatermarkFromUTC},
		{"nothing", "sessions", "old sessions", "a running session"}, {"put right", "wrong"},
	}) {
		name, mode, has, later := row[0].(string), row[1].(poller.Watermark), row[2].(string), row[3].(string)
		t.Run(fmt.Sprintf("%s, it has %s, %s, by %s", name, has, later, mode), func(t *testing.T) {
			testWrongClocks(t, offs[name], mode, has, later)
		})
	}
}

// product returns all combinations of the values.
func product(factors [][]any) [][]any {
	rows := [][]any{nil}
	for _, values := range factors {
		var longer [][]any
		for _, row := range rows {
			for _, v := range values {
				longer = append(longer, append(slices.Clone(row), v))
			}
		}
		rows = longer
	}
	return rows
}

func anySorted(words iter.Seq[string]) (all []any) {
	for _, w := range slices.Sorted(words) {
		all = append(all, w)
	}
	return all
}

func testWrongClocks(t *testing.T, o off, mode poller.Watermark, has, later string) {
	w := newWorld(t, vbawstest.Config{AccessLifetime: 10_000 * time.Hour}, poller.Config{Watermark: mode, InventoryInterval: 10_000 * time.Hour})
	w.StepClock(o.clock)
	ours := vbawstest.NewClock(epoch.Add(o.ours))
	c := &changed{API: w.client(w.clock.Now), page: func(page *vbaws.SessionsPage) {
		if page.Date = page.Date.Add(o.date); o.noDate {
			page.Date = time.Time{}
		}
	}}
	restart := func() { w.watch(c, ours.Now) }
	restart()
	next := func(d time.Duration) {
		w.Helper()
		ours.Advance(d)
		w.later(d)
	}
	old := map[string]int{"sessions": 200, "old sessions": 20}[has]
	for i := range old { // as the appliance dated them
		at := w.Now().Add(-time.Duration(i) * time.Hour)
		if has == "old sessions" {
			at = at.Add(-30 * day)
		}
		w.Put(vbawstest.Session{
			Type: "Policy", ExtendedType: "PolicyBackup", Name: "Nightly", PolicyID: vbawstest.ID(1),
			Status: "Succeeded", Start: at.Add(-time.Minute), Stop: at,
		})
	}
	want := make(map[string]int)
	var running vbawstest.Session
	if has == "a running session" {
		running = w.begin()
	}
	next(time.Minute)
	if later == "put right" {
		w.StepClock(-o.clock)
		ours.Advance(-o.ours)
		o = off{}
	}
	if running.ID != "" {
		next(time.Minute)
		w.Finish(running.ID, "Warning", time.Time{})
		want["Nightly/Policy/Warning"]++
	}
	for range 5 {
		w.ends(2, "Failed")
		ours.Advance(2 * time.Second)
		next(time.Minute)
		want["Nightly/Policy/Failed"] += 2
	}
	for range 9 {
		if next(3 * time.Hour); later == "wrong" {
			restart()
		}
		w.ends(1, "Failed")
		ours.Advance(time.Second)
		want["Nightly/Policy/Failed"]++
	}
	next(time.Minute)
	next(time.Hour)
	got, _ := w.sample("vbaws_sessions_total", `extended_type="PolicyBackup" policy="Nightly" status="Succeeded" type="Policy"`)
	if n := int(got); n > old {
		t.Errorf("%d of %d old sessions were counted", n, old)
	} else if n > 0 {
		want["Nightly/Policy/Succeeded"] = n // as many as a clock that is wrong leaves in the window
	}
	w.counted(want)
	w.skipped(map[string]uint64{})
}

// Without a state directory nothing that had finished before the start counts, by
// whatever clock.
func testCutoffWrongClocksWithoutAStateDirectory(t *testing.T) {
	for _, date := range []time.Duration{-4 * day, -2 * time.Hour, 4 * day} {
		for _, mode := range bothModes {
			t.Run(fmt.Sprintf("Date %v by %s", date, mode), func(t *testing.T) {
				w := newWorld(t, vbawstest.Config{}, poller.Config{Watermark: mode, Ledger: ledger.Options{Ephemeral: true}})
				w.ends(20, "Failed")
				w.clock.Advance(time.Second)
				w.through(&changed{page: func(page *vbaws.SessionsPage) { page.Date = page.Date.Add(date) }})
				w.poll()
				w.counted(map[string]int{})
				w.ends(2, "Warning")
				w.later(time.Minute)
				w.later(2 * time.Hour)
				w.counted(map[string]int{"Nightly/Policy/Warning": 2})
			})
		}
	}
}

// Date steps by days, to and fro, from poll to poll.
func testCutoffDateHeaderThatSteps(t *testing.T) {
	for _, mode := range bothModes {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, vbawstest.Config{AccessLifetime: 10_000 * time.Hour}, poller.Config{Watermark: mode, InventoryInterval: 10_000 * time.Hour})
			n := 0
			w.through(&changed{page: func(page *vbaws.SessionsPage) {
				page.Date = page.Date.Add([]time.Duration{0, 7 * day, -3 * day, 0, 30 * day, 0, -90 * day}[n%7])
			}})
			w.ends(50, "Succeeded")
			w.poll()
			for range 100 {
				n++
				w.clock.Advance(20 * time.Minute)
				w.end("Failed")
				w.poll()
			}
			w.counted(map[string]int{"Nightly/Policy/Succeeded": 50, "Nightly/Policy/Failed": 100})
			w.skipped(map[string]uint64{})
		})
	}
}

// An appliance that was empty at its initial sync gets the sessions of another, when the
// configuration of that one is restored: they are not all new.
func testCutoffApplianceRestoredFromABackup(t *testing.T) {
	for _, mode := range bothModes {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, vbawstest.Config{AccessLifetime: 10_000 * time.Hour}, poller.Config{Watermark: mode, InventoryInterval: 10_000 * time.Hour})
			w.poll()
			w.later(time.Hour)
			for i := range 90 * 4 {
				at := w.Now().Add(-time.Duration(i) * 6 * time.Hour)
				w.Put(vbawstest.Session{
					Type: "Policy", ExtendedType: "PolicyBackup", Name: "Nightly", PolicyID: vbawstest.ID(1),
					Status: "Failed", Start: at.Add(-time.Minute), Stop: at,
				})
			}
			for range 30 {
				w.later(time.Hour)
			}
			if n, _ := w.sample("vbaws_sessions_total", failedSeries); n > 6 {
				t.Errorf("%v sessions of before were counted", n)
			}
			if n := len(w.log.with("before_cutoff")); n > 20 {
				t.Errorf("%d log lines", n)
			}
			w.ends(3, "Warning")
			w.later(time.Minute)
			if n, _ := w.sample("vbaws_sessions_total", `extended_type="PolicyBackup" policy="Nightly" status="Warning" type="Policy"`); n != 3 {
				t.Errorf("%v of 3 new sessions were counted", n)
			}
		})
	}
}

// If the exporter's clock is far ahead for a while, nothing is forgotten, although no Date
// can be compared with it.
func testCutoffOwnClockYearsAheadNoDateHeader(t *testing.T) {
	for _, mode := range bothModes {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, vbawstest.Config{AccessLifetime: 10_000 * time.Hour}, poller.Config{Watermark: mode, InventoryInterval: 10_000 * time.Hour})
			ours := vbawstest.NewClock(epoch)
			c := &changed{API: w.client(w.clock.Now), page: func(page *vbaws.SessionsPage) { page.Date = time.Time{} }}
			w.watch(c, ours.Now)
			next := func(d time.Duration) {
				w.Helper()
				ours.Advance(d)
				w.later(d)
			}
			w.ends(3, "Failed")
			next(time.Minute)
			next(3 * time.Hour)
			ours.Advance(500 * day)
			next(4 * time.Second)
			next(4 * time.Second)
			ours.Advance(-500 * day)
			for range 3 {
				next(25 * time.Hour)
			}
			w.ends(3, "Failed")
			next(time.Minute)
			w.counted(map[string]int{"Nightly/Policy/Failed": 6})
			w.skipped(map[string]uint64{})
		})
	}
}

// A change of what the list is read by neither counts nor names what was there before.
func testCutoffOtherWatermark(t *testing.T) {
	for _, to := range []poller.Watermark{poller.WatermarkAuto, poller.WatermarkUSN, poller.WatermarkFromUTC} {
		t.Run(string(to), func(t *testing.T) {
			w := newWorld(t, vbawstest.Config{}, poller.Config{Watermark: poller.WatermarkFromUTC})
			if to == poller.WatermarkFromUTC {
				w.cfg.Watermark = poller.WatermarkUSN
				w.restart()
			}
			w.clock.Advance(-100 * day)
			for range 3000 {
				w.clock.Advance(40 * time.Minute)
				w.end("Failed")
			}
			w.clock.Set(epoch)
			w.ends(5, "Succeeded")
			running := w.begin()
			w.poll()
			before, _ := w.sample("vbaws_sessions_total", failedSeries)
			w.ends(2, "Warning")
			w.clock.Advance(time.Hour)
			w.Finish(running.ID, "Canceled", time.Time{})
			w.cfg.Watermark, w.cfg.Backfill = to, 20*day // neither changes what is counted of before
			w.restart()
			lines := len(w.log.with(""))
			w.ResetRequests()
			w.poll()
			if n := len(w.queries()); n > 12 {
				t.Errorf("%d pages of sessions", n)
			}
			for range 4 {
				w.later(time.Hour)
			}
			w.skipped(map[string]uint64{})
			if after, _ := w.sample("vbaws_sessions_total", failedSeries); after != before {
				t.Errorf("%v old sessions were counted", after-before)
			}
			for status, n := range map[string]float64{"Succeeded": 5, "Warning": 2, "Canceled": 1} {
				w.is("vbaws_sessions_total", fmt.Sprintf(`extended_type="PolicyBackup" policy="Nightly" status=%q type="Policy"`, status), n)
			}
			if n := len(w.log.with("")) - lines; n > 8 {
				t.Errorf("%d log lines", n)
			}
			// And what comes is counted.
			w.ends(3, "Warning")
			w.later(time.Minute)
			w.is("vbaws_sessions_total", `extended_type="PolicyBackup" policy="Nightly" status="Warning" type="Policy"`, 5)
		})
	}
}

// Sessions without a USN are read by time.
func testCutoffSessionsWithoutAUSN(t *testing.T) {
	for _, from := range []string{"the initial sync", "later"} {
		for _, mode := range []poller.Watermark{poller.WatermarkAuto, poller.WatermarkUSN} {
			t.Run(fmt.Sprintf("from %s, %s", from, mode), func(t *testing.T) {
				w := newWorld(t, vbawstest.Config{}, poller.Config{Watermark: mode})
				without := from != "later"
				w.through(&changed{page: func(page *vbaws.SessionsPage) {
					for i := range page.Rows {
						if without {
							page.Rows[i].USN, page.Rows[i].HasUSN = 0, false
						}
					}
				}})
				w.ends(3, "Succeeded")
				w.poll()
				without = true
				for range 3 {
					w.ends(2, "Failed")
					w.later(time.Minute)
				}
				w.later(time.Hour)
				w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": 6})
				w.skipped(map[string]uint64{})
				if mode == poller.WatermarkAuto {
					w.mode(poller.WatermarkFromUTC)
				}
			})
		}
	}
}

// A session that has neither start nor stop is counted, once, as one that ended when it
// was first seen.
func testCutoffSessionsWithoutTimes(t *testing.T) {
	for _, mode := range bothModes {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, vbawstest.Config{}, poller.Config{Watermark: mode})
			w.through(&changed{page: func(page *vbaws.SessionsPage) {
				for i := range page.Rows {
					if row := &page.Rows[i]; row.Status == "Failed" {
						row.Start, row.Stop = time.Time{}, time.Time{}
					}
				}
			}})
			w.ends(3, "Succeeded")
			w.poll()
			w.ends(1, "Failed")
			w.later(time.Minute)
			seen := w.Now()
			for range 30 {
				w.later(time.Hour)
			}
			w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": 1})
			w.is("vbaws_session_last_end_timestamp_seconds", failedSeries, seconds(seen))
		})
	}
}

// A poll writes a hundred log lines of one kind, and one that says how many it left out.
func testCutoffLogLinesOfAPoll(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	w.poll()
	for range 2 {
		w.ends(250, "Succeeded")
		w.later(time.Minute)
	}
	if n := len(w.log.with("session finished")); n != 200+2 {
		t.Errorf("%d log lines of 500 sessions", n)
	}
	if got := w.log.with("log lines omitted"); len(got) != 2 {
		t.Errorf("log lines: %q", got)
	}
	old := w.Now().Add(-50 * day)
	for range 150 {
		w.Put(vbawstest.Session{Type: "Policy", Name: "Nightly", Status: "Failed", Start: old, Stop: old})
	}
	for i := range 150 {
		w.PutRaw(vbawstest.ID(1000+i), 10_000+int64(i), w.Now(), []byte(fmt.Sprintf(`{"id":%q,"usn":%d}`, vbawstest.ID(1000+i), 10_000+i)))
	}
	w.later(time.Minute)
	w.skipped(map[string]uint64{"before_cutoff": 150, "undecodable": 150})
	for kind, want := range map[string]int{"reason=before_cutoff": 100, "not understood\" session": 100, "omitted": 4} {
		if n := len(w.log.with(kind)); n != want {
			t.Errorf("%d log lines: %s, want %d", n, kind, want)
		}
	}
}
