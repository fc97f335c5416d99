// How far an appliance has been read.

package ledger

import "time"

// Synced reports whether the initial sync is complete.
func (p *Pass) Synced() bool { return p.meta.Phase.Stage == Synced }

func (p *Pass) inInitialSync() bool { return p.meta.Phase.Stage == InitialSync }

// born returns the created time of counters and histograms that this pass makes.
func (p *Pass) born() time.Time {
	if p.inInitialSync() {
		return p.meta.Phase.Time
	}
	return p.now
}

// BeginInitialSync begins the initial sync of an Unread appliance, or goes on with
// one that an earlier pass left incomplete. It returns the start of the backfill window,
// by the appliance's clock: since, or what was since when the initial sync began. Counters
// are as old as that.
func (p *Pass) BeginInitialSync(since time.Time) time.Time {
	if p.meta.Phase.Stage == Unread {
		p.editMeta().Phase = Phase{InitialSync, since}
	}
	return p.meta.Phase.Time
}

// EndInitialSync completes the initial sync. Nothing is published before.
func (p *Pass) EndInitialSync() { p.editMeta().Phase = Phase{Synced, p.now} }

// SetWatermark moves the watermark.
func (p *Pass) SetWatermark(w Watermark) {
	if p.meta.Watermark == nil || *p.meta.Watermark != w {
		p.editMeta().Watermark = &w
	}
}

// SetCutoff sets the cutoff to t, or moves it back to t. The initial sync does; only
// Forget moves it forward.
func (p *Pass) SetCutoff(t time.Time) {
	if !t.IsZero() && (p.meta.Cutoff.IsZero() || t.Before(p.meta.Cutoff)) {
		p.editMeta().Cutoff = t
	}
}

// Resynced records a complete resync that began at the given time of the appliance's
// clock.
func (p *Pass) Resynced(at time.Time, daily bool, next time.Duration) {
	m := p.editMeta()
	m.LastResync, m.ResyncedAt, m.ResyncInterval = at, p.now, next
	if daily {
		m.LastDailyResync = at
	}
}

// OweResync makes a resync due at once, until Resynced.
func (p *Pass) OweResync() { p.editMeta().ResyncInterval = 0 }

// Reset counts that the USN was seen to start over, once a pass.
func (p *Pass) Reset() {
	if !p.reset {
		p.reset = true
		p.editMeta().Resets++
	}
}

// WasReset reports whether the USN was seen to start over in this pass: by
// Reset, or since an unfinished session was listed with a lower USN than before.
func (p *Pass) WasReset() bool { return p.reset }
