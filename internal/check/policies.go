package check

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
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
	// workloads are those of the policies of a name, by id: a list that moves shows some
	// policies twice.
	workloads map[string]map[string]string
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
		for _, pol := range page.Items {
			l.policies++
			if l.workloads[pol.Name] == nil {
				l.workloads[pol.Name] = make(map[string]string)
			}
			l.workloads[pol.Name][pol.ID] = w.Name
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
		all = append(all, warn(Rights, reportIt+"; the others are monitored",
			"some policies are not understood: %s", strings.Join(l.odd, "; ")))
	}
	if shared := l.shared(); len(shared) > 0 {
		all = append(all, warn(Schedules, "rename all but one of them in the appliance",
			"sessions have only the name of their policy, so policies that share a name are judged as one: %s", firstOf(shared)))
	}
	if n := len(l.unreadable); n > 0 {
		return append(all, warn(Schedules, "check the schedule in the appliance; if it is correct, report this with the API version",
			"%d of %d policies have a schedule that can't be understood completely, and that part is not monitored: %s", n, l.policies, firstOf(l.unreadable)))
	}
	return append(all, ok(Schedules, "%d %s; every schedule is understood", l.policies, plural(l.policies, "policy", "policies")))
}

// shared returns the names that several policies have, with their workloads.
func (l *listing) shared() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(l.workloads)) {
		if w := l.workloads[name]; len(w) > 1 {
			names = append(names, fmt.Sprintf("%q (%s)", name, strings.Join(slices.Sorted(maps.Values(w)), ", ")))
		}
	}
	return names
}

// firstOf joins the first few of a list, and says how many more there are.
func firstOf(list []string) string {
	text := strings.Join(list[:min(len(list), policyNames)], "; ")
	if more := len(list) - policyNames; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}
