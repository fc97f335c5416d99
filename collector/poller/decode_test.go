package poller_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vbaws_exporter/collector"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/internal/polltest"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

// row is a session of the policy with some members of another form.
func (w *world) row(n int, status, members string) {
	start := w.Now().Add(-10 * time.Minute)
	w.PutRaw(vbawstest.ID(n), int64(n), start, fmt.Appendf(nil,
		`{"id":%q,"type":"Policy","extendedSessionType":"PolicyBackup","name":"Nightly","status":%q,%s}`, vbawstest.ID(n), status, members))
}

func TestRows(t *testing.T) {
	t.Run("odd fields", testRowsOddFields)
	t.Run("odd USNs", testRowsOddUSNs)
	t.Run("running without a start", testRowsRunningWithoutAStart)
	t.Run("no row can be decoded", testRowsNoRowCanBeDecoded)
}

// Nothing but a missing id, type or status costs a session: each of these is counted
// once, with what could be understood of it.
func testRowsOddFields(t *testing.T) {
	const start, stop = `"executionStartTime":"2026-03-28T22:18:00Z"`, `"executionStopTime":"2026-03-28T22:23:00Z"`
	odd := map[string]string{
		"duration is a time span": start + `,` + stop + `,"executionDuration":"00:05:00"`,
		"duration is text":        start + `,` + stop + `,"executionDuration":"five minutes"`,
		"duration is huge":        start + `,` + stop + `,"executionDuration":1e300`,
		"reason is an object":     start + `,` + stop + `,"reason":{"text":"x"}`,
		"result is a number":      start + `,` + stop + `,"result":7`,
		"stop is N/A":             start + `,"executionStopTime":"N/A","executionDuration":"00:05:00"`,
		"start is N/A":            `"executionStartTime":"N/A",` + stop + `,"executionDuration":300000`,
		"zone without a colon":    `"executionStartTime":"2026-03-29T00:18:00+0200","executionStopTime":"2026-03-29T00:23:00+02"`,
		"a space for the T":       `"executionStartTime":"2026-03-28 22:18:00","executionStopTime":"2026-03-28 22:23:00.0000000000"`,
		"no times":                `"executionDuration":"00:05:00"`,
	}
	for _, mode := range []poller.Watermark{poller.WatermarkUSN, poller.WatermarkFromUTC} {
		for name, members := range odd {
			t.Run(string(mode)+"/"+name, func(t *testing.T) {
				w := newWorld(t, vbawstest.Config{}, poller.Config{Watermark: mode})
				w.ends(2, "Succeeded")
				w.poll()
				w.clock.Advance(10 * time.Minute)
				w.row(50, "Failed", `"usn":50,`+members)
				want := map[string]int{"Nightly/Policy/Succeeded": 2, "Nightly/Policy/Failed": 1}
				for range 3 {
					w.later(time.Minute)
					w.counted(want)
					w.skipped(map[string]uint64{})
				}
				w.restart()
				w.later(time.Hour)
				w.counted(want)
				w.is("vbaws_session_last_duration_seconds", `extended_type="PolicyBackup" policy="Nightly" type="Policy"`, 300)
			})
		}
	}
}

// A usn that is text or a float is one; without one the list is read by time.
func testRowsOddUSNs(t *testing.T) {
	for usn, mode := range map[string]poller.Watermark{
		`"usn":"50"`: poller.WatermarkUSN, `"usn":50.0`: poller.WatermarkUSN,
		`"usn":null`: poller.WatermarkFromUTC, `"usn":"x"`: poller.WatermarkFromUTC, `"usn":9223372036854775808`: poller.WatermarkFromUTC,
	} {
		for _, cfg := range []poller.Watermark{poller.WatermarkAuto, poller.WatermarkUSN} {
			for _, before := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/%t", usn, cfg, before), func(t *testing.T) {
					w := newWorld(t, vbawstest.Config{}, poller.Config{Watermark: cfg})
					put := func() {
						w.row(50, "Failed", usn+`,"executionStartTime":"2026-03-28T22:08:00Z","executionStopTime":"2026-03-28T22:13:00Z"`)
					}
					w.ends(2, "Succeeded")
					if before { // at the initial sync
						put()
					}
					w.poll()
					w.clock.Advance(time.Minute)
					put()
					want := map[string]int{"Nightly/Policy/Succeeded": 2, "Nightly/Policy/Failed": 1}
					w.later(time.Minute)
					w.counted(want)
					w.ResetUSN(100)
					w.ends(1, "Failed")
					want["Nightly/Policy/Failed"]++
					for range 3 {
						w.later(time.Minute)
						w.counted(want)
					}
					if cfg == poller.WatermarkAuto {
						w.mode(mode)
						if lines := w.log.with("a session has no USN"); len(lines) != map[bool]int{true: 1}[mode == poller.WatermarkFromUTC] {
							t.Errorf("log lines: %q", lines)
						}
					}
				})
			}
		}
	}
}

// A session without a start has run since it was first seen.
func testRowsRunningWithoutAStart(t *testing.T) {
	w := newWorld(t, vbawstest.Config{Offset: 5 * time.Minute}, poller.Config{})
	w.ends(2, "Succeeded")
	w.poll()
	w.clock.Advance(time.Minute)
	w.row(50, "Running", `"usn":50,"executionStartTime":"N/A"`)
	w.later(time.Minute)
	seen := float64(w.Now().Truncate(time.Second).Unix())
	const labels = `extended_type="PolicyBackup" policy="Nightly" type="Policy"`
	for range 3 {
		w.is("vbaws_sessions_running_oldest_start_timestamp_seconds", labels, seen)
		saves := w.storage.saves
		w.later(time.Minute)
		if w.storage.saves > saves+1 {
			t.Errorf("%d saves in a poll without news", w.storage.saves-saves)
		}
	}
	w.restart()
	w.later(2 * time.Hour)
	w.is("vbaws_sessions_running_oldest_start_timestamp_seconds", labels, seen)
	w.row(50, "Failed", fmt.Sprintf(`"usn":51,"executionStartTime":null,"executionStopTime":%q`, w.Now().Format(time.RFC3339)))
	for range 3 {
		w.later(time.Hour)
		w.counted(map[string]int{"Nightly/Policy/Succeeded": 2, "Nightly/Policy/Failed": 1})
	}
}

// If no session can be understood, the poll fails: the appliance has another API than
// the client knows. One among others is skipped, even if a poll sees no other.
func testRowsNoRowCanBeDecoded(t *testing.T) {
	for _, mode := range []poller.Watermark{poller.WatermarkAuto, poller.WatermarkFromUTC} {
		for _, synced := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%t", mode, synced), func(t *testing.T) {
				reg := prometheus.NewRegistry()
				instruments := collector.NewInstruments(reg)
				instruments.Add("test")
				w := newWorld(t, vbawstest.Config{}, poller.Config{
					Watermark: mode,
					Polled:    func(r poller.Result, took time.Duration) { instruments.Polled("test", r, took) },
				})
				polls := func(want float64) {
					t.Helper()
					own := w.p
					w.p = &polltest.Exporter{Poller: own.Poller, Registry: reg}
					w.is("vbaws_exporter_polls_total", `result="decode"`, want)
					w.p = own
				}
				ids := w.ends(5, "Succeeded")
				if synced {
					w.poll()
					w.is("vbaws_up", "", 1)
				}
				other := func(n int) { // like a later version, in which the status has another name
					for _, id := range ids[:n] {
						w.PutRaw(id, 100, w.Now(), fmt.Appendf(nil, `{"id":%q,"type":"Policy","state":"Succeeded","usn":100}`, id))
					}
				}
				other(5)
				for n := range 3 {
					w.clock.Advance(time.Minute)
					err := w.fails()
					if vbaws.KindOf(err) != vbaws.KindDecode || !strings.Contains(err.Error(), "none of the 5 newest sessions is understood: status is missing") {
						t.Error(err)
					}
					w.is("vbaws_up", "", 0)
					polls(float64(n + 1))
				}
				w.ResetUSN(200)
				want := map[string]int{"Nightly/Policy/Failed": 1}
				if synced {
					want["Nightly/Policy/Succeeded"] = 5
				}
				w.ends(1, "Failed")
				w.later(time.Minute)
				w.is("vbaws_up", "", 1)
				w.counted(want)
				// From here on the newest is a bad one, and for days there is no other.
				w.clock.Advance(time.Second)
				w.PutRaw(vbawstest.ID(900), 300, w.Now(), []byte(`{"usn":300}`))
				for range 5 {
					w.later(20 * time.Hour)
					w.is("vbaws_up", "", 1)
					w.counted(want)
				}
				polls(3)
			})
		}
	}
}
