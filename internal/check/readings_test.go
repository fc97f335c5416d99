package check

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vbaws_exporter/vbaws/vbawstest"
)

// TestReadings: whatever an appliance makes of what is not documented, in whatever
// combination, that is what is told, or else that it can't be told.
func TestReadings(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(r, "sessions")
		running := rapid.IntRange(0, n).Draw(r, "running")
		limit := rapid.IntRange(0, n+1).Draw(r, "cap")
		var cfg vbawstest.Config
		b := newBench(t, 0, func(c *vbawstest.Config) {
			c.UsnFilter = vbawstest.UsnFilter(rapid.IntRange(0, 2).Draw(r, "Usn"))
			c.FromUtc = vbawstest.FromUtc(rapid.IntRange(0, 3).Draw(r, "FromUtc"))
			c.FromUtcShift = time.Duration(rapid.IntRange(-26, 26).Draw(r, "shift")) * time.Hour
			c.DefaultOrder = vbawstest.Order(rapid.IntRange(0, 4).Draw(r, "order"))
			c.Times = vbawstest.TimeFormat(rapid.IntRange(1, 4).Draw(r, "times"))
			c.TotalIsWhole = rapid.Bool().Draw(r, "whole")
			c.ShuffleTies = rapid.Bool().Draw(r, "ties")
			c.RefuseUsnDesc = rapid.Bool().Draw(r, "refuse")
			c.MaxPageSize = limit
			cfg = *c
		})
		for i := range n {
			s := vbawstest.Session{Type: "Policy", Status: vbawstest.StatusRunning, Start: epoch.Add(-time.Duration(i%3+1) * time.Hour)}
			if i >= running {
				s.Status, s.Stop = vbawstest.StatusFailed, s.Start.Add(time.Minute)
			}
			b.Put(s)
		}
		s := vbawstest.NewHTTPServer(b.Appliance)
		defer s.Close()
		findings, err := Appliances(t.Context(), parse(t, b.entry("prod", s.URL)), Options{Now: func() time.Time { return epoch }})
		if err != nil {
			r.Fatal(err)
		}

		// told wants one of the texts among the findings.
		told := func(what string, texts ...string) {
			var all []string
			for _, f := range findings {
				for _, text := range texts {
					if f.Check == what && strings.Contains(f.Message, text) {
						return
					}
				}
				all = append(all, f.Check+": "+f.Message)
			}
			r.Errorf("none of %q about %s in\n%s", texts, what, strings.Join(all, "\n"))
		}
		seen := n
		if limit > 0 {
			seen = min(limit, n)
		}
		if seen < 3 {
			told(USN, "too few sessions")
		} else {
			told(USN, map[vbawstest.UsnFilter]string{
				vbawstest.UsnEquals: "that USN alone", vbawstest.UsnGreater: "the USNs above", vbawstest.UsnIgnored: "it is ignored",
			}[cfg.UsnFilter])
		}
		if cfg.RefuseUsnDesc {
			told(USN, "refuses Sort=usnDesc")
		} else {
			told(USN, "is accepted and in order")
		}
		if seen < n {
			told(Paging, "pages are capped")
		} else {
			told(Paging, "no cap in sight")
		}
		if seen > 1 {
			told(Paging, "Offset is honoured")
		}
		unknown := "not enough to tell"
		switch {
		case running == n: // the filter leaves all
			told(Paging, unknown)
		case cfg.TotalIsWhole && min(running, seen) < seen:
			told(Paging, "of the whole list")
		case cfg.TotalIsWhole:
			told(Paging, unknown)
		case running <= seen:
			told(Paging, "of what the filter leaves")
		default:
			told(Paging, unknown)
		}
		if cfg.FromUtc == vbawstest.FromIgnored {
			told(Times, "FromUtc is ignored")
		} else {
			told(Times, "FromUtc is honoured")
		}
		if cfg.Times == vbawstest.TimesNaive {
			told(Times, "carry no zone")
		} else {
			told(Times, "carry a zone")
		}
	})
}
