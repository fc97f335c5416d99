// Package world runs simulated appliances in a process of their own, so that
// what they cost is not counted as the exporter's.
//
// Appliances are talked to by HTTP, as real ones are; the world around them is
// moved by the methods of World.
package world

import (
	"errors"
	"time"

	"vbaws_exporter/bench/child"
)

// Part is the name under which the program must know what Service returns.
const Part = "world"

// Spec says what a world has in it.
type Spec struct {
	// Appliances is how many there are; 0 is one.
	Appliances int
	// Policies is how many each has.
	Policies int
	// Now is where the world's clock stands until Advance moves it.
	Now time.Time
	// Hourly is how many runs an hour each policy makes as time advances; 0: none.
	Hourly int
	// Past is how long the policies have been running so when the world begins.
	Past time.Duration
	// Stragglers are sessions that have been running for 30 hours when the world
	// begins, and end half an hour later.
	Stragglers int
	// Retention is how old sessions may get before the nightly retention removes
	// them; 0: any.
	Retention time.Duration
	// Remembers says that the world can tell the Truth, and what Traffic there was.
	Remembers bool
}

// World is a process of simulated appliances. Its methods belong to one
// goroutine.
type World struct {
	// URLs are those of the appliances. They serve plain HTTP.
	URLs []string

	process *child.Process
}

// Start begins a world. It must be closed.
func Start(spec Spec) (*World, error) {
	p, err := child.Start(Part)
	if err != nil {
		return nil, err
	}
	w := &World{process: p}
	if err := p.Call("Begin", spec, &w.URLs); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// Close ends the world.
func (w *World) Close() error { return w.process.Close() }

// History gives each appliance n sessions more, which have all ended: as many of
// each policy, its own and those of its parts, evenly over the 90 days before
// the world's clock.
func (w *World) History(n int) error { return w.process.Call("History", n, &struct{}{}) }

// HistorySpan is how long before the world's clock the sessions of History began,
// at most.
const HistorySpan = 90 * 24 * time.Hour

// Change makes n sessions of each appliance change: half of them start, and those
// that the Change before has started end. It returns how many did, of one
// appliance.
func (w *World) Change(n int) (ended int, err error) {
	err = w.process.Call("Change", n, &ended)
	return ended, err
}

// Advance moves the world's clock, and lets the policies run meanwhile.
func (w *World) Advance(to time.Time) error { return w.process.Call("Advance", to, &struct{}{}) }

// Key is what sessions are counted by. Policy is empty for sessions that have the
// name of something else, or none.
type Key struct{ Type, Policy, Status string }

// KeyOf returns the Key of a session.
func KeyOf(typ, name, status string) Key {
	if typ != "Policy" && typ != "Job" {
		name = ""
	}
	return Key{typ, name, status}
}

// Truth returns how many sessions ended between two times, the later included, by
// the first status that they ended with, on the first appliance.
func (w *World) Truth(after, until time.Time) (map[Key]int, error) {
	truth := make(map[Key]int)
	return truth, w.process.Call("Truth", Span{after, until}, &truth)
}

// Span is from one time to another.
type Span struct{ After, Until time.Time }

// Traffic is what an appliance was asked and has answered.
type Traffic struct{ Requests, Bytes int }

// Traffic returns that of the first appliance so far, the bytes without headers.
func (w *World) Traffic() (Traffic, error) {
	var t Traffic
	return t, w.process.Call("Traffic", struct{}{}, &t)
}

// Gate holds back all requests while it is closed.
func (w *World) Gate(open bool) error { return w.process.Call("Gate", open, &struct{}{}) }
