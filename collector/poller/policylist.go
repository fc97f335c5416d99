package poller

import (
	"context"
	"fmt"
	"slices"

	"vbaws_exporter/collector/listing"
	"vbaws_exporter/vbaws"
)

// This file lists the policies of all workloads.

// dropGone removes the series of policies that a listing of this poll shows to be gone.
func (p *poll) dropGone() {
	if p.allListed || len(p.fresh) > 0 {
		p.tx.DropGone(p.allListed)
	}
}

// refreshPolicies lists the policies for what is published of them.
func (p *poll) refreshPolicies(ctx context.Context) {
	_, _ = p.listPolicies(ctx) // what failed is an endpoint error
	p.dropGone()
}

// listPolicies lists the policies of all workloads that the appliance offers and
// the account is permitted to see, at once. Each workload whose listing is complete goes
// into the ledger, whatever becomes of the others; the error is the first.
func (p *poll) listPolicies(ctx context.Context) ([]vbaws.Policy, error) {
	workloads := slices.DeleteFunc(slices.Clone(p.api.Workloads()), func(w vbaws.Workload) bool {
		return p.isAbsent(w.Path)
	})
	listings := make([]workloadListing, len(workloads))
	atOnce(len(workloads), func(i int) { listings[i] = p.listWorkload(ctx, workloads[i]) })

	var all []vbaws.Policy
	var failed error
	for i, w := range workloads {
		switch l := listings[i]; {
		case vbaws.NotOffered(l.err) && !w.Single && !vbaws.NamesSessions(p.api.APIVersion()):
			// The API version is documented to have the route, so it isn't the appliance
			// that answered. Taken for true, it would leave all sessions without a policy.
			p.endpointFailed(w.Path, l.err)
			failed = fmt.Errorf("list policies: %w", l.err)
		case l.err == nil:
			if l.odd != nil {
				p.known.endpoints.forbidden[w.Path] = false
				p.endpointFailed(w.Path, l.odd)
			} else {
				p.endpointAnswered(w.Path, nil)
			}
			p.fresh[w.Name] = true
			p.noteUnreadable(w.Name, l.policies)
			p.tx.Listed(w.Name, l.policies, l.whole, p.applianceTime())
			all = append(all, l.policies...)
		default:
			p.endpointAnswered(w.Path, l.err)
			if failed == nil && (p.known.endpoints.errs[w.Path] != "" || ctx.Err() != nil) {
				failed = fmt.Errorf("list policies: %w", l.err)
			}
		}
	}
	p.allListed = p.allListed || failed == nil
	return all, failed
}

// workloadListing is what one workload's listing had.
type workloadListing struct {
	policies []vbaws.Policy
	// whole is set if policies are all there are: none was without id or name.
	whole bool
	// odd is what could not be understood, and err why it isn't a listing.
	odd, err error
}

// policySize is what a listed policy takes beside its texts, its schedule included.
const policySize = 500

// listWorkload reads one workload's policies. It is an error if fewer came than
// totalCount: a policy must not seem gone because the list moved.
func (p *poll) listWorkload(ctx context.Context, w vbaws.Workload) workloadListing {
	l := workloadListing{whole: true}
	l.policies, l.err = listing.All(&p.known.pageSize, w.Path, func(offset, limit int) (*vbaws.PoliciesPage, error) {
		ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
		defer cancel()
		page, err := p.api.Policies(ctx, w, offset, limit)
		if err != nil {
			return nil, err
		}
		if l.odd == nil {
			l.odd = page.Err
		}
		l.whole = l.whole && len(page.Items) == page.Rows
		return page, nil
	}, func(pol *vbaws.Policy) (string, int) { return pol.ID, policySize + len(pol.ID) + len(pol.Name) })
	return l
}
