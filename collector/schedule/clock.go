package schedule

import "time"

// wallSeconds is a reading of a wall clock: what Unix time would be if the clock
// showed UTC.
type wallSeconds int64

// civilDay is a day of the calendar, in days since 1970-01-01.
type civilDay int64

const daySeconds = 24 * 60 * 60

// dayOf returns the day that the wall clock shows at t, a time in its zone.
func dayOf(t time.Time) civilDay {
	y, m, d := t.Date()
	return civilDay(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / daySeconds)
}

// midnight returns the start of the day as UTC.
func (d civilDay) midnight() time.Time { return time.Unix(int64(d)*daySeconds, 0).UTC() }

func (d civilDay) at(second int32) wallSeconds {
	return wallSeconds(int64(d)*daySeconds + int64(second))
}

// clock computes when the wall clock of a zone first shows a time, or a later one. It
// only goes forward: a time must not be before the previous one, nor before the one of
// its creation.
type clock struct {
	zone *time.Location
	// The zone has one offset, in seconds, from begin up to end; both in Unix time.
	begin, end, offset int64
	forever            bool // there is no end
}

// newClock returns a clock for times from wall on.
func newClock(zone *time.Location, wall wallSeconds) *clock {
	// No zone is a day off UTC, so here the clock doesn't show wall yet.
	c := &clock{zone: zone}
	c.enter(int64(wall) - daySeconds)
	return c
}

// enter moves on to the time from begin on.
func (c *clock) enter(begin int64) {
	t := time.Unix(begin, 0).In(c.zone)
	_, offset := t.Zone()
	_, end := t.ZoneBounds()
	c.begin, c.offset = begin, int64(offset)
	c.end, c.forever = end.Unix(), end.IsZero()
	if c.end <= begin {
		// Beyond a zone's table, ZoneBounds takes a year for 365 days: on the last day of
		// a leap year it answers with an end that has passed.
		c.end = begin + 60*60
	}
}

// first returns, in Unix time, the first instant at which the clock shows wall or
// later.
func (c *clock) first(wall wallSeconds) int64 {
	for {
		u := max(int64(wall)-c.offset, c.begin)
		if c.forever || u < c.end {
			return u
		}
		c.enter(c.end)
	}
}
