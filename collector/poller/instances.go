package poller

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-kit/log/level"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/listing"
	"vbaws_exporter/vbaws"
)

// This file reads the EC2 instances and their newest backups, which no poll depends on,
// after the inventory. It does so only if Config.MaxInstances says so.
//
// Two endpoints have the newest backups. One list has those of all protected workloads,
// but only an administrator is allowed to read it, and it is not documented that its ids
// are those of the instances. The restore points have no id of their instance, so they
// take one request an instance: a few after each poll, and what they show is stored.

const (
	// maxBackupLookUps is how many instances are looked up after a poll.
	maxBackupLookUps = 20
	// maxInstanceText is how many bytes are kept of a text.
	maxInstanceText = 256
	// instanceSize is what a listed instance takes beside its texts.
	instanceSize = 100
)

// instances is what is known of the appliance's EC2 instances.
type instances struct {
	at time.Time // when they were to be listed last
	// listed are those that are shown, protected ones first; nil before the first
	// listing. over is how many more there are.
	listed []vbaws.Instance
	over   int
	// licensed are the newest backups of workloads by id, as the list of licensed ones
	// had them at licensedAt; complete says that the last request for it succeeded.
	licensed   map[string]time.Time
	licensedAt time.Time
	complete   bool
	// tried is when the look-up of an instance last failed, and pausedAt when any did.
	tried    map[string]time.Time
	pausedAt time.Time
}

// Instances are the EC2 instances of an appliance. It is immutable.
type Instances struct {
	// Shown are protected ones first, then in order of the appliance's ids.
	Shown []Instance
	// Over is how many more there are.
	Over int
}

// Instance is one EC2 instance.
type Instance struct {
	// ID is that of AWS, or the appliance's if that is not known or another has the same.
	ID, Name, Region string
	Protected        bool
	// LastBackup is when the newest backup of a protected instance was made, by the
	// appliance's clock: zero if it has none. It means nothing unless BackupKnown.
	LastBackup  time.Time
	BackupKnown bool
}

// refreshInstances reads the instances, as a transaction of its own. What fails keeps
// its last values.
func (p *Poller) refreshInstances(ctx context.Context, done *poll) {
	if p.cfg.MaxInstances == 0 {
		return
	}
	poll := p.newPoll(done.start)
	k := &p.known.instances
	list := poll.due(k.at)
	if !list && len(poll.backupsDue()) == 0 {
		return
	}
	changed := false
	within(ctx, func(ctx context.Context) {
		if list {
			k.at = poll.start
			changed = poll.listInstances(ctx)
			changed = poll.listLicensed(ctx) || changed
		}
		if due := poll.backupsDue(); len(due) > 0 {
			changed = poll.lookUpBackups(ctx, due) || changed
		}
	})
	if ctx.Err() != nil {
		return // what was cut off says nothing
	}
	p.logNotes(poll)
	if err := p.save(poll.tx); err != nil {
		level.Warn(p.log).Log("msg", "backups of instances not saved", "err", err)
		return
	}
	p.publish(func(next *Published) {
		next.View = p.ledger.View()
		if changed {
			next.Instances = k.publish(p.ledger.InstanceBackups())
		}
		p.known.endpoints.publish(&next.Status)
	})
}

// due reports whether what was requested at a time is to be requested again.
func (p *poll) due(at time.Time) bool {
	since := p.start.Sub(at)
	return since >= p.cfg.InventoryInterval || since < 0
}

// listInstances lists the instances. It reports whether that succeeded.
func (p *poll) listInstances(ctx context.Context) bool {
	if p.isAbsent(vbaws.RouteInstances) {
		return false
	}
	k := &p.known.instances
	all, err := p.allInstances(ctx)
	p.optedAnswered(vbaws.RouteInstances, err)
	if err != nil {
		return false
	}
	all = slices.DeleteFunc(all, func(i vbaws.Instance) bool { return i.Deleted })
	slices.SortFunc(all, func(a, b vbaws.Instance) int {
		return cmp.Or(-cmp.Compare(a.Protection, b.Protection), strings.Compare(a.ID, b.ID))
	})
	shown := min(len(all), p.cfg.MaxInstances)
	k.listed, k.over = slices.Clone(all[:shown]), len(all)-shown

	protected := make(map[ledger.ID]bool, len(k.listed))
	for _, i := range k.listed {
		if i.Protection == vbaws.Protected {
			protected[ledger.ParseID(i.ID)] = true
		}
	}
	p.tx.KeepInstances(func(id ledger.ID) bool { return protected[id] })
	maps.DeleteFunc(k.tried, func(id string, _ time.Time) bool { return !protected[ledger.ParseID(id)] })
	return true
}

// listLicensed lists the licensed workloads. It reports whether that succeeded.
func (p *poll) listLicensed(ctx context.Context) bool {
	k := &p.known.instances
	k.complete = false
	if k.listed == nil || p.isAbsent(vbaws.RouteLicensed) {
		return false
	}
	licensed, err := p.licensedWorkloads(ctx)
	p.optedAnswered(vbaws.RouteLicensed, err)
	if err != nil {
		return false
	}
	k.licensed, k.licensedAt, k.complete = licensed, p.start, true
	return true
}

// optedAnswered is endpointAnswered of an endpoint that the configuration asks for: it
// is an endpoint error if the appliance doesn't offer it.
func (p *poll) optedAnswered(endpoint string, err error) {
	p.endpointAnswered(endpoint, err)
	if vbaws.NotOffered(err) {
		p.endpointFailed(endpoint, err)
	}
}

// allInstances lists all instances with their protection.
func (p *poll) allInstances(ctx context.Context) ([]vbaws.Instance, error) {
	all, err := p.readInstances(ctx, false)
	if err != nil || !slices.ContainsFunc(all, func(i vbaws.Instance) bool { return i.Protection == vbaws.ProtectionUnknown }) {
		return all, err
	}
	rest, err := p.readInstances(ctx, true)
	if err != nil {
		return nil, err
	}
	unprotected := make(map[string]bool, len(rest))
	for _, i := range rest {
		unprotected[i.ID] = true
	}
	for i := range all {
		switch one := &all[i]; {
		case one.Protection != vbaws.ProtectionUnknown:
		case unprotected[one.ID]:
			one.Protection = vbaws.Unprotected
		default:
			one.Protection = vbaws.Protected
		}
	}
	return all, nil
}

func (p *poll) readInstances(ctx context.Context, unprotected bool) ([]vbaws.Instance, error) {
	return listing.All(vbaws.RouteInstances, func(offset int) ([]vbaws.Instance, int, int, error) {
		var page *vbaws.InstancesPage
		err := p.known.pageSize.Ask(listing.PageLimit, func(limit int) (err error) {
			page, err = p.api.Instances(ctx, vbaws.InstancesQuery{Offset: offset, Limit: limit, Unprotected: unprotected})
			return err
		})
		if err != nil {
			return nil, 0, 0, err
		}
		for i := range page.Items {
			one := &page.Items[i]
			for _, text := range []*string{&one.Name, &one.AWSID, &one.Region} {
				*text = vbaws.Shorten(*text, maxInstanceText)
			}
		}
		return page.Items, page.Rows, page.TotalCount, nil
	}, func(i *vbaws.Instance) string { return i.ID }, func(i *vbaws.Instance) int {
		return instanceSize + len(i.ID) + len(i.Name) + len(i.AWSID) + len(i.Region)
	})
}

// licensedWorkloads returns the newest backups by id. It leaves out times that can't be
// true.
func (p *poll) licensedWorkloads(ctx context.Context) (map[string]time.Time, error) {
	all, err := listing.All(vbaws.RouteLicensed, func(offset int) ([]vbaws.LicensedWorkload, int, int, error) {
		var page *vbaws.LicensedWorkloadsPage
		err := p.known.pageSize.Ask(listing.PageLimit, func(limit int) (err error) {
			page, err = p.api.LicensedWorkloads(ctx, offset, limit)
			return err
		})
		if err != nil {
			return nil, 0, 0, err
		}
		return page.Items, page.Rows, page.TotalCount, nil
	}, func(w *vbaws.LicensedWorkload) string { return w.ID }, func(w *vbaws.LicensedWorkload) int { return instanceSize + len(w.ID) })
	if err != nil {
		return nil, err
	}
	backups := make(map[string]time.Time, len(all))
	for _, w := range all {
		if p.canBeBackup(w.LastBackup) {
			backups[w.ID] = w.LastBackup
		}
	}
	return backups, nil
}

// earliestBackup is before any backup to AWS, and laterBackup how far a time can be ahead
// of the appliance's clock.
var earliestBackup = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)

const laterBackup = time.Hour

func (p *poll) canBeBackup(at time.Time) bool {
	return !at.Before(earliestBackup) && !at.After(p.applianceTime().Add(laterBackup))
}

// lookUpBackups requests the restore points of instances by id. It reports whether
// anything came of it.
func (p *poll) lookUpBackups(ctx context.Context, due []string) bool {
	k := &p.known.instances
	route := p.api.RestorePointsRoute()
	newest := make([]time.Time, len(due))
	errs := make([]error, len(due))
	asked := make([]bool, len(due))
	var failed atomic.Bool
	atOnce(len(due), func(i int) {
		if failed.Load() {
			return
		}
		asked[i] = true
		newest[i], errs[i] = p.api.NewestRestorePoint(ctx, due[i])
		if at := newest[i]; errs[i] == nil && !at.IsZero() && !p.canBeBackup(at) {
			errs[i] = fmt.Errorf("the newest restore point of an instance is of %s", at.Format(time.RFC3339))
		}
		if errs[i] != nil {
			failed.Store(true)
		}
	})
	changed := false
	var first error
	for i, id := range due {
		switch err := errs[i]; {
		case !asked[i]:
		case err == nil:
			changed = true
			delete(k.tried, id)
			p.tx.LookedUpInstance(ledger.ParseID(id), newest[i])
		default:
			// The others come before it the next time.
			if k.tried == nil {
				k.tried = make(map[string]time.Time)
			}
			k.tried[id], k.pausedAt = p.start, p.start
			first = cmp.Or(first, err)
		}
	}
	if first != nil || len(k.tried) == 0 { // an instance that failed is still an error
		p.optedAnswered(route, first)
	}
	return changed
}

// backupsDue returns the ids of the instances that are to be looked up: those whose newest
// backup is not known otherwise, the one that was looked up longest ago first.
func (p *poll) backupsDue() []string {
	k := &p.known.instances
	if !p.due(k.pausedAt) || p.isAbsent(p.api.RestorePointsRoute()) {
		return nil
	}
	known := p.ledger.InstanceBackups()
	type candidate struct {
		id string
		at time.Time // of the last look-up
	}
	var all []candidate
	for _, i := range k.listed {
		if i.Protection != vbaws.Protected || k.complete && !k.licensed[i.ID].IsZero() {
			continue
		}
		c := candidate{id: i.ID, at: k.tried[i.ID]}
		if b := known[ledger.ParseID(i.ID)]; b != nil && b.LookedUp.After(c.at) {
			c.at = b.LookedUp
		}
		if p.due(c.at) {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b candidate) int { return cmp.Or(a.at.Compare(b.at), strings.Compare(a.id, b.id)) })
	due := make([]string, min(len(all), maxBackupLookUps))
	for i := range due {
		due[i] = all[i].id
	}
	return due
}

// publish returns what is shown of the instances.
func (k *instances) publish(lookedUp map[ledger.ID]*ledger.InstanceBackup) *Instances {
	all := &Instances{Shown: make([]Instance, len(k.listed)), Over: k.over}
	used := make(map[string]bool, len(k.listed))
	for n, i := range k.listed {
		id := cmp.Or(i.AWSID, i.ID)
		if used[id] {
			id = i.ID
		}
		for used[id] { // no two series have the same labels
			id += "+"
		}
		used[id] = true
		one := Instance{ID: id, Name: i.Name, Region: i.Region, Protected: i.Protection == vbaws.Protected}
		if one.Protected {
			one.LastBackup, one.BackupKnown = k.lastBackup(i.ID, lookedUp[ledger.ParseID(i.ID)])
		}
		all.Shown[n] = one
	}
	return all
}

// lastBackup returns what was learned last of an instance's newest backup, and whether
// anything was.
func (k *instances) lastBackup(id string, lookedUp *ledger.InstanceBackup) (time.Time, bool) {
	licensed, ok := k.licensed[id]
	switch {
	case lookedUp == nil:
		return licensed, ok
	case ok && !k.licensedAt.Before(lookedUp.LookedUp):
		return licensed, true
	}
	return lookedUp.At, true
}
