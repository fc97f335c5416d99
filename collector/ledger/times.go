// When a session started and finished.

package ledger

import (
	"slices"
	"time"

	"vbaws_exporter/vbaws"
)

// Times are when a session began and ended, and how long it took, as far as what the
// appliance says of it can be true.
type Times struct {
	// Start is zero if it isn't known at all.
	Start time.Time
	// End is that of a finished session, and has no meaning for another. It is never zero.
	End time.Time
	// Duration is never below zero, and to the microsecond.
	Duration time.Duration
}

// earliest is before any session, and ahead how far a time may be ahead of the
// appliance's clock.
var earliest = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)

const ahead = time.Hour

// Times returns the times of a session as everything takes them that counts, judges
// or shows it, by the appliance's clock. A time before 2000 or more than an hour
// after now is unusable, and so is a stop before the start: a clock that was set while
// the session ran, and zero dates of all kinds, leave such times.
//
// A session without a usable stop ended at its start plus the API's duration, at most
// now; one without a usable start began at its stop. Of the API's duration the one
// published sample is wrong, so it serves only if one of both is unusable.
func (tx *Tx) Times(s *vbaws.Session) Times {
	now := tx.clock()
	start, stop := s.Start, s.Stop
	if !usable(start, now) {
		start = time.Time{}
	}
	if !usable(stop, now) || stop.Before(start) {
		stop = time.Time{}
	}
	t := Times{Start: start, End: stop, Duration: max(0, min(s.Duration, now.Sub(earliest)))}
	switch {
	case start.IsZero() && stop.IsZero():
		t.End = now
	case start.IsZero():
		t.Start = stop
	default:
		if stop.IsZero() {
			t.End = start.Add(max(0, min(t.Duration, now.Sub(start)))) // start may be ahead of now
		}
		t.Duration = t.End.Sub(start)
	}
	t.Duration = t.Duration.Round(time.Microsecond)
	return t
}

func usable(t, now time.Time) bool { return !t.Before(earliest) && !t.After(now.Add(ahead)) }

// Finished reports whether s has finished. An unknown status
// counts as finished once there is a stop time.
func Finished(s *vbaws.Session) bool {
	switch s.Status {
	case vbaws.StatusRunning, vbaws.StatusNeverExecuted:
		return false
	}
	return slices.Contains(vbaws.FinalStatuses, s.Status) || !s.Stop.Before(earliest)
}

const (
	oneDay        = 24 * time.Hour
	secondsPerDay = int64(oneDay / time.Second)
)

// StartOfDay returns when a SeenSession.Day begins.
func StartOfDay(day int32) time.Time { return time.Unix(int64(day)*secondsPerDay, 0).UTC() }

// DayOf returns the day of a time, in days since 1970, and DayUnknown for the zero time.
func DayOf(t time.Time) int32 {
	if t.IsZero() {
		return DayUnknown
	}
	return int32(t.Truncate(oneDay).Unix() / secondsPerDay)
}
