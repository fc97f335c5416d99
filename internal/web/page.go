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
	// maxRows is up to how many policies the page of all appliances has all of
	// them; beyond, it has those that have problems, at most briefRows
	// an appliance, and each appliance has a page of its own.
	maxRows, briefRows = 200, 10
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
	// Brief says that this page has not everything.
	Brief bool
}

func newPage(s *status, only string) *page {
	p := &page{status: s, Only: only}
	rows := 0
	for i := range s.Appliances {
		rows += len(s.Appliances[i].Policies)
	}
	p.Brief = only == "" && len(s.Appliances) > 1 && rows > maxRows
	return p
}

// shown is an appliance as it is on a page.
type shown struct {
	Page *page
	*applianceStatus
	// Urgent are the policies that have problems, and More how many
	// are left out.
	Urgent []policyStatus
	More   int
	Facts  []fact
}

// fact is a line of a list. With a Time, Text says what there is to say if it is
// zero.
type fact struct {
	Name, Text string
	Time       time.Time
}

// Each returns the appliances of the page.
func (p *page) Each() []shown {
	var all []shown
	for i := range p.Appliances {
		a := &p.Appliances[i]
		s := shown{Page: p, applianceStatus: a, Facts: facts(a)}
		for _, pol := range a.Policies {
			switch {
			case !isProblem(pol.State):
			case p.Brief && len(s.Urgent) == briefRows:
				s.More++
			default:
				s.Urgent = append(s.Urgent, pol)
			}
		}
		all = append(all, s)
	}
	return all
}

// moment is a time, and how far it is from now.
type moment struct{ ISO, Text, Distance string }

// At returns nil for no time.
func (p *page) At(t time.Time) *moment {
	if t.IsZero() {
		return nil
	}
	return &moment{t.Format(time.RFC3339), t.Format("2006-01-02 15:04:05"), distance(t, p.Time)}
}

// DueText says what the schedule has to say; empty if nothing is known of it.
func (p *page) DueText(s policyStatus) string {
	estimate := ""
	if s.Estimate {
		estimate = " (an estimate: only the longest gap between two runs is known)"
	}
	switch {
	case s.Overdue:
		since := time.Time{}
		for _, p := range s.Problems {
			if p.Problem == stateOverdue {
				since = p.Since
			}
		}
		return fmt.Sprintf("overdue: %s, the first was due %s%s", plural(s.OverdueRuns, "run", "runs"), distance(since, p.Time), estimate)
	case !s.NextDue.IsZero():
		return "next " + distance(s.NextDue, p.Time)
	case s.Estimate:
		return "on time" + estimate
	}
	return ""
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

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// distance says how far t is from now, in one unit.
func distance(t, now time.Time) string {
	d := now.Sub(t)
	format := "%s ago"
	if d < 0 {
		d, format = -d, "in %s"
	}
	var s string
	switch {
	case d < time.Second:
		return "now"
	case d < 2*time.Minute:
		s = fmt.Sprintf("%d s", d/time.Second)
	case d < 2*time.Hour:
		s = fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		s = fmt.Sprintf("%d h", d/time.Hour)
	default:
		s = fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return fmt.Sprintf(format, s)
}
