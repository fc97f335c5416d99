package check

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vbaws_exporter/vbaws/vbawstest"
)

// TestReadings: check recognizes every undocumented behaviour of an appliance, in every
// combination, or reports that it can't be determined.
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
		findings, err := Appliances(t.Context(), parse(t, b.entry("prod", s.URL)), func() time.Time { return epoch })
		if err != nil {
			r.Fatal(err)
		}

		// reports checks that a finding has one of the texts.
		reports := func(what string, texts ...string) {
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
			reports(USN, "too few sessions")
		} else {
			reports(USN, map[vbawstest.UsnFilter]string{
				vbawstest.UsnEquals: "selects only that USN", vbawstest.UsnGreater: "selects higher USNs", vbawstest.UsnIgnored: "Usn is ignored",
			}[cfg.UsnFilter])
		}
		if cfg.RefuseUsnDesc {
			reports(USN, "refuses Sort=usnDesc")
		} else {
			reports(USN, "is supported and in order")
		}
		if seen < n {
			reports(Paging, "the page size is limited")
		} else {
			reports(Paging, "no limit found")
		}
		if seen > 1 {
			reports(Paging, "Offset is supported")
		}
		unknown := "too few to determine"
		switch {
		case running == n: // the filter leaves all
			reports(Paging, unknown)
		case cfg.TotalIsWhole && min(running, seen) < seen:
			reports(Paging, "counts the whole list")
		case cfg.TotalIsWhole:
			reports(Paging, unknown)
		case running <= seen:
			reports(Paging, "counts the filtered list")
		default:
			reports(Paging, unknown)
		}
		if cfg.FromUtc == vbawstest.FromIgnored {
			reports(Times, "FromUtc is ignored")
		} else {
			reports(Times, "FromUtc is supported")
		}
		if cfg.Times == vbawstest.TimesNaive {
			reports(Times, "have no zone")
		} else {
			reports(Times, "have a zone")
		}
	})
}
