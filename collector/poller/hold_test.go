package poller_test

import (
	"errors"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/internal/polltest"
	"vbaws_exporter/vbaws/vbawstest"
)

var errDisk = errors.New("disk is full")

const failedSeries = `extended_type="PolicyBackup" policy="Nightly" status="Failed" type="Policy"`

// shows checks a counter and its histogram.
func (w *world) shows(series string, want float64) {
	w.Helper()
	w.is("vbaws_sessions_total", series, want)
	w.is("vbaws_session_duration_seconds", series, want)
}

func holding() poller.Config {
	return poller.Config{Ledger: ledger.Options{Hold: 2 * time.Minute}}
}

func TestHold(t *testing.T) {
	t.Run("new counter", testHoldNewCounter)
	t.Run("counter at zero", testHoldCounterAtZero)
	t.Run("initial sync", testHoldInitialSync)
	t.Run("while polls fail", testHoldWhilePollsFail)
	t.Run("restart", testHoldRestart)
	t.Run("other buckets", testHoldOtherBuckets)
}

func testHoldNewCounter(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, holding())
	w.poll()
	w.clock.Advance(time.Minute)
	w.end("Failed")
	w.poll()
	w.shows(failedSeries, 0)
	// What is known of the session otherwise is not held.
	w.is("vbaws_session_last_status", failedSeries, 1)
	w.later(time.Minute)
	w.end("Failed")
	w.poll()
	w.shows(failedSeries, 0)
	w.later(time.Minute - time.Second)
	w.shows(failedSeries, 0)
	w.later(time.Second)
	w.shows(failedSeries, 2)
	w.end("Failed")
	w.later(time.Second)
	w.shows(failedSeries, 3)
}

// A running session makes the counters known, so that they have stood at 0 when it
// ends.
func testHoldCounterAtZero(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, holding())
	w.poll()
	s := w.begin()
	w.later(time.Minute)
	w.is("vbaws_sessions_total", failedSeries, 0)
	w.later(2 * time.Minute)
	w.Finish(s.ID, "Failed", time.Time{})
	w.later(time.Minute)
	w.shows(failedSeries, 1)
}

func testHoldInitialSync(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, holding())
	w.ends(3, "Failed")
	w.poll()
	w.shows(failedSeries, 3)
	if at := w.created("vbaws_sessions_total", failedSeries); !at.Equal(w.backfillStart()) {
		t.Errorf("created %v, want the start of the window, %v", at, w.backfillStart())
	}
}

// backfillStart is the start of the backfill window of an initial sync that is made now.
func (w *world) backfillStart() time.Time { return w.Now().Truncate(time.Second).Add(-backfill) }

// created returns the created time of a counter or a histogram.
func (w *world) created(name, series string) time.Time {
	w.Helper()
	for _, m := range w.gather(name) {
		if polltest.Labels(m) == series {
			return createdOf(m)
		}
	}
	w.Fatalf("there is no %s{%s}", name, series)
	return time.Time{}
}

func createdOf(m *dto.Metric) time.Time {
	if m.Counter != nil {
		return m.Counter.GetCreatedTimestamp().AsTime()
	}
	return m.Histogram.GetCreatedTimestamp().AsTime()
}

// held reports whether the stored state still has the hold.
func (w *world) held() bool {
	w.Helper()
	state, err := w.storage.Load()
	if err != nil {
		w.Fatal(err)
	}
	for _, s := range state.Series {
		for _, c := range s.Counters {
			if c.Status == "Failed" {
				return c.Held
			}
		}
	}
	w.Fatal("the storage has no such counter")
	return false
}

func testHoldWhilePollsFail(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, holding())
	w.poll()
	w.clock.Advance(time.Minute)
	w.end("Failed")
	w.poll()
	w.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Route: "/api/v1/sessions", Status: 500, Count: -1})
	w.clock.Advance(time.Minute)
	w.fails()
	w.shows(failedSeries, 0)
	w.clock.Advance(time.Minute)
	w.fails()
	w.shows(failedSeries, 1)
	w.is("vbaws_up", "", 0)
	if w.held() {
		t.Error("it is published, and not saved")
	}

	// If it can't be saved, it isn't published.
	w = newWorld(t, vbawstest.Config{}, holding())
	w.poll()
	w.clock.Advance(time.Minute)
	w.end("Failed")
	w.poll()
	w.storage.err = errDisk
	w.clock.Advance(3 * time.Minute)
	w.fails()
	w.shows(failedSeries, 0)
	if !w.held() {
		t.Error("saved by a storage that fails")
	}
	w.is("vbaws_up", "", 1)
	w.storage.err = nil
	w.poll()
	w.shows(failedSeries, 1)
}

func testHoldRestart(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, holding())
	w.poll()
	w.clock.Advance(time.Minute)
	w.end("Failed")
	w.poll()
	w.clock.Advance(time.Minute)
	w.restart()
	w.shows(failedSeries, 0) // before any poll
	w.later(time.Minute)
	w.shows(failedSeries, 0)
	w.later(time.Minute)
	w.shows(failedSeries, 1)
	w.restart()
	w.shows(failedSeries, 1)
}

func testHoldOtherBuckets(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	w.ends(3, "Failed")
	w.poll()
	w.shows(failedSeries, 3)
	since := w.created("vbaws_sessions_total", failedSeries)
	w.cfg.Ledger.Bounds = []float64{30, 90}
	w.clock.Advance(time.Hour)
	w.restart()
	w.poll()
	w.is("vbaws_sessions_total", failedSeries, 3)
	w.is("vbaws_session_duration_seconds", failedSeries, 0)
	if at := w.created("vbaws_sessions_total", failedSeries); !at.Equal(since) {
		t.Errorf("the counter is created %v, was %v", at, since)
	}
	if at := w.created("vbaws_session_duration_seconds", failedSeries); !at.Equal(w.clock.Now()) {
		t.Errorf("the histogram is created %v, want %v", at, w.clock.Now())
	}
	w.ends(1, "Failed")
	w.later(time.Minute)
	w.is("vbaws_sessions_total", failedSeries, 4)
	w.is("vbaws_session_duration_seconds", failedSeries, 1)
	for _, m := range w.gather("vbaws_session_duration_seconds") {
		if polltest.Labels(m) == failedSeries {
			var bounds []float64
			for _, b := range m.Histogram.Bucket {
				bounds = append(bounds, b.GetUpperBound())
			}
			if len(bounds) < 2 || bounds[0] != 30 || bounds[1] != 90 {
				t.Errorf("buckets %v", bounds)
			}
		}
	}
	w.restart()
	w.is("vbaws_session_duration_seconds", failedSeries, 1)
}
