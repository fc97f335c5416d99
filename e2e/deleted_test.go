package e2e

import (
	"testing"
	"time"

	"vbaws_exporter/vbaws/vbawstest"
)

// TestDeletedPolicy: a policy that failed and was deleted disappears from Prometheus,
// with all its alerts. The policy beside it stays overdue.
func TestDeletedPolicy(t *testing.T) {
	t.Parallel()
	s := newSite(t, "eu", vbawstest.Config{})
	due := time.Now().UTC().Truncate(time.Minute).Add(-80 * time.Minute)
	deleted := s.nightly("deleted", due)
	s.nightly("kept", due)
	s.fail(deleted, "PolicyBackup")

	exporter := startExporter(t, "new_series_hold: 0\ninventory_interval: 1m\n", s)
	p := startPrometheus(t, exporter.Address, prometheusOptions{})
	alerts := func(policy string) string {
		return `count(ALERTS{alertstate="firing", policy="` + policy + `"} or {__name__=~"vbaws_.+", policy="` + policy + `"})`
	}
	p.awaitQuery(`count(ALERTS{alertname="VbawsPolicyFailing", policy="deleted"})`, 1)

	// It disappears with the second listing that lacks it, a minute after the first.
	s.DeletePolicy(deleted.ID)
	p.awaitQuery(`count(vbaws_policy_info{policy="kept"}) unless on() `+alerts("deleted"), 1)

	p.awaitQuery(`count(ALERTS{alertname="VbawsPolicyOverdue", alertstate="firing", policy="kept"}) > 0`, 2) // of both kinds
	if got := p.query(alerts("deleted")); len(got) != 0 {
		t.Errorf("the deleted policy has series %v", got)
	}
}
