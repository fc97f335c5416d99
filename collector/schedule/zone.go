package schedule

import (
	_ "embed"
	"fmt"
	"strings"
	"time"
)

// windowsZones has, on each line, the name of a zone on Windows and that of the IANA. It
// is the table of the Go release that go generate is run with, whose authors make it
// from the Unicode CLDR's windowsZones.xml.
//
//go:generate sh -c "sed -nE 's|^.\"(.*)\": .*// (.*)|\\1\\t\\2|p' $GOROOT/src/time/zoneinfo_abbrs_windows.go | LC_ALL=C sort >windowszones.txt"
//go:embed windowszones.txt
var windowsZones string

// Location returns the time zone of that name, as the IANA or as Windows writes it:
// which of them an appliance uses is not documented. It looks for the zone on the
// machine first and then in time/tzdata, if that is linked in; the result is worth
// keeping.
func Location(name string) (*time.Location, error) {
	if name == "" || name == "Local" { // the exporter's own zones to time.LoadLocation
		return nil, fmt.Errorf("%q is not a time zone", name)
	}
	iana := name
	for line := range strings.Lines(windowsZones) {
		if windows, of, _ := strings.Cut(strings.TrimSpace(line), "\t"); windows == name {
			iana = of
		}
	}
	zone, err := time.LoadLocation(iana)
	if err != nil {
		return nil, fmt.Errorf("time zone %q: %w", name, err)
	}
	return zone, nil
}
