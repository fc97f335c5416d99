package web

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"vbaws_exporter/collector/verdict"
	"vbaws_exporter/vbaws"
)

const (
	// refresh is between two pages of a browser, in seconds.
	refresh = 30
	// With more than maxRows policies, the page of several appliances has only the
	// policies with problems. A list of the policies of one appliance has at most
	// maxPolicyRows.
	maxRows, maxPolicyRows = 200, 500
)

// page is the data of the template.
type page struct {
	*status
	Options *Options
	// Refresh is in seconds; 0: not at all.
	Refresh int
	// Only is the appliance that this page is about; empty: all.
	Only string
	// Brief means that this page has only the policies with problems.
	Brief bool
	// Rejected is the problem of the configuration, if there is one. Others is the number of
	// other problems, Shown has the first of them, and More is how many are omitted.
	Rejected     *problem
	Shown        []problem
	Others, More int
}

func newPage(s *status, o *Options, only string) *page {
	p := &page{status: s, Options: o, Only: only, Shown: s.Problems, Others: s.ProblemCount}
	rows := 0
	for i := range s.Appliances {
		rows += len(s.Appliances[i].Policies)
	}
	p.Brief = only == "" && p.Several() && rows > maxRows
	if len(p.Shown) > 0 && p.Shown[0].State == stateConfigRejected { // the worst of all
		p.Rejected, p.Shown, p.Others = &p.Shown[0], p.Shown[1:], p.Others-1
	}
	p.Shown = p.Shown[:min(maxProblemRows, len(p.Shown))]
	p.More = p.Others - len(p.Shown)
	return p
}

// Several reports whether the page has more than one appliance.
func (p *page) Several() bool { return len(p.Appliances) > 1 }

// Rows returns the policies on the page, and More how many are omitted.
func (a *applianceStatus) Rows() []policyStatus {
	return a.Policies[:min(maxPolicyRows, len(a.Policies))]
}

func (a *applianceStatus) More() int { return len(a.Policies) - len(a.Rows()) }

// With returns the page and a row of it, for a nested template.
func (p *page) With(row any) any {
	return struct {
		Page *page
		Row  any
	}{p, row}
}

// moment is a time and its distance from now.
type moment struct{ ISO, Text, Distance, Span string }

// At returns nil for no time.
func (p *page) At(t time.Time) *moment {
	if t.IsZero() {
		return nil
	}
	return &moment{t.UTC().Format(time.RFC3339), stamp(t), distance(t, p.Time), span(p.Time.Sub(t))}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// NextText returns when a policy is due next, by the wall clock of its schedule.
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

// ResultText returns the result of the last session.
func (p policyStatus) ResultText() string {
	switch {
	case p.LastStatus != "":
		return p.LastStatus
	case !p.LastSuccess.IsZero():
		return "covered by another kind"
	}
	return "no session yet"
}

// ResultClass returns the class of the result.
func (p policyStatus) ResultClass() verdict.State {
	if p.LastStatus == "" && p.LastSuccess.IsZero() {
		return verdict.Pending
	}
	return statusClass(cmp.Or(p.LastStatus, vbaws.StatusSucceeded))
}

// Since returns when a problem began; zero if there is no such problem.
func (p policyStatus) Since(name verdict.State) time.Time {
	for _, is := range p.Problems {
		if is.Problem == name {
			return is.Since
		}
	}
	return time.Time{}
}

// Title describes a session of the strip of sessions.
func (s lastSession) Title() string {
	took := ""
	if d := s.End.Sub(s.start); !s.start.IsZero() && d >= 0 {
		took = ", took " + d.Round(time.Second).String()
	}
	return s.Status + ", ended " + stamp(s.End) + " UTC" + took
}

// looks has the looks of the statuses of sessions: the class, which determines the color, and
// a mark, which shows the status without color.
var looks = map[string]struct {
	class verdict.State
	mark  string
}{
	vbaws.StatusSucceeded: {verdict.OK, "✓"},
	vbaws.StatusFailed:    {verdict.Failing, "✗"},
	vbaws.StatusWarning:   {verdict.Warning, "!"},
}

// Mark and Class return the looks of a session in the strip of sessions.
func (s lastSession) Mark() string { return cmp.Or(looks[s.Status].mark, "–") }

func (s lastSession) Class() verdict.State { return cmp.Or(looks[s.Status].class, verdict.Pending) }

// statusClass returns the class of the status of a session.
func statusClass(status string) verdict.State { return cmp.Or(looks[status].class, verdict.Warning) }

// Took returns the duration of the session.
func (s sessionStatus) Took() string {
	return time.Duration(s.Duration * float64(time.Second)).Round(time.Second).String()
}

// words replaces the underscores in a name by spaces.
func words(name any) string { return strings.ReplaceAll(fmt.Sprint(name), "_", " ") }

func plural(n int, one, many string) string {
	if n == 1 {
		many = one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// distance returns how far t is from now.
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

// span returns d in words, rounded down: in one unit, or in two if the first alone would be
// coarse.
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
