package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// result is a line of the table.
type result struct {
	Row string `json:"row"`
	// What says what was measured.
	What  string  `json:"what"`
	Value float64 `json:"value"`
	// Noise is how far Value may be off, to either side, by how far repeats of the
	// same thing were from each other; 0 where it was measured once, or the same
	// comes out every time.
	Noise float64 `json:"noise"`
	// Limit is what Value may be at most; 0: it is told, and judged by nobody.
	Limit float64 `json:"limit,omitempty"`
	// Known is declared where the limit isn't reached yet: what was measured last,
	// with room for other machines and for a loaded one. Only beyond it the row
	// fails. README.md says where these limits lie, and why.
	Known float64 `json:"known,omitempty"`
	// Unit is empty for a ratio.
	Unit string `json:"unit,omitempty"`
	// Detail is what the value was made of.
	Detail string `json:"detail,omitempty"`
}

// above reports whether a limit is passed by more than noise can explain. What is
// not a number isn't within a limit.
func (r *result) above(limit float64) bool { return !(r.Value-r.Noise <= limit) }

// missed reports whether the row fails.
func (r *result) missed() bool { return r.Limit != 0 && r.above(max(r.Limit, r.Known)) }

func (r *result) verdict() string {
	switch {
	case r.Limit == 0:
		return ""
	case r.missed():
		return "MISSED"
	case r.above(r.Limit):
		return "missed, known"
	case r.Value > r.Limit:
		return "within noise"
	default:
		return "ok"
	}
}

// number writes what needs three digits.
func number(v float64) string {
	if a := math.Abs(v); a >= 100 || a == math.Trunc(a) {
		return fmt.Sprintf("%.0f", v)
	} else if a >= 10 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// write writes the table for people, as text or as Markdown.
func (r *report) write(w io.Writer, markdown bool) error {
	render := text
	if markdown {
		render = pipes
	}
	if _, err := fmt.Fprintf(w, "%s\n\n", r.Machine); err != nil {
		return err
	}
	if len(r.Results) > 0 {
		lines := [][]string{{"row", "what", "measured", "at most", "noise", "", "made of"}}
		for _, r := range r.Results {
			lines = append(lines, r.cells())
		}
		if err := render(w, lines); err != nil {
			return err
		}
	}
	if len(r.Alternatives) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	lines := [][]string{{
		fmt.Sprintf("how %d sessions that ended were read", r.Alternatives[0].Ended),
		"requests a minute", "KiB a minute", "CPU ms a minute", "series", "missed", "counted twice",
	}}
	for _, a := range r.Alternatives {
		lines = append(lines, []string{
			a.Reader, number(a.Requests), number(a.KiB), number(a.CPU), fmt.Sprint(a.Series), fmt.Sprint(a.Missed), fmt.Sprint(a.Twice),
		})
	}
	return render(w, lines)
}

func (r *result) cells() []string {
	unit := ""
	if r.Unit != "" {
		unit = " " + r.Unit
	}
	limit, noise := "", ""
	if r.Limit != 0 {
		limit = number(r.Limit) + unit
	}
	if r.Noise != 0 {
		noise = "±" + number(r.Noise)
	}
	return []string{r.Row, r.What, number(r.Value) + unit, limit, noise, r.verdict(), r.Detail}
}

func text(w io.Writer, lines [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, cells := range lines {
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	return tw.Flush()
}

func pipes(w io.Writer, lines [][]string) error {
	for i, cells := range lines {
		if _, err := fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")); err != nil {
			return err
		}
		if i == 0 {
			fmt.Fprintln(w, strings.Repeat("| --- ", len(cells))+"|")
		}
	}
	return nil
}

// report is the table for machines.
type report struct {
	Machine      machine       `json:"machine"`
	Quick        bool          `json:"quick"`
	Results      []result      `json:"results"`
	Alternatives []alternative `json:"alternatives,omitempty"`
}

func writeJSON(w io.Writer, r report) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
