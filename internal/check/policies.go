package check

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"vbaws_exporter/vbaws"
)

// Limits of a listing: how many pages are read of one workload, how many policies of
// each, and how many policies a finding names.
const (
	policyPages = 100
	policyPage  = 1000
	policyNames = 5
)

// listing is what the appliance lists of policies.
type listing struct {
	policies int
	// unreadable are the policies whose schedule can't be understood, with the reason;
	// odd is what else can't be, by route.
	unreadable, odd []string
}

// read reads the policies of a workload, as the exporter does.
func (l *listing) read(ctx context.Context, client *vbaws.Client, w vbaws.Workload) error {
	offset, odd := 0, error(nil)
	for range policyPages {
		page, err := client.Policies(ctx, w, offset, policyPage)
		if err != nil {
			return err
		}
		odd = cmp.Or(odd, page.Err)
		for _, pol := range page.Policies {
			l.policies++
			if pol.Schedule != nil && pol.Schedule.Unreadable != "" {
				l.unreadable = append(l.unreadable, fmt.Sprintf("%q (%s): %s", pol.Name, w.Name, pol.Schedule.Unreadable))
			}
		}
		offset += page.Rows
		if page.Rows == 0 || offset >= page.TotalCount && page.TotalCount >= 0 {
			break
		}
	}
	if odd != nil {
		l.odd = append(l.odd, fmt.Sprintf("%s: %v", w.Path, odd))
	}
	return nil
}

func (l *listing) findings() []Finding {
	var all []Finding
	if len(l.odd) > 0 {
		all = append(all, warn(Rights, "report it with the API version: the rest is read",
			"not all of the policies can be understood: %s", strings.Join(l.odd, "; ")))
	}
	n := len(l.unreadable)
	if n == 0 {
		return append(all, ok(Schedules, "%d %s, with no schedule that can't be understood", l.policies, plural(l.policies, "policy", "policies")))
	}
	named := l.unreadable[:min(n, policyNames)]
	more := ""
	if n > len(named) {
		more = fmt.Sprintf("; and %d more", n-len(named))
	}
	return append(all, warn(Schedules, "look at the schedule in the appliance; if it is in order, report this with the API version",
		"of %d of %d policies a part of the schedule can't be understood, and no run is due by it: %s%s", n, l.policies, strings.Join(named, "; "), more))
}
