package store

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

var genZone = rapid.SampledFrom([]*time.Location{time.UTC, time.FixedZone("", 5*3600+1800), time.FixedZone("west", -12*3600)})

var genTime = rapid.Custom(func(t *rapid.T) time.Time {
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		return time.Time{}
	case 1:
		return time.Time{}.In(time.FixedZone("", 3600))
	case 2: // also of years that RFC 3339 can't say
		return time.Unix(rapid.Int64Range(minTime.Unix(), maxTime.Unix()-1).Draw(t, "sec"), rapid.Int64Range(0, 1e9-1).Draw(t, "nsec"))
	}
	return time.Unix(rapid.Int64Range(1e9, 2e9).Draw(t, "sec"), rapid.Int64Range(0, 1e9-1).Draw(t, "nsec")).In(genZone.Draw(t, "zone"))
})

var genWord = rapid.OneOf(
	rapid.SampledFrom([]string{"", "Policy", "Job", "daily", "Tägliche Sicherung", "a\x00b", "\"\\", "<&>\u2028"}),
	rapid.String(),
)

var genDuration = rapid.Map(rapid.Int64(), func(n int64) time.Duration { return time.Duration(n) })

var genID = rapid.Map(rapid.ByteRange(0, 30), func(b byte) (id ledger.ID) {
	id[0], id[15] = b%3, b
	return id
})

var genExemplar = rapid.Custom(func(t *rapid.T) *ledger.Exemplar {
	if rapid.Bool().Draw(t, "none") {
		return nil
	}
	return &ledger.Exemplar{
		SessionID: genWord.Draw(t, "session"),
		Duration:  genDuration.Draw(t, "duration"),
		End:       genTime.Draw(t, "end"),
	}
})

var genHistogram = rapid.Custom(func(t *rapid.T) *ledger.Histogram {
	if rapid.Bool().Draw(t, "none") {
		return nil
	}
	return &ledger.Histogram{
		Born:      genTime.Draw(t, "born"),
		Base:      rapid.Uint64().Draw(t, "base"),
		Sum:       rapid.Int64().Draw(t, "sum"),
		Buckets:   rapid.SliceOfN(rapid.Uint64(), 0, 5).Draw(t, "buckets"),
		Exemplars: rapid.SliceOfN(genExemplar, 0, 5).Draw(t, "exemplars"),
		Zero:      rapid.Uint64().Draw(t, "zero"),
		Native: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) ledger.NativeBucket {
			return ledger.NativeBucket{Index: rapid.Int32().Draw(t, "index"), Count: rapid.Uint64().Draw(t, "count")}
		}), 0, 5).Draw(t, "native"),
	}
})

var genCounter = rapid.Custom(func(t *rapid.T) *ledger.Counter {
	return &ledger.Counter{
		Status:    genWord.Draw(t, "status"),
		Born:      genTime.Draw(t, "born"),
		Held:      rapid.Bool().Draw(t, "held"),
		Count:     rapid.Uint64().Draw(t, "count"),
		End:       genTime.Draw(t, "end"),
		Exemplar:  genExemplar.Draw(t, "exemplar"),
		Histogram: genHistogram.Draw(t, "histogram"),
	}
})

var genKey = rapid.Custom(func(t *rapid.T) ledger.Key {
	w := rapid.SampledFrom([]string{"", "a", "aa"})
	return ledger.Key{Type: w.Draw(t, "type"), ExtendedType: w.Draw(t, "extended"), Policy: w.Draw(t, "policy")}
})

var genPolicyKey = rapid.Custom(func(t *rapid.T) ledger.PolicyKey {
	w := rapid.SampledFrom([]string{"", "a", "aa"})
	return ledger.PolicyKey{Workload: w.Draw(t, "workload"), ID: w.Draw(t, "id")}
})

var genMeta = rapid.Custom(func(t *rapid.T) *ledger.Meta {
	m := &ledger.Meta{
		Cutoff:          genTime.Draw(t, "cutoff"),
		LastResync:      genTime.Draw(t, "last resync"),
		LastDailyResync: genTime.Draw(t, "last daily resync"),
		ResyncedAt:      genTime.Draw(t, "resynced at"),
		ResyncInterval:  genDuration.Draw(t, "resync interval"),
		Resets:          rapid.Uint64().Draw(t, "resets"),
		Skipped:         rapid.MapOfN(genWord, rapid.Uint64(), 0, 3).Draw(t, "skipped"),
		Bounds:          rapid.SliceOfN(rapid.Float64Range(-math.MaxFloat64, math.MaxFloat64), 0, 5).Draw(t, "bounds"),
	}
	if at := genTime.Draw(t, "phase time"); !at.IsZero() {
		m.Phase = ledger.Phase{Stage: rapid.SampledFrom([]ledger.Stage{ledger.InitialSync, ledger.Synced}).Draw(t, "stage"), Time: at}
	}
	if rapid.Bool().Draw(t, "clock") {
		m.Clock = verdict.ClockGate{Offset: genDuration.Draw(t, "offset"), Known: true, ClosedAt: genTime.Draw(t, "closed"), JudgedAt: genTime.Draw(t, "judged"), Polls: rapid.IntRange(0, 3).Draw(t, "polls")}
	}
	if rapid.Bool().Draw(t, "any unreadable") {
		m.Unreadable = &ledger.Unreadable{From: genTime.Draw(t, "from"), Sessions: rapid.IntRange(1, 100).Draw(t, "unreadable")}
	}
	if rapid.Bool().Draw(t, "watermark") {
		m.Watermark = &ledger.Watermark{USN: rapid.Int64().Draw(t, "usn"), ID: genID.Draw(t, "id")}
	}
	return m
})

var genSeries = rapid.Custom(func(t *rapid.T) *ledger.Series {
	return &ledger.Series{
		Key:      genKey.Draw(t, "key"),
		Counters: rapid.SliceOfN(genCounter, 0, 3).Draw(t, "counters"),
		Last: ledger.Last{
			ID:       genID.Draw(t, "id"),
			Status:   genWord.Draw(t, "status"),
			End:      genTime.Draw(t, "end"),
			Duration: genDuration.Draw(t, "duration"),
		},
		History: genHistory.Draw(t, "history"),
	}
})

var genHistory = rapid.Custom(func(t *rapid.T) verdict.History {
	h := verdict.History{
		Success:      genTime.Draw(t, "success"),
		Failures:     rapid.IntRange(0, 3).Draw(t, "failures"),
		FirstFailure: genTime.Draw(t, "first failure"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "sessions") {
		h = h.Insert(verdict.Session{Start: genTime.Draw(t, "start"), End: genTime.Draw(t, "end"), Status: genWord.Draw(t, "status"), ID: rapid.Uint32().Draw(t, "id")})
	}
	return h
})

var genFormer = rapid.Custom(func(t *rapid.T) *ledger.Former {
	if rapid.Bool().Draw(t, "none") {
		return nil
	}
	return &ledger.Former{
		Name:      genWord.Draw(t, "name"),
		Until:     genTime.Draw(t, "until"),
		Histories: rapid.MapOfN(genWord, genHistory, 0, 2).Draw(t, "histories"),
	}
})

var genUnfinished = rapid.Custom(func(t *rapid.T) *ledger.Unfinished {
	return &ledger.Unfinished{
		Session: vbaws.Session{
			ID:           genWord.Draw(t, "id"),
			Type:         genWord.Draw(t, "type"),
			ExtendedType: genWord.Draw(t, "extended"),
			Status:       genWord.Draw(t, "status"),
			Result:       genWord.Draw(t, "result"),
			Reason:       genWord.Draw(t, "reason"),
			Name:         genWord.Draw(t, "name"),
			Start:        genTime.Draw(t, "start"),
			Stop:         genTime.Draw(t, "stop"),
			Duration:     genDuration.Draw(t, "duration"),
			USN:          rapid.Int64().Draw(t, "usn"),
		},
		Policy:      genWord.Draw(t, "policy"),
		Unresolved:  rapid.Bool().Draw(t, "unresolved"),
		Disposition: rapid.SampledFrom([]ledger.Disposition{ledger.Excluded, ledger.Countable, ledger.Counted}).Draw(t, "disposition"),
		Missing:     rapid.IntRange(0, 3).Draw(t, "missing"),
	}
})

var genSchedule = rapid.Custom(func(t *rapid.T) *vbaws.Schedule {
	switch rapid.IntRange(0, 3).Draw(t, "schedule") {
	case 0:
		return nil
	case 1:
		return &vbaws.Schedule{Unreadable: genWord.Draw(t, "reason") + "!", Every: time.Duration(rapid.IntRange(0, 2).Draw(t, "hours")) * time.Hour}
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

var genPolicy = rapid.Custom(func(t *rapid.T) *ledger.Policy {
	return &ledger.Policy{
		PolicyKey: genPolicyKey.Draw(t, "key"),
		Name:      genWord.Draw(t, "name"),
		Enabled:   rapid.Bool().Draw(t, "enabled"),
		Schedule:  genSchedule.Draw(t, "schedule"),
		Since:     genTime.Draw(t, "since"),

		LastReadable:  genSchedule.Draw(t, "last readable"),
		InitialSync:   rapid.Bool().Draw(t, "initial sync"),
		DisabledSince: genTime.Draw(t, "disabled since"),
		Decided:       rapid.MapOfN(rapid.SampledFrom([]schedule.Kind{schedule.Whole, schedule.Backup, schedule.Archive}), genTime, 0, 2).Draw(t, "decided"),
		Former:        genFormer.Draw(t, "former"),
		Missing:       rapid.IntRange(0, 3).Draw(t, "missing"),
		Listed:        genTime.Draw(t, "listed"),
		LookedUp:      rapid.Bool().Draw(t, "looked up"),
	}
})

// Days of sessions, and times at which they may be dealt with or forgotten.
var (
	someDays = []int32{ledger.DayUnknown, math.MinInt32 + 1, -1, 0, 1, 20000, 20001, 20002, 20003, math.MaxInt32}
	genAt    = rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.IntRange(0, 9).Draw(t, "zero") == 0 {
			return time.Time{}
		}
		return time.Unix(20000*86400+rapid.Int64Range(0, 5*8).Draw(t, "eighths of a day")*10800, rapid.SampledFrom([]int64{0, 0, 1, 999999999}).Draw(t, "nsec"))
	})
)

// dayFor returns the day of an id, which it keeps.
func dayFor(id ledger.ID) int32 { return someDays[int(id[15])%len(someDays)] }

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

var genChanges = rapid.Custom(func(t *rapid.T) *ledger.Changes {
	c := &ledger.Changes{
		Series:     maybe(t, "series", genSeries, func(s *ledger.Series) ledger.Key { return s.Key }),
		Unfinished: maybe(t, "unfinished", genUnfinished, func(u *ledger.Unfinished) ledger.ID { return ledger.ParseID(u.Session.ID) }),
		Policies:   maybe(t, "policies", genPolicy, func(p *ledger.Policy) ledger.PolicyKey { return p.PolicyKey }),
		Skipped:    rapid.MapOfN(genID, genAt, 0, 4).Draw(t, "skipped"),
		Seen:       map[ledger.ID]ledger.SeenSession{},
	}
	if rapid.Bool().Draw(t, "meta") {
		c.Meta = genMeta.Draw(t, "meta")
	}
	for _, id := range rapid.SliceOfN(genID, 0, 20).Draw(t, "ids") {
		c.Seen[id] = ledger.SeenSession{
			ID:          id,
			Day:         dayFor(id),
			USN:         rapid.Int64().Draw(t, "usn"),
			Fingerprint: rapid.Uint32().Draw(t, "fingerprint"),
			At:          genAt.Draw(t, "at"),
			Uncounted:   rapid.Bool().Draw(t, "uncounted"),
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "forget") == 0 {
		c.Forget = genAt.Draw(t, "forget")
	}
	return c
})

// session returns the n-th id of many that are drawn evenly, as UUIDs are.
func session(n int) ledger.ID { return ledger.ParseID(fmt.Sprint("session ", n)) }

// genMovable are changes that may be exported and imported: unlike those of
// genChanges, their numbers agree with each other.
var genMovable = rapid.Map(genChanges, func(c *ledger.Changes) *ledger.Changes {
	const fewer = 12 // bits
	if m := c.Meta; m != nil {
		m.Bounds, m.Resets, m.ResyncInterval = nil, m.Resets>>fewer, m.ResyncInterval.Abs()%maxInterval
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
			h.Sum = h.Sum & (maxSum - 1)
			h.Base %= c.Count + 1
			h.Buckets, h.Exemplars = []uint64{c.Count - h.Base}, []*ledger.Exemplar{c.Exemplar}
			h.Zero %= c.Count - h.Base + 1
			h.Native = []ledger.NativeBucket{{Index: int32(h.Sum % nativeIndexes), Count: c.Count - h.Base - h.Zero}}
		}
	}
	return c
})
