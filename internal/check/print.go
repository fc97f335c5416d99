package check

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
)

// Table writes the findings for people, a line each.
func Table(w io.Writer, findings []Finding) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "APPLIANCE\tCHECK\t\tMESSAGE\n")
	for _, f := range findings {
		message := f.Message
		if f.Remedy != "" {
			message += ". Remedy: " + f.Remedy
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", printable(orDash(f.Appliance)), f.Check, f.Level, printable(message))
	}
	return t.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// printable keeps what an appliance sent from steering the terminal and the
// table.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// JSON writes the findings for machines, as one array.
func JSON(w io.Writer, findings []Finding) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if findings == nil {
		findings = []Finding{}
	}
	return e.Encode(findings)
}
