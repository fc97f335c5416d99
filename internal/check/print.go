package check

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
)

// Table writes the findings for people, one on a line: failures, then warnings, then the
// rest, each in the order of the findings. Without verbose it omits findings about the API
// that need no action, and writes how many these are.
func Table(w io.Writer, findings []Finding, verbose bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "LEVEL\tAPPLIANCE\tCHECK\tMESSAGE\n")
	details := 0
	for _, level := range []Level{Fail, Warn, OK} {
		for _, f := range findings {
			switch {
			case f.Level != level:
				continue
			case !verbose && f.isDetail():
				details++
				continue
			}
			message := f.Message
			if f.Remedy != "" {
				message += ". Remedy: " + f.Remedy
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.Level, Printable(cmp.Or(f.Appliance, "-")), f.Check, Printable(message))
		}
	}
	err := t.Flush()
	if err == nil && details > 0 {
		_, err = fmt.Fprintf(w, "\n%d %s about the API not shown; see --verbose.\n", details, plural(details, "detail", "details"))
	}
	return err
}

// isDetail reports whether f describes the API and needs no action.
func (f *Finding) isDetail() bool {
	return f.Level == OK && (f.Check == USN || f.Check == Paging || f.Check == Times)
}

// Printable replaces characters with which an appliance, or a file, could control the
// terminal or the table.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// JSON writes the findings, or another list, as one JSON array.
func JSON(w io.Writer, list any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(list)
}
