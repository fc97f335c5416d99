package poller

import (
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/verdict"
	"vbaws_exporter/vbaws"
)

// This file has the values that a poller publishes.

// Published is all that can be seen of one appliance at one moment. It is
// immutable.
type Published struct {
	// View is nil until something is known of the appliance: from the store, or
	// by the first successful poll.
	View *ledger.View
	// Policies is nil until they are known.
	Policies *PolicySet
	// Facts is nil until the first inventory.
	Facts *Facts
	// Instances is nil until they were listed.
	Instances *Instances
	Status
}

// PolicySet has the policies of an appliance and the verdicts on them. It is immutable.
type PolicySet struct {
	// All are the policies, each on its own.
	All []*ledger.Policy
	// Rows are the same, but those that share name and workload are one: names need not
	// be unique. Policies that have sessions and are not listed have one, too.
	Rows []PolicyRow
	// Unreadable is how many of All have a schedule that could not be understood.
	Unreadable int
}

// PolicyRow is the policies of one name and workload, and the verdict on them. If they
// differ, it has what is worse: enabled if one is, the shortest interval, the newest
// start that was due.
type PolicyRow struct {
	Name, Workload string
	// Unlisted is set if only its sessions are known: policies can't be listed.
	Unlisted bool
	Enabled  bool
	// Unreadable is what of the schedule could not be understood, and why; empty if
	// all could.
	Unreadable string
	verdict.Verdict
}

// Facts is what an appliance reports about itself. It is immutable. What could not be
// requested keeps its last value; nil if there never was one.
type Facts struct {
	Summary      *vbaws.Summary
	License      *vbaws.License
	Repositories *Repositories
}

// Repositories are the appliance's backup repositories.
type Repositories struct {
	Shown []vbaws.Repository
	// Over is how many more there are.
	Over int
}

// Status is the state of the polling of one appliance. None of it is stored.
type Status struct {
	// Polls counts finished polls, successful or not.
	Polls uint64
	// Up is set if the last finished poll read the appliance. It means nothing while
	// Polls is 0.
	Up bool
	// LastPoll is the end of the last poll, LastSuccess of the last successful one;
	// zero if there was none.
	LastPoll, LastSuccess time.Time
	// Result is the last poll's.
	Result Result
	// Err is what the last poll failed with; nil after a successful one.
	Err error
	// Next is when the next poll is due.
	Next time.Time
	// APIVersion is the API version in use; empty before one was agreed on.
	APIVersion string
	// Version is the product's version; empty if it isn't known.
	Version string
	// Mode is how the list is read: usn or from_utc.
	Mode string
	// CertificateExpiry is when the certificate expires that the appliance presented
	// last; zero without one.
	CertificateExpiry time.Time
	// ClockOffset is the appliance's clock minus ours at the last poll that read it, if
	// ClockKnown.
	ClockOffset time.Duration
	ClockKnown  bool
	// Forbidden lists the endpoints that the account has no right to, and false
	// for those that were allowed.
	Forbidden map[string]bool
	// EndpointErrors are the other errors of endpoints that no poll depends on.
	EndpointErrors map[string]string
	// FailedSince is the end of the first of the failed polls in a row; zero if the last
	// one succeeded.
	FailedSince time.Time
	// Recent are sessions that ended, those of type Policy first, each the newest first.
	// Failures and those of type Policy are kept longer than others.
	Recent []Ended
	// Failures are of the policies whose newest session failed, by series.
	Failures map[ledger.Key]Failure
}

// Ended is a session that was counted.
type Ended struct {
	Session  vbaws.Session
	Policy   string
	Duration time.Duration
	// Errors are the first errors of its log, or warnings if it has no errors.
	Errors []string
}

// Result is how a poll ended: a value of the label "result".
type Result string

// ResultSuccess and ResultStorage are what a poll can end with beside a
// vbaws.Kind.
const (
	ResultSuccess Result = "success"
	ResultStorage Result = "storage"
)

// Results are all of them.
var Results = []Result{
	ResultSuccess, Result(vbaws.KindAuth), Result(vbaws.KindTLS), Result(vbaws.KindTimeout),
	Result(vbaws.KindUnreachable), Result(vbaws.KindHTTP), Result(vbaws.KindDecode), Result(vbaws.KindConfig), ResultStorage,
}
