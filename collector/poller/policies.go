package poller

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/vbaws"
)

// This file finds the policy of a session: by its name, or by the sessions of each policy
// (owners.go) if sessions have no names.

const (
	// unlistedLimit is how many polls in a row can fail because the policies can't be
	// listed.
	unlistedLimit = 3
	// maxNames bounds what is kept by a name that sessions or policies have.
	maxNames = 10_000
)

// policyNames is what listings of policies showed of the names of sessions.
type policyNames struct {
	// none are names of sessions that no policy has, maxNames of them at most.
	none map[string]bool
	// wait is how long policies are not listed for the name of a session, after
	// waitFrom: listings for other names found no policy.
	wait     time.Duration
	waitFrom time.Time
	// failed counts the polls in a row that could not list policies they needed.
	failed int
	// startsUnordered is set if the appliance was seen to ignore Sort by start time.
	startsUnordered bool
}

// addNone records that no policy has that name.
func (n *policyNames) addNone(name string) {
	if n.none == nil || len(n.none) >= maxNames {
		n.none = make(map[string]bool)
	}
	n.none[name] = true
}

// policyOf returns the name of the policy that s is of, empty for none; ok is
// false if it takes a request to know.
func (p *poll) policyOf(e *ledger.Entry, s *vbaws.Session) (name string, ok bool) {
	if policy, known := e.Policy(); known {
		return policy, true
	}
	switch {
	case s.Name == "" && s.Type == vbaws.TypePolicy && s.ExtendedType == vbaws.ExtendedTypeVPC && p.tx.HasPolicy(vbaws.VPCPolicyName):
		return vbaws.VPCPolicyName, true
	case s.Name == "":
		return "", vbaws.NamesSessions(p.api.APIVersion())
	case s.Type == vbaws.TypePolicy || p.tx.HasPolicy(s.Name):
		return s.Name, true
	}
	// Types other than Policy may carry the name of a workload.
	return "", p.known.names.none[s.Name]
}

// needListing reports whether policies must be listed to know those of the sessions
// that wait for one. Restores have names that no policy has, new ones all the time:
// after a listing for such names the next one waits, longer each time, unless a
// session of type Policy has had one of the names.
func (p *poll) needListing() bool {
	n := &p.known.names
	if p.waited(n.waitFrom, n.wait) {
		return true
	}
	for _, w := range p.pending {
		if w.session.Name == "" || p.policyNames[w.session.Name] || len(sessionsOf(p.ledger.View(), w.session.Name)) > 0 {
			return true
		}
	}
	return false
}

// listedFor records whether a listing found the policy of one of the sessions that wait
// for one by their names.
func (p *poll) listedFor(found bool) {
	n := &p.known.names
	if found {
		n.wait = 0
		return
	}
	n.waitFrom = p.start
	n.wait = min(p.cfg.InventoryInterval, max(p.cfg.Interval, 2*n.wait))
}

// resolve finds the policies of the sessions that wait for one, and folds them.
func (p *poll) resolve(ctx context.Context) error {
	if len(p.pending) == 0 {
		return nil
	}
	var owner map[ledger.ID]string
	complete, unasked := false, false
	if p.needListing() {
		var err error
		if owner, complete, unasked, err = p.askForPolicies(ctx); err != nil {
			return err
		}
	}
	foundByName := false
	changes := slices.SortedFunc(maps.Values(p.pending), func(a, b pending) int {
		return cmp.Or(cmp.Compare(a.session.USN, b.session.USN), strings.Compare(a.session.ID, b.session.ID))
	})
	for _, w := range changes {
		e, err := p.tx.Entry(&w.session)
		if err != nil {
			return storageError(err)
		}
		policy, ok := p.policyOf(e, &w.session)
		switch {
		case ok:
			foundByName = foundByName || policy != ""
		case w.session.Name != "":
			if complete {
				p.known.names.addNone(w.session.Name)
			}
		default:
			var found bool
			if policy, found = owner[e.ID()]; found {
				break
			}
			if unasked { // it may be of one that failed
				p.defers(e, w)
				continue
			}
			// What is new is counted, of no policy. What was counted before, of a
			// policy that can no longer be found, must not move another's gauges.
			if e.Known() && !e.Unchanged() {
				e.Ignore() // so that it is no change any more
				continue
			}
		}
		e.Fold(policy, w.from)
	}
	clear(p.pending)
	if complete && vbaws.NamesSessions(p.api.APIVersion()) {
		p.listedFor(foundByName)
	}
	return nil
}

// askForPolicies lists the policies, and asks each for those of the sessions that wait
// and have no name: owner has the policies that were found so. complete is set if all
// policies were listed, and unasked if some could not be asked.
func (p *poll) askForPolicies(ctx context.Context) (owner map[ledger.ID]string, complete, unasked bool, err error) {
	named := vbaws.NamesSessions(p.api.APIVersion())
	limited := ctx
	if named {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, inventoryTimeout)
		defer cancel()
	}
	policies, err := p.listPolicies(limited)
	failed := &p.known.names.failed
	complete = err == nil
	switch {
	case err == nil:
		*failed = 0
	case ctx.Err() != nil:
		return nil, false, false, err
	case named:
		// Whatever is counted now without its policy is counted so for good. But the names
		// of the policies' own sessions suffice: a listing that keeps failing must not keep
		// these from being counted.
		if *failed++; *failed < unlistedLimit {
			return nil, false, false, err
		}
	case len(policies) == 0 || !ofOneSession(err) || !p.goesOnAfter(err):
		return nil, false, false, err
	default:
		unasked = true
	}
	owner = make(map[ledger.ID]string)
	unnamed := make(map[ledger.ID]vbaws.Session)
	for id, w := range p.pending {
		if w.session.Name == "" {
			unnamed[id] = w.session
		}
	}
	if len(unnamed) == 0 {
		return owner, complete, unasked, nil
	}
	notAsked, err := p.findOwners(ctx, policies, unnamed, owner)
	if notAsked != nil && !p.goesOnAfter(notAsked) {
		err = notAsked
	}
	return owner, complete, unasked || notAsked != nil, err
}
