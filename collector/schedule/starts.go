package schedule

import (
	"slices"
	"time"
)

// Start is a scheduled start of a Plan. The appliance's behavior in the hour of a
// daylight-saving change is not documented, so a Start has both readings.
type Start struct {
	// At is when the wall clock first shows the time of the start.
	At time.Time
	// Later is when the wall clock shows it for the second time, because it was put
	// back; otherwise At.
	Later time.Time
	// Skipped says that the wall clock never shows it, because it was put forward. At
	// is then the instant of the change.
	Skipped bool
	// DayStart and DayEnd bound the local day of a skipped start. Otherwise zero.
	DayStart, DayEnd time.Time
}

// Timed reports whether the plan has times. Those of an interval are not known.
func (p *Plan) Timed() bool {
	return slices.ContainsFunc(p.lines, func(l line) bool { return l.table != nil })
}

// Starts returns the scheduled starts of a kind whose At is neither before from nor
// after to, in order. No two have the same At: starts that the wall clock skips fall
// together with each other and with one at the instant of the change, which then
// stands for them.
func (p *Plan) Starts(kind Kind, from, to time.Time) []Start {
	l, ok := p.line(kind)
	if !ok || l.table == nil || to.Before(from) {
		return nil
	}
	var found []Start
	first, last := dayOf(from.In(p.zone))-1, dayOf(to.In(p.zone))+1
	c := newClock(p.zone, first.at(0))
	for d := first; d <= last; d++ {
		starts := l.table.on(d)
		for _, second := range starts[p.countUntil(starts, d, from.Add(-1)):] {
			s := p.start(c, d, second)
			if s.At.After(to) {
				break
			}
			if n := len(found); n > 0 && found[n-1].At.Equal(s.At) {
				if !s.Skipped {
					found[n-1] = s
				}
				continue
			}
			found = append(found, s)
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

// NextStart returns the first start of a kind whose At is after t, and false if there
// is none within eight years.
func (p *Plan) NextStart(kind Kind, t time.Time) (Start, bool) {
	next, ok := p.Next(kind, t)
	if !ok {
		return Start{}, false
	}
	starts := p.Starts(kind, next, next)
	if len(starts) == 0 {
		return Start{}, false
	}
	return starts[0], true
}
