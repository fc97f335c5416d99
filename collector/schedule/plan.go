package schedule

import (
	"slices"
	"sort"
	"sync"
	"time"

	"vbaws_exporter/vbaws"
)

// Plan is a schedule in a time zone. It is immutable, and its methods may be called
// by any goroutine.
type Plan struct {
	zone  *time.Location
	lines []line // of the kinds that ever start, in the order of allKinds
}

// line is what a Plan has of a kind.
type line struct {
	kind  Kind
	table *timetable // nil for an interval, which has no times
	gap   func() (time.Duration, bool)
}

var allKinds = []Kind{Whole, Snapshot, Replica, Backup, Archive}

// The longest gap is looked for in as many years as it takes until all weekdays
// have met all dates, and with the zones' rules as they are now: of a later
// beginning the zones know no more, an earlier one has rules that are no more.
var (
	gapsFrom = dayOf(time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC))
	gapsTo   = dayOf(time.Date(2054, time.January, 1, 0, 0, 0, 0, time.UTC))
)

// horizon is how many days to look for a start: more than lie between 29 February
// 2096 and the next.
const horizon = 8*366 + 2

// New returns the plan of a schedule whose times are those of zone, which must not
// be nil. It has no starts if s is nil, and none of parts that could not be
// understood. A schedule that is an interval has a longest gap and no starts.
func New(s *vbaws.Schedule, zone *time.Location) *Plan {
	p := &Plan{zone: zone}
	if s == nil {
		return p
	}
	if s.Every > 0 {
		every := func() (time.Duration, bool) { return s.Every, true }
		p.lines = []line{{Whole, nil, every}, {Backup, nil, every}}
		return p
	}
	for _, kind := range allKinds {
		if table := newTimetable(s, kind); table != nil {
			p.lines = append(p.lines, line{kind, table, sync.OnceValues(func() (time.Duration, bool) {
				return table.longestGap(zone, gapsFrom, gapsTo)
			})})
		}
	}
	return p
}

// Kinds returns the kinds that the schedule makes, Whole not among them.
func (p *Plan) Kinds() []Kind {
	var kinds []Kind
	for _, l := range p.lines {
		if l.kind != Whole {
			kinds = append(kinds, l.kind)
		}
	}
	return kinds
}

func (p *Plan) line(kind Kind) (line, bool) {
	i := slices.IndexFunc(p.lines, func(l line) bool { return l.kind == kind })
	if i < 0 {
		return line{}, false
	}
	return p.lines[i], true
}

// LastDue returns the newest scheduled start of a kind at or before t, and false
// if there is none within eight years.
func (p *Plan) LastDue(kind Kind, t time.Time) (time.Time, bool) {
	l, ok := p.line(kind)
	if !ok || l.table == nil {
		return time.Time{}, false
	}
	// A clock that is put back over midnight may have shown the next day already.
	today := dayOf(t.In(p.zone))
	for d := today + 1; d > today-horizon; d-- {
		starts := l.table.on(d)
		if n := p.countUntil(starts, d, t); n > 0 {
			return p.instant(d, starts[n-1]), true
		}
	}
	return time.Time{}, false
}

// Next returns the first scheduled start of a kind after t, and false where there
// is none within eight years.
func (p *Plan) Next(kind Kind, t time.Time) (time.Time, bool) {
	l, ok := p.line(kind)
	if !ok || l.table == nil {
		return time.Time{}, false
	}
	today := dayOf(t.In(p.zone))
	for d := today; d < today+horizon; d++ {
		starts := l.table.on(d)
		if n := p.countUntil(starts, d, t); n < len(starts) {
			return p.instant(d, starts[n]), true
		}
	}
	return time.Time{}, false
}

// LongestGap returns the longest time that the schedule lets pass between two
// consecutive starts of a kind, changes of the zone's clocks included: 25 hours for
// a start every day where there is summer time. It returns false without any.
//
// It is worked out once, within milliseconds: a Plan is worth keeping.
func (p *Plan) LongestGap(kind Kind) (time.Duration, bool) {
	l, ok := p.line(kind)
	if !ok {
		return 0, false
	}
	return l.gap()
}

// countUntil counts the starts of a day at or before t.
func (p *Plan) countUntil(starts []int32, d civilDay, t time.Time) int {
	return sort.Search(len(starts), func(i int) bool { return p.instant(d, starts[i]).After(t) })
}

func (p *Plan) instant(d civilDay, second int32) time.Time {
	wall := d.at(second)
	return time.Unix(newClock(p.zone, wall).first(wall), 0).In(p.zone)
}
