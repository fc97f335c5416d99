// What is stored.

package ledger

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"vbaws_exporter/collector/verdict"
	"vbaws_exporter/vbaws"
)

// ID identifies a session.
type ID [16]byte

// AppendText adds the id in hexadecimal digits, as it is stored.
func (id ID) AppendText(b []byte) ([]byte, error) { return hex.AppendEncode(b, id[:]), nil }

// UnmarshalText takes what AppendText adds.
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) != 2*len(id) {
		return fmt.Errorf("id %q has %d digits, not %d", text, len(text), 2*len(id))
	}
	if _, err := hex.Decode(id[:], text); err != nil {
		return fmt.Errorf("id %q: %w", text, err)
	}
	return nil
}

// short returns what distinguishes the session from others with the same times, and is not
// 0.
func (id ID) short() uint32 {
	var n uint32
	for w := range slices.Chunk(id[:], 4) {
		n ^= binary.BigEndian.Uint32(w)
	}
	return max(1, n)
}

// ParseID returns the bytes of a UUID in any spelling: in upper or lower case, in braces,
// without dashes, as urn:uuid. For any other id it returns the first half of its SHA-256.
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
	Type         string `json:"type"`
	ExtendedType string `json:"extended_type,omitzero"`
	Policy       string `json:"policy,omitzero"`
}

// Compare orders keys for publication.
func (k Key) Compare(o Key) int {
	return cmp.Or(
		cmp.Compare(k.Policy, o.Policy),
		cmp.Compare(k.Type, o.Type),
		cmp.Compare(k.ExtendedType, o.ExtendedType),
	)
}

// State is all that is stored of one appliance, except the ids in its SeenIndex. The
// tags of it, and of what is in it, are the format of the state file.
type State struct {
	Meta Meta
	// Series, and all below it, are immutable once they are here: a transaction
	// replaces what it changes.
	Series     map[Key]*Series
	Unfinished map[ID]*Unfinished
	Policies   map[PolicyKey]*Policy
	Instances  map[ID]*InstanceBackup
}

// Meta is what is stored of an appliance as a whole.
type Meta struct {
	// SyncedAt is when the initial sync was complete, by the exporter's clock; zero before.
	SyncedAt time.Time `json:"first_contact,omitzero"`
	// BackfillFrom is the start of the backfill window by the appliance's clock, while the
	// initial sync is under way; otherwise zero.
	BackfillFrom time.Time `json:"contact_from,omitzero"`
	// Cutoff is the start from which on a session that is not in the seen index is new;
	// zero before it is set.
	Cutoff time.Time `json:"line,omitzero"`
	// Watermark is the newest row that was ever read of the list by USN; nil before
	// there is one. It is no plain number: 0 and below are USNs.
	Watermark *Watermark `json:"watermark,omitzero"`
	// LastResync is the beginning of the last complete resync, and LastDailyResync of
	// the last one that reached further back, by the appliance's clock.
	LastResync      time.Time `json:"last_sweep,omitzero"`
	LastDailyResync time.Time `json:"last_wide_sweep,omitzero"`
	// ResyncedAt is LastResync by the exporter's clock, and ResyncInterval the time
	// from there to the next one; 0 if it is due at once.
	ResyncedAt     time.Time     `json:"swept_at,omitzero"`
	ResyncInterval time.Duration `json:"sweep_interval,omitzero"`
	// Resets counts how often the USN was seen to start over.
	Resets uint64 `json:"resets,omitzero"`
	// Skipped counts sessions that were not counted, by reason.
	Skipped map[string]uint64 `json:"skipped,omitempty"`
	// Zone is the appliance's time zone, in its own words; empty if unknown.
	Zone string `json:"zone,omitzero"`
	// Bounds are the upper bounds in seconds of the classic buckets in which
	// Counter.Buckets count, ascending and without +Inf.
	Bounds []float64 `json:"bounds,omitempty"`
	// Clock decides whether the appliance's clock can be judged by.
	Clock verdict.ClockGate `json:"clock,omitzero"`
	// JudgedAt is when policies were last judged, by the appliance's clock: at least when
	// anything else was saved. Until the next poll, verdicts are those of then. It is zero
	// in a state of 0.1.0.
	JudgedAt time.Time `json:"judged_at,omitzero"`
	// Unreadable is what could not be taken in; nil for nothing.
	Unreadable *Unreadable `json:"unreadable,omitzero"`
}

// Unreadable are sessions that the appliance has and could not return, or not so that
// their policy is known. Nothing of them is in the seen index.
type Unreadable struct {
	// From is no later than their starts, by the appliance's clock.
	From time.Time `json:"from,omitzero"`
	// Sessions is how many they were when they were looked for last.
	Sessions int `json:"sessions"`
}

// Watermark is a row of the list of sessions.
type Watermark struct {
	USN int64 `json:"usn"`
	ID  ID    `json:"id"`
}

// Reasons of Meta.Skipped.
const (
	// SkipUndecodable is a row that could not be understood as a session.
	SkipUndecodable = "undecodable"
	// SkipBeforeCutoff is a session that started before the cutoff and was not seen
	// before.
	SkipBeforeCutoff = "before_cutoff"
	// SkipGone is an unfinished session that the appliance removed before it was
	// seen to finish.
	SkipGone = "gone"
	// SkipUnreadable is a session of Meta.Unreadable. It is counted if it can be read
	// later.
	SkipUnreadable = "unreadable"
)

// SkipReasons are all of them.
var SkipReasons = []string{SkipUndecodable, SkipBeforeCutoff, SkipGone, SkipUnreadable}

// Series is what is known of the sessions of one Key.
type Series struct {
	Key Key `json:",embed"`
	// Counters has one element for each status, sorted by it: the documented final
	// statuses from the beginning, others once they are seen.
	Counters []*Counter `json:"counters,omitempty"`
	// Last is the finished session with the newest end; zero if none is known.
	Last Last `json:"last,omitzero"`
	// History has the last finished sessions, if they are of type Policy.
	History verdict.History `json:"history,omitzero"`
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
		Start: s.Last.End.Add(-s.Last.Duration), End: s.Last.End, Status: s.Last.Status, ID: s.Last.ID.short(),
	})
}

// Last describes the newest finished session of a series.
type Last struct {
	ID       ID            `json:"id,omitzero"`
	Status   string        `json:"status,omitzero"`
	End      time.Time     `json:"end,omitzero"` // zero: no finished session is known
	Duration time.Duration `json:"duration,omitzero"`
}

// Counter counts the finished sessions of one Key and status, and their
// durations.
type Counter struct {
	Status string `json:"status"`
	// Born is the created time of the counter.
	Born time.Time `json:"born,omitzero"`
	// Held is set if the counter is published as 0, and its histogram, if it has
	// one, as empty, until a transaction lifts the hold.
	Held bool `json:"held,omitzero"`
	// Count is how many sessions were counted.
	Count uint64 `json:"count,omitzero"`
	// End is the newest end of a session seen with this status, counted or not;
	// zero if none was seen.
	End time.Time `json:"end,omitzero"`
	// Exemplar is the session counted last; nil while Count is 0, and if its id is too
	// long for one.
	Exemplar *Exemplar `json:"exemplar,omitzero"`
	// Histogram is nil until it is needed.
	Histogram *Histogram `json:"histogram,omitzero"`
}

// Histogram holds durations in classic and in native buckets.
type Histogram struct {
	// Born is the created time of the histogram.
	Born time.Time `json:"born,omitzero"`
	// Base is the Count that the counter stood at when the histogram was born: 0,
	// or more if the classic bounds were changed. The histogram's count is the
	// counter's less Base: one field, so that the two cannot part.
	Base uint64 `json:"base,omitzero"`
	// Sum is in microseconds, as fine as the appliance's times: whole numbers add
	// up in any order.
	Sum int64 `json:"sum,omitzero"`
	// Buckets[i] counts the durations in (Bounds[i-1], Bounds[i]] alone; the last
	// one those above all bounds.
	Buckets []uint64 `json:"buckets,omitempty"`
	// Exemplars[i] is the newest of Buckets[i], nil if there is none.
	Exemplars []*Exemplar `json:"exemplars,omitempty"`
	// Zero counts durations of at most NativeZeroThreshold, Native the others in
	// exponential buckets of schema NativeSchema, sorted by index.
	Zero   uint64         `json:"zero,omitzero"`
	Native []NativeBucket `json:"native,omitempty"`
}

// NativeBucket is one bucket of a native histogram. In schema s bucket i holds
// (2^((i-1)*2^-s), 2^(i*2^-s)].
type NativeBucket struct {
	Index int32  `json:"i"`
	Count uint64 `json:"n"`
}

// NativeSchema has a resolution of 2^(1/8), 9 %.
const NativeSchema int32 = 3

// NativeZeroThreshold is the upper bound of the zero bucket, in seconds.
const NativeZeroThreshold = 0.001

// Exemplar names one session.
type Exemplar struct {
	SessionID string        `json:"session_id"`
	Duration  time.Duration `json:"duration,omitzero"`
	End       time.Time     `json:"end,omitzero"`
}

// Unfinished is a session that has not finished.
type Unfinished struct {
	Session vbaws.Session `json:"-"` // package record has its format
	// Policy is the name of its policy; empty for none.
	Policy string `json:"policy,omitzero"`
	Disposition
	// Unresolved is set if its policy is not known: it could not be asked for its
	// sessions, or was not looked for, since sessions of its type
	// are filtered out.
	Unresolved bool `json:"unresolved,omitzero"`
	// Missing counts the polls in a row in which the appliance did not have the
	// session.
	Missing int `json:"missing,omitzero"`
}

// Disposition is what is to become of an unfinished session when it finishes. The zero
// value is that of sessions that are not counted: they started before the cutoff.
type Disposition struct {
	// Counted sessions had finished before, and run again. The seen index has them, and
	// what was to be counted of them was.
	Counted bool `json:"counted,omitzero"`
	// Countable sessions are counted.
	Countable bool `json:"countable,omitzero"`
}

// SeenSession is what the seen index has of a session that was counted, or excluded.
type SeenSession struct {
	ID ID
	// Day is the day of its start, in days since 1970: ids are stored by it so that
	// neighbours in time are neighbours on disk. DayUnknown if it has none.
	Day int32
	// USN is the newest seen.
	USN int64
	// Fingerprint is a checksum of what may change in a finished session.
	Fingerprint uint32
	// At is when it was put into the index, by the exporter's clock, to the second.
	At time.Time
	// Uncounted is set if the session was removed before it was seen to finish: it is
	// counted if it comes back.
	Uncounted bool
}

// DayUnknown is the SeenSession.Day of a session with neither start nor stop.
const DayUnknown int32 = -1 << 31

// PolicyKey identifies a policy; ids are only compared within a workload.
type PolicyKey struct {
	Workload string `json:"workload"`
	ID       string `json:"id"`
}

// Policy is what is stored of a listed policy.
type Policy struct {
	PolicyKey
	Name    string `json:"name,omitzero"`
	Enabled bool   `json:"enabled,omitzero"`
	// Schedule is nil if it has none. It is immutable.
	Schedule *vbaws.Schedule `json:"schedule,omitzero"`
	// LastReadable is the last schedule that could be read, if Schedule can't; otherwise
	// nil. It is immutable.
	LastReadable *vbaws.Schedule `json:"last_readable,omitzero"`
	// Since is from when on it was seen enabled with this schedule, by the
	// appliance's clock; zero while it is disabled. InitialSync is set if this was
	// during the initial sync.
	Since       time.Time `json:"since,omitzero"`
	InitialSync bool      `json:"initial_sync,omitzero"`
	// DisabledSince is when it was first seen disabled after it had been enabled, by the
	// appliance's clock; otherwise zero.
	DisabledSince time.Time `json:"disabled_since,omitzero"`
	// Decided is the last Verdict.Decided of the policies of this name and workload. It is
	// immutable.
	Decided verdict.Decided `json:"decided,omitempty"`
	// Former is its former name, if it was renamed within formerFor; otherwise nil. It is
	// immutable.
	Former *Former `json:"former,omitzero"`
	// Missing counts the complete listings of its workload in a row that lacked
	// it; from GoneAfter on it is gone, and kept to know its name.
	Missing int `json:"missing,omitzero"`
	// Listed is when it was last in a listing, by the exporter's clock, to the
	// day.
	Listed time.Time `json:"listed,omitzero"`
	// LookedUp is set if its newest session was asked for.
	LookedUp bool `json:"looked_up,omitzero"`
}

// Former is the former name of a policy.
type Former struct {
	Name string `json:"name"`
	// Until is when the policy was first seen with another name, by the appliance's clock.
	Until time.Time `json:"until,omitzero"`
	// Histories are those of dropped series of type Policy under the former name, by
	// extended type.
	Histories map[string]verdict.History `json:"histories,omitempty"`
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

// SeenIndex has the ids of all sessions that were counted or excluded, for 400 days.
// Its methods may do I/O, and fail.
type SeenIndex interface {
	// Lookup returns the entry of a session, whatever day it is stored by. It looks at
	// the days of near first. Of the ids that aren't there, one in a hundred costs I/O.
	Lookup(id ID, near []int32) (SeenSession, bool, error)
	// NewestDay returns the newest Day of an id, and whether there is any but
	// DayUnknown. It does no I/O.
	NewestDay() (day int32, found bool)
	// Skipped reports whether the row of that id, or hash, was skipped before.
	Skipped(id ID) (bool, error)
	// Forgettable returns the newest Day among the ids that Changes.Forget would remove,
	// and whether there is any.
	Forgettable(before time.Time) (day int32, found bool, err error)
}

// Changes is what a transaction has changed. Maps hold new values, and nil for what is
// to be removed. Nothing in it may be modified.
type Changes struct {
	Meta       *Meta // nil: unchanged
	Series     map[Key]*Series
	Unfinished map[ID]*Unfinished
	Policies   map[PolicyKey]*Policy
	Instances  map[ID]*InstanceBackup
	// Seen are new entries of the seen index, or replace those of the same id: an id that
	// is there keeps its day.
	Seen map[ID]SeenSession
	// Skipped are ids, or hashes, of rows that could not be understood, and when.
	Skipped map[ID]time.Time
	// Forget, if not zero: seen sessions and skipped rows of before it are removed. Those of DayUnknown stay: no cutoff keeps a session without dates from
	// being new.
	Forget time.Time
}

// Empty reports whether there is nothing to save.
func (c *Changes) Empty() bool {
	return c.Meta == nil && len(c.Series) == 0 && len(c.Unfinished) == 0 && len(c.Policies) == 0 &&
		len(c.Instances) == 0 && len(c.Seen) == 0 && len(c.Skipped) == 0 && c.Forget.IsZero()
}

// Apply makes the changes that a State has: all but Seen, Skipped and Forget.
func (s *State) Apply(c *Changes) {
	if c.Meta != nil {
		s.Meta = *c.Meta
	}
	apply(s.Series, c.Series)
	apply(s.Unfinished, c.Unfinished)
	apply(s.Policies, c.Policies)
	apply(s.Instances, c.Instances)
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
