package poller

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/listing"
	"vbaws_exporter/vbaws"
)

// This file finds the policies of sessions that have no name, as before API version
// 1.2: each policy is asked for its sessions.

// findOwners requests the sessions of each policy, of the one with the newest change
// first, until each of unnamed is found. A policy that can't be asked keeps no
// other from being asked; failed is the first one's error, and nil if all were found.
func (p *poll) findOwners(ctx context.Context, policies []vbaws.Policy, unnamed map[ledger.ID]vbaws.Session, owner map[ledger.ID]string) (failed, err error) {
	policies = slices.SortedFunc(slices.Values(policies), func(a, b vbaws.Policy) int {
		return cmp.Or(cmp.Compare(b.USN, a.USN), strings.Compare(a.ID, b.ID))
	})
	oldest := slices.MinFunc(slices.Collect(maps.Values(unnamed)), func(a, b vbaws.Session) int { return a.Start.Compare(b.Start) }).Start
	// First a list is read down to the oldest of them, if it is seen to be in order. A
	// policy's own session that is not found so has all of every list read.
	for _, from := range []time.Time{oldest, {}} {
		whole := true
		for _, pol := range policies {
			if pol.ID == "" {
				continue // the filter would select all sessions
			}
			switch ok, err := p.findOwned(ctx, pol, from, unnamed, owner); {
			case vbaws.NotFound(err): // removed since it was listed
			case err == nil:
				whole = whole && ok
			case ctx.Err() != nil || !ofOneSession(err) && !p.mayHang(err):
				return nil, fmt.Errorf("sessions of policy %q: %w", pol.Name, err)
			case failed == nil:
				failed = fmt.Errorf("sessions of policy %q: %w", pol.Name, err)
			}
			if len(unnamed) == 0 {
				return nil, nil
			}
		}
		ofPolicy := func(s vbaws.Session) bool { return s.Type == vbaws.TypePolicy }
		if failed != nil || whole && !slices.ContainsFunc(slices.Collect(maps.Values(unnamed)), ofPolicy) {
			break
		}
	}
	return failed, nil
}

// inOrder is how many rows in the order that was asked for show that a list is sorted,
// and not so by chance.
const inOrder = 10

// findOwned reads the sessions of one policy from the newest start down to from (zero:
// all of them), and moves those that are among unnamed to owner. It reports whether
// none can have been missed.
func (p *poll) findOwned(ctx context.Context, pol vbaws.Policy, from time.Time, unnamed map[ledger.ID]vbaws.Session, owner map[ledger.ID]string) (whole bool, err error) {
	// Without FromUtc: it may leave out what has no end yet.
	list := p.reader(vbaws.SessionsQuery{PolicyID: pol.ID}, listing.ShortPage)
	rows, older := 0, false
	unordered := &p.known.names.startsUnordered
	// enough reports whether all that come after are older, if the list is sorted.
	enough := func() bool { return older && rows >= inOrder && !*unordered }
	for row, err := range list.UntilWhole(ctx) {
		if err != nil {
			return false, err
		}
		if _, asked := unnamed[ledger.RowID(row)]; asked && row.Err == nil {
			owner[ledger.RowID(row)] = pol.Name
			delete(unnamed, ledger.RowID(row))
		}
		if _, ok := byStart(row); ok {
			*unordered = *unordered || list.Unordered()
			rows++
			older = row.Start.Before(from)
		}
		if len(unnamed) == 0 || enough() {
			break
		}
	}
	return list.Unreadable() == 0 && (list.Whole() || enough()), nil // the row may be one of unnamed
}
