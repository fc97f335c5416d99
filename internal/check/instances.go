package check

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"vbaws_exporter/vbaws"
)

// This file checks what the account cannot read of the EC2 instances, if the configuration
// has instances: true.

// instances requests what the exporter shows of EC2 instances. may are the endpoints that
// the account is allowed to use.
func (p *prober) instances(ctx context.Context) (may []string, findings []Finding) {
	if !p.a.Instances {
		return nil, nil
	}
	var list *vbaws.InstancesPage
	var licensed *vbaws.LicensedWorkloadsPage
	readable := true
	for _, r := range []right{
		{vbaws.RouteInstances, "the EC2 instances (vbaws_instance_…), though instances is true", false, func(ctx context.Context) (_ string, err error) {
			list, err = p.client.Instances(ctx, vbaws.InstancesQuery{Limit: sample})
			return "", err
		}},
		{vbaws.RouteLicensed, "the newest backups of all instances in one list, so that restore points are requested instance by instance, 20 after each poll", false, func(ctx context.Context) (_ string, err error) {
			licensed, err = p.client.LicensedWorkloads(ctx, 0, sample)
			return "", err
		}},
		{p.client.RestorePointsRoute(), "the newest backups of instances that are not in the list of licensed workloads (vbaws_instance_last_backup_timestamp_seconds)", false, func(ctx context.Context) (string, error) {
			if list == nil || len(list.Items) == 0 {
				return "", errNotAsked
			}
			_, err := p.client.NewestRestorePoint(ctx, list.Items[0].ID)
			return "", err
		}},
	} {
		switch _, err := p.ask(ctx, r); {
		case err == nil:
			may = append(may, r.path)
		case errors.Is(err, errNotAsked):
		case r.path == vbaws.RouteInstances && vbaws.HasStatus(err, http.StatusForbidden):
			readable = false
			findings = append(findings, warn(Rights, "give the account the role Portal Operator, or set instances to false",
				"%s is forbidden for %q; missing: %s", r.path, p.a.Username, r.without))
		default:
			readable = readable && r.path != vbaws.RouteInstances
			findings = append(findings, p.lacking(r, err))
		}
		if !readable {
			return may, findings // the others are of no use
		}
	}
	return may, append(findings, p.knownInstances(list, licensed)...)
}

// knownInstances reports how many instances there are, and whether the licensed workloads
// have the ids of instances: that is not documented.
func (p *prober) knownInstances(list *vbaws.InstancesPage, licensed *vbaws.LicensedWorkloadsPage) []Finding {
	total := max(list.TotalCount, list.Rows)
	text := fmt.Sprintf("%d EC2 %s", total, plural(total, "instance", "instances"))
	if licensed != nil && len(licensed.Items) > 0 && len(list.Items) > 0 {
		of := make(map[string]bool, len(list.Items))
		for _, i := range list.Items {
			of[i.ID] = true
		}
		n := 0
		for _, w := range licensed.Items {
			if of[w.ID] {
				n++
			}
		}
		if n == 0 {
			text += "; the licensed workloads have other ids, so restore points are requested instance by instance"
		} else {
			text += fmt.Sprintf("; the licensed workloads have the ids of %d", n)
		}
	}
	if total > p.a.MaxInstances {
		return []Finding{warn(Rights, "raise max_instances", "%s; only %d are shown, protected ones first", text, p.a.MaxInstances)}
	}
	return []Finding{ok(Rights, "%s", text)}
}
