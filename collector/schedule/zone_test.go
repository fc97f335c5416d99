package schedule

import (
	"strings"
	"testing"
	_ "time/tzdata"
)

func TestLocation(t *testing.T) {
	for name, want := range map[string]string{
		"Europe/Berlin": "Europe/Berlin", "UTC": "Etc/UTC", "Etc/UTC": "Etc/UTC",
		"W. Europe Standard Time": "Europe/Berlin", "India Standard Time": "Asia/Calcutta", "UTC-11": "Etc/GMT+11",
	} {
		got, err := Location(name)
		if err != nil || got.String() != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "Local", "local", "W. Europe", "../../etc/passwd", "(UTC+01:00) Amsterdam"} {
		if got, err := Location(name); err == nil {
			t.Errorf("%q is %s", name, got)
		}
	}
	n := 0
	for line := range strings.Lines(windowsZones) {
		n++
		name, iana, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if zone, err := Location(name); err != nil || zone.String() != iana {
			t.Errorf("%s is %s, %v, want %s", name, zone, err, iana)
		}
	}
	if n < 130 {
		t.Errorf("only %d zones of Windows", n)
	}
}
