package verdict

import (
	"testing"
	"time"
)

func TestClockGate(t *testing.T) {
	type poll struct {
		minute int           // by our clock
		offset time.Duration // of the appliance's
		open   bool
	}
	for name, polls := range map[string][]poll{
		"the first poll opens it":   {{0, 5 * time.Hour, true}, {1, 5 * time.Hour, true}},
		"a change of 5 minutes":     {{0, 0, true}, {1, 5 * time.Minute, true}, {2, 10 * time.Minute, true}},
		"a drift":                   {{0, 0, true}, {60, 4 * time.Minute, true}, {120, 8 * time.Minute, true}},
		"15 minutes":                {{0, 0, true}, {1, time.Hour, false}, {5, time.Hour, false}, {10, time.Hour, false}, {15, time.Hour, false}, {16, time.Hour, true}, {17, time.Hour, true}},
		"3 polls":                   {{0, 0, true}, {10, time.Hour, false}, {20, time.Hour, false}, {30, time.Hour, false}, {40, time.Hour, true}},
		"backward":                  {{0, 0, true}, {1, -time.Hour, false}, {10, -time.Hour, false}, {15, -time.Hour, false}, {20, -time.Hour, true}},
		"back again":                {{0, 0, true}, {1, time.Hour, false}, {2, 0, false}, {3, 0, false}, {10, 0, false}, {16, 0, false}, {17, 0, true}},
		"it must hold, not creep":   {{0, 0, true}, {1, time.Hour, false}, {6, 64 * time.Minute, false}, {11, 68 * time.Minute, false}, {17, 68 * time.Minute, false}, {22, 68 * time.Minute, false}, {26, 68 * time.Minute, true}},
		"a long time between polls": {{0, 0, true}, {600, time.Hour, false}, {1200, time.Hour, false}, {1800, time.Hour, false}, {2400, time.Hour, true}},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
			var g ClockGate
			for _, p := range polls {
				ours := begin.Add(time.Duration(p.minute) * time.Minute)
				if open := g.Poll(ours, ours.Add(p.offset)); open != p.open {
					t.Fatalf("minute %d: open %t, want %t", p.minute, open, p.open)
				}
			}
		})
	}
}
