package ledger

import (
	"slices"
	"time"

	"vbaws_exporter/vbaws"
)

// Standing is what the books know of a session.
type Standing int

const (
	// Unknown sessions were never heard of, or nothing that counts.
	Unknown Standing = iota
	// Changed sessions are known, but not like this.
	Changed
	// Unchanged sessions have nothing to tell.
	Unchanged
)

// Standing returns what is known of s.
func (p *Pass) Standing(s *vbaws.Session) (Standing, error) {
	id := p.ID(s.ID)
	if u := p.unfinishedOf(id); u != nil {
		switch {
		case u.Unresolved && p.l.wantedType(s.Type):
			return Unknown, nil
		case sameSession(&u.Session, s):
			return Unchanged, nil
		}
		return Changed, nil
	}
	r, known, err := p.find(id, s)
	switch {
	case err != nil || !known || r.Owed:
		return Unknown, err
	case r.USN == s.USN && r.Print == print(s):
		return Unchanged, nil
	}
	return Changed, nil
}

// Open reports whether the books have an unfinished session of that id.
func (p *Pass) Open(id ID) bool { return p.unfinishedOf(id) != nil }

// UnfinishedPolicy returns the policy that an unfinished session was found to
// belong to when it was first heard of, and whether there is such a session.
func (p *Pass) UnfinishedPolicy(s *vbaws.Session) (policy string, ok bool) {
	if u := p.unfinishedOf(p.ID(s.ID)); u != nil && !u.Unresolved {
		return u.Policy, true
	}
	return "", false
}

// FirstSeen returns the start that an unfinished session was first taken in with, and
// now if there is no such session. It stands for a start that the appliance doesn't give.
func (p *Pass) FirstSeen(sessionID string, now time.Time) time.Time {
	if u := p.unfinishedOf(p.ID(sessionID)); u != nil && !u.Session.Start.IsZero() {
		return u.Session.Start
	}
	return now
}

// find returns what is remembered of a session that was dealt with, whatever became of
// its dates since. It looks at the days beside them first: another revision's precision,
// or its idea of a time zone, is what changes them most.
func (p *Pass) find(id ID, s *vbaws.Session) (Remembered, bool, error) {
	if r, ok := p.remembered[id]; ok {
		return r, true, nil
	}
	if q := (question{id, s.Start, s.Stop}); !p.answered || p.asked != q {
		r, known, err := p.l.memory.Lookup(id, p.near(s))
		if err != nil {
			return r, known, err
		}
		p.asked, p.found, p.known, p.answered = q, r, known, true
	}
	return p.found, p.known, nil
}

// question is what memory is asked about a session. Standing asks, and Fold again.
type question struct {
	id          ID
	start, stop time.Time
}

// near returns the days that a session is likely to be remembered by, in an array that
// the next call changes.
func (p *Pass) near(s *vbaws.Session) []int32 {
	days := p.days[:0]
	for _, t := range [...]time.Time{s.Start, s.Stop} {
		if d := dayOf(t); d != DayUnknown && !slices.Contains(days, d) {
			days = append(days, d, d-1, d+1)
		}
	}
	return append(days, DayUnknown)
}

// print is a fingerprint of all that moves a gauge in a finished session: FNV-1a,
// written out since that of hash/fnv allocates.
func print(s *vbaws.Session) uint32 {
	const prime = 16777619
	h := uint32(2166136261)
	for _, n := range [...]int64{s.Start.UnixMicro(), s.Stop.UnixMicro(), int64(s.Duration)} {
		for shift := 56; shift >= 0; shift -= 8 {
			h = (h ^ uint32(byte(n>>shift))) * prime
		}
	}
	for i := range len(s.Status) {
		h = (h ^ uint32(s.Status[i])) * prime
	}
	return h
}

func sameSession(a, b *vbaws.Session) bool {
	x, y := *a, *b
	x.Start, x.Stop, y.Start, y.Stop = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	return x == y && a.Start.Equal(b.Start) && a.Stop.Equal(b.Stop)
}
