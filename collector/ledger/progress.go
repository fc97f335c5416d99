// How far an appliance has been read.

package ledger

import "time"

// Synced reports whether the initial sync is complete.
func (tx *Tx) Synced() bool { return !tx.meta.SyncedAt.IsZero() }

func (tx *Tx) inInitialSync() bool { return !tx.meta.BackfillFrom.IsZero() }

// born returns the created time of counters and histograms that this transaction makes.
func (tx *Tx) born() time.Time {
	if tx.inInitialSync() {
		return tx.meta.BackfillFrom
	}
	return tx.now
}

// BeginInitialSync begins the initial sync of an appliance that was never read, or goes on with
// one that an earlier transaction left incomplete. It returns the start of the backfill window,
// by the appliance's clock: since, or what was since when the initial sync began. Counters
// are as old as that.
func (tx *Tx) BeginInitialSync(since time.Time) time.Time {
	if !tx.inInitialSync() {
		tx.editMeta().BackfillFrom = since
	}
	return tx.meta.BackfillFrom
}

// EndInitialSync completes the initial sync. Nothing is published before.
func (tx *Tx) EndInitialSync() {
	m := tx.editMeta()
	m.SyncedAt, m.BackfillFrom = tx.now, time.Time{}
}

// SetWatermark moves the watermark.
func (tx *Tx) SetWatermark(w Watermark) {
	if tx.meta.Watermark == nil || *tx.meta.Watermark != w {
		tx.editMeta().Watermark = &w
	}
}

// SetCutoff sets the cutoff to t, or moves it back to t. The initial sync does; Forget
// and RaiseCutoff move it forward.
func (tx *Tx) SetCutoff(t time.Time) {
	if !t.IsZero() && (tx.meta.Cutoff.IsZero() || t.Before(tx.meta.Cutoff)) {
		tx.editMeta().Cutoff = t
	}
}

// RaiseCutoff moves the cutoff forward to t.
func (tx *Tx) RaiseCutoff(t time.Time) {
	if t.After(tx.meta.Cutoff) {
		tx.editMeta().Cutoff = t
	}
}

// SetUnreadable records what could not be taken in; nil for nothing. As many sessions as
// are more than before are reported as skipped.
func (tx *Tx) SetUnreadable(u *Unreadable) {
	old := tx.meta.Unreadable
	if u == old || u != nil && old != nil && *u == *old {
		return
	}
	tx.editMeta().Unreadable = u
	known := 0
	if old != nil {
		known = old.Sessions
	}
	if u != nil && u.Sessions > known {
		tx.countSkipped(SkipUnreadable, u.Sessions-known)
	}
}

// Resynced records a complete resync that began at the given time of the appliance's
// clock.
func (tx *Tx) Resynced(at time.Time, daily bool, next time.Duration) {
	m := tx.editMeta()
	m.LastResync, m.ResyncedAt, m.ResyncInterval = at, tx.now, next
	if daily {
		m.LastDailyResync = at
	}
}

// OweResync makes a resync due at once, until Resynced.
func (tx *Tx) OweResync() { tx.editMeta().ResyncInterval = 0 }

// Reset counts that the USN was seen to start over, once a poll.
func (tx *Tx) Reset() {
	if !tx.reset {
		tx.reset = true
		tx.editMeta().Resets++
	}
}

// WasReset reports whether the USN was seen to start over in this transaction: by
// Reset, or since an unfinished session was listed with a lower USN than before.
func (tx *Tx) WasReset() bool { return tx.reset }
