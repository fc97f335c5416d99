package collector

import (
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/verdict"
	"vbaws_exporter/vbaws"
)

// source is a Source that a test can publish with.
type source struct {
	name      string
	published atomic.Pointer[poller.Published]
}

func newSource(name string, p *poller.Published) *source {
	s := &source{name: name}
	s.published.Store(p)
	return s
}

func (s *source) Name() string                 { return s.name }
func (s *source) Published() *poller.Published { return s.published.Load() }

// fixed returns the argument of New for sources that stay the same.
func fixed(sources ...*source) func() []Source {
	var list []Source
	for _, s := range sources {
		list = append(list, s)
	}
	return func() []Source { return list }
}

// epoch is the time around which the tests' sessions run.
var epoch = time.Date(2026, 3, 1, 4, 0, 0, 0, time.UTC)

var testBounds = []float64{60, 300, 3600}

// session is one finished session of a test.
type session struct {
	id       string
	duration time.Duration
	end      time.Time
}

// tally returns the counter of sessions, which come in the order of their ends,
// by the definition of each field and not by how the ledger gets there.
func tally(status string, born time.Time, bounds []float64, sessions ...session) *ledger.Counter {
	c := &ledger.Counter{Status: status, Born: born, Count: uint64(len(sessions))}
	if len(sessions) == 0 {
		return c
	}
	h := &ledger.Histogram{
		Born:      born,
		Buckets:   make([]uint64, len(bounds)+1),
		Exemplars: make([]*ledger.Exemplar, len(bounds)+1),
	}
	native := map[int32]uint64{}
	for _, s := range sessions {
		e := &ledger.Exemplar{SessionID: s.id, Duration: s.duration, End: s.end}
		c.End, c.Exemplar = s.end, e
		h.Sum += s.duration.Microseconds()
		bucket := 0
		for bucket < len(bounds) && s.duration.Seconds() > bounds[bucket] {
			bucket++
		}
		h.Buckets[bucket]++
		h.Exemplars[bucket] = e
		if s.duration.Seconds() <= ledger.NativeZeroThreshold {
			h.Zero++
		} else {
			native[int32(math.Ceil(math.Log2(s.duration.Seconds())*8))]++
		}
	}
	for index, count := range native {
		h.Native = append(h.Native, ledger.NativeBucket{Index: index, Count: count})
	}
	slices.SortFunc(h.Native, func(a, b ledger.NativeBucket) int { return int(a.Index - b.Index) })
	c.Histogram = h
	return c
}

// finals returns the documented final statuses, each at 0, sorted, with those
// given in their places.
func finals(born time.Time, given ...*ledger.Counter) []*ledger.Counter {
	counters := slices.Clone(given)
	for _, status := range vbaws.FinalStatuses {
		if !slices.ContainsFunc(counters, func(c *ledger.Counter) bool { return c.Status == status }) {
			counters = append(counters, &ledger.Counter{Status: status, Born: born})
		}
	}
	slices.SortFunc(counters, func(a, b *ledger.Counter) int {
		if a.Status < b.Status {
			return -1
		}
		return 1
	})
	return counters
}

// newView returns a view of series in the order of their keys.
func newView(series ...ledger.SeriesView) *ledger.View {
	slices.SortFunc(series, func(a, b ledger.SeriesView) int { return a.Key.Compare(b.Key) })
	return &ledger.View{Series: series, Meta: ledger.Meta{Bounds: testBounds, Skipped: map[string]uint64{}}}
}

// history returns the history of sessions that succeeded, and then of some that failed.
func history(succeeded, failed int) (h verdict.History) {
	for i := range succeeded + failed {
		s := verdict.Session{Start: epoch.Add(time.Duration(i) * time.Hour), Status: vbaws.StatusSucceeded}
		s.End = s.Start.Add(time.Duration(i+1) * time.Minute)
		if i >= succeeded {
			s.Status = vbaws.StatusFailed
		}
		h = h.Insert(s)
	}
	return h
}

// fleet returns appliances in every state that matters: one whose polls succeed, one
// whose polls fail, one with stored state before its first poll, and one of which nothing
// is known.
func fleet() []*source {
	policy := func(i int) string { return fmt.Sprintf("policy-%d", i) }
	held := tally(vbaws.StatusFailed, epoch.Add(time.Hour), testBounds,
		session{"e7b4c1e2-8f5f-4d0f-9b57-0d9d4d7f6a10", 90 * time.Second, epoch.Add(time.Hour)})
	held.Held = true
	rebuilt := tally(vbaws.StatusSucceeded, epoch.Add(-24*time.Hour), testBounds,
		session{"2b4d2c8e-7a51-4b0b-8f7f-5f3e0a9c1d20", 4*time.Minute + 123456*time.Microsecond, epoch})
	rebuilt.Count, rebuilt.Histogram.Base, rebuilt.Histogram.Born = 41, 40, epoch.Add(-time.Hour)

	read := newView(
		ledger.SeriesView{
			Series: &ledger.Series{
				Key: ledger.Key{Type: vbaws.TypePolicy, ExtendedType: "PolicyBackup", Policy: policy(1)},
				Counters: finals(epoch.Add(-24*time.Hour),
					tally(vbaws.StatusSucceeded, epoch.Add(-24*time.Hour), testBounds,
						session{"0e6b7c1a-1b1f-4a55-9d55-5a9b6b3b1a01", 500 * time.Microsecond, epoch.Add(-3 * time.Hour)},
						session{"0e6b7c1a-1b1f-4a55-9d55-5a9b6b3b1a02", 200 * time.Second, epoch.Add(-2 * time.Hour)},
						session{"0e6b7c1a-1b1f-4a55-9d55-5a9b6b3b1a03", 2 * time.Hour, epoch.Add(-time.Hour)},
						session{"0e6b7c1a-1b1f-4a55-9d55-5a9b6b3b1a04", 60 * time.Second, epoch},
					), held),
				Last:    ledger.Last{Status: vbaws.StatusFailed, End: epoch.Add(time.Hour), Duration: 90 * time.Second},
				History: history(5, 2),
			},
			Running: 2,
			Starts:  []time.Time{epoch.Add(90 * time.Minute)},
		},
		ledger.SeriesView{
			Series: &ledger.Series{
				Key: ledger.Key{Type: vbaws.TypePolicy, ExtendedType: "PolicySnapshot", Policy: "Gold \"nightly\" C:\\x\nzürich"},
				Counters: finals(epoch.Add(-24*time.Hour), rebuilt,
					tally("Melted", epoch, testBounds, session{id: "no-end", duration: time.Second})),
				Last: ledger.Last{Status: vbaws.StatusSucceeded, End: epoch, Duration: 4*time.Minute + 123456*time.Microsecond},
			},
		},
		ledger.SeriesView{
			Series: &ledger.Series{
				Key:      ledger.Key{Type: "RetentionActivity"},
				Counters: finals(epoch.Add(time.Minute)),
			},
			Running: 1,
		},
	)
	read.Watermark = &ledger.Watermark{USN: -7}
	read.LastResync = epoch.Add(2 * time.Hour)
	read.Resets = 1
	read.Skipped[ledger.SkipGone] = 3
	read.OverLimit = map[string]int{ledger.LimitPolicies: 2, ledger.LimitStatuses: 1}

	policies := &poller.PolicySet{
		All: []*ledger.Policy{
			{PolicyKey: ledger.PolicyKey{Workload: "ec2", ID: "7c1a0e6b-0001-4a55-9d55-5a9b6b3b1a01"}, Name: policy(1)},
			{PolicyKey: ledger.PolicyKey{Workload: "ec2", ID: "7c1a0e6b-0002-4a55-9d55-5a9b6b3b1a01"}, Name: policy(1)},
			{PolicyKey: ledger.PolicyKey{Workload: "rds", ID: "7c1a0e6b-0003-4a55-9d55-5a9b6b3b1a01"}, Name: "off"},
		},
		Rows: []poller.PolicyRow{
			{Name: "off", Workload: "rds", Verdict: verdict.Verdict{
				Disabled: verdict.Problem{Judged: true, Since: epoch.Add(-time.Hour)},
				Silent:   verdict.Problem{Judged: true},
			}},
			{Name: "unlisted", Unlisted: true, Enabled: true, Verdict: verdict.Verdict{Kinds: []verdict.Kind{
				{Failing: verdict.Problem{Judged: true}, Stuck: verdict.Problem{Judged: true, Since: epoch}},
			}}},
			{Name: policy(1), Workload: "ec2", Enabled: true, Verdict: verdict.Verdict{Kinds: []verdict.Kind{
				{
					Kind: "backup", Interval: 25 * time.Hour, Due: epoch, Success: epoch.Add(-24 * time.Hour),
					Failing:     verdict.Problem{Judged: true, Since: epoch.Add(10 * time.Minute)},
					Overdue:     verdict.Problem{Judged: true, Since: epoch},
					Stuck:       verdict.Problem{Judged: true},
					OverdueRuns: 2, NextDue: epoch.Add(24 * time.Hour),
				},
				{Kind: "snapshot", Interval: time.Hour, Due: epoch.Add(time.Hour)},
				{Kind: "replica", Success: epoch.Add(-48 * time.Hour)},
			}}},
		},
		Unreadable: 1,
	}
	facts := &poller.Facts{
		Summary: &vbaws.Summary{Alarms: 0, Instances: 14, ProtectedInstances: 11, Policies: 3, Repositories: -1},
		License: &vbaws.License{Type: "Subscription", Instances: 20, Used: 11.5, Expires: epoch.AddDate(0, 1, 0)},
		Repositories: &poller.Repositories{Shown: []vbaws.Repository{
			{ID: "b-1", Name: "main", Encrypted: true, Bucket: "company-backups", Region: "eu-central-1"},
			{ID: "b-2", Name: "main"},
		}},
	}
	instances := &poller.Instances{Over: 3, Shown: []poller.Instance{
		{ID: "i-0123456789abcdef0", Name: "web-01", Region: "eu-central-1", Protected: true, LastBackup: epoch.Add(-36 * time.Hour), BackupKnown: true},
		{ID: "i-0123456789abcdef1", Name: "web-01", Region: "eu-central-1", Protected: true, BackupKnown: true},
		{ID: "i-0123456789abcdef2", Name: "new", Protected: true},
		{ID: "i-0123456789abcdef3", Region: "eu-west-1"},
	}}

	return []*source{
		newSource("prod-eu", &poller.Published{View: read, Policies: policies, Facts: facts, Instances: instances, Status: poller.Status{
			Polls: 9, Up: true, LastPoll: epoch.Add(2 * time.Hour), LastSuccess: epoch.Add(2 * time.Hour),
			Result: poller.ResultSuccess, APIVersion: "1.7-rev0", Version: "9.0.0.304",
			CertificateExpiry: epoch.AddDate(0, 2, 0), ClockOffset: -3 * time.Second, ClockKnown: true,
			Forbidden: map[string]bool{"/api/v1/system/version": false, "/api/v1/licensing/license": true},
		}}),
		newSource("dead", &poller.Published{Status: poller.Status{
			Polls: 2, LastPoll: epoch.Add(time.Minute + 250*time.Millisecond), Result: poller.Result(vbaws.KindTLS),
		}}),
		newSource("restarted", &poller.Published{Facts: &poller.Facts{
			Summary: &vbaws.Summary{Alarms: 1, Instances: 2, ProtectedInstances: 2, Policies: 0, Repositories: 1},
			License: &vbaws.License{Type: "Free", Instances: -1, Used: -1},
		}, View: newView(ledger.SeriesView{Series: &ledger.Series{
			Key: ledger.Key{Type: "Job"},
			Counters: finals(epoch, tally(vbaws.StatusWarning, epoch, testBounds,
				session{"5f0a9a2e-3c60-4a3c-8f6e-9c1d2f4b7a01", 5 * time.Minute, epoch.Add(time.Minute)})),
			Last: ledger.Last{Status: vbaws.StatusWarning, End: epoch.Add(time.Minute), Duration: 5 * time.Minute},
		}})}),
		newSource("unknown", &poller.Published{}),
	}
}
