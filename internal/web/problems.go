package web

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"vbaws_exporter/collector/schedule"
	"vbaws_exporter/collector/verdict"
	"vbaws_exporter/vbaws"
)

// This file gathers the problems of all appliances.

// maxProblems bounds the problems in JSON, maxProblemRows those on the page.
const (
	maxProblems    = 500
	maxProblemRows = 100
)

// Rejection is a configuration that a reload rejected.
type Rejection struct {
	// Since is when the first of the reloads in a row failed.
	Since time.Time
	// Err is the error of the last one.
	Err error
}

// problem is one kind of run of a policy that has problems, an appliance that can't be
// polled, or a rejected configuration.
type problem struct {
	// State is config_rejected, poll_failed, stuck, failing, overdue or silent; Since is
	// when that began.
	State verdict.State `json:"state"`
	Since time.Time     `json:"since,omitzero"`
	// Appliance is empty for the configuration. Only a policy has the next three.
	Appliance string        `json:"appliance,omitempty"`
	Policy    string        `json:"policy,omitempty"`
	Workload  string        `json:"workload,omitempty"`
	Kind      schedule.Kind `json:"kind,omitempty"`
	// Message describes the problem, Errors has the causes, and Remedy what to do.
	Message string   `json:"message"`
	Errors  []string `json:"errors,omitempty"`
	Remedy  string   `json:"remedy,omitempty"`
	// The schedule of a policy, as in policyStatus.
	Schedule string    `json:"schedule,omitempty"`
	Estimate bool      `json:"estimate,omitempty"`
	NextDue  time.Time `json:"next_due,omitzero"`

	// Row is the policy; nil if the problem is not of a policy.
	Row *policyStatus `json:"-"`
}

// problems returns all problems, the worst first; of equal ones the oldest first.
func problems(s *status, rejected *Rejection) []problem {
	all := []problem{}
	if rejected != nil {
		all = append(all, problem{
			State: stateConfigRejected, Since: utc(rejected.Since),
			Message: "The configuration file was rejected. The exporter still uses the previous configuration.",
			Errors:  strings.Split(rejected.Err.Error(), "\n"), // one for each mistake
			Remedy:  "Correct the file and reload; vbaws_exporter check --offline validates it.",
		})
	}
	for i := range s.Appliances {
		a := &s.Appliances[i]
		if a.State == verdict.Failing {
			p := problem{
				State: statePollFailed, Since: a.FailedSince, Appliance: a.Name,
				Message: "The appliance " + a.Message + ".", Remedy: a.Remedy,
			}
			if a.Error != "" {
				p.Errors = []string{a.Error}
			}
			all = append(all, p)
		}
		for j := range a.Policies {
			r := &a.Policies[j]
			if !isProblem(r.State) {
				continue
			}
			p := problem{
				State: r.State, Since: r.Since(r.State), Appliance: a.Name, Policy: r.Name, Workload: r.Workload, Kind: r.Kind,
				Message: r.describe(s.Time), Schedule: r.Schedule, Estimate: r.Estimate, NextDue: r.NextDue, Row: r,
			}
			if !r.Since(verdict.Failing).IsZero() {
				p.Errors = r.Errors
			}
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, func(a, b problem) int {
		return cmp.Or(compareStates(a.State, b.State), a.Since.Compare(b.Since), cmp.Compare(a.Appliance, b.Appliance),
			cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.Kind, b.Kind))
	})
	return all
}

// describe returns the problems of a policy in words, the worst first.
func (p *policyStatus) describe(now time.Time) string {
	var texts []string
	for _, is := range p.Problems {
		lasts := span(now.Sub(is.Since))
		switch is.Problem {
		case verdict.Stuck:
			texts = append(texts, "A session has been running for "+lasts)
		case verdict.Failing:
			texts = append(texts, p.failedSessions())
		case verdict.Overdue:
			text := fmt.Sprintf("%s overdue, the first for %s", plural(p.OverdueRuns, "run is", "runs are"), lasts)
			if p.OverdueRuns == 1 {
				text = "1 run is overdue for " + lasts
			}
			if p.Estimate {
				text += " (an estimate: the start times are not known)"
			}
			texts = append(texts, text)
		case verdict.Silent:
			texts = append(texts, "No success for "+lasts+", and no schedule is known")
		}
	}
	return strings.Join(texts, ". ") + "."
}

// failedSessions returns in words how many of the last sessions failed.
func (p *policyStatus) failedSessions() string {
	n := 0
	for _, s := range slices.Backward(p.LastSessions) {
		if verdict.Succeeded(s.Status) {
			break
		}
		if s.Status == vbaws.StatusFailed {
			n++
		}
	}
	var text string
	switch {
	case n < 2:
		text = "The last session failed"
	case n == verdict.Keep: // more can have failed
		text = fmt.Sprintf("At least the last %d sessions failed", n)
	default:
		text = fmt.Sprintf("The last %d sessions failed", n)
	}
	if p.LastSuccess.IsZero() {
		text += ". No success is known"
	}
	return text
}
