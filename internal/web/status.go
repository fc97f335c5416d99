package web

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"vbaws_exporter/collector"
	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/schedule"
	"vbaws_exporter/collector/verdict"
	"vbaws_exporter/vbaws"
)

// status is the whole status, for the page and, as JSON, for programs. The names of fields
// are documented in docs/commands.md and stable. Times are in UTC, and omitted if unknown.
type status struct {
	Version string    `json:"version"`
	Time    time.Time `json:"time"`
	// Summary is a sentence or two.
	Summary string `json:"summary"`
	// Problems are those of all appliances, the worst first: at most maxProblems of
	// ProblemCount.
	Problems     []problem         `json:"problems"`
	ProblemCount int               `json:"problem_count"`
	Appliances   []applianceStatus `json:"appliances"`
}

// The states of a rejected configuration and of an appliance that can't be polled.
const (
	stateConfigRejected verdict.State = "config_rejected"
	statePollFailed     verdict.State = "poll_failed"
)

// worstFirst are all states. Up to silent they are problems.
var worstFirst = []verdict.State{
	stateConfigRejected, statePollFailed, verdict.Stuck, verdict.Failing, verdict.Overdue, verdict.Silent,
	verdict.Warning, verdict.Pending, verdict.OK, verdict.Disabled,
}

// compareStates orders states, the worst first.
func compareStates(a, b verdict.State) int {
	return cmp.Compare(slices.Index(worstFirst, a), slices.Index(worstFirst, b))
}

// isProblem reports whether a state is a problem.
func isProblem(state verdict.State) bool { return compareStates(state, verdict.Silent) <= 0 }

// applianceStatus is one appliance.
type applianceStatus struct {
	Name string `json:"name"`
	// State is that of polling: ok, failing or pending. Message describes it, and Remedy is
	// what to do about it.
	State verdict.State `json:"state"`
	// PolicyState is the worst state of the policies; empty if there are none.
	PolicyState verdict.State `json:"policy_state,omitempty"`
	// Worst is the worse of both.
	Worst   verdict.State `json:"-"`
	Message string        `json:"message"`
	Remedy  string        `json:"remedy,omitempty"`
	Result  poller.Result `json:"result,omitempty"`
	Error   string        `json:"error,omitempty"`

	Polls              uint64    `json:"polls"`
	LastPoll           time.Time `json:"last_poll,omitzero"`
	LastSuccessfulPoll time.Time `json:"last_successful_poll,omitzero"`
	// FailedSince is the end of the first of the failed polls in a row.
	FailedSince time.Time `json:"failed_since,omitzero"`
	NextPoll    time.Time `json:"next_poll,omitzero"`

	APIVersion     string `json:"api_version,omitempty"`
	ProductVersion string `json:"product_version,omitempty"`

	// WatermarkMode is usn or from_utc.
	WatermarkMode   string    `json:"watermark_mode,omitempty"`
	WatermarkUSN    *int64    `json:"watermark_usn,omitempty"`
	WatermarkTime   time.Time `json:"watermark_time,omitzero"`
	WatermarkResets int       `json:"watermark_resets"`

	Series          int               `json:"series"`
	SessionsCounted int               `json:"sessions_counted"`
	SessionsRunning int               `json:"sessions_running"`
	SessionsSkipped map[string]uint64 `json:"sessions_skipped,omitempty"`
	OverLimit       map[string]int    `json:"over_limit,omitempty"`
	// SchedulesUnreadable counts policies.
	SchedulesUnreadable int `json:"schedules_unreadable"`

	Forbidden      []string          `json:"forbidden,omitempty"`
	EndpointErrors map[string]string `json:"endpoint_errors,omitempty"`

	// Instances is nil unless EC2 instances are read.
	Instances *instancesStatus `json:"instances,omitempty"`

	Policies []policyStatus  `json:"policies,omitempty"`
	Recent   []sessionStatus `json:"recent_sessions,omitempty"`

	// PolicyCount counts the policies by name and workload, WithProblems those with problems.
	PolicyCount  int `json:"-"`
	WithProblems int `json:"-"`
}

// policyStatus is one kind of run of the policies of one name.
type policyStatus struct {
	Name     string `json:"name"`
	Workload string `json:"workload,omitempty"`
	// Kind is snapshot, replica, backup or archive; empty if sessions have no kind.
	Kind    schedule.Kind `json:"kind,omitempty"`
	Enabled bool          `json:"enabled"`
	// State is ok, pending, failing, overdue, stuck, silent, warning or disabled.
	State verdict.State `json:"state"`
	// Problems are those of the metric vbaws_policy_problem.
	Problems   []problemStatus `json:"problems,omitempty"`
	LastStatus string          `json:"last_status,omitempty"`
	LastEnd    time.Time       `json:"last_end,omitzero"`
	// LastDuration is in seconds; nil if no session is known.
	LastDuration *float64  `json:"last_duration_seconds,omitempty"`
	LastSuccess  time.Time `json:"last_success,omitzero"`
	// Errors are those of the newest failure, if no success came after it.
	Errors []string `json:"errors,omitempty"`
	// LastSessions are the last finished sessions, oldest first.
	LastSessions []lastSession `json:"last_sessions,omitempty"`
	// Schedule has the schedule in words.
	Schedule    string    `json:"schedule,omitempty"`
	LastDue     time.Time `json:"last_due,omitzero"`
	NextDue     time.Time `json:"next_due,omitzero"`
	Overdue     bool      `json:"overdue"`
	OverdueRuns int       `json:"overdue_runs"`
	// Estimate means that overdue is judged by the longest gap of the schedule, since its
	// times aren't known.
	Estimate     bool      `json:"estimate,omitempty"`
	Running      int       `json:"running"`
	RunningSince time.Time `json:"running_since,omitzero"`
	// ScheduleError names the parts of the schedule that could not be understood, and why.
	ScheduleError string `json:"schedule_error,omitempty"`

	// nextLocal is NextDue by the wall clock of the schedule.
	nextLocal  time.Time
	failureEnd time.Time // of the session that Errors are of
}

// lastSession is a finished session of type Policy.
type lastSession struct {
	Status string    `json:"status"`
	End    time.Time `json:"end"`

	start time.Time
}

// problemStatus is a problem of a policy.
type problemStatus struct {
	Problem verdict.State `json:"problem"`
	Since   time.Time     `json:"since"`
}

// sessionStatus is a finished session.
type sessionStatus struct {
	ID           string    `json:"id"`
	Policy       string    `json:"policy,omitempty"`
	Type         string    `json:"type"`
	ExtendedType string    `json:"extended_type,omitempty"`
	Status       string    `json:"status"`
	Start        time.Time `json:"start,omitzero"`
	End          time.Time `json:"end,omitzero"`
	Duration     float64   `json:"duration_seconds"`
	Errors       []string  `json:"errors,omitempty"`
}

func newStatus(version string, now time.Time, sources []collector.Source, rejected *Rejection) *status {
	s := &status{Version: version, Time: now.UTC().Truncate(time.Second), Appliances: []applianceStatus{}}
	states := make(map[verdict.State]int)
	withProblems := 0
	for _, source := range sources {
		a := newAppliance(source.Name(), source.Published())
		states[a.State]++
		withProblems += a.WithProblems
		s.Appliances = append(s.Appliances, a)
	}
	// Problems come first.
	slices.SortFunc(s.Appliances, func(a, b applianceStatus) int {
		return cmp.Or(compareStates(a.Worst, b.Worst), cmp.Compare(b.WithProblems, a.WithProblems), cmp.Compare(a.Name, b.Name))
	})
	s.Problems = problems(s, rejected)
	s.ProblemCount = len(s.Problems)
	s.Problems = s.Problems[:min(maxProblems, len(s.Problems))]
	s.Summary = summary(states[verdict.OK], states[verdict.Pending], len(sources))
	if withProblems > 0 {
		s.Summary += " " + plural(withProblems, "policy has problems.", "policies have problems.")
	}
	if rejected != nil {
		s.Summary += " The configuration file was rejected."
	}
	return s
}

func summary(ok, pending, all int) string {
	failing := all - ok - pending
	switch {
	case all == 0:
		return "No appliance is configured."
	case failing > 0:
		return fmt.Sprintf("Polling fails for %d of %s.", failing, plural(all, "appliance", "appliances"))
	case pending > 0:
		return fmt.Sprintf("First poll pending for %d of %s.", pending, plural(all, "appliance", "appliances"))
	case all == 1:
		return "Polling OK."
	default:
		return fmt.Sprintf("Polling OK for all %d appliances.", all)
	}
}

// results has a message and a remedy for each result of a poll. An unknown result is shown
// unchanged.
var results = map[poller.Result]struct{ message, remedy string }{
	poller.ResultSuccess: {"polling OK", ""},
	poller.ResultStorage: {"is polled, but the state can't be saved",
		"Nothing new is shown until it can. Look at the disk and the permissions of the state directory, --storage.path."},
	poller.Result(vbaws.KindConfig): {"can't be polled: a local file is missing or broken",
		"The error names the file. It is read again at each poll; no restart is needed."},
	poller.Result(vbaws.KindAuth): {"refuses the account",
		"Check user name and password in the configuration, and the account on the appliance: it must exist, be unlocked, and have no multi-factor authentication. A changed password file is tried without a restart; with the .deb or .rpm: systemctl restart vbaws_exporter."},
	poller.Result(vbaws.KindTLS): {"has a certificate that isn't trusted",
		"Set tls_config.ca_file to the appliance's certificate or that of its authority. If the certificate is for another name, set tls_config.server_name to that name."},
	poller.Result(vbaws.KindTimeout): {"doesn't answer in time",
		"Check the firewalls between this machine and the appliance, and the appliance's load."},
	poller.Result(vbaws.KindUnreachable): {"can't be reached",
		"Check url and proxy_url in the configuration, the network, and whether the appliance is running."},
	poller.Result(vbaws.KindHTTP): {"answers with an error",
		"The error says more. If it is about the API version, set api_version."},
	poller.Result(vbaws.KindDecode): {"answers with something that isn't its API",
		"Check url in the configuration: a proxy or another service may be answering."},
}

func newAppliance(name string, p *poller.Published) applianceStatus {
	a := applianceStatus{
		Name: name, Result: p.Result, Polls: p.Polls,
		LastPoll: utc(p.LastPoll), LastSuccessfulPoll: utc(p.LastSuccess), FailedSince: utc(p.FailedSince), NextPoll: utc(p.Next),
		APIVersion: p.APIVersion, ProductVersion: p.Version, WatermarkMode: p.Mode, EndpointErrors: p.EndpointErrors,
		Policies: policies(p), Instances: newInstances(p.Instances), OverLimit: make(map[string]int),
	}
	switch r, known := results[p.Result]; {
	case p.Polls == 0:
		a.State, a.Message = verdict.Pending, "first poll pending"
	case p.Result == poller.ResultSuccess:
		a.State, a.Message = verdict.OK, r.message
	case known:
		a.State, a.Message, a.Remedy = verdict.Failing, r.message, r.remedy
	default:
		a.State, a.Message = verdict.Failing, "could not be polled: "+string(p.Result)
	}
	if p.Err != nil {
		a.Error = p.Err.Error()
	}
	a.judge()
	for endpoint, is := range p.Forbidden {
		if is {
			a.Forbidden = append(a.Forbidden, endpoint)
		}
	}
	slices.Sort(a.Forbidden)
	if p.Policies != nil {
		a.SchedulesUnreadable = p.Policies.Unreadable
	}
	if v := p.View; v != nil {
		if v.Watermark != nil {
			a.WatermarkUSN = &v.Watermark.USN
		}
		a.WatermarkTime, a.WatermarkResets = utc(v.LastResync), int(v.Resets)
		a.Series = len(v.Series)
		for _, s := range v.Series {
			a.SessionsRunning += s.Running
			for _, c := range s.Counters {
				a.SessionsCounted += int(c.Count)
			}
		}
		a.SessionsSkipped = maps.Clone(v.Skipped)
		maps.DeleteFunc(a.SessionsSkipped, func(_ string, n uint64) bool { return n == 0 })
		maps.Copy(a.OverLimit, v.OverLimit)
	}
	if p.Instances != nil {
		a.OverLimit["instances"] = p.Instances.Over
	}
	if p.Facts != nil && p.Facts.Repositories != nil {
		a.OverLimit["repositories"] = p.Facts.Repositories.Over
	}
	maps.DeleteFunc(a.OverLimit, func(_ string, n int) bool { return n == 0 })
	for _, e := range p.Recent {
		s := &e.Session
		a.Recent = append(a.Recent, sessionStatus{
			ID: s.ID, Policy: e.Policy, Type: s.Type, ExtendedType: s.ExtendedType, Status: s.Status,
			Start: utc(s.Start), End: utc(s.Stop), Duration: e.Duration.Seconds(), Errors: e.Errors,
		})
	}
	return a
}

// judge sets PolicyState, Worst and the counts of policies. The policies must be sorted, the
// worst first.
func (a *applianceStatus) judge() {
	a.Worst = a.State
	if a.State == verdict.Failing {
		a.Worst = statePollFailed
	}
	seen := make(map[[2]string]bool)
	for i := range a.Policies {
		p := &a.Policies[i]
		if id := [2]string{p.Name, p.Workload}; !seen[id] {
			seen[id] = true
			a.PolicyCount++
			if isProblem(p.State) {
				a.WithProblems++
			}
		}
	}
	if len(a.Policies) > 0 {
		a.PolicyState = a.Policies[0].State
		if compareStates(a.PolicyState, a.Worst) < 0 {
			a.Worst = a.PolicyState
		}
	}
}

// utc returns t in UTC, in whole seconds.
func utc(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// policies returns the verdicts with the newest sessions, those with problems first.
func policies(p *poller.Published) []policyStatus {
	if p.View == nil || p.Policies == nil {
		return nil
	}
	workloads := make(map[string]int) // by name
	for i := range p.Policies.Rows {
		workloads[p.Policies.Rows[i].Name]++
	}
	sessions := make(map[string][]ledger.SeriesView)
	for _, s := range p.View.Series {
		if s.Key.Type == vbaws.TypePolicy {
			sessions[s.Key.Policy] = append(sessions[s.Key.Policy], s)
		}
	}
	var all []policyStatus
	for i := range p.Policies.Rows {
		r := &p.Policies.Rows[i]
		kinds := r.Kinds
		if len(kinds) == 0 { // neither a schedule nor a session
			kinds = []verdict.Kind{{State: r.State}}
		}
		for j := range kinds {
			row := newPolicy(r, &kinds[j])
			for _, s := range sessions[r.Name] {
				if verdict.KindOf(s.Key.ExtendedType) == row.Kind && (workloads[r.Name] == 1 || verdict.Concerns(r.Workload, s.Key.ExtendedType)) {
					row.take(s, p.Failures[s.Key])
				}
			}
			all = append(all, row)
		}
	}
	slices.SortFunc(all, func(a, b policyStatus) int {
		return cmp.Or(compareStates(a.State, b.State), cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.Kind, b.Kind))
	})
	return all
}

// newPolicy returns the status of a kind by its verdict.
func newPolicy(r *poller.PolicyRow, k *verdict.Kind) policyStatus {
	row := policyStatus{
		Name: r.Name, Workload: r.Workload, Kind: k.Kind, Enabled: r.Enabled, State: k.State,
		LastSuccess: utc(k.Success), LastDue: utc(k.Due), NextDue: utc(k.NextDue),
		Overdue: k.Overdue.Exists(), OverdueRuns: k.OverdueRuns, Estimate: k.Estimate, ScheduleError: r.Unreadable,
		Schedule: k.Schedule, nextLocal: k.NextDue,
	}
	for _, s := range k.Recent {
		row.LastSessions = append(row.LastSessions, lastSession{s.Status, utc(s.End), s.Start})
	}
	for _, p := range []struct {
		state verdict.State
		verdict.Problem
	}{
		{verdict.Stuck, k.Stuck}, {verdict.Failing, k.Failing}, {verdict.Overdue, k.Overdue},
		{verdict.Silent, r.Silent}, {verdict.Disabled, r.Disabled},
	} {
		if p.Exists() {
			row.Problems = append(row.Problems, problemStatus{p.state, utc(p.Since)})
		}
	}
	return row
}

// take adds a series and its failure: several words of the appliance can be of one kind.
func (p *policyStatus) take(s ledger.SeriesView, f poller.Failure) {
	if !s.Last.End.IsZero() && !s.Last.End.Before(p.LastEnd) {
		p.LastStatus, p.LastEnd, p.LastDuration = s.Last.Status, utc(s.Last.End), new(s.Last.Duration.Seconds())
	}
	if f.End.After(p.failureEnd) {
		p.failureEnd, p.Errors = f.End, f.Errors
	}
	for _, c := range s.Counters {
		if verdict.Succeeded(c.Status) && c.End.After(p.LastSuccess) {
			p.LastSuccess = utc(c.End)
		}
	}
	p.Running += s.Running
	if o := s.OldestStart(); !o.IsZero() && (p.RunningSince.IsZero() || o.Before(p.RunningSince)) {
		p.RunningSince = utc(o)
	}
}
