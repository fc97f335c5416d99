// The series of a transaction: the ledger's own until the transaction changes them.

package ledger

import (
	"maps"
	"slices"
	"strings"

	"vbaws_exporter/vbaws"
)

// touch returns the series of k for this transaction to change, made if need be.
func (tx *Tx) touch(k Key) *Series {
	if s := tx.series[k]; s != nil {
		return s
	}
	s := tx.l.state.Series[k].clone()
	if s == nil {
		s = &Series{Key: k}
		for _, status := range vbaws.FinalStatuses {
			tx.counter(s, status)
		}
	}
	tx.series[k] = s
	return s
}

// counter returns nil if the series has no counter of the status.
func (s *Series) counter(status string) *Counter {
	if i, found := s.search(status); found {
		return s.Counters[i]
	}
	return nil
}

func (s *Series) search(status string) (int, bool) {
	return slices.BinarySearchFunc(s.Counters, status, func(c *Counter, status string) int {
		return strings.Compare(c.Status, status)
	})
}

// counter returns the counter of a series that touch returned, made if need be.
func (tx *Tx) counter(s *Series, status string) *Counter {
	at, found := s.search(status)
	if !found {
		c := &Counter{Status: status, Born: tx.born(), Held: !tx.inInitialSync() && tx.l.opts.Hold > 0}
		s.Counters = slices.Insert(s.Counters, at, c)
		tx.counters++
	}
	return s.Counters[at]
}

func (s *Series) clone() *Series {
	if s == nil {
		return nil
	}
	c := *s
	c.Counters = make([]*Counter, len(s.Counters))
	for i, counter := range s.Counters {
		cc := *counter
		cc.Histogram = counter.Histogram.clone()
		c.Counters[i] = &cc
	}
	return &c
}

func (l *Ledger) hasSeries(k Key) bool { return l.state.Series[k] != nil }

func keyOf(s *vbaws.Session, policy string) Key {
	return Key{Type: s.Type, ExtendedType: s.ExtendedType, Policy: policy}
}

// keys are those of all series, as this transaction has them so far.
func (tx *Tx) keys() []Key {
	return slices.Collect(maps.Keys(overlay(tx.l.state.Series, tx.series)))
}

func (tx *Tx) seriesOf(k Key) *Series { return look(tx.l.state.Series, tx.series, k) }

func (tx *Tx) hasSeries(k Key) bool { return tx.seriesOf(k) != nil }
