package main

import (
	"context"
	"maps"
	"testing"

	"vbaws_exporter/bench/world"
)

// scripted shows what it was given, one after the other.
type scripted struct {
	counter bool
	shows   []counts
}

func (r *scripted) scrape(context.Context) (int, error) { return 7, nil }
func (r *scripted) restart() error                      { return nil }
func (r *scripted) close() error                        { return nil }

func (r *scripted) shown() (counts, bool) {
	now := r.shows[0]
	r.shows = r.shows[1:]
	return now, r.counter
}

func TestTally(t *testing.T) {
	a, b := world.Key{Type: "Policy", Status: "Failed"}, world.Key{Type: "Policy", Status: "Succeeded"}
	shows := []counts{{a: 5}, {a: 7, b: 1}, {a: 2}, {a: 2, b: 4}}
	truth := counts{a: 3, b: 4}
	for _, c := range []struct {
		name          string
		counter       bool
		risen         counts
		missed, twice int
	}{
		// a rises from 5 to 7, and its fall says nothing; b rises twice from 0.
		{"level", false, counts{a: 2, b: 5}, 1, 1},
		// a begins anew, and has counted 2 since.
		{"counter", true, counts{a: 4, b: 5}, 0, 2},
	} {
		r := &scripted{counter: c.counter, shows: append([]counts(nil), shows...)}
		tl := &tally{reader: r, risen: counts{}}
		for i := range shows {
			tl.follow(r.shown())
			if i == 0 {
				tl.begin()
			}
		}
		if !maps.Equal(tl.risen, c.risen) {
			t.Errorf("%s: rose by %v, want %v", c.name, tl.risen, c.risen)
		}
		tl.looks = len(shows) - 1
		if got := tl.judge(truth); got.Ended != 7 || got.Missed != c.missed || got.Twice != c.twice {
			t.Errorf("%s: judged as %+v", c.name, got)
		}
	}
}
