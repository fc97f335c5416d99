package web

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/schedule"
	"vbaws_exporter/vbaws"
)

const (
	// refresh is between two pages of a browser, in seconds.
	refresh = 30
	// maxRows is up to how many policies the page of all appliances has all of them;
	// beyond, each appliance has them on a page of its own. That page has at most
	// maxPolicyRows.
	maxRows, maxPolicyRows = 200, 500
)

// page is what the template shows.
type page struct {
	*status
	TelemetryPath string
	Pprof         bool
	// Refresh is in seconds; 0: not at all.
	Refresh int
	// Only is the appliance that this page is about; empty: all.
	Only string
	// Brief says that this page has no policies but those with problems.
	Brief bool
	// Rejected is the problem of the configuration, if there is one. Others is how many other
	// problems there are, Shown are the first of them, and More is how many are left out.
	Rejected     *problem
	Shown        []problem
	Others, More int
}

func newPage(s *status, only string) *page {
	p := &page{status: s, Only: only}
	rows := 0
	for i := range s.Appliances {
		rows += len(s.Appliances[i].Policies)
	}
	p.Brief = only == "" && len(s.Appliances) > 1 && rows > maxRows
	p.Shown, p.Others = s.Problems, s.ProblemCount
	if len(p.Shown) > 0 && p.Shown[0].State == stateConfigRejected { // the worst of all
		p.Rejected, p.Shown, p.Others = &p.Shown[0], p.Shown[1:], p.Others-1
	}
	p.Shown = p.Shown[:min(maxProblemRows, len(p.Shown))]
	p.More = p.Others - len(p.Shown)
	return p
}

// Several reports whether the page is about more than one appliance.
func (p *page) Several() bool { return len(p.Appliances) > 1 }

// shown is an appliance as it is on a page.
type shown struct {
	Page *page
	*applianceStatus
	// Rows are the policies, and More how many are left out.
	Rows []policyStatus
	More int
	// Open says that what folds is unfolded.
	Open  bool
	Facts []fact
}

// fact is a line of a list. With a Time, Text says what there is to say if it is
// zero.
type fact struct {
	Name, Text string
	Time       time.Time
}

// Each returns the appliances of the page.
func (p *page) Each() []shown {
	all := make([]shown, 0, len(p.Appliances))
	for i := range p.Appliances {
		a := &p.Appliances[i]
		s := shown{Page: p, applianceStatus: a, Open: len(p.Appliances) == 1, Facts: facts(a)}
		s.Rows = a.Policies[:min(maxPolicyRows, len(a.Policies))]
		s.More = len(a.Policies) - len(s.Rows)
		all = append(all, s)
	}
	return all
}

// Worst is the state that the appliance has the color of.
func (s shown) Worst() string { return s.worst() }

// PolicySummary says how many policies there are, and how many have problems.
func (s shown) PolicySummary() string {
	names := make(map[string]bool)
	for i := range s.Policies {
		names[s.Policies[i].Name+"\x00"+s.Policies[i].Workload] = true
	}
	text := plural(len(names), "policy", "policies")
	if n := s.attention(); n > 0 {
		text += fmt.Sprintf(", %d with problems", n)
	}
	return text
}

// SessionSummary says how many sessions were counted, and how many run.
func (s shown) SessionSummary() string {
	return fmt.Sprintf("%d %s counted, %d running", s.SessionsCounted, word(int(s.SessionsCounted), "session", "sessions"), s.SessionsRunning)
}

// moment is a time, and how far it is from now.
type moment struct{ ISO, Text, Distance, Span string }

// At returns nil for no time.
func (p *page) At(t time.Time) *moment {
	if t.IsZero() {
		return nil
	}
	return &moment{t.UTC().Format(time.RFC3339), stamp(t), distance(t, p.Time), span(p.Time.Sub(t))}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// NextText says when a policy is due next, by the wall clock of its schedule.
func (p *page) NextText(s policyStatus) string {
	t := s.nextLocal
	if t.IsZero() {
		return ""
	}
	now := p.Time.In(t.Location())
	layout := "15:04"
	switch y, m, d := t.Date(); {
	case y == now.Year() && m == now.Month() && d == now.Day():
	case t.Sub(now) < 6*24*time.Hour:
		layout = "Mon 15:04"
	case y == now.Year():
		layout = "2 Jan 15:04"
	default:
		layout = "2 Jan 2006 15:04"
	}
	return t.Format(layout)
}

// KindText says what the row is about.
func (p policyStatus) KindText() string {
	if p.Kind == schedule.Whole {
		return "any"
	}
	return string(p.Kind)
}

// ResultText says how the last session ended.
func (p policyStatus) ResultText() string {
	switch {
	case p.LastStatus != "":
		return p.LastStatus
	case !p.LastSuccess.IsZero():
		return "covered by another kind"
	}
	return "no session yet"
}

// ResultClass says what that looks like.
func (p policyStatus) ResultClass() string {
	if p.LastStatus == "" && p.LastSuccess.IsZero() {
		return statePending
	}
	return statusClass(cmp.Or(p.LastStatus, vbaws.StatusSucceeded))
}

// Since is when a problem began; zero if there is no such problem.
func (p policyStatus) Since(name string) time.Time {
	for _, is := range p.Problems {
		if is.Problem == name {
			return is.Since
		}
	}
	return time.Time{}
}

// Title says in words what a mark of the strip of sessions stands for.
func (s lastSession) Title() string {
	took := ""
	if d := s.End.Sub(s.start); !s.start.IsZero() && d >= 0 {
		took = ", took " + d.Round(time.Second).String()
	}
	return s.Status + ", ended " + stamp(s.End) + " UTC" + took
}

// Mark is a sign that stands for the status without its color.
func (s lastSession) Mark() string {
	switch s.Status {
	case vbaws.StatusSucceeded:
		return "✓"
	case vbaws.StatusFailed:
		return "✗"
	case vbaws.StatusWarning:
		return "!"
	}
	return "–"
}

// Class says what the mark looks like.
func (s lastSession) Class() string {
	switch s.Status {
	case vbaws.StatusSucceeded, vbaws.StatusFailed, vbaws.StatusWarning:
		return statusClass(s.Status)
	}
	return statePending
}

// Took says how long it took.
func (s sessionStatus) Took() string {
	return time.Duration(s.Duration * float64(time.Second)).Round(time.Second).String()
}

// statusClass says what the status of a session looks like.
func statusClass(status string) string {
	switch status {
	case vbaws.StatusSucceeded:
		return stateOK
	case vbaws.StatusFailed:
		return stateFailing
	}
	return stateWarning
}

// problemText is what a state is called on the page.
func problemText(state string) string { return strings.ReplaceAll(state, "_", " ") }

// dict lets a template hand over several values.
func dict(kv ...any) map[string]any {
	m := make(map[string]any, len(kv)/2)
	for i := 0; i+1 < len(kv); i += 2 {
		m[kv[i].(string)] = kv[i+1]
	}
	return m
}

// facts are how the polling of an appliance goes.
func facts(a *applianceStatus) []fact {
	var all []fact
	add := func(name, text string) { all = append(all, fact{Name: name, Text: text}) }
	at := func(name string, t time.Time, none string) { all = append(all, fact{name, none, t}) }
	at("Last poll", a.LastPoll, "none yet")
	at("Last successful poll", a.LastSuccessfulPoll, "none since the start")
	at("Next poll", a.NextPoll, "about to begin")
	add("Polls", strconv.FormatUint(a.Polls, 10))
	if a.APIVersion == "" {
		add("API version", "not negotiated yet")
	} else {
		add("API version", a.APIVersion)
	}
	if a.ProductVersion != "" {
		add("Product version", a.ProductVersion)
	}
	switch poller.Watermark(a.WatermarkMode) {
	case poller.WatermarkUSN:
		add("Watermark mode", "change number (USN)")
	case poller.WatermarkFromUTC:
		add("Watermark mode", "time (FromUtc)")
	}
	if a.WatermarkUSN != nil {
		add("Watermark, USN", strconv.FormatInt(*a.WatermarkUSN, 10))
	}
	at("Watermark, start time", a.WatermarkTime, "no resync yet")
	add("Series", strconv.Itoa(a.Series))
	add("Sessions counted", strconv.FormatUint(a.SessionsCounted, 10))
	add("Sessions running", strconv.Itoa(a.SessionsRunning))
	if n := int(a.WatermarkResets); n > 0 {
		add("USN started over", plural(n, "time", "times"))
	}
	var skipped []string
	for _, reason := range slices.Sorted(maps.Keys(a.SessionsSkipped)) {
		skipped = append(skipped, fmt.Sprintf("%d %s", a.SessionsSkipped[reason], reason))
	}
	if len(skipped) > 0 {
		add("Sessions skipped", strings.Join(skipped, ", "))
	}
	var over []string
	for _, what := range slices.Sorted(maps.Keys(a.OverLimit)) {
		over = append(over, fmt.Sprintf("%d %s", a.OverLimit[what], strings.ReplaceAll(what, "_", " ")))
	}
	if len(over) > 0 {
		add("Over the limit", strings.Join(over, ", "))
	}
	if n := a.SchedulesUnreadable; n > 0 {
		add("Schedules not understood", "of "+plural(n, "policy", "policies")+": no run is due by what was not")
	}
	if len(a.Forbidden) > 0 {
		add("Forbidden to the account", strings.Join(a.Forbidden, ", "))
	}
	for _, endpoint := range slices.Sorted(maps.Keys(a.EndpointErrors)) {
		add("Endpoint error: "+endpoint, a.EndpointErrors[endpoint])
	}
	return all
}

func plural(n int, one, many string) string { return fmt.Sprintf("%d %s", n, word(n, one, many)) }

func word(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// distance says how far t is from now.
func distance(t, now time.Time) string {
	switch d := now.Sub(t); {
	case d.Abs() < time.Second:
		return "now"
	case d < 0:
		return "in " + span(-d)
	default:
		return span(d) + " ago"
	}
}

// span says how long d is, rounded down: in one unit, or in two where the first alone
// would be coarse.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	two := func(n time.Duration, unit string, m time.Duration, minor string) string {
		if n >= 10 || m == 0 {
			return fmt.Sprintf("%d %s", n, unit)
		}
		return fmt.Sprintf("%d %s %d %s", n, unit, m, minor)
	}
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", max(0, d/time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 2*day:
		return two(d/time.Hour, "h", d%time.Hour/time.Minute, "min")
	default:
		return two(d/day, "days", d%day/time.Hour, "h")
	}
}
