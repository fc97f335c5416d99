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
	stateGood    = "good"
	stateBad     = "bad"     // somebody has to look
	stateWarning = "warning" // worth a look
	stateWaiting = "waiting" // not known yet
	stateOff     = "off"     // disabled, so nothing is expected
)

// applianceStatus is one appliance.
type applianceStatus struct {
	Name string `json:"name"`
	// State is good, bad or waiting; Text says it in words, and Hint what can be
	// done about it.
	State  string `json:"state"`
	Text   string `json:"text"`
	Hint   string `json:"hint,omitempty"`
	Result string `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`

	Passes       uint64    `json:"passes"`
	LastPass     time.Time `json:"last_pass,omitzero"`
	LastGoodPass time.Time `json:"last_good_pass,omitzero"`
	NextPass     time.Time `json:"next_pass,omitzero"`

	APIVersion     string `json:"api_version,omitempty"`
	ProductVersion string `json:"product_version,omitempty"`

	// ReadBy is usn or from_utc.
	ReadBy          string    `json:"read_by,omitempty"`
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

	Forbidden []string          `json:"forbidden,omitempty"`
	Troubles  map[string]string `json:"troubles,omitempty"`

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
	// State is good, warning, bad, off or waiting.
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
	// What needs someone comes first.
	slices.SortFunc(s.Appliances, func(a, b applianceStatus) int {
		return cmp.Or(cmp.Compare(rank[a.State], rank[b.State]), cmp.Compare(b.attention(), a.attention()), cmp.Compare(a.Name, b.Name))
	})
	s.Summary = summary(states[stateGood], states[stateWaiting], len(sources))
	if n := s.attention(); n > 0 {
		s.Summary += " " + plural(n, "policy needs a look.", "policies need a look.")
	}
	return s
}

var rank = map[string]int{stateBad: 0, stateWarning: 1, stateWaiting: 2, stateGood: 3, stateOff: 4}

// attention counts the policies that somebody has to look at.
func (a *applianceStatus) attention() int {
	n := 0
	for i, p := range a.Policies {
		if p.State == stateBad && (i == 0 || p.Name != a.Policies[i-1].Name || a.Policies[i-1].State != stateBad) {
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

func summary(good, waiting, all int) string {
	bad := all - good - waiting
	switch {
	case all == 0:
		return "No appliance is configured."
	case bad > 0:
		return fmt.Sprintf("%d of %s in trouble.", bad, plural(all, "appliance is", "appliances are"))
	case waiting > 0:
		return fmt.Sprintf("%d of %s for the first pass.", waiting, plural(all, "appliance waits", "appliances wait"))
	case all == 1:
		return "The appliance is read."
	default:
		return fmt.Sprintf("All %d appliances are read.", all)
	}
}

// results says how a pass ended, and what can be done. A kind that isn't here is
// shown as it is.
var results = map[poller.Result]struct{ text, hint string }{
	poller.ResultSuccess: {"is read", ""},
	poller.ResultStorage: {"is read, but what was read can't be saved", "Nothing new is shown until it can. Look at the disk and the rights of the folder that --storage.path names."},
	poller.Result(vbaws.KindConfig): {"can't be asked, since a local file is missing or broken",
		"The error names the file. It is read again at each pass, without a restart."},
	poller.Result(vbaws.KindAuth): {"refuses the account",
		"Look at user name and password in the configuration, and at the account in the appliance: it must exist, be unlocked, and have no multi-factor authentication. A changed password file is tried without a restart; the packages' is read at the start."},
	poller.Result(vbaws.KindTLS): {"has a certificate that can't be trusted",
		"Name the appliance's certificate, or the authority's, as tls_config.ca_file; where it is made out to another name, that as tls_config.server_name."},
	poller.Result(vbaws.KindTimeout): {"doesn't answer in time",
		"Look at firewalls between here and the appliance, and at its load."},
	poller.Result(vbaws.KindUnreachable): {"can't be reached",
		"Look at url and proxy_url in the configuration, at the network, and whether the appliance runs."},
	poller.Result(vbaws.KindHTTP): {"answers with an error",
		"The error says more. Where it is about the API revision, api_version can name one."},
	poller.Result(vbaws.KindDecode): {"answers with something that isn't its API",
		"Look at url in the configuration: perhaps something else answers, such as a proxy."},
}

func newAppliance(name string, p *poller.Published) applianceStatus {
	a := applianceStatus{
		Name: name, Result: string(p.Result), Passes: p.Passes,
		LastPass: utc(p.LastPoll), LastGoodPass: utc(p.LastSuccess), NextPass: utc(p.Next),
		APIVersion: p.APIVersion, ProductVersion: p.Version, ReadBy: p.Mode, Troubles: p.Troubles,
		Policies: policies(p),
	}
	switch r, known := results[p.Result]; {
	case p.Passes == 0:
		a.State, a.Text = stateWaiting, "waits for its first pass"
	case p.Result == poller.ResultSuccess:
		a.State, a.Text = stateGood, r.text
	case known:
		a.State, a.Text, a.Hint = stateBad, r.text, r.hint
	default:
		a.State, a.Text = stateBad, "could not be read: "+string(p.Result)
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
		a.WatermarkTime, a.WatermarkResets = utc(v.LastResync), v.Resets
		a.Series = len(v.Series)
		for _, s := range v.Series {
			a.SessionsRunning += s.Running
			for _, c := range s.Counters {
				a.SessionsCounted += c.Count
			}
		}
		a.SessionsSkipped = maps.Clone(v.Skipped)
		maps.DeleteFunc(a.SessionsSkipped, func(_ string, n uint64) bool { return n == 0 })
		a.OverLimit = maps.Clone(v.OverLimit)
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

// policies joins what was listed with what sessions say. Those that need
// someone come first.
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
	if o := s.OldestStart; !o.IsZero() && (p.RunningSince.IsZero() || o.Before(p.RunningSince)) {
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
		return stateOff
	case p.LastStatus == vbaws.StatusFailed || p.missed(lastRead):
		return stateBad
	case p.ScheduleError != "":
		return stateWarning
	case p.LastStatus == "" && p.LastSuccess.IsZero():
		return stateWaiting
	case p.LastStatus != vbaws.StatusSucceeded && p.LastStatus != "": // else by another kind, such as a backup

		return stateWarning
	}
	return stateGood
}
