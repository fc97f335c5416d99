// Package recordtest generates values that a store keeps, for tests.
package recordtest

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"pgregory.net/rapid"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/schedule"
	"vbaws_exporter/collector/verdict"
	"vbaws_exporter/vbaws"
)

// The generators below draw keys from few, so that they meet again, and values
// from all there are.

// Times of the years that a Checker accepts, in seconds since 1970.
const minTime, maxTime = -62167392000, 253402387200 - 1

var zone = rapid.SampledFrom([]*time.Location{time.UTC, time.FixedZone("", 5*3600+1800), time.FixedZone("west", -12*3600)})

// Time is any time, zero now and then.
var Time = rapid.Custom(func(t *rapid.T) time.Time {
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		return time.Time{}
	case 1:
		return time.Time{}.In(time.FixedZone("", 3600))
	case 2: // also of years that RFC 3339 can't say
		return time.Unix(rapid.Int64Range(minTime, maxTime).Draw(t, "sec"), rapid.Int64Range(0, 1e9-1).Draw(t, "nsec"))
	}
	return time.Unix(rapid.Int64Range(1e9, 2e9).Draw(t, "sec"), rapid.Int64Range(0, 1e9-1).Draw(t, "nsec")).In(zone.Draw(t, "zone"))
})

// Word is any text that JSON can hold.
var Word = rapid.OneOf(
	rapid.SampledFrom([]string{"", "Policy", "Job", "daily", "Tägliche Sicherung", "a\x00b", "\"\\", "<&>\u2028"}),
	rapid.String(),
)

// Duration is any duration.
var Duration = rapid.Map(rapid.Int64(), func(n int64) time.Duration { return time.Duration(n) })

// ID is one of few ids.
var ID = rapid.Map(rapid.ByteRange(0, 30), func(b byte) (id ledger.ID) {
	id[0], id[15] = b%3, b
	return id
})

var exemplar = rapid.Custom(func(t *rapid.T) *ledger.Exemplar {
	if rapid.Bool().Draw(t, "none") {
		return nil
	}
	return &ledger.Exemplar{
		SessionID: Word.Draw(t, "session"),
		Duration:  Duration.Draw(t, "duration"),
		End:       Time.Draw(t, "end"),
	}
})

var histogram = rapid.Custom(func(t *rapid.T) *ledger.Histogram {
	if rapid.Bool().Draw(t, "none") {
		return nil
	}
	return &ledger.Histogram{
		Born:      Time.Draw(t, "born"),
		Base:      rapid.Uint64().Draw(t, "base"),
		Sum:       rapid.Int64().Draw(t, "sum"),
		Buckets:   rapid.SliceOfN(rapid.Uint64(), 0, 5).Draw(t, "buckets"),
		Exemplars: rapid.SliceOfN(exemplar, 0, 5).Draw(t, "exemplars"),
		Zero:      rapid.Uint64().Draw(t, "zero"),
		Native: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) ledger.NativeBucket {
			return ledger.NativeBucket{Index: rapid.Int32().Draw(t, "index"), Count: rapid.Uint64().Draw(t, "count")}
		}), 0, 5).Draw(t, "native"),
	}
})

var counter = rapid.Custom(func(t *rapid.T) *ledger.Counter {
	return &ledger.Counter{
		Status:    Word.Draw(t, "status"),
		Born:      Time.Draw(t, "born"),
		Held:      rapid.Bool().Draw(t, "held"),
		Count:     rapid.Uint64().Draw(t, "count"),
		End:       Time.Draw(t, "end"),
		Exemplar:  exemplar.Draw(t, "exemplar"),
		Histogram: histogram.Draw(t, "histogram"),
	}
})

var key = rapid.Custom(func(t *rapid.T) ledger.Key {
	w := rapid.SampledFrom([]string{"", "a", "aa"})
	return ledger.Key{Type: w.Draw(t, "type"), ExtendedType: w.Draw(t, "extended"), Policy: w.Draw(t, "policy")}
})

var policyKey = rapid.Custom(func(t *rapid.T) ledger.PolicyKey {
	w := rapid.SampledFrom([]string{"", "a", "aa"})
	return ledger.PolicyKey{Workload: w.Draw(t, "workload"), ID: w.Draw(t, "id")}
})

// Meta is any ledger.Meta.
var Meta = rapid.Custom(func(t *rapid.T) *ledger.Meta {
	m := &ledger.Meta{
		Cutoff:          Time.Draw(t, "cutoff"),
		LastResync:      Time.Draw(t, "last resync"),
		LastDailyResync: Time.Draw(t, "last daily resync"),
		ResyncedAt:      Time.Draw(t, "resynced at"),
		ResyncInterval:  Duration.Draw(t, "resync interval"),
		JudgedAt:        Time.Draw(t, "judged at"),
		Resets:          rapid.Uint64().Draw(t, "resets"),
		Skipped:         rapid.MapOfN(Word, rapid.Uint64(), 0, 3).Draw(t, "skipped"),
		Bounds:          rapid.SliceOfN(rapid.Float64Range(-math.MaxFloat64, math.MaxFloat64), 0, 5).Draw(t, "bounds"),
	}
	if at := Time.Draw(t, "phase time"); rapid.Bool().Draw(t, "synced") {
		m.SyncedAt = at
	} else {
		m.BackfillFrom = at
	}
	if rapid.Bool().Draw(t, "clock") {
		m.Clock = verdict.ClockGate{Offset: Duration.Draw(t, "offset"), Known: true, ClosedAt: Time.Draw(t, "closed"), Polls: rapid.IntRange(0, 3).Draw(t, "polls")}
	}
	if rapid.Bool().Draw(t, "any unreadable") {
		m.Unreadable = &ledger.Unreadable{From: Time.Draw(t, "from"), Sessions: rapid.IntRange(1, 100).Draw(t, "unreadable")}
	}
	if rapid.Bool().Draw(t, "watermark") {
		m.Watermark = &ledger.Watermark{USN: rapid.Int64().Draw(t, "usn"), ID: ID.Draw(t, "id")}
	}
	return m
})

// Series is any ledger.Series.
var Series = rapid.Custom(func(t *rapid.T) *ledger.Series {
	return &ledger.Series{
		Key:      key.Draw(t, "key"),
		Counters: rapid.SliceOfN(counter, 0, 3).Draw(t, "counters"),
		Last: ledger.Last{
			ID:       ID.Draw(t, "id"),
			Status:   Word.Draw(t, "status"),
			End:      Time.Draw(t, "end"),
			Duration: Duration.Draw(t, "duration"),
		},
		History: history.Draw(t, "history"),
	}
})

var history = rapid.Custom(func(t *rapid.T) verdict.History {
	h := verdict.History{
		Success:      Time.Draw(t, "success"),
		Failures:     rapid.IntRange(0, 3).Draw(t, "failures"),
		FirstFailure: Time.Draw(t, "first failure"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "sessions") {
		h = h.Insert(verdict.Session{Start: Time.Draw(t, "start"), End: Time.Draw(t, "end"), Status: Word.Draw(t, "status"), ID: rapid.Uint32().Draw(t, "id")})
	}
	return h
})

var former = rapid.Custom(func(t *rapid.T) *ledger.Former {
	if rapid.Bool().Draw(t, "none") {
		return nil
	}
	return &ledger.Former{
		Name:      Word.Draw(t, "name"),
		Until:     Time.Draw(t, "until"),
		Histories: rapid.MapOfN(Word, history, 0, 2).Draw(t, "histories"),
	}
})

// Unfinished is any ledger.Unfinished.
var Unfinished = rapid.Custom(func(t *rapid.T) *ledger.Unfinished {
	return &ledger.Unfinished{
		Session: vbaws.Session{
			ID:           Word.Draw(t, "id"),
			Type:         Word.Draw(t, "type"),
			ExtendedType: Word.Draw(t, "extended"),
			Status:       Word.Draw(t, "status"),
			Result:       Word.Draw(t, "result"),
			Reason:       Word.Draw(t, "reason"),
			Name:         Word.Draw(t, "name"),
			Start:        Time.Draw(t, "start"),
			Stop:         Time.Draw(t, "stop"),
			Duration:     Duration.Draw(t, "duration"),
			USN:          rapid.Int64().Draw(t, "usn"),
		},
		Policy:      Word.Draw(t, "policy"),
		Unresolved:  rapid.Bool().Draw(t, "unresolved"),
		Disposition: rapid.SampledFrom([]ledger.Disposition{{}, {Countable: true}, {Counted: true}}).Draw(t, "disposition"),
		Missing:     rapid.IntRange(0, 3).Draw(t, "missing"),
	}
})

var someSchedule = rapid.Custom(func(t *rapid.T) *vbaws.Schedule {
	switch rapid.IntRange(0, 3).Draw(t, "schedule") {
	case 0:
		return nil
	case 1:
		return &vbaws.Schedule{Unreadable: Word.Draw(t, "reason") + "!", Every: time.Duration(rapid.IntRange(0, 2).Draw(t, "hours")) * time.Hour}
	case 2:
		return &vbaws.Schedule{Weekly: &vbaws.WeeklySchedule{
			At:     time.Duration(rapid.IntRange(0, 86399).Draw(t, "at")) * time.Second,
			Backup: &vbaws.Weekdays{rapid.Bool().Draw(t, "Sunday"), true},
		}}
	}
	return &vbaws.Schedule{Daily: &vbaws.DailySchedule{
		RunsPerHour: rapid.IntRange(1, 4).Draw(t, "runs"),
		Snapshot:    &vbaws.Hours{rapid.Bool().Draw(t, "midnight"), true},
	}}
})

// Policy is any ledger.Policy.
var Policy = rapid.Custom(func(t *rapid.T) *ledger.Policy {
	return &ledger.Policy{
		PolicyKey: policyKey.Draw(t, "key"),
		Name:      Word.Draw(t, "name"),
		Enabled:   rapid.Bool().Draw(t, "enabled"),
		Schedule:  someSchedule.Draw(t, "schedule"),
		Since:     Time.Draw(t, "since"),

		LastReadable:  someSchedule.Draw(t, "last readable"),
		InitialSync:   rapid.Bool().Draw(t, "initial sync"),
		DisabledSince: Time.Draw(t, "disabled since"),
		Decided:       rapid.MapOfN(rapid.SampledFrom([]schedule.Kind{schedule.Whole, schedule.Backup, schedule.Archive}), Time, 0, 2).Draw(t, "decided"),
		Former:        former.Draw(t, "former"),
		Missing:       rapid.IntRange(0, 3).Draw(t, "missing"),
		Listed:        Time.Draw(t, "listed"),
		LookedUp:      rapid.Bool().Draw(t, "looked up"),
	}
})

// Days of sessions, and times at which they are seen or forgotten.
var (
	// Days are some days of sessions.
	Days = []int32{ledger.DayUnknown, math.MinInt32 + 1, -1, 0, 1, 20000, 20001, 20002, 20003, math.MaxInt32}
	At   = rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.IntRange(0, 9).Draw(t, "zero") == 0 {
			return time.Time{}
		}
		return time.Unix(20000*86400+rapid.Int64Range(0, 5*8).Draw(t, "eighths of a day")*10800, rapid.SampledFrom([]int64{0, 0, 1, 999999999}).Draw(t, "nsec"))
	})
)

// DayFor returns the day of an id, which it keeps.
func DayFor(id ledger.ID) int32 { return Days[int(id[15])%len(Days)] }

// maybe draws a map of values or, for what is to be removed, nil.
func maybe[K comparable, V any](t *rapid.T, label string, gen *rapid.Generator[*V], key func(*V) K) map[K]*V {
	m := map[K]*V{}
	for _, v := range rapid.SliceOfN(gen, 0, 4).Draw(t, label) {
		m[key(v)] = v
		if rapid.IntRange(0, 2).Draw(t, "remove") == 0 {
			m[key(v)] = nil
		}
	}
	return m
}

// Instance is any ledger.InstanceBackup.
var Instance = rapid.Custom(func(t *rapid.T) *ledger.InstanceBackup {
	return &ledger.InstanceBackup{At: Time.Draw(t, "at"), LookedUp: Time.Draw(t, "looked up")}
})

// Changes are any ledger.Changes.
var Changes = rapid.Custom(func(t *rapid.T) *ledger.Changes {
	c := &ledger.Changes{
		Series:     maybe(t, "series", Series, func(s *ledger.Series) ledger.Key { return s.Key }),
		Unfinished: maybe(t, "unfinished", Unfinished, func(u *ledger.Unfinished) ledger.ID { return ledger.ParseID(u.Session.ID) }),
		Policies:   maybe(t, "policies", Policy, func(p *ledger.Policy) ledger.PolicyKey { return p.PolicyKey }),
		Instances:  map[ledger.ID]*ledger.InstanceBackup{},
		Skipped:    rapid.MapOfN(ID, At, 0, 4).Draw(t, "skipped"),
		Seen:       map[ledger.ID]ledger.SeenSession{},
	}
	for _, id := range rapid.SliceOfN(ID, 0, 4).Draw(t, "instances") {
		if c.Instances[id] = nil; rapid.IntRange(0, 2).Draw(t, "remove") > 0 {
			c.Instances[id] = Instance.Draw(t, "instance")
		}
	}
	if rapid.Bool().Draw(t, "meta") {
		c.Meta = Meta.Draw(t, "meta")
	}
	for _, id := range rapid.SliceOfN(ID, 0, 20).Draw(t, "ids") {
		c.Seen[id] = ledger.SeenSession{
			ID:          id,
			Day:         DayFor(id),
			USN:         rapid.Int64().Draw(t, "usn"),
			Fingerprint: rapid.Uint32().Draw(t, "fingerprint"),
			At:          At.Draw(t, "at"),
			Uncounted:   rapid.Bool().Draw(t, "uncounted"),
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "forget") == 0 {
		c.Forget = At.Draw(t, "forget")
	}
	return c
})

// Session returns the n-th id of many that are drawn evenly, as UUIDs are.
func Session(n int) ledger.ID { return ledger.ParseID(fmt.Sprint("session ", n)) }

// Movable are changes that may be exported and imported: unlike those of
// Changes, their numbers agree with each other.
var Movable = rapid.Map(Changes, func(c *ledger.Changes) *ledger.Changes {
	const fewer = 12 // bits
	if m := c.Meta; m != nil {
		m.Bounds, m.Resets, m.ResyncInterval = nil, m.Resets>>fewer, m.ResyncInterval.Abs()%(400*24*time.Hour)
		for reason := range m.Skipped {
			m.Skipped[reason] >>= fewer
		}
	}
	for _, s := range c.Series {
		if s == nil {
			continue
		}
		slices.SortFunc(s.Counters, func(a, b *ledger.Counter) int { return cmp.Compare(a.Status, b.Status) })
		s.Counters = slices.CompactFunc(s.Counters, func(a, b *ledger.Counter) bool { return a.Status == b.Status })
		for _, c := range s.Counters {
			c.Count >>= fewer
			h := c.Histogram
			if h == nil {
				continue
			}
			h.Sum = h.Sum & (1<<62 - 1)
			h.Base %= c.Count + 1
			h.Buckets, h.Exemplars = []uint64{c.Count - h.Base}, []*ledger.Exemplar{c.Exemplar}
			h.Zero %= c.Count - h.Base + 1
			h.Native = []ledger.NativeBucket{{Index: int32(h.Sum % (34 << ledger.NativeSchema)), Count: c.Count - h.Base - h.Zero}}
		}
	}
	return c
})
