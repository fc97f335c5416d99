package ledger

import (
	"cmp"
	"crypto/sha256"
	"time"

	"github.com/google/uuid"

	"vbaws_exporter/collector/verdict"
	"vbaws_exporter/vbaws"
)

// ID identifies a session in the books.
type ID [16]byte

// ParseID returns the bytes of a UUID, however it is spelled: in any case, in braces,
// without dashes, as urn:uuid. Of an id that is none it returns the first half of its
// SHA-256.
func ParseID(s string) ID {
	// Parse doesn't look at what stands for the braces.
	if len(s) != 36+len("{}") || s[0] == '{' && s[len(s)-1] == '}' {
		if id, err := uuid.Parse(s); err == nil {
			return ID(id)
		}
	}
	sum := sha256.Sum256([]byte(s))
	return ID(sum[:16])
}

// RowID returns the id of a row's session, or the hash of a row without an id.
func RowID(row *vbaws.Row) ID {
	if row.ID == "" {
		return ID(row.Hash)
	}
	return ParseID(row.ID)
}

// Key names what sessions are counted by.
type Key struct {
	Type, ExtendedType, Policy string
}

// Compare orders keys for publication.
func (k Key) Compare(o Key) int {
	return cmp.Or(
		cmp.Compare(k.Policy, o.Policy),
		cmp.Compare(k.Type, o.Type),
		cmp.Compare(k.ExtendedType, o.ExtendedType),
	)
}

// State is everything that is remembered of one appliance between two passes,
// save the ids that Memory answers for.
type State struct {
	Meta Meta
	// Series, and all below it, are never changed once they are here: a pass
	// replaces what it changes.
	Series     map[Key]*Series
	Unfinished map[ID]*Unfinished
	Policies   map[PolicyKey]*Policy
}

// Meta is what is remembered of an appliance as a whole.
type Meta struct {
	Phase Phase
	// Line is the start from which on a session that is not remembered is new.
	// Zero: not drawn yet.
	Line time.Time
	// Watermark is the newest row of the list by USN that was ever read to; nil
	// without one. It is not a number: 0 and below are USNs.
	Watermark *Watermark
	// LastSweep is the beginning of the last complete sweep, and LastWideSweep of
	// the last one that reached further back, by the appliance's clock.
	LastSweep, LastWideSweep time.Time
	// SweptAt is LastSweep by the exporter's clock, and SweepInterval what has to
	// pass from there to the next sweep.
	SweptAt       time.Time
	SweepInterval time.Duration
	// Resets counts how often the USN was seen to start over.
	Resets uint64
	// Skipped counts sessions that were not counted, by reason.
	Skipped map[string]uint64
	// Zone is the appliance's time zone, in its own words; empty where it never
	// told.
	Zone string
	// Bounds are the upper bounds in seconds of the classic buckets in which
	// Counter.Buckets count, ascending and without +Inf.
	Bounds []float64
	// Clock says whether the appliance's clock can be judged by.
	Clock verdict.ClockGate
}

// Phase is how far the initial sync of an appliance has come.
type Phase struct {
	Stage Stage
	// Time is, in InitialSync, the start of the backfill window by the appliance's clock
	// and, once Synced, when the initial sync was complete, by the exporter's.
	Time time.Time
}

// Stage is one of the stages through which an appliance goes once, in this order.
type Stage int

const (
	// Unread appliances were never read, or nothing of it was saved.
	Unread Stage = iota
	// InitialSync has begun, and some of it is saved.
	InitialSync
	// Synced appliances were read to the end of the initial sync.
	Synced
)

// Watermark is a row of the list of sessions.
type Watermark struct {
	USN int64
	ID  ID
}

// Reasons of Meta.Skipped.
const (
	// SkipUndecodable is a row that could not be understood as a session.
	SkipUndecodable = "undecodable"
	// SkipBeforeLine is a session of before first contact (or of longer ago than
	// ids are remembered) that was not heard of then.
	SkipBeforeLine = "before_cutoff"
	// SkipGone is an unfinished session that the appliance removed before it was
	// seen to end.
	SkipGone = "gone"
)

// SkipReasons are all of them.
var SkipReasons = []string{SkipUndecodable, SkipBeforeLine, SkipGone}

// Series is what is known of the sessions of one Key.
type Series struct {
	Key Key
	// Counters has one element a status, sorted by it: the documented final
	// statuses from the beginning, others once they are seen.
	Counters []*Counter
	// Last is the finished session with the newest end; zero where none is known.
	Last Last
	// History has the last finished sessions, if they are of type Policy.
	History verdict.History
}

// seedHistory sets the History of a series that 0.1.0 stored, which had none, from what
// else is known of its sessions.
func (s *Series) seedHistory() {
	if s.Key.Type != vbaws.TypePolicy || s.Last.End.IsZero() || !s.History.Empty() {
		return
	}
	for _, status := range []string{vbaws.StatusSucceeded, vbaws.StatusWarning} {
		if c := s.counter(status); c != nil && c.End.After(s.History.Success) {
			s.History.Success = c.End
		}
	}
	s.History = s.History.Insert(verdict.Session{
		Start: s.Last.End.Add(-s.Last.Duration), End: s.Last.End, Status: s.Last.Status,
	})
}

// Last describes the newest finished session of a series.
type Last struct {
	ID       ID
	Status   string
	End      time.Time // zero: no finished session is known
	Duration time.Duration
}

// Counter counts the finished sessions of one Key and status, and their
// durations.
type Counter struct {
	Status string
	// Born is the created time of the counter.
	Born time.Time
	// Held says that the counter is published as 0, and its histogram, where it
	// has one, as empty, until a pass lifts the hold.
	Held bool
	// Count is how many sessions were counted.
	Count uint64
	// End is the newest end of a session seen with this status, counted or not;
	// zero where none was seen.
	End time.Time
	// Exemplar is the session counted last; nil while Count is 0, and if its id is too
	// long for one.
	Exemplar *Exemplar
	// Histogram is nil until it is needed.
	Histogram *Histogram
}

// Histogram holds durations in classic and in native buckets.
type Histogram struct {
	// Born is the created time of the histogram.
	Born time.Time
	// Base is the Count that the counter stood at when the histogram was born: 0,
	// or more where the classic bounds were changed. The histogram's count is the
	// counter's less Base: one field, so that the two cannot part.
	Base uint64
	// Sum is in microseconds, as fine as the appliance's times: whole numbers add
	// up in any order.
	Sum int64
	// Buckets[i] counts the durations in (Bounds[i-1], Bounds[i]] alone; the last
	// one those above all bounds.
	Buckets []uint64
	// Exemplars[i] is the newest of Buckets[i], nil where there is none.
	Exemplars []*Exemplar
	// Zero counts durations of at most NativeZeroThreshold, Native the others in
	// exponential buckets of schema NativeSchema, sorted by index.
	Zero   uint64
	Native []NativeBucket
}

// NativeBucket is one bucket of a native histogram. In schema s bucket i holds
// (2^((i-1)*2^-s), 2^(i*2^-s)].
type NativeBucket struct {
	Index int32
	Count uint64
}

// NativeSchema has a resolution of 2^(1/8), 9 %.
const NativeSchema int32 = 3

// NativeZeroThreshold is the upper bound of the zero bucket, in seconds.
const NativeZeroThreshold = 0.001

// Exemplar names one session.
type Exemplar struct {
	SessionID string
	Duration  time.Duration
	End       time.Time
}

// Unfinished is a session that has not ended.
type Unfinished struct {
	Session vbaws.Session
	// Policy is the name of its policy; empty for none.
	Policy string
	// Unresolved says that its policy was not looked for, since sessions of its type
	// were not wanted.
	Unresolved  bool
	Disposition Disposition
	// Missing counts the passes in a row in which the appliance said that it does
	// not know the session.
	Missing int
}

// Disposition says what is to become of an unfinished session when it finishes.
type Disposition int

const (
	// Excluded sessions are not counted: they started before the cutoff.
	Excluded Disposition = iota
	// Countable sessions are counted.
	Countable
	// Counted sessions had finished before, and run again. The seen index has them, and
	// what was to be counted of them was.
	Counted
)

// Remembered is what is kept of a session that was dealt with.
type Remembered struct {
	ID ID
	// Day is the day of its start, in days since 1970: ids are kept by it so that
	// neighbours in time are neighbours on disk. DayUnknown for none.
	Day int32
	// USN is the newest seen.
	USN int64
	// Print is a fingerprint of what may change in a finished session.
	Print uint32
	// At is when it was dealt with, by the exporter's clock, to the second.
	At time.Time
	// Owed says that the session was removed before it was seen to end, and counts
	// should it come back.
	Owed bool
}

// DayUnknown is the Remembered.Day of a session with neither start nor stop.
const DayUnknown int32 = -1 << 31

// PolicyKey identifies a policy; ids are only compared within a workload.
type PolicyKey struct {
	Workload, ID string
}

// Policy is what is remembered of a listed policy.
type Policy struct {
	PolicyKey
	Name    string
	Enabled bool
	// Schedule is nil where it has none. It is immutable.
	Schedule *vbaws.Schedule
	// LastReadable is the last schedule that could be read, if Schedule can't; otherwise
	// nil. It is immutable.
	LastReadable *vbaws.Schedule
	// Since is from when on it was seen enabled with this schedule, by the
	// appliance's clock; zero while it is disabled. InitialSync says that this was
	// during the initial sync.
	Since       time.Time
	InitialSync bool
	// DisabledSince is when it was first seen disabled after it had been enabled, by the
	// appliance's clock; otherwise zero.
	DisabledSince time.Time
	// Decided is the last Verdict.Decided of the policies of this name and workload. It is
	// immutable.
	Decided verdict.Decided
	// Former is its former name, if it was renamed within formerFor; otherwise nil. It is
	// immutable.
	Former *Former
	// Missing counts the complete listings of its workload in a row that lacked
	// it; from GoneAfter on it is gone, and kept to know its name.
	Missing int
	// Listed is when it was last in a listing, by the exporter's clock, to the
	// day.
	Listed time.Time
	// LookedUp says that its newest session was asked for.
	LookedUp bool
}

// Former is the former name of a policy.
type Former struct {
	Name string
	// Until is when the policy was first seen with another name, by the appliance's clock.
	Until time.Time
	// Histories are those of dropped series of type Policy under the former name, by
	// extended type.
	Histories map[string]verdict.History
}

// Readable returns the last schedule that could be read or, if none could, what could
// be read of the present one; nil without a schedule.
func (p *Policy) Readable() *vbaws.Schedule {
	return cmp.Or(p.LastReadable, p.Schedule)
}

// GoneAfter is how many listings in a row must lack a policy.
const GoneAfter = 2

// Gone reports whether the appliance no longer has the policy.
func (p *Policy) Gone() bool { return p.Missing >= GoneAfter }

// Memory answers for the ids of the past. It may be slow, and fail.
type Memory interface {
	// Lookup returns what is remembered of a session, whatever day it is kept by. It
	// looks at the days of near first. For an id that isn't remembered it does no I/O,
	// but for one in a hundred.
	Lookup(id ID, near []int32) (Remembered, bool, error)
	// NewestDay returns the newest Day of an id, and whether there is any but
	// DayUnknown. It does no I/O.
	NewestDay() (day int32, found bool)
	// Skipped reports whether the row of that id, or hash, was skipped before.
	Skipped(id ID) (bool, error)
	// Forgettable returns the newest Day among the ids that Changes.Forget would remove,
	// and whether there is any.
	Forgettable(before time.Time) (day int32, found bool, err error)
}

// Changes is what a pass has changed. Maps hold new values, and nil for what is
// to be removed. Nothing in it may be modified.
type Changes struct {
	Meta       *Meta // nil: unchanged
	Series     map[Key]*Series
	Unfinished map[ID]*Unfinished
	Policies   map[PolicyKey]*Policy
	// Remembered are new, or replace what stood under the same id: an id that is known
	// keeps its day.
	Remembered map[ID]Remembered
	// Skipped are ids, or hashes, of rows that could not be understood, and when.
	Skipped map[ID]time.Time
	// Forget, if not zero: ids dealt with before it are removed, remembered and skipped
	// ones alike. Those of DayUnknown stay: no cutoff keeps a session without dates from
	// being new.
	Forget time.Time
}

// Empty reports whether there is nothing to save.
func (c *Changes) Empty() bool {
	return c.Meta == nil && len(c.Series) == 0 && len(c.Unfinished) == 0 && len(c.Policies) == 0 &&
		len(c.Remembered) == 0 && len(c.Skipped) == 0 && c.Forget.IsZero()
}

// Apply makes the changes that a State has: all but Remembered, Skipped and Forget.
func (s *State) Apply(c *Changes) {
	if c.Meta != nil {
		s.Meta = *c.Meta
	}
	apply(s.Series, c.Series)
	apply(s.Unfinished, c.Unfinished)
	apply(s.Policies, c.Policies)
}

func apply[K comparable, V any](to, changes map[K]*V) {
	for k, v := range changes {
		if v == nil {
			delete(to, k)
		} else {
			to[k] = v
		}
	}
}
