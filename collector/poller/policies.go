package poller

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/schedule"
	"vbaws_exporter/vbaws"
)

// policyOf returns the name of the policy that s is of, empty for none; ok is
// false where it takes a question to know.
func (p *pass) policyOf(e *ledger.Entry, s *vbaws.Session) (name string, ok bool) {
	if policy, known := e.Policy(); known {
		return policy, true
	}
	switch {
	case s.Name == "" && s.Type == vbaws.TypePolicy && s.ExtendedType == vbaws.ExtendedTypeVPC && p.books.HasPolicy(vbaws.VPCPolicyName):
		return vbaws.VPCPolicyName, true
	case s.Name == "":
		return "", vbaws.NamesSessions(p.api.APIVersion())
	case s.Type == vbaws.TypePolicy || p.books.HasPolicy(s.Name):
		return s.Name, true
	}
	// Types other than Policy may carry the name of a workload.
	return "", p.notPolicies[s.Name]
}

// unlistedLimit is how many passes in a row may fail because the policies can't be
// listed.
const unlistedLimit = 3

// maxNames bounds what is kept by a name that sessions or policies have.
const maxNames = 10_000

// noPolicy keeps in mind that no policy has that name.
func (p *Poller) noPolicy(name string) {
	if len(p.notPolicies) >= maxNames {
		clear(p.notPolicies)
	}
	p.notPolicies[name] = true
}

// needListing reports whether policies must be listed to know those of the sessions
// that wait for one. Restores have names that no policy has, new ones all the time:
// after a listing for such names the next one waits, longer each time, unless a
// session of type Policy has had one of the names.
func (p *pass) needListing() bool {
	if passed := p.start.Sub(p.barrenAt); passed < 0 || passed >= p.barren {
		return true
	}
	for _, w := range p.pending {
		if w.session.Name == "" || p.ran[w.session.Name] || p.hasSeries(w.session.Name) {
			return true
		}
	}
	return false
}

// hasSeries reports whether sessions of type Policy were counted under that name.
func (p *Poller) hasSeries(policy string) bool {
	all := p.ledger.View().Series
	i, _ := slices.BinarySearchFunc(all, ledger.Key{Policy: policy, Type: vbaws.TypePolicy}, func(s ledger.SeriesView, k ledger.Key) int {
		return s.Key.Compare(k)
	})
	return i < len(all) && all[i].Key.Policy == policy && all[i].Key.Type == vbaws.TypePolicy
}

// listedFor takes in whether a listing found the policy of one of the sessions that
// wait for one by their names.
func (p *pass) listedFor(found bool) {
	if found {
		p.barren = 0
		return
	}
	p.barrenAt = p.start
	p.barren = min(p.cfg.InventoryInterval, max(p.cfg.Interval, 2*p.barren))
}

// resolve finds the policies of the sessions that wait for one, and folds them.
func (p *pass) resolve(ctx context.Context) error {
	if len(p.pending) == 0 {
		return nil
	}
	if !p.needListing() {
		for _, w := range p.sortedPending() {
			e, err := p.entry(&w.session)
			if err != nil {
				return err
			}
			e.Fold("", w.from)
		}
		clear(p.pending)
		return nil
	}
	named := vbaws.NamesSessions(p.api.APIVersion())
	limited := ctx
	if named {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, inventoryTimeout)
		defer cancel()
	}
	listing, err := p.listPolicies(limited)
	complete := err == nil
	if complete {
		p.unlisted = 0
	} else if p.unlisted++; ctx.Err() != nil || !named || p.unlisted < unlistedLimit {
		// Whatever is counted now without its policy is counted so for good. But
		// where sessions have names, those of the policies themselves tell theirs: a
		// listing that keeps failing must not keep these from being counted.
		return err
	}

	owner := make(map[ledger.ID]string)
	unnamed := make(map[ledger.ID]vbaws.Session)
	for id, w := range p.pending {
		if w.session.Name == "" {
			unnamed[id] = w.session
		}
	}
	if err := p.claim(ctx, listing, unnamed, owner); err != nil {
		return err
	}
	foundByName := false
	for _, w := range p.sortedPending() {
		e, err := p.entry(&w.session)
		if err != nil {
			return err
		}
		policy, ok := p.policyOf(e, &w.session)
		switch {
		case ok:
			foundByName = foundByName || policy != ""
		case w.session.Name != "":
			if complete {
				p.noPolicy(w.session.Name)
			}
		default:
			var claimed bool
			if policy, claimed = owner[e.ID()]; claimed {
				break
			}
			// What is new is counted, of no policy. What was counted before, of a
			// policy that can no longer be told, must not move another's gauges.
			if e.Known() && !e.Unchanged() {
				e.Ignore() // so that it is no change any more
				continue
			}
		}
		e.Fold(policy, w.from)
	}
	clear(p.pending)
	if named && complete {
		p.listedFor(foundByName)
	}
	return nil
}

// claim asks policy by policy, the one with the newest change first, for its
// sessions, until each of unnamed is found. A policy that can't be asked keeps no
// other from being asked; the error is the first one's, and nil if all were found.
func (p *pass) claim(ctx context.Context, policies []listedPolicy, unnamed map[ledger.ID]vbaws.Session, owner map[ledger.ID]string) error {
	policies = slices.SortedFunc(slices.Values(policies), func(a, b listedPolicy) int {
		return cmp.Or(cmp.Compare(b.USN, a.USN), strings.Compare(a.ID, b.ID))
	})
	for round := range rereads {
		// In the first round a list is read down to the oldest of them, if it is seen
		// to be in order. A policy's own session that is not found so has all of every
		// list read.
		from := oldest(unnamed)
		if round > 0 {
			from = time.Time{}
		}
		whole := true
		var failed error
		for _, pol := range policies {
			if len(unnamed) == 0 {
				return nil
			}
			if pol.ID == "" {
				continue // the filter would select all sessions
			}
			switch ok, err := p.claimOne(ctx, pol, from, unnamed, owner); {
			case vbaws.NotFound(err): // removed since it was listed
			case err == nil:
				whole = whole && ok
			case ctx.Err() != nil || !ofOneSession(err):
				return fmt.Errorf("sessions of policy %q: %w", pol.Name, err)
			case failed == nil:
				failed = fmt.Errorf("sessions of policy %q: %w", pol.Name, err)
			}
		}
		if len(unnamed) == 0 {
			return nil
		}
		if failed != nil {
			return failed
		}
		if whole && (round > 0 || !anyOfPolicy(unnamed)) {
			return nil
		}
	}
	return nil
}

// inOrder is how many rows in the order that was asked for show that a list is sorted,
// and not so by chance.
const inOrder = 10

// claimOne reads the sessions of one policy from the newest start down to from (zero:
// all of them), and moves those that are among unnamed to owner. It reports whether
// none can have been missed.
func (p *pass) claimOne(ctx context.Context, pol listedPolicy, from time.Time, unnamed map[ledger.ID]vbaws.Session, owner map[ledger.ID]string) (whole bool, err error) {
	// Without FromUtc: it may leave out what has no end yet.
	q := vbaws.SessionsQuery{PolicyID: pol.ID, Sort: vbaws.SortStartTimeDesc}
	rows, older := 0, false
	var last *vbaws.Row // the one above, within one page: between two the list may move
	var lastPage *vbaws.SessionsPage
	r, err := p.list(ctx, q, byStart, walkLimit, func(page *vbaws.SessionsPage, row *vbaws.Row) (bool, error) {
		if id := p.rowID(row); row.Err == nil && hasKey(unnamed, id) {
			owner[id] = pol.Name
			delete(unnamed, id)
		}
		if _, ok := byStart(row); ok {
			if last != nil && page == lastPage && row.Start.After(last.Start) {
				p.unsorted = true
			}
			last, lastPage = row, page
			rows++
			older = row.Start.Before(from)
		}
		return len(unnamed) == 0 || older && rows >= inOrder && !p.unsorted, nil
	})
	if err != nil {
		return false, err
	}
	return r.whole() || older && rows >= inOrder && !p.unsorted, nil
}

// anyOfPolicy reports whether one of the sessions is a policy's own.
func anyOfPolicy(sessions map[ledger.ID]vbaws.Session) bool {
	for _, s := range sessions {
		if s.Type == vbaws.TypePolicy {
			return true
		}
	}
	return false
}

// oldest returns the oldest start of the sessions; zero where one has none.
func oldest(sessions map[ledger.ID]vbaws.Session) time.Time {
	var from time.Time
	for _, s := range sessions {
		if s.Start.IsZero() {
			return time.Time{}
		}
		if from.IsZero() || s.Start.Before(from) {
			from = s.Start
		}
	}
	return from
}

func hasKey[K comparable, V any](m map[K]V, k K) bool {
	_, ok := m[k]
	return ok
}

// listedPolicy is a policy and the workload whose listing had it.
type listedPolicy struct {
	vbaws.Policy
	workload string
}

// listPolicies lists the policies of all workloads that the appliance offers and
// the account may see, at once. Each workload whose listing is complete goes into
// the books, whatever becomes of the others; the error is the first that was met.
func (p *pass) listPolicies(ctx context.Context) ([]listedPolicy, error) {
	workloads := slices.DeleteFunc(slices.Clone(p.api.Workloads()), func(w vbaws.Workload) bool {
		return p.isAbsent(w.Path)
	})
	listings := make([]listing, len(workloads))
	errs := make([]error, len(workloads))
	atOnce(len(workloads), func(i int) { listings[i], errs[i] = p.listWorkload(ctx, workloads[i]) })

	var all []listedPolicy
	var failed error
	for i, w := range workloads {
		switch {
		case vbaws.NotOffered(errs[i]) && !w.Single && !vbaws.NamesSessions(p.api.APIVersion()):
			// The revision is documented to have the route: it isn't the appliance
			// that says so. Believed, it would leave all sessions without a policy.
			p.trouble(w.Path, errs[i])
			failed = fmt.Errorf("list policies: %w", errs[i])
		case errs[i] == nil:
			l := listings[i]
			p.forbidden[w.Path] = false
			if l.odd != nil {
				p.trouble(w.Path, l.odd)
			} else {
				delete(p.troubles, w.Path)
			}
			p.noteUnreadable(w.Name, l.policies)
			p.books.Listed(w.Name, l.policies, l.whole, p.applianceNow())
			for _, pol := range l.policies {
				all = append(all, listedPolicy{pol, w.Name})
			}
		default:
			p.answered(w.Path, errs[i])
			if failed == nil && (p.troubles[w.Path] != nil || ctx.Err() != nil) {
				failed = fmt.Errorf("list policies: %w", errs[i])
			}
		}
	}
	p.listed = true
	if failed == nil {
		p.listedAt = p.start
	}
	return all, failed
}

// listing is what one workload's listing had.
type listing struct {
	policies []vbaws.Policy
	// whole says that policies are all there are: none was without id or name.
	whole bool
	// odd is what could not be understood.
	odd error
}

// listWorkload reads one workload's policies. It is an error where fewer came
// than the appliance says there are: a policy must not seem gone because the
// list moved.
func (p *pass) listWorkload(ctx context.Context, w vbaws.Workload) (listing, error) {
	l := listing{whole: true}
	all, err := listAll(w.Path, func(offset int) ([]vbaws.Policy, int, int, error) {
		page, err := p.policies(ctx, w, offset)
		if err != nil {
			return nil, 0, 0, err
		}
		if l.odd == nil {
			l.odd = page.Err
		}
		l.whole = l.whole && len(page.Policies) == page.Rows
		return page.Policies, page.Rows, page.TotalCount, nil
	}, func(pol *vbaws.Policy) string { return pol.ID })
	l.policies = all
	return l, err
}

func (p *pass) policies(ctx context.Context, w vbaws.Workload, offset int) (page *vbaws.PoliciesPage, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	err = p.pageSize.ask(pageLimit, func(limit int) error {
		page, err = p.api.Policies(ctx, w, offset, limit)
		return err
	})
	return page, err
}

// lookUp asks for what gauges say of policies and no list that was read has: the
// newest session, and the newest success of each kind. Its failure is no failure
// of the pass; the policy that it failed for comes after the others in the next.
func (p *pass) lookUp(ctx context.Context) {
	if !p.cfg.Wanted.session(vbaws.TypePolicy) {
		return
	}
	due := p.books.ToLookUp()
	failures := make(map[ledger.PolicyKey]int)
	for _, pol := range due {
		if n := p.lookUpFailures[pol.PolicyKey]; n > 0 {
			failures[pol.PolicyKey] = n
		}
	}
	p.lookUpFailures = failures
	slices.SortStableFunc(due, func(a, b ledger.Policy) int {
		return cmp.Compare(failures[a.PolicyKey], failures[b.PolicyKey])
	})
	asked := 0
	for _, pol := range due {
		if p.cfg.Wanted.policy(pol.Name) {
			ask, err := p.lookUpOne(ctx, &pol)
			if err != nil && !refuses(err) {
				failures[pol.PolicyKey]++
				p.trouble(sessionsEndpoint, fmt.Errorf("newest sessions of policy %q: %w", pol.Name, err))
				return
			}
			if ask {
				asked++
			}
		}
		delete(failures, pol.PolicyKey)
		p.books.LookedUp(pol.PolicyKey)
		if asked == lookUps {
			break
		}
	}
	if len(failures) == 0 {
		delete(p.troubles, sessionsEndpoint)
	}
}

// refuses reports whether the appliance itself says that it won't answer a question,
// however often it is asked.
func refuses(err error) bool {
	return vbaws.NotFound(err) || vbaws.HasStatus(err, 403) || vbaws.HasStatus(err, 400) && vbaws.KindOf(err) == vbaws.KindHTTP
}

const sessionsEndpoint = "/api/v1/sessions"

// lookUpOne reads a policy's sessions, the newest first, until there is one, and a
// success of each kind that is scheduled. It reports whether it had to ask.
func (p *pass) lookUpOne(ctx context.Context, pol *ledger.Policy) (asked bool, err error) {
	done := p.successes(pol.Name)
	known := done.known
	open := make(map[schedule.Kind]bool)
	for _, k := range p.kindsOf(schedule.New(pol.Schedule, time.UTC), done) {
		if done.newest(k).IsZero() {
			open[k] = true
		}
	}
	if known && len(open) == 0 || pol.ID == "" { // without an id the filter would select all sessions
		return false, nil
	}
	rows := 0
	_, err = p.list(ctx, vbaws.SessionsQuery{
		PolicyID: pol.ID, Types: []string{vbaws.TypePolicy}, Status: vbaws.FinalStatuses, Sort: vbaws.SortStartTimeDesc,
	}, byStart, walkLimit, func(_ *vbaws.SessionsPage, row *vbaws.Row) (bool, error) {
		rows++
		if row.Err != nil {
			return false, nil
		}
		satisfies := false
		if succeeded(row.Status) {
			for k := range open {
				if schedule.Satisfies(k, schedule.KindOf(row.ExtendedType)) {
					satisfies = true
					delete(open, k)
				}
			}
		}
		if !known || satisfies {
			known = true
			// Also what is known: it may have been under another name.
			e, err := p.entry(&row.Session)
			if err != nil {
				return true, err
			}
			e.Fold(pol.Name, ledger.Lookup)
		}
		return len(open) == 0 || rows >= lookUpRows, nil
	})
	return true, err
}
