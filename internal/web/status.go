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
	"vbaws_exporter/vbaws"
)

// status is all that is known, for the page and, as JSON, for programs. The
// names of fields are documented in the README and stay. Times are UTC, and left
// out where there is none.
type status struct {
	Version string    `json:"version"`
	Time    time.Time `json:"time"`
	// Summary is one sentence.
	Summary    string            `json:"summary"`
	Appliances []applianceStatus `json:"appliances"`
}

// What a state, of an appliance or a policy, calls for.
const (
	stateOK       = "ok"
	stateFailing  = "failing"  // of a policy: its last session failed
	stateOverdue  = "overdue"  // of a policy alone: no success since it was due
	stateWarning  = "warning"  // of a policy alone: its last session, or its schedule, has a problem
	statePending  = "pending"  // not known yet
	stateDisabled = "disabled" // of a policy alone: nothing is expected
)

// applianceStatus is one appliance.
type applianceStatus struct {
	Name string `json:"name"`
	// State is ok, failing or pending; Message says it in words, and Remedy what
	// can be done about it.
	State   string `json:"state"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
	Result  string `json:"result,omitempty"`
	Error   string `json:"error,omitempty"`

	Polls              uint64    `json:"polls"`
	LastPoll           time.Time `json:"last_poll,omitzero"`
	LastSuccessfulPoll time.Time `json:"last_successful_poll,omitzero"`
	NextPoll           time.Time `json:"next_poll,omitzero"`

	APIVersion     string `json:"api_version,omitempty"`
	ProductVersion string `json:"product_version,omitempty"`

	// WatermarkMode is usn or from_utc.
	WatermarkMode   string    `json:"watermark_mode,omitempty"`
	WatermarkUSN    *int64    `json:"watermark_usn,omitempty"`
	WatermarkTime   time.Time `json:"watermark_time,omitzero"`
	WatermarkResets uint64    `json:"watermark_resets"`

	Series          int               `json:"series"`
	SessionsCounted uint64            `json:"sessions_counted"`
	SessionsRunning int               `json:"sessions_running"`
	SessionsSkipped map[string]uint64 `json:"sessions_skipped,omitempty"`
	OverLimit       map[string]int    `json:"over_limit,omitempty"`
	// SchedulesUnreadable counts policies.
	SchedulesUnreadable int `json:"schedules_unreadable"`

	Forbidden      []string          `json:"forbidden,omitempty"`
	EndpointErrors map[string]string `json:"endpoint_errors,omitempty"`

	Policies []policyStatus  `json:"policies,omitempty"`
	Recent   []sessionStatus `json:"recent_sessions,omitempty"`
}

// policyStatus is one kind of run of the policies of one name.
type policyStatus struct {
	Name     string `json:"name"`
	Workload string `json:"workload,omitempty"`
	// Kind is snapshot, replica, backup or archive; empty where sessions don't say.
	Kind    schedule.Kind `json:"kind,omitempty"`
	Enabled bool          `json:"enabled"`
	// State is ok, warning, failing, overdue, disabled or pending.
	State      string    `json:"state"`
	LastStatus string    `json:"last_status,omitempty"`
	LastEnd    time.Time `json:"last_end,omitzero"`
	// LastDuration is in seconds.
	LastDuration float64   `json:"last_duration_seconds"`
	LastSuccess  time.Time `json:"last_success,omitzero"`
	LastDue      time.Time `json:"last_due,omitzero"`
	// Overdue says that there was no success since LastDue.
	Overdue      bool      `json:"overdue"`
	Running      int       `json:"running"`
	RunningSince time.Time `json:"running_since,omitzero"`
	// ScheduleError says what of the schedule could not be understood, and why.
	ScheduleError string `json:"schedule_error,omitempty"`
}

// sessionStatus is a session that ended.
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

func newStatus(version string, now time.Time, sources []collector.Source) *status {
	s := &status{Version: version, Time: now.UTC().Truncate(time.Second), Appliances: []applianceStatus{}}
	states := make(map[string]int)
	for _, source := range sources {
		a := newAppliance(source.Name(), source.Published())
		states[a.State]++
		s.Appliances = append(s.Appliances, a)
	}
	// Problems come first.
	slices.SortFunc(s.Appliances, func(a, b applianceStatus) int {
		return cmp.Or(cmp.Compare(rank[a.State], rank[b.State]), cmp.Compare(b.attention(), a.attention()), cmp.Compare(a.Name, b.Name))
	})
	s.Summary = summary(states[stateOK], states[statePending], len(sources))
	if n := s.attention(); n > 0 {
		s.Summary += " " + plural(n, "policy has problems.", "policies have problems.")
	}
	return s
}

var rank = map[string]int{stateFailing: 0, stateOverdue: 0, stateWarning: 1, statePending: 2, stateOK: 3, stateDisabled: 4}

// isProblem reports whether a state is one that somebody has to look at.
func isProblem(state string) bool { return state == stateFailing || state == stateOverdue }

// attention counts the policies that have problems.
func (a *applianceStatus) attention() int {
	n := 0
	for i, p := range a.Policies {
		if isProblem(p.State) && (i == 0 || p.Name != a.Policies[i-1].Name || !isProblem(a.Policies[i-1].State)) {
			n++
		}
	}
	return n
}

func (s *status) attention() int {
	n := 0
	for i := range s.Appliances {
		n += s.Appliances[i].attention()
	}
	return n
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

// results says how a poll ended, and what can be done. A kind that isn't here is
// shown as it is.
var results = map[poller.Result]struct{ message, remedy string }{
	poller.ResultSuccess: {"polling OK", ""},
	poller.ResultStorage: {"is polled, but the state can't be saved", "Nothing new is shown until it can. Look at the disk and the permissions of the state directory, --storage.path."},
	poller.Result(vbaws.KindConfig): {"can't be asked, since a local file is missing or broken",
		"The error names the file. It is read again at each poll, without a restart."},
	poller.Result(vbaws.KindAuth): {"refuses the account",
		"Look at user name and password in the configuration, and at the account in the appliance: it must exist, be unlocked, and have no multi-factor authentication. A changed password file is tried without a restart; with the .deb or .rpm: systemctl restart vbaws_exporter."},
	poller.Result(vbaws.KindTLS): {"has a certificate that can't be trusted",
		"Name the appliance's certificate, or the authority's, as tls_config.ca_file; where it is made out to another name, that as tls_config.server_name."},
	poller.Result(vbaws.KindTimeout): {"doesn't answer in time",
		"Look at firewalls between here and the appliance, and at its load."},
	poller.Result(vbaws.KindUnreachable): {"can't be reached",
		"Look at url and proxy_url in the configuration, at the network, and whether the appliance runs."},
	poller.Result(vbaws.KindHTTP): {"answers with an error",
		"The error says more. If it is about the API version, api_version can name one."},
	poller.Result(vbaws.KindDecode): {"answers with something that isn't its API",
		"Look at url in the configuration: perhaps something else answers, such as a proxy."},
}

func newAppliance(name string, p *poller.Published) applianceStatus {
	a := applianceStatus{
		Name: name, Result: string(p.Result), Polls: p.Passes,
		LastPoll: utc(p.LastPoll), LastSuccessfulPoll: utc(p.LastSuccess), NextPoll: utc(p.Next),
		APIVersion: p.APIVersion, ProductVersion: p.Version, WatermarkMode: p.Mode, EndpointErrors: p.Troubles,
		Policies: policies(p),
	}
	switch r, known := results[p.Result]; {
	case p.Passes == 0:
		a.State, a.Message = statePending, "first poll pending"
	case p.Result == poller.ResultSuccess:
		a.State, a.Message = stateOK, r.message
	case known:
		a.State, a.Message, a.Remedy = stateFailing, r.message, r.remedy
	default:
		a.State, a.Message = stateFailing, "could not be polled: "+string(p.Result)
	}
	if p.Err != nil {
		a.Error = p.Err.Error()
	}
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
			usn := v.Watermark.USN
			a.WatermarkUSN = &usn
		}
		a.WatermarkTime, a.WatermarkResets = utc(v.LastSweep), v.Resets
		a.Series = len(v.Series)
		for _, s := range v.Series {
			a.SessionsRunning += s.Running
			for _, c := range s.Counters {
				a.SessionsCounted += c.Count
			}
		}
		a.SessionsSkipped = maps.Clone(v.Skipped)
		maps.DeleteFunc(a.SessionsSkipped, func(_ string, n uint64) bool { return n == 0 })
		a.OverLimit = maps.Clone(v.Over)
		maps.DeleteFunc(a.OverLimit, func(_ string, n int) bool { return n == 0 })
	}
	for _, e := range p.Recent {
		s := &e.Session
		a.Recent = append(a.Recent, sessionStatus{
			ID: s.ID, Policy: e.Policy, Type: s.Type, ExtendedType: s.ExtendedType, Status: s.Status,
			Start: utc(s.Start), End: utc(s.Stop), Duration: e.Duration.Seconds(), Errors: e.Errors,
		})
	}
	return a
}

// utc leaves out what is below a second: nobody reads it.
func utc(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// run names what a row is about.
type run struct {
	policy string
	kind   schedule.Kind
}

// policies joins what was listed with what sessions say. Those that have
// problems come first.
func policies(p *poller.Published) []policyStatus {
	if p.View == nil {
		return nil
	}
	sessions := make(map[run]*policyStatus)
	for _, s := range p.View.Series {
		if s.Key.Type != vbaws.TypePolicy || s.Key.Policy == "" {
			continue
		}
		k := run{s.Key.Policy, schedule.KindOf(s.Key.ExtendedType)}
		if k.kind == schedule.None {
			continue // a health check and the like is no run of the policy
		}
		if sessions[k] == nil {
			// Where policies can't be listed, nothing says that it is disabled.
			sessions[k] = &policyStatus{Name: k.policy, Kind: k.kind, Enabled: true}
		}
		sessions[k].take(s)
	}

	var all []policyStatus
	shown := make(map[run]bool)
	add := func(k run, workload string, enabled bool, duty poller.PolicyKind) {
		row := policyStatus{Name: k.policy, Kind: k.kind, Workload: workload, Enabled: enabled}
		if s := sessions[k]; s != nil {
			row = *s
			row.Workload, row.Enabled = workload, enabled
		}
		row.LastDue = utc(duty.Due)
		if duty.Success.After(row.LastSuccess) {
			row.LastSuccess = utc(duty.Success)
		}
		row.Overdue = !duty.Due.IsZero() && duty.Success.Before(duty.Due)
		shown[k] = true
		all = append(all, row)
	}
	listed := make(map[string]poller.PolicyRow)
	unreadable := make(map[[2]string]string) // by name and workload
	if p.Policies != nil {
		for _, r := range p.Policies.Rows {
			listed[r.Name] = r
			unreadable[[2]string{r.Name, r.Workload}] = r.Unreadable
			for _, duty := range r.Kinds {
				add(run{r.Name, duty.Kind}, r.Workload, r.Enabled, duty)
			}
		}
	}
	for k, s := range sessions {
		if shown[k] {
			continue
		}
		if r, ok := listed[k.policy]; ok {
			s.Workload, s.Enabled = r.Workload, r.Enabled
		}
		shown[k] = true
		all = append(all, *s)
	}
	seen := make(map[string]bool)
	for k := range shown {
		seen[k.policy] = true
	}
	if p.Policies != nil {
		for _, r := range p.Policies.Rows {
			if !seen[r.Name] { // neither a schedule nor a session
				add(run{r.Name, schedule.Whole}, r.Workload, r.Enabled, poller.PolicyKind{})
			}
		}
	}
	for i := range all {
		all[i].ScheduleError = unreadable[[2]string{all[i].Name, all[i].Workload}]
		all[i].State = all[i].state(p.LastSuccess)
	}
	slices.SortFunc(all, func(a, b policyStatus) int {
		return cmp.Or(cmp.Compare(rank[a.State], rank[b.State]), cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.Kind, b.Kind))
	})
	return all
}

// take takes in a series: several words of the appliance may be of one kind.
func (p *policyStatus) take(s ledger.SeriesView) {
	if !s.Last.End.IsZero() && !s.Last.End.Before(p.LastEnd) {
		p.LastStatus, p.LastEnd, p.LastDuration = s.Last.Status, utc(s.Last.End), s.Last.Duration.Seconds()
	}
	for _, c := range s.Counters {
		if (c.Status == vbaws.StatusSucceeded || c.Status == vbaws.StatusWarning) && c.End.After(p.LastSuccess) {
			p.LastSuccess = utc(c.End)
		}
	}
	p.Running += s.Running
	if o := s.OldestStart(); !o.IsZero() && (p.RunningSince.IsZero() || o.Before(p.RunningSince)) {
		p.RunningSince = utc(o)
	}
}

// missed reports whether a run is overdue that should have been seen by lastRead
// and isn't under way.
func (p *policyStatus) missed(lastRead time.Time) bool {
	return p.Overdue && p.Running == 0 && p.LastDue.Before(lastRead)
}

func (p *policyStatus) state(lastRead time.Time) string {
	switch {
	case !p.Enabled:
		return stateDisabled
	case p.LastStatus == vbaws.StatusFailed:
		return stateFailing
	case p.missed(lastRead):
		return stateOverdue
	case p.ScheduleError != "":
		return stateWarning
	case p.LastStatus == "" && p.LastSuccess.IsZero():
		return statePending
	case p.LastStatus != vbaws.StatusSucceeded && p.LastStatus != "": // else by another kind, such as a backup

		return stateWarning
	}
	return stateOK
}
