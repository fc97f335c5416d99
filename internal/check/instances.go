package check

import (
	"context"
	"fmt"
	"slices"

	"vbaws_exporter/collector/listing"
	"vbaws_exporter/vbaws"
)

// instances has the findings about EC2 instances, if the configuration has instances: true.
type instances struct {
	list     *vbaws.InstancesPage // nil if it can't be read
	licensed *vbaws.LicensedWorkloadsPage
}

// rights returns the endpoints that the account must be allowed to use. It keeps the answers
// of the first two for finding.
func (i *instances) rights(client *vbaws.Client, pages *listing.PageSize) []right {
	return []right{
		{path: vbaws.RouteInstances, without: "the EC2 instances (vbaws_instance_…), though instances is true",
			wanted: true, forbidden: "give the account the role Portal Operator, or set instances to false",
			ask: func(ctx context.Context) (any, error) {
				return nil, pages.Ask(sample, func(limit int) (err error) {
					i.list, err = client.Instances(ctx, vbaws.InstancesQuery{Limit: limit})
					return err
				})
			}},
		{path: vbaws.RouteLicensed, without: "the newest backups of all instances in one list, so that restore points are requested instance by instance, 20 after each poll",
			wanted: true, ask: func(ctx context.Context) (any, error) {
				if i.list == nil {
					return nil, errNotAsked
				}
				return nil, pages.Ask(sample, func(limit int) (err error) {
					i.licensed, err = client.LicensedWorkloads(ctx, 0, limit)
					return err
				})
			}},
		{path: client.RestorePointsRoute(), without: "the newest backups of instances that are not in the list of licensed workloads (vbaws_instance_last_backup_timestamp_seconds)",
			wanted: true, ask: func(ctx context.Context) (any, error) {
				if i.list == nil || len(i.list.Items) == 0 {
					return nil, errNotAsked
				}
				return nil, pages.Ask(sample, func(limit int) error {
					_, err := client.NewestRestorePoint(ctx, i.list.Items[0].ID, limit)
					return err
				})
			}},
	}
}

// finding reports how many instances there are, and whether the licensed workloads have
// the ids of instances: that is not documented.
func (i *instances) finding(limit int) Finding {
	total := max(i.list.TotalCount, i.list.Rows)
	text := fmt.Sprintf("%d EC2 %s", total, plural(total, "instance", "instances"))
	if i.licensed != nil && len(i.licensed.Items) > 0 && len(i.list.Items) > 0 {
		n := 0
		for _, w := range i.licensed.Items {
			if slices.ContainsFunc(i.list.Items, func(of vbaws.Instance) bool { return of.ID == w.ID }) {
				n++
			}
		}
		if n == 0 {
			text += "; the licensed workloads have other ids, so restore points are requested instance by instance"
		} else {
			text += fmt.Sprintf("; the licensed workloads have the ids of %d", n)
		}
	}
	if total > limit {
		return warn(Rights, "raise max_instances", "%s; only %d are shown, protected ones first", text, limit)
	}
	return ok(Rights, "%s", text)
}
