package app

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"vbaws_exporter/collector/store"
	"vbaws_exporter/collector/store/transfer"
	"vbaws_exporter/internal/check"
)

// Names of standard output and input. The file /dev/stdin isn't opened: in containers it
// can belong to another user.
const (
	standardOutput = "-"
	standardInput  = "/dev/stdin"
)

// openState opens the state in a folder. existing says that it must exist already.
func openState(path string, existing bool) (*store.Store, error) {
	s, err := store.Open(path, store.Options{Existing: existing})
	var inUse *store.InUseError
	switch {
	case errors.Is(err, fs.ErrNotExist) && existing:
		return nil, fmt.Errorf("no state in %s: %w", path, err)
	case errors.As(err, &inUse):
		return nil, fmt.Errorf("%w: stop the exporter that uses it first", err)
	case err != nil:
		return nil, fmt.Errorf("--storage.path: %w", err)
	}
	return s, nil
}

// ExportState writes the state of an appliance in the folder path to the file output,
// for another exporter to import, and reports that on stdout. If output is -, the state
// itself goes to stdout, and the report to stderr. by is the exporter's version.
func ExportState(path, appliance, output, by string, stdout, stderr io.Writer) (err error) {
	s, err := openState(path, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var h transfer.Header
	say, name := stdout, output
	if output == standardOutput {
		say, name = stderr, "what was written"
		h, err = s.Export(appliance, by, stdout)
	} else {
		h, err = s.ExportFile(appliance, by, output)
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: not overwritten, since it could be the only copy of a state", err)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(say, "exported appliance %q, with %d seen sessions, to %s\n"+
		"the exporter with %s now refuses to poll it: remove it from its configuration, and import %s into the other exporter\n",
		h.Appliance, h.Sessions, output, path, name)
	return err
}

// ImportState imports the state in a file into the folder path, and reports that on
// stdout. With replace, it overwrites a state that the appliance has there.
func ImportState(path, file string, replace bool, stdout io.Writer) (err error) {
	if file == "" { // kingpin parses - as an empty argument, too
		return fmt.Errorf("import: no file given; use %s for a pipe", standardInput)
	}
	r := os.Stdin
	if file != standardInput {
		if r, err = os.Open(file); err != nil {
			return err
		}
		defer r.Close()
	}
	// A mistyped path must not be created.
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("open the state directory: %w; if it is correct, create it for the user of the exporter", err)
	}
	where := filepath.Join(path, store.FileName)
	_, statErr := os.Stat(where)
	s, err := openState(path, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	before, err := s.Summaries()
	if err != nil {
		return err
	}
	h, err := s.Import(r, replace)
	var exists *store.ExistsError
	var bad *transfer.FileError
	switch {
	case errors.As(err, &exists):
		return fmt.Errorf("import %s: %w; use --replace to overwrite it", file, err)
	case errors.As(err, &bad):
		return fmt.Errorf("import %s: %w; nothing was imported", file, err)
	case err != nil:
		return fmt.Errorf("import %s: %w", file, err)
	}
	if statErr != nil {
		where += " (created)"
	}
	text := fmt.Sprintf("imported appliance %q, with %d seen sessions, exported on %s, into %s\n",
		h.Appliance, h.Sessions, h.Exported.Format(time.RFC3339), where)
	if i := slices.IndexFunc(before, func(old store.Summary) bool { return old.Appliance == h.Appliance && !old.Away }); i >= 0 {
		text += fmt.Sprintf("replaced its state of %s, with %d seen sessions\n", before[i].Saved.Format(time.RFC3339), before[i].Sessions)
	}
	_, err = io.WriteString(stdout, text)
	return err
}

// summary is the JSON of an appliance in ListStates.
type summary struct {
	Appliance string    `json:"appliance"`
	Sessions  uint64    `json:"sessions"`
	Bytes     uint64    `json:"bytes"`
	Saved     time.Time `json:"saved"`
	Moves     uint64    `json:"moves"`
	// Exported is when the state was exported; nil if it is here.
	Exported *time.Time `json:"exported,omitempty"`
}

// ListStates writes the appliances that have state in the folder path, as a table or as
// JSON.
func ListStates(path string, asJSON bool, stdout io.Writer) (err error) {
	s, err := openState(path, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	found, err := s.Summaries()
	if err != nil {
		return err
	}
	all := make([]summary, len(found))
	for i, f := range found {
		all[i] = summary{f.Appliance, f.Sessions, f.Bytes, f.Saved.UTC().Truncate(time.Second), f.Number, nil}
		if f.Away {
			all[i].Exported = &f.Exported
		}
	}
	if asJSON {
		return check.JSON(stdout, all)
	}
	t := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "APPLIANCE\tSESSIONS\tBYTES\tLAST SAVED\tSTATE\n")
	for _, a := range all {
		is := "here"
		if a.Exported != nil {
			is = "exported on " + a.Exported.Format(time.RFC3339)
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\n", shown(a.Appliance), a.Sessions, a.Bytes, a.Saved.Format(time.RFC3339), is)
	}
	return t.Flush()
}

// shown returns a name as it is, or quoted if it has spaces or characters that are not
// printable: a name in an imported file can be any, and must not control the terminal or
// break the table.
func shown(name string) string {
	if q := strconv.Quote(name); q[1:len(q)-1] != name || strings.Contains(name, " ") {
		return q
	}
	return name
}
