package schedule

import (
	"fmt"
	"time"
)

//go:generate go run generate.go

// Location returns the time zone of that name, as the IANA or as Windows writes it:
// which of them an appliance uses is not documented. It looks for the zone on the
// machine first and then in time/tzdata, where that is linked in; the result is
// worth keeping.
func Location(name string) (*time.Location, error) {
	iana, ok := windowsZones[name]
	switch {
	case ok:
	case name == "", name == "Local": // The exporter's own zones to time.LoadLocation.
		return nil, fmt.Errorf("%q is not a time zone", name)
	default:
		iana = name
	}
	zone, err := time.LoadLocation(iana)
	if err != nil {
		return nil, fmt.Errorf("time zone %q: %w", name, err)
	}
	return zone, nil
}
