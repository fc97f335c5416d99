package verdict

import (
	"cmp"
	"slices"
	"time"

	"vbaws_exporter/vbaws"
)

// Keep is how many finished sessions a History holds.
const Keep = 20

// Session is a finished session of type Policy.
type Session struct {
	Start  time.Time `json:"start,omitzero"`
	End    time.Time `json:"end,omitzero"`
	Status string    `json:"status"`
	// ID distinguishes it from others with the same times; 0 if it isn't known.
	ID uint32 `json:"id,omitzero"`
}

// Succeeded reports whether a status is a success. Failed alone is a failure.
func Succeeded(status string) bool {
	return status == vbaws.StatusSucceeded || status == vbaws.StatusWarning
}

func (s Session) succeeded() bool { return Succeeded(s.Status) }

func (s Session) failed() bool { return s.Status == vbaws.StatusFailed }

func (s Session) compare(o Session) int {
	return cmp.Or(s.End.Compare(o.End), s.Start.Compare(o.Start), cmp.Compare(s.ID, o.ID))
}

// same reports whether both are one session, whatever has become of it since.
func (s Session) same(o Session) bool {
	if s.ID == 0 || o.ID == 0 {
		return s.Start.Equal(o.Start) && s.End.Equal(o.End)
	}
	return s.ID == o.ID
}

// History is what is stored of the finished sessions of one policy and extended
// type. It is immutable: Insert returns another one.
type History struct {
	// Recent are the last Keep sessions, by End, oldest first.
	Recent []Session `json:"recent,omitempty"`
	// The others describe older sessions, which Recent no longer holds.
	//
	// Success is the end of the newest one that succeeded; zero if none is known.
	Success time.Time `json:"success,omitzero"`
	// Failures is how many failed after Success, and FirstFailure is the end of the
	// first of them.
	Failures     int       `json:"failures,omitzero"`
	FirstFailure time.Time `json:"first_failure,omitzero"`
}

// Insert returns the history with s, in place of what it was if it is there. Sessions can
// come in any order.
func (h History) Insert(s Session) History {
	h.Recent = slices.DeleteFunc(slices.Clone(h.Recent), s.same)
	i, _ := slices.BinarySearchFunc(h.Recent, s, Session.compare)
	h.Recent = slices.Insert(h.Recent, i, s)
	if len(h.Recent) > Keep {
		h = h.evict(h.Recent[0])
		h.Recent = slices.Clone(h.Recent[1:])
	}
	return h
}

// Update is Insert of a session that was inserted before. A failure that Recent no longer
// holds is not counted again.
func (h History) Update(s Session) History {
	if s.failed() && len(h.Recent) == Keep && s.compare(h.Recent[0]) < 0 && !slices.ContainsFunc(h.Recent, s.same) {
		return h
	}
	return h.Insert(s)
}

// Empty reports whether nothing is known of any session.
func (h History) Empty() bool {
	return len(h.Recent) == 0 && h.Success.IsZero() && h.Failures == 0 && h.FirstFailure.IsZero()
}

// evict notes what is still needed of a session that leaves Recent.
func (h History) evict(s Session) History {
	switch {
	case s.succeeded() && s.End.After(h.Success):
		h.Success = s.End
		h = h.endRow(s.End)
	case s.failed() && s.End.After(h.Success):
		h.Failures++
		h.FirstFailure = earliest(h.FirstFailure, s.End)
	}
	return h
}

// LastSuccess returns the end of the newest session that succeeded; zero if none is
// known.
func (h History) LastSuccess() time.Time {
	for _, s := range slices.Backward(h.Recent) {
		if s.succeeded() {
			return s.End
		}
	}
	return h.Success
}

// ConsecutiveFailures returns how many sessions failed since the newest success.
func (h History) ConsecutiveFailures() int {
	n := 0
	for _, s := range slices.Backward(h.Recent) {
		switch {
		case s.succeeded():
			return n
		case s.failed():
			n++
		}
	}
	return n + h.Failures
}

const (
	typicalOf   = 15 // sessions
	typicalFrom = 5
)

// Typical returns the median duration of the last 15 successful sessions, and false
// if there are fewer than 5.
func (h History) Typical() (time.Duration, bool) { return h.typicalAt(time.Time{}) }

// typicalAt is Typical as it was at t: a running session is measured by the sessions that
// ended before it began, so that its limit never moves. A zero t is now.
func (h History) typicalAt(t time.Time) (time.Duration, bool) {
	var d []time.Duration
	for _, s := range slices.Backward(h.Recent) {
		if s.succeeded() && (t.IsZero() || !s.End.After(t)) {
			d = append(d, s.End.Sub(s.Start))
		}
		if len(d) == typicalOf {
			break
		}
	}
	if len(d) < typicalFrom {
		return 0, false
	}
	slices.Sort(d)
	n := len(d)
	return (d[(n-1)/2] + d[n/2]) / 2, true
}

// before returns the history without the sessions that did not begin before t.
func (h History) before(t time.Time) History {
	h.Recent = slices.DeleteFunc(slices.Clone(h.Recent), func(s Session) bool { return !s.Start.Before(t) })
	if h.Success.After(t) {
		h.Success = time.Time{}
	}
	if h.FirstFailure.After(t) {
		h.Failures, h.FirstFailure = 0, time.Time{}
	}
	return h
}

// Merge returns the history of both.
func (h History) Merge(o History) History {
	// What failed before the newest success of both is over.
	success := latest(h.LastSuccess(), o.LastSuccess())
	h, o = h.endRow(success), o.endRow(success)
	h.Success = latest(h.Success, o.Success)
	h.Failures += o.Failures
	if o.Failures > 0 {
		h.FirstFailure = earliest(h.FirstFailure, o.FirstFailure)
	}
	all := slices.Concat(h.Recent, o.Recent)
	slices.SortStableFunc(all, Session.compare)
	all = slices.CompactFunc(all, Session.same)
	older := all[:max(0, len(all)-Keep)]
	h.Recent = slices.Clone(all[len(older):])
	// The newest first: what failed before a success doesn't count.
	for _, s := range slices.Backward(older) {
		h = h.evict(s)
	}
	return h
}

// endRow drops the failures that Recent no longer holds if the first of them is not
// after a success.
func (h History) endRow(success time.Time) History {
	if !h.FirstFailure.After(success) {
		h.Failures, h.FirstFailure = 0, time.Time{}
	}
	return h
}
