package schedule

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"vbaws_exporter/vbaws"
)

// TestStarts watches the wall clock half-hour by half-hour, and compares.
func TestStarts(t *testing.T) {
	for _, name := range []string{"UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "Africa/Cairo", "Australia/Lord_Howe", "Asia/Kolkata"} {
		z := zone(name)
		rapid.Check(t, func(t *rapid.T) {
			var h vbaws.Hours
			for i := range h {
				h[i] = rapid.Bool().Draw(t, "hour")
			}
			p := New(&vbaws.Schedule{Daily: &vbaws.DailySchedule{Days: everyDay, RunsPerHour: 2, Snapshot: &h}}, z)
			year := rapid.IntRange(2026, 2030).Draw(t, "year")
			from := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 365*48).Draw(t, "half-hours")) * 30 * time.Minute)
			if rapid.Bool().Draw(t, "change") {
				_, change := from.In(z).ZoneBounds()
				if !change.IsZero() {
					from = change.Add(-40 * time.Hour)
				}
			}
			to := from.Add(80 * time.Hour)

			wall := func(t time.Time) time.Time {
				y, m, d := t.In(z).Date()
				return time.Date(y, m, d, t.In(z).Hour(), t.In(z).Minute(), 0, 0, time.UTC)
			}
			var want []Start
			at := make(map[time.Time]int) // by what the clock shows
			for u := from.Add(-48 * time.Hour); !u.After(to.Add(2 * time.Hour)); u = u.Add(30 * time.Minute) {
				now := wall(u)
				for missing := wall(u.Add(-30 * time.Minute)).Add(30 * time.Minute); missing.Before(now); missing = missing.Add(30 * time.Minute) {
					if !h[missing.Hour()] || len(want) > 0 && want[len(want)-1].At.Equal(u) {
						continue
					}
					day := missing.Truncate(24 * time.Hour)
					s := Start{At: u, Later: u, Skipped: true, DayStart: u, DayEnd: u}
					for !wall(s.DayStart.Add(-30 * time.Minute)).Before(day) {
						s.DayStart = s.DayStart.Add(-30 * time.Minute)
					}
					for wall(s.DayEnd).Before(day.Add(24 * time.Hour)) {
						s.DayEnd = s.DayEnd.Add(30 * time.Minute)
					}
					want = append(want, s)
				}
				switch i, again := at[now]; {
				case !h[now.Hour()]:
				case again:
					want[i].Later = u
				case len(want) > 0 && want[len(want)-1].At.Equal(u): // stands for the skipped one
					want[len(want)-1] = Start{At: u, Later: u}
					at[now] = len(want) - 1
				default:
					at[now] = len(want)
					want = append(want, Start{At: u, Later: u})
				}
			}
			n := 0
			for _, s := range want {
				if !s.At.Before(from) && !s.At.After(to) {
					want[n] = s
					n++
				}
			}
			want = want[:n]
			got := p.Starts(Snapshot, from, to)
			if len(got) != len(want) {
				t.Fatalf("%d starts, want %d", len(got), len(want))
			}
			for i := range want {
				g, w := got[i], want[i]
				if !g.At.Equal(w.At) || !g.Later.Equal(w.Later) || g.Skipped != w.Skipped || !g.DayStart.Equal(w.DayStart) || !g.DayEnd.Equal(w.DayEnd) {
					t.Errorf("start %d:\n got %v\nwant %v", i, g, w)
				}
				if i > 0 {
					if next := p.Next(Snapshot, want[i-1].At); next != g {
						t.Errorf("after %v is %v, want %v", want[i-1].At, next, g)
					}
				}
			}
		})
	}
}

func TestStartsOfAnInterval(t *testing.T) {
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	p := New(&vbaws.Schedule{Every: time.Hour}, time.UTC)
	if p.Timed() || len(p.Starts(Backup, now, now.AddDate(0, 1, 0))) > 0 {
		t.Error("it has times")
	}
	if gap := p.LongestGap(Backup); gap != time.Hour {
		t.Errorf("the longest gap is %s", gap)
	}
	if New(nil, time.UTC).Timed() {
		t.Error("no schedule has times")
	}
}
