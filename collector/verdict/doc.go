// Package verdict judges which policies need attention: failing, overdue, stuck,
// silent or disabled, since when, and until when that holds. A Verdict has all that is
// exposed of a policy, its schedule included, but no counts.
//
// It is pure. A verdict is a function of the schedule, the sessions' own times, a few
// stored facts and an instant of the appliance's clock. It doesn't depend on when
// polls happened or on how long the exporter was away: everything that "stays" is
// derived from times. The one stored decision, Policy.Decided, is for what can't be derived
// from times: a listing that is stale, a schedule that can't be read, a session that was seen
// late.
//
// Its caller is responsible for:
//
//   - the API, the state and the metrics: it gathers a Policy and stores Verdict.Decided;
//   - which session belongs to which policy, renamed and filtered policies included;
//   - odd times: the sessions of a Policy begin before they end, and not in the future;
//   - whether the clock and the listing can be relied on: see ClockGate and
//     Conditions.Stale.
//
// The files, one idea each: verdict.go, what goes in and comes out; owed.go, the starts
// that no success has met; run.go, how long the run of a start is waited for;
// failing.go, stuck.go and silent.go, the other problems; kind.go, what a session makes, by
// its extended type; history.go, what is stored of finished sessions; clockgate.go,
// whether the appliance's clock can be relied on.
package verdict
