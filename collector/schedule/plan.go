package schedule

import (
	"slices"
	"sort"
	"sync"
	"time"

	"vbaws_exporter/vbaws"
)

// Plan is a schedule in a time zone. It is immutable, and its methods may be called
// by any goroutine. A nil Plan is one without starts.
type Plan struct {
	zone  *time.Location // nil if it is not known
	kinds map[Kind]kindPlan
}

// kindPlan is what a Plan has of a kind that ever starts.
type kindPlan struct {
	parts []part // none for an interval, which has no times
	gap   func() time.Duration
}

var allKinds = []Kind{Whole, Snapshot, Replica, Backup, Archive}

// The longest gap is looked for with the present rules of the zones: from 2026 on, for as
// many years as it takes until each date has fallen on each day of the week. A few years
// have all changes of the clocks, which is enough for a schedule without dates.
var (
	gapsFrom   = dayOf(time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC))
	weeklyGaps = dayOf(time.Date(2030, time.January, 1, 0, 0, 0, 0, time.UTC))
	gapsTo     = dayOf(time.Date(2054, time.January, 1, 0, 0, 0, 0, time.UTC))
)

// horizon is how many days to look for a start: more than lie between 29 February
// 2096 and the next.
const horizon = 8*366 + 2

// New returns the plan of a schedule whose times are those of zone; nil if it is not
// known. It has no starts if s is nil, and none of parts that could not be
// understood. A schedule that is an interval, or whose zone is not known, has a longest
// gap and no starts.
func New(s *vbaws.Schedule, zone *time.Location) *Plan {
	p := &Plan{zone: zone, kinds: make(map[Kind]kindPlan)}
	if s == nil {
		return p
	}
	if s.Every > 0 {
		every := kindPlan{gap: func() time.Duration { return s.Every }}
		p.kinds[Whole], p.kinds[Backup] = every, every
		return p
	}
	clock := zone
	if clock == nil {
		clock = time.UTC
	}
	for kind, parts := range partsOf(s) {
		to := weeklyGaps
		if slices.ContainsFunc(parts, func(p part) bool { return p.day != nil }) {
			to = gapsTo
		}
		p.kinds[kind] = kindPlan{parts, sync.OnceValue(func() time.Duration {
			return longestGap(parts, clock, gapsFrom, to)
		})}
	}
	return p
}

// of returns what the plan has of a kind; zero if it never starts.
func (p *Plan) of(kind Kind) kindPlan {
	if p == nil {
		return kindPlan{}
	}
	return p.kinds[kind]
}

// Kinds returns the kinds that the schedule makes, Whole not among them.
func (p *Plan) Kinds() []Kind {
	return slices.DeleteFunc(slices.Clone(allKinds), func(k Kind) bool { return k == Whole || p.of(k).gap == nil })
}

// Timed reports whether the times of the starts are known. Those of an interval are not.
func (p *Plan) Timed() bool { return len(p.timed(Whole)) > 0 }

// timed returns the parts that start runs of a kind; none if their times are not known.
func (p *Plan) timed(kind Kind) []part {
	if p == nil || p.zone == nil {
		return nil
	}
	return p.kinds[kind].parts
}

// LongestGap returns the longest time that the schedule lets pass between two
// consecutive starts of a kind, changes of the zone's clocks included: 25 hours for
// a start every day, in a zone with summer time. It returns 0 if there are no two.
//
// It is worked out once, within milliseconds: a Plan is worth keeping.
func (p *Plan) LongestGap(kind Kind) time.Duration {
	if gap := p.of(kind).gap; gap != nil {
		return gap()
	}
	return 0
}

// Start is a scheduled start of a Plan. The appliance's behavior in the hour of a
// daylight-saving change is not documented, so a Start has both readings.
type Start struct {
	// At is when the wall clock first shows the time of the start.
	At time.Time
	// Later is when the wall clock shows it for the second time, because it was put
	// back; otherwise At.
	Later time.Time
	// Skipped is set if the wall clock never shows it, because it was put forward. At
	// is then the instant of the change.
	Skipped bool
	// DayStart and DayEnd bound the local day of a skipped start. Otherwise zero.
	DayStart, DayEnd time.Time
}

// LastDue returns the newest scheduled start of a kind at or before t; zero if there is
// none within eight years.
func (p *Plan) LastDue(kind Kind, t time.Time) time.Time {
	parts := p.timed(kind)
	if parts == nil {
		return time.Time{}
	}
	// A clock that is put back over midnight may have shown the next day already.
	today := dayOf(t.In(p.zone))
	for d := today + 1; d > today-horizon; d-- {
		starts := on(parts, d)
		if n := p.countUntil(starts, d, t); n > 0 {
			return p.instant(d, starts[n-1])
		}
	}
	return time.Time{}
}

// Next returns the first scheduled start of a kind whose At is after t; zero if there is
// none within eight years.
func (p *Plan) Next(kind Kind, t time.Time) Start {
	parts := p.timed(kind)
	if parts == nil {
		return Start{}
	}
	today := dayOf(t.In(p.zone))
	for d := today; d < today+horizon; d++ {
		starts := on(parts, d)
		if n := p.countUntil(starts, d, t); n < len(starts) {
			at := p.instant(d, starts[n])
			return p.Starts(kind, at, at)[0]
		}
	}
	return Start{}
}

// Starts returns the scheduled starts of a kind whose At is neither before from nor
// after to, in order. No two have the same At: starts that the wall clock skips fall
// together with each other and with one at the instant of the change, which then
// stands for them.
func (p *Plan) Starts(kind Kind, from, to time.Time) []Start {
	parts := p.timed(kind)
	if parts == nil || to.Before(from) {
		return nil
	}
	var found []Start
	first, last := dayOf(from.In(p.zone))-1, dayOf(to.In(p.zone))+1
	c := newClock(p.zone, first.at(0))
	for d := first; d <= last; d++ {
		starts := on(parts, d)
		for _, second := range starts[p.countUntil(starts, d, from.Add(-1)):] {
			s := p.start(c, d, second)
			switch n := len(found); {
			case s.At.After(to):
				return found
			case n == 0 || !found[n-1].At.Equal(s.At):
				found = append(found, s)
			case !s.Skipped:
				found[n-1] = s
			}
		}
	}
	return found
}

// start returns the start at a second of the wall clock of day d.
func (p *Plan) start(c *clock, d civilDay, second int32) Start {
	wall := d.at(second)
	u := c.first(wall)
	s := Start{At: time.Unix(u, 0).In(p.zone)}
	s.Later = s.At
	switch {
	case u != int64(wall)-c.offset:
		s.Skipped = true
		s.DayStart, s.DayEnd = p.instant(d, 0), p.instant(d+1, 0)
	case !c.forever && c.end-u < daySeconds:
		_, offset := time.Unix(c.end, 0).In(p.zone).Zone()
		if again := int64(wall) - int64(offset); again >= c.end {
			s.Later = time.Unix(again, 0).In(p.zone)
		}
	}
	return s
}

// countUntil counts the starts of a day at or before t.
func (p *Plan) countUntil(starts []int32, d civilDay, t time.Time) int {
	return sort.Search(len(starts), func(i int) bool { return p.instant(d, starts[i]).After(t) })
}

func (p *Plan) instant(d civilDay, second int32) time.Time {
	wall := d.at(second)
	return time.Unix(newClock(p.zone, wall).first(wall), 0).In(p.zone)
}
