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
	"vbaws_exporter/collector/verdict"
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

// lookUpPolicies requests what gauges of policies need and no list that was read has: the
// newest session of each extended type, and the newest success of each kind. If it fails,
// the poll does not, and the policy that it failed for comes after the others in the next.
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

// refuses reports whether the appliance itself refuses a request, however often it is
// made.
func refuses(err error) bool {
	return vbaws.NotFound(err) || vbaws.HasStatus(err, 403) || listing.Refused(err)
}

// lookUpPolicy reads a policy's sessions, the newest first, until there is one, and a
// success of each kind that is scheduled. It reports whether it made a request.
func (p *poll) lookUpPolicy(ctx context.Context, pol *ledger.Policy) (asked bool, err error) {
	known := false
	newest := make(map[string]bool) // the extended types of which a session is known
	policy := verdict.Policy{Members: []verdict.Member{{Listed: schedule.New(pol.Schedule, nil)}}}
	for _, s := range sessionsOf(p.ledger.View(), pol.Name) {
		newest[s.Key.ExtendedType] = !s.Last.End.IsZero()
		known = known || newest[s.Key.ExtendedType]
		policy.Sessions = append(policy.Sessions, sessionsIn(s))
	}
	open := verdict.Missing(&policy, vbaws.TypesSessions(p.api.APIVersion()))
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
		missing := len(open)
		if row.Err == nil && verdict.Succeeded(row.Status) {
			open = slices.DeleteFunc(open, func(k schedule.Kind) bool { return verdict.Meets(row.ExtendedType, k) })
		}
		if row.Err == nil && (!newest[row.ExtendedType] || len(open) < missing) {
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
