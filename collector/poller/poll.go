package poller

import (
	"context"
	"fmt"
	"time"

	"github.com/go-kit/log/level"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/vbaws"
)

// This file implements one poll: read, fold, save, publish, and then the inventory.

// poll is the state of one poll, or of the inventory after it. It ends with it.
type poll struct {
	*Poller
	// tx is the transaction under way.
	tx *ledger.Tx

	// start is when the poll began.
	start time.Time
	// clock is the appliance's, as its first answer had it; zero before.
	clock time.Time
	// before is the watermark as it stood before the poll; nil for none.
	before *ledger.Watermark
	// resyncDue is set while a resync is under way that must be completed, whenever the
	// next is due.
	resyncDue bool
	// pending are sessions whose policy is not known yet.
	pending map[ledger.ID]pending
	// seenUnfinished are the sessions that a list showed and that had not finished.
	seenUnfinished map[ledger.ID]bool
	// usns are USNs that were seen, to find sessions that share one.
	usns map[int64]ledger.ID
	// policyNames are the names of sessions of type Policy that were read.
	policyNames map[string]bool
	// fresh are the workloads whose policies were listed, and allListed is set if all were.
	fresh     map[string]bool
	allListed bool
	// understood is set once a row was a session, and bad is the error of the first that
	// was not.
	understood bool
	bad        error
	// unreadable is what could not be taken in.
	unreadable unreadable
	// logs counts the logs of sessions that were requested, and errors has their
	// messages.
	logs   int
	errors map[sessionEnd][]string
}

func (p *Poller) newPoll(start time.Time) *poll {
	return &poll{
		Poller: p, tx: p.ledger.Begin(start), start: start,
		pending:        make(map[ledger.ID]pending),
		seenUnfinished: make(map[ledger.ID]bool),
		usns:           make(map[int64]ledger.ID),
		policyNames:    make(map[string]bool),
		fresh:          make(map[string]bool),
		errors:         make(map[sessionEnd][]string),
	}
}

// due reports whether what was requested at a time is to be requested with the inventory
// again.
func (p *poll) due(at time.Time) bool { return p.waited(at, p.cfg.InventoryInterval) }

// waited reports whether a time has passed since then. A clock that was set back ends every
// wait.
func (p *poll) waited(since time.Time, wait time.Duration) bool {
	passed := p.start.Sub(since)
	return passed >= wait || passed < 0
}

// The steps of a poll, and of each part of a long one, that Config.Step is called with.
const (
	StepRead      = "read"      // read and folded, nothing saved
	StepSaved     = "saved"     // saved, not published
	StepPublished = "published" // published, not logged
)

func (p *Poller) step(name string) {
	if p.cfg.Step != nil {
		p.cfg.Step(name)
	}
}

// Poll polls the appliance once: read, fold, save, publish. If that fails, nothing of it
// remains but the result of the poll itself, and of a long one the parts that were saved
// before.
func (p *Poller) Poll(ctx context.Context) error {
	start := p.cfg.Now()
	defer func() { p.lines.end(p.log) }()
	p.known.setAPIVersion(p.api.APIVersion())
	synced := p.ledger.Synced()
	poll := p.newPoll(start)
	err := poll.read(ctx)
	p.known.unreadable.failed = err != nil && poll.unreadable.failed
	p.logExceeded(poll)
	if err == nil {
		poll.tx.ObserveClocks(start, p.known.applianceTime(start))
		err = p.keep(poll.tx)
	}
	saved := err == nil
	if saved {
		err = p.judge(ctx, poll, true)
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // a poll that was cut off shows nothing of the appliance
	}
	if lift := p.ledger.NextLift(); err != nil && !lift.IsZero() && !p.cfg.Now().Before(lift) {
		// Holds end though the appliance can't be read.
		if liftErr := p.write(p.ledger.Begin(p.cfg.Now())); liftErr != nil {
			err = fmt.Errorf("%w (and %v)", err, liftErr) //nolint:errorlint // the poll's result is that of err
		}
	}
	took := p.cfg.Now().Sub(start)
	if p.cfg.Polled != nil {
		p.cfg.Polled(resultOf(err), took) // what is published was counted
	}
	p.publishPoll(err)
	if saved {
		p.step(StepPublished)
		p.logEvents(ctx, poll) // no later poll does
	}
	if err == nil {
		level.Debug(p.log).Log("msg", "poll done", "took", took)
	}
	if err == nil && ctx.Err() == nil {
		p.refreshInventory(ctx, poll, synced)
	}
	return err
}

// keep saves what was read.
func (p *Poller) keep(tx *ledger.Tx) error {
	p.step(StepRead)
	if err := p.save(tx); err != nil {
		return err
	}
	p.step(StepSaved)
	return nil
}

// save makes what was folded durable, and only then the ledger's. Policies are judged
// after it.
func (p *Poller) save(tx *ledger.Tx) error {
	if !tx.Changes().Empty() {
		tx.JudgeAt(p.known.applianceTime(p.cfg.Now()))
	}
	return p.write(tx)
}

// write is save without a judgement.
func (p *Poller) write(tx *ledger.Tx) error {
	if changes := tx.Changes(); !changes.Empty() {
		if err := p.storage.Save(changes); err != nil {
			return storageError(err)
		}
	}
	tx.Commit(p.cfg.Now())
	return nil
}

// storageError returns a failure of the state, not of the appliance.
func storageError(err error) error {
	return &vbaws.Error{Kind: vbaws.Kind(ResultStorage), Op: "state", Err: err}
}

// endPart ends a part of a poll: a transaction of its own.
func (p *poll) endPart(ctx context.Context) error {
	if err := p.keep(p.tx); err != nil {
		return err
	}
	if p.ledger.Synced() {
		p.publish(func(next *Published) { next.View = p.ledger.View() })
	}
	p.step(StepPublished)
	p.logEvents(ctx, p)
	p.tx = p.tx.Next()
	return nil
}

// read reads what changed on the appliance and folds it into the transaction.
func (p *poll) read(ctx context.Context) error {
	p.before = p.tx.Meta().Watermark
	synced := p.tx.Synced()
	read := p.readChanges
	if !synced {
		read = p.initialSync
	}
	if err := read(ctx); err != nil {
		return err
	}
	if err := p.checkForm(ctx); err != nil {
		return err
	}
	if err := p.resolve(ctx); err != nil {
		return err
	}
	if !synced {
		p.tx.EndInitialSync()
	}
	p.recordUnreadable()
	p.dropGone()
	return ctx.Err()
}

// readChanges reads what changed since the last poll.
func (p *poll) readChanges(ctx context.Context) error {
	if !p.known.mode.fromUTC {
		var err error
		if p.resyncDue, err = p.incrementalRead(ctx); err != nil {
			return err
		}
		p.resyncDue = p.resyncDue || p.mustLookNow()
	}
	if m := p.tx.Meta(); p.resyncDue || p.known.mode.fromUTC || p.waited(m.ResyncedAt, m.ResyncInterval) {
		err := p.resync(ctx)
		p.resyncDue = false
		return err
	}
	return nil
}

// checkpoint ends a part of the poll if enough has come together, so that what a poll
// takes in memory doesn't grow with what it reads. The watermark moves with the last
// part: whatever ends the poll before, the next one reads all of it again, and knows
// what was counted.
func (p *poll) checkpoint(ctx context.Context) error {
	if len(p.pending) >= p.cfg.PartSize && vbaws.NamesSessions(p.api.APIVersion()) {
		// Policies are listed, and then known. Without names each policy would be
		// asked for its sessions again.
		if err := p.resolve(ctx); err != nil {
			return err
		}
	}
	if p.tx.Size() < p.cfg.PartSize {
		return nil
	}
	if p.resyncDue {
		p.tx.OweResync() // the watermark is past what made it necessary
	}
	return p.endPart(ctx)
}
