package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"vbaws_exporter/collector/listing"
	"vbaws_exporter/vbaws"
)

const (
	// policyNames is how many policies a finding names.
	policyNames = 5
	// policySize is how many bytes of memory a policy takes beside its texts.
	policySize = 500
)

// policies has the findings about the policies that the appliance lists.
type policies struct {
	count int
	// workloads has the workloads of the policies by their name.
	workloads map[string][]string
	// unreadable has the policies whose schedule can't be understood, with the reason, and
	// odd the first other mistake of each route.
	unreadable, odd []string
}

// read reads the policies of a workload, as the exporter does. get returns a page.
func (l *policies) read(w vbaws.Workload, size *listing.PageSize, get func(offset, limit int) (*vbaws.PoliciesPage, error)) error {
	var odd error
	all, err := listing.All(size, w.Path, func(offset, limit int) (*vbaws.PoliciesPage, error) {
		page, err := get(offset, limit)
		if err == nil {
			odd = cmp.Or(odd, page.Err)
		}
		return page, err
	}, func(pol *vbaws.Policy) (string, int) { return pol.ID, policySize + len(pol.ID) + len(pol.Name) })
	if err != nil {
		return err
	}
	l.count += len(all)
	for _, pol := range all {
		l.workloads[pol.Name] = append(l.workloads[pol.Name], w.Name)
		if pol.Schedule != nil && pol.Schedule.Unreadable != "" {
			l.unreadable = append(l.unreadable, fmt.Sprintf("%q (%s): %s", pol.Name, w.Name, pol.Schedule.Unreadable))
		}
	}
	if odd != nil {
		l.odd = append(l.odd, fmt.Sprintf("%s: %v", w.Path, odd))
	}
	return nil
}

func (l *policies) findings() []Finding {
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
			"%d of %d policies have a schedule that can't be understood completely, and that part is not monitored: %s", n, l.count, firstOf(l.unreadable)))
	}
	return append(all, ok(Schedules, "%d %s; every schedule is understood", l.count, plural(l.count, "policy", "policies")))
}

// shared returns the names that several policies have, with their workloads.
func (l *policies) shared() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(l.workloads)) {
		if w := l.workloads[name]; len(w) > 1 {
			names = append(names, fmt.Sprintf("%q (%s)", name, strings.Join(slices.Sorted(slices.Values(w)), ", ")))
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
