package poller

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/listing"
	"vbaws_exporter/collector/schedule"
	"vbaws_exporter/vbaws"
)

// This file looks up the newest sessions of policies that have none yet, after the
// poll.

// lookUps is how many policies a poll looks up at most. Of each it looks at lookUpRows
// sessions, or back for lookUpBack.
const (
	lookUps    = 20
	lookUpRows = 300
	lookUpBack = 35 * 24 * time.Hour
)

// failedLookUps counts how often the look-up of a policy failed.
type failedLookUps map[ledger.PolicyKey]int

// lookUpPolicies asks for what gauges say of policies and no list that was read has: the
// newest session of each extended type, and the newest success of each kind. Its failure is no failure
// of the poll; the policy that it failed for comes after the others in the next.
func (p *poll) lookUpPolicies(ctx context.Context) {
	if !p.cfg.Ledger.Filter.MatchesType(vbaws.TypePolicy) {
		return
	}
	due := p.tx.ToLookUp()
	failures := make(failedLookUps)
	for _, pol := range due {
		if n := p.known.lookUps[pol.PolicyKey]; n > 0 {
			failures[pol.PolicyKey] = n
		}
	}
	p.known.lookUps = failures
	slices.SortStableFunc(due, func(a, b *ledger.Policy) int {
		return cmp.Compare(failures[a.PolicyKey], failures[b.PolicyKey])
	})
	asked := 0
	for _, pol := range due {
		if p.cfg.Ledger.Filter.MatchesPolicy(pol.Name) {
			ask, err := p.lookUpPolicy(ctx, pol)
			if err != nil && !refuses(err) {
				failures[pol.PolicyKey]++
				p.endpointFailed(vbaws.RouteSessions, fmt.Errorf("newest sessions of policy %q: %w", pol.Name, err))
				return
			}
			if ask {
				asked++
			}
		}
		delete(failures, pol.PolicyKey)
		p.tx.LookedUp(pol.PolicyKey)
		if asked == lookUps {
			break
		}
	}
	if len(failures) == 0 && p.tx.Meta().Unreadable == nil {
		delete(p.known.endpoints.errs, vbaws.RouteSessions)
	}
}

// refuses reports whether the appliance itself says that it won't answer a question,
// however often it is asked.
func refuses(err error) bool {
	return vbaws.NotFound(err) || vbaws.HasStatus(err, 403) || listing.Refused(err)
}

// lookUpPolicy reads a policy's sessions, the newest first, until there is one, and a
// success of each kind that is scheduled. It reports whether it had to ask.
func (p *poll) lookUpPolicy(ctx context.Context, pol *ledger.Policy) (asked bool, err error) {
	sessions := sessionsOf(p.ledger.View(), pol.Name)
	done := successesIn(sessions)
	known := done.known
	newest := make(map[string]bool) // the extended types of which a session is known
	for _, s := range sessions {
		newest[s.Key.ExtendedType] = !s.Last.End.IsZero()
	}
	open := make(map[schedule.Kind]bool)
	for _, k := range p.known.verdicts.kindsOf(schedule.New(pol.Schedule, time.UTC), done, p.known.verdicts.typed(sessions)) {
		if done.newest(k).IsZero() {
			open[k] = true
		}
	}
	if known && len(open) == 0 || pol.ID == "" { // without an id the filter would select all sessions
		return false, nil
	}
	rows := 0
	list := p.reader(vbaws.SessionsQuery{
		PolicyID: pol.ID, Types: []string{vbaws.TypePolicy}, Status: vbaws.FinalStatuses,
	}, listing.ShortPage)
	for row, err := range list.Once(ctx) {
		if err != nil {
			return true, err
		}
		rows++
		satisfies := false
		if row.Err == nil && succeeded(row.Status) {
			for k := range open {
				if schedule.Satisfies(k, schedule.KindOf(row.ExtendedType)) {
					satisfies = true
					delete(open, k)
				}
			}
		}
		if row.Err == nil && (!newest[row.ExtendedType] || satisfies) {
			known, newest[row.ExtendedType] = true, true
			// Also what is known: it may have been under another name.
			e, err := p.tx.Entry(&row.Session)
			if err != nil {
				return true, storageError(err)
			}
			e.Fold(pol.Name, ledger.Lookup)
		}
		old := row.Err == nil && row.Start.Before(p.applianceTime().Add(-lookUpBack))
		if row.Err == nil && len(open) == 0 || rows >= lookUpRows || known && old {
			break
		}
	}
	return true, nil
}
