package poller

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/listing"
	"vbaws_exporter/vbaws"
)

// This file reads the EC2 instances and their newest backups, which no poll depends on,
// after the inventory, if Config.MaxInstances is set.
//
// Two endpoints have the newest backups. One list has those of all protected workloads,
// but only an administrator is allowed to read it, and it is not documented that its ids
// are those of the instances. The restore points have no id of their instance, so they
// take one request an instance: a few after each poll, and what they show is stored.

const (
	// maxBackupLookUps is how many instances are looked up after a poll.
	maxBackupLookUps = 20
	// restorePoints is how many restore points of an instance are requested at most. The
	// appliance has a few: the newest of each backup of the instance.
	restorePoints = 100
	// maxInstanceText is how many bytes are kept of a text.
	maxInstanceText = 256
	// instanceSize is what a listed instance takes beside its texts.
	instanceSize = 100
)

// instances is what is known of the appliance's EC2 instances.
type instances struct {
	// listed are those that are shown, protected ones first; nil before the first
	// listing. over is how many more there are.
	listed []vbaws.Instance
	over   int
	// licensed are the newest backups of workloads by id, as the list of licensed ones
	// had them at licensedAt; complete is set if the last request for it succeeded.
	licensed   map[string]time.Time
	licensedAt time.Time
	complete   bool
	// tried is when the look-up of an instance last failed, and pausedAt when any did.
	tried    map[string]time.Time
	pausedAt time.Time
	// changed is set if something of it is not published.
	changed bool
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

// refreshInstances lists the instances and their newest backups. What fails keeps its last
// values.
func (p *poll) refreshInstances(ctx context.Context) {
	p.listInstances(ctx)
	p.listLicensed(ctx)
}

// listInstances lists the instances.
func (p *poll) listInstances(ctx context.Context) {
	if p.isAbsent(vbaws.RouteInstances) {
		return
	}
	k := &p.known.instances
	all, err := p.allInstances(ctx)
	p.optedAnswered(vbaws.RouteInstances, err)
	if err != nil {
		return
	}
	all = slices.DeleteFunc(all, func(i vbaws.Instance) bool { return i.Deleted })
	slices.SortFunc(all, func(a, b vbaws.Instance) int {
		return cmp.Or(-cmp.Compare(a.Protection, b.Protection), strings.Compare(a.ID, b.ID))
	})
	shown := min(len(all), p.cfg.MaxInstances)
	k.listed, k.over, k.changed = slices.Clone(all[:shown]), len(all)-shown, true

	protected := make(map[ledger.ID]bool, len(k.listed))
	for _, i := range k.listed {
		if i.Protection == vbaws.Protected {
			protected[ledger.ParseID(i.ID)] = true
		}
	}
	p.tx.KeepInstances(func(id ledger.ID) bool { return protected[id] })
	maps.DeleteFunc(k.tried, func(id string, _ time.Time) bool { return !protected[ledger.ParseID(id)] })
}

// listLicensed lists the licensed workloads. It leaves out times that can't be true.
func (p *poll) listLicensed(ctx context.Context) {
	k := &p.known.instances
	k.complete = false
	if k.listed == nil || p.isAbsent(vbaws.RouteLicensed) {
		return
	}
	all, err := listing.All(&p.known.pageSize, vbaws.RouteLicensed, func(offset, limit int) (*vbaws.LicensedWorkloadsPage, error) {
		return p.api.LicensedWorkloads(ctx, offset, limit)
	}, func(w *vbaws.LicensedWorkload) (string, int) { return w.ID, instanceSize + len(w.ID) })
	p.optedAnswered(vbaws.RouteLicensed, err)
	if err != nil {
		return
	}
	k.licensed = make(map[string]time.Time, len(all))
	for _, w := range all {
		if p.tx.CanBe(w.LastBackup) {
			k.licensed[w.ID] = w.LastBackup
		}
	}
	k.licensedAt, k.complete, k.changed = p.start, true, true
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
		one := &all[i]
		if one.Protection == vbaws.ProtectionUnknown {
			one.Protection = vbaws.Protected
			if unprotected[one.ID] {
				one.Protection = vbaws.Unprotected
			}
		}
	}
	return all, nil
}

func (p *poll) readInstances(ctx context.Context, unprotected bool) ([]vbaws.Instance, error) {
	return listing.All(&p.known.pageSize, vbaws.RouteInstances, func(offset, limit int) (*vbaws.InstancesPage, error) {
		page, err := p.api.Instances(ctx, vbaws.InstancesQuery{Offset: offset, Limit: limit, Unprotected: unprotected})
		if err != nil {
			return nil, err
		}
		for i := range page.Items {
			one := &page.Items[i]
			for _, text := range []*string{&one.Name, &one.AWSID, &one.Region} {
				*text = vbaws.Shorten(*text, maxInstanceText)
			}
		}
		return page, nil
	}, func(i *vbaws.Instance) (string, int) {
		return i.ID, instanceSize + len(i.ID) + len(i.Name) + len(i.AWSID) + len(i.Region)
	})
}

// lookUpBackups requests the restore points of the instances that are due, one by one.
func (p *poll) lookUpBackups(ctx context.Context) {
	k := &p.known.instances
	route := p.api.RestorePointsRoute()
	if !p.due(k.pausedAt) || p.isAbsent(route) {
		return
	}
	most := restorePoints
	if route == vbaws.RouteRestorePointsOld {
		most = 1 // the list is in order
	}
	due := p.backupsDue()
	for n, i := range due {
		var at time.Time
		err := p.known.pageSize.Ask(most, func(limit int) (err error) {
			at, err = p.api.NewestRestorePoint(ctx, i.ID, limit)
			return err
		})
		switch {
		case n > 0 && ctx.Err() != nil:
			return // they took all of the time; the rest is left to the next poll
		case err == nil && !at.IsZero() && !p.tx.CanBe(at):
			err = fmt.Errorf("the newest restore point of an instance is of %s", at.Format(time.RFC3339))
		}
		if err != nil {
			// The others come before it the next time.
			k.tried[i.ID], k.pausedAt = p.start, p.start
			p.optedAnswered(route, err)
			return
		}
		delete(k.tried, i.ID)
		p.tx.LookedUpInstance(ledger.ParseID(i.ID), at)
		k.changed = true
	}
	if len(due) > 0 && len(k.tried) == 0 { // an instance that failed is still an error
		p.optedAnswered(route, nil)
	}
}

// backupsDue returns the instances that are to be looked up: those whose newest backup
// is not known otherwise, the one that was looked up longest ago first.
func (p *poll) backupsDue() []vbaws.Instance {
	k, known := &p.known.instances, p.ledger.InstanceBackups()
	lookedUp := make(map[string]time.Time)
	var due []vbaws.Instance
	for _, i := range k.listed {
		if i.Protection != vbaws.Protected || k.complete && !k.licensed[i.ID].IsZero() {
			continue
		}
		at := k.tried[i.ID]
		if b := known[ledger.ParseID(i.ID)]; b != nil && b.LookedUp.After(at) {
			at = b.LookedUp
		}
		if p.due(at) {
			lookedUp[i.ID] = at
			due = append(due, i)
		}
	}
	slices.SortStableFunc(due, func(a, b vbaws.Instance) int { return lookedUp[a.ID].Compare(lookedUp[b.ID]) })
	return due[:min(len(due), maxBackupLookUps)]
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
	if lookedUp == nil || ok && !k.licensedAt.Before(lookedUp.LookedUp) {
		return licensed, ok
	}
	return lookedUp.At, true
}
