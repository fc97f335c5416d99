// One appliance can't fill Prometheus or memory.

package ledger

import (
	"hash/maphash"

	"vbaws_exporter/vbaws"
)

// Limits on what one appliance can make of series and memory. They are names of
// View.OverLimit.
const (
	// LimitPolicies is Options.MaxPolicies: sessions of further ones are counted as
	// those of no policy.
	LimitPolicies = "policies"
	// LimitTypes, LimitExtendedTypes and LimitStatuses are MaxWords: further ones are
	// counted as Other.
	LimitTypes         = "types"
	LimitExtendedTypes = "extended_types"
	LimitStatuses      = "statuses"
	// LimitSeries is how many counters an appliance has: what would make more is
	// counted as Other.
	LimitSeries = "series"
	// LimitUnfinished is how many unfinished sessions are kept at once. Further ones
	// are taken in when they finish.
	LimitUnfinished = "unfinished"
)

// Limits are all of them.
var Limits = []string{LimitPolicies, LimitTypes, LimitExtendedTypes, LimitStatuses, LimitSeries, LimitUnfinished}

// Other is the type, extended type or status of what is beyond a limit.
const Other = "other"

const (
	// MaxWords is how many types, extended types and statuses an appliance has at most.
	// About twenty types are documented.
	MaxWords = 50
	// The counters an appliance may have: those of no policy, and for each policy what
	// eight extended types have, and a few statuses more.
	maxCounters          = 1000
	maxCountersPerPolicy = 40
	// maxUnfinished is more than any appliance runs, and some megabytes.
	maxUnfinished = 10_000
	// maxOverLimit bounds the names beyond a limit that are kept to count them.
	maxOverLimit = 10_000
)

// overLimitSeed seeds the hashes of names beyond a limit.
var overLimitSeed = maphash.MakeSeed()

// Exceeded is what a transaction found beyond a limit for the first time.
type Exceeded struct {
	// Count is how many were new, and Example the first.
	Count   int
	Example string
}

// Exceeded returns what was found beyond the limits so far, by limit.
func (tx *Tx) Exceeded() map[string]*Exceeded { return tx.exceeded }

// beyond notes that name is beyond a limit. The ledger keeps that at once, whatever becomes
// of the transaction, so that it is reported once.
func (tx *Tx) beyond(limit, name string) {
	over, h := tx.l.overLimit[limit], maphash.String(overLimitSeed, name)
	if over == nil {
		over = make(map[uint64]bool)
		tx.l.overLimit[limit] = over
	}
	if over[h] || len(over) >= maxOverLimit {
		return
	}
	over[h] = true
	if tx.exceeded[limit] == nil {
		tx.exceeded[limit] = &Exceeded{Example: vbaws.Shorten(name, 100)}
	}
	tx.exceeded[limit].Count++
}

// countOverLimit returns how many names are beyond each limit, without those
// for which there is room now.
func (l *Ledger) countOverLimit() map[string]int {
	n := make(map[string]int, len(Limits))
	for _, limit := range Limits {
		if l.room(limit, 0) {
			delete(l.overLimit, limit)
		}
		for name := range l.known[limit] {
			delete(l.overLimit[limit], maphash.String(overLimitSeed, name))
		}
		n[limit] = len(l.overLimit[limit])
	}
	return n
}

// room reports whether there is room for another name, with so many that are new.
func (l *Ledger) room(limit string, fresh int) bool {
	switch limit {
	case LimitPolicies:
		return l.opts.MaxPolicies == 0 || len(l.known[limit])+fresh < l.opts.MaxPolicies
	case LimitUnfinished:
		return len(l.state.Unfinished)+fresh < maxUnfinished
	case LimitSeries:
		return l.counters+fresh < l.maxCounters(0)
	}
	return len(l.known[limit])+fresh < MaxWords
}

// maxCounters returns how many counters there may be, with so many new policies.
func (l *Ledger) maxCounters(fresh int) int {
	return maxCounters + maxCountersPerPolicy*(len(l.known[LimitPolicies])+fresh)
}

// admit reports whether name may be a label's value. What the stored series have may
// always be, so that it stays the same after a restart.
func (tx *Tx) admit(limit, name string) bool {
	switch {
	case name == "", name == Other, tx.l.known[limit][name], tx.fresh[limit][name]:
		return true
	case !tx.l.room(limit, len(tx.fresh[limit])):
		tx.beyond(limit, name)
		return false
	}
	if tx.fresh[limit] == nil {
		tx.fresh[limit] = make(map[string]bool)
	}
	tx.fresh[limit][name] = true
	return true
}

// place returns the key that a session of a policy is counted by.
func (tx *Tx) place(s *vbaws.Session, policy string) Key {
	k := keyOf(s, policy)
	if !tx.admit(LimitPolicies, k.Policy) {
		k.Policy = ""
	}
	if !tx.admit(LimitTypes, k.Type) {
		k.Type = Other
	}
	if !tx.admit(LimitExtendedTypes, k.ExtendedType) {
		k.ExtendedType = Other
	}
	if !tx.hasSeries(k) && !tx.roomForCounter() {
		tx.beyond(LimitSeries, k.Type+"\x00"+k.ExtendedType+"\x00"+k.Policy)
		k = standIn(k, tx.hasSeries)
	}
	return k
}

// statusIn returns the status that a session's is counted as in a series.
func (tx *Tx) statusIn(s *Series, status string) string {
	if s.counter(status) != nil {
		return status
	}
	if !tx.admit(LimitStatuses, status) {
		return Other
	}
	if !tx.roomForCounter() {
		tx.beyond(LimitSeries, s.Key.Type+"\x00"+s.Key.ExtendedType+"\x00"+s.Key.Policy+"\x00"+status)
		return Other
	}
	return status
}

func (tx *Tx) roomForCounter() bool {
	return tx.l.counters+tx.counters < tx.l.maxCounters(len(tx.fresh[LimitPolicies]))
}

// standIn returns k or, if there is no such series, the one that has its sessions: its
// type or its extended type may be beyond a limit. A session of type Policy stays one.
func standIn(k Key, has func(Key) bool) Key {
	o := k
	if o.Type != vbaws.TypePolicy {
		o.Type = Other
	}
	if o.ExtendedType != "" {
		o.ExtendedType = Other
	}
	for _, c := range []Key{k, {k.Type, o.ExtendedType, k.Policy}, {o.Type, k.ExtendedType, k.Policy}} {
		if has(c) {
			return c
		}
	}
	return o
}

// indexNames notes what the series have that counts for a limit.
func (l *Ledger) indexNames(keys []Key) {
	l.known = map[string]map[string]bool{
		LimitPolicies: {}, LimitTypes: {vbaws.TypePolicy: true}, LimitExtendedTypes: {}, LimitStatuses: {},
	}
	for _, status := range vbaws.FinalStatuses {
		l.known[LimitStatuses][status] = true
	}
	l.counters = 0
	note := func(limit, name string) {
		if name != "" && name != Other {
			l.known[limit][name] = true
		}
	}
	for _, k := range keys {
		note(LimitTypes, k.Type)
		note(LimitExtendedTypes, k.ExtendedType)
		if l.opts.Filter.matches(k.Type, k.Policy) {
			note(LimitPolicies, k.Policy)
		}
		for _, c := range l.state.Series[k].Counters {
			note(LimitStatuses, c.Status)
		}
		l.counters += len(l.state.Series[k].Counters)
	}
}
