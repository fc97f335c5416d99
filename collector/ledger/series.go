// The series of a pass: the ledger's own until the pass changes them.

package ledger

import (
	"maps"
	"slices"
	"strings"

	"vbaws_exporter/vbaws"
)

// touch returns the series of k for this pass to change, made if need be.
func (p *Pass) touch(k Key) *Series {
	if s := p.series[k]; s != nil {
		return s
	}
	s := p.l.state.Series[k].clone()
	if s == nil {
		s = &Series{Key: k}
		for _, status := range vbaws.FinalStatuses {
			p.counter(s, status)
		}
	}
	p.series[k] = s
	return s
}

// counter returns nil where there is none.
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
func (p *Pass) counter(s *Series, status string) *Counter {
	at, found := s.search(status)
	if !found {
		c := &Counter{Status: status, Born: p.born(), Held: !p.inInitialSync() && p.l.opts.Hold > 0}
		s.Counters = slices.Insert(s.Counters, at, c)
		p.counters++
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

func (p *Pass) drop(k Key) {
	if _, stored := p.l.state.Series[k]; stored {
		p.series[k] = nil
	} else {
		delete(p.series, k)
	}
}

// keys are those of all series, as this pass has them so far.
func (p *Pass) keys() []Key {
	return slices.Collect(maps.Keys(overlay(p.l.state.Series, p.series)))
}

func (p *Pass) seriesOf(k Key) *Series {
	if s, ok := p.series[k]; ok {
		return s
	}
	return p.l.state.Series[k]
}

func (p *Pass) hasSeries(k Key) bool { return p.seriesOf(k) != nil }
