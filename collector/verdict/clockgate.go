package verdict

import "time"

const (
	clockJump  = 5 * time.Minute
	clockHold  = 15 * time.Minute
	clockPolls = 3
)

// ClockGate decides whether the appliance's clock can be judged by: after a jump of the
// offset between its clock and ours nothing new is judged until the offset has held
// for three more polls and 15 minutes. Its owner stores it, so that a restart doesn't
// open it, and calls Poll once a successful poll.
type ClockGate struct {
	// Offset is the appliance's clock minus ours at the last poll, and while the gate
	// is closed at the jump.
	Offset time.Duration `json:"offset,omitzero"`
	// Known is set if there was a poll. Only such a gate is stored.
	Known bool `json:"-"`
	// ClosedAt is when the offset jumped, by our clock; zero while the gate is open.
	// Polls is how many polls have confirmed the new offset.
	ClosedAt time.Time `json:"closed_at,omitzero"`
	Polls    int       `json:"polls,omitzero"`
}

// Poll takes in the two clocks at a poll and reports whether the gate is open.
func (g *ClockGate) Poll(ours, appliance time.Time) bool {
	offset := appliance.Sub(ours)
	if g.jumped(offset) {
		*g = ClockGate{Offset: offset, Known: true, ClosedAt: ours}
		return false
	}
	g.Known = true
	if !g.ClosedAt.IsZero() {
		g.Polls++
		if g.Polls < clockPolls || ours.Sub(g.ClosedAt) < clockHold {
			return false
		}
	}
	*g = ClockGate{Offset: offset, Known: true}
	return true
}

func (g *ClockGate) jumped(offset time.Duration) bool {
	return g.Known && (offset-g.Offset).Abs() > clockJump
}

// InDoubt reports whether the gate is closed, or would be after a poll with these clocks.
func (g *ClockGate) InDoubt(ours, appliance time.Time) bool {
	return !g.ClosedAt.IsZero() || g.jumped(appliance.Sub(ours))
}
