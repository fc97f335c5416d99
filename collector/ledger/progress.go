package ledger

import "time"

// Contacted reports whether first contact was made in an earlier pass.
func (p *Pass) Contacted() bool { return !p.l.state.Meta.FirstContact.IsZero() }

// BeginFirstContact makes this pass first contact, and returns the start of the
// window that is counted, by the appliance's clock: since, or where an earlier pass
// began first contact and didn't come to its end, what was since then. Counters are
// as old as that.
func (p *Pass) BeginFirstContact(since time.Time) time.Time {
	if p.meta.ContactFrom.IsZero() {
		p.editMeta().ContactFrom = since
	}
	p.first, p.born = true, p.meta.ContactFrom
	return p.born
}

// EndFirstContact completes first contact. Nothing is published before.
func (p *Pass) EndFirstContact() {
	m := p.editMeta()
	m.FirstContact, m.ContactFrom = p.now, time.Time{}
}

// SetWatermark moves the watermark.
func (p *Pass) SetWatermark(w Watermark) {
	if p.meta.Watermark == nil || *p.meta.Watermark != w {
		p.editMeta().Watermark = &w
	}
}

// DrawLine moves the line back to t if it is not there or further back already.
// Only first contact does.
func (p *Pass) DrawLine(t time.Time) {
	if !t.IsZero() && (p.meta.Line.IsZero() || t.Before(p.meta.Line)) {
		p.editMeta().Line = t
	}
}

// Swept records a complete sweep that began at the given time of the appliance's
// clock.
func (p *Pass) Swept(at time.Time, wide bool, next time.Duration) {
	m := p.editMeta()
	m.LastSweep, m.SweptAt, m.SweepInterval = at, p.now, next
	if wide {
		m.LastWideSweep = at
	}
}

// OweSweep makes the next pass sweep at once, unless Swept comes before the end of
// this one.
func (p *Pass) OweSweep() { p.editMeta().SweepInterval = 0 }

// Reset counts that the USN was seen to start over, once a pass.
func (p *Pass) Reset() {
	if !p.reset {
		p.reset = true
		p.editMeta().Resets++
	}
}

// WasReset reports whether the USN was seen to start over in this pass: by
// Reset, or since an unfinished session was met with a lower USN than before.
func (p *Pass) WasReset() bool { return p.reset }
