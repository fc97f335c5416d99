package poller_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/collector/poller"
	"vbaws_exporter/internal/polltest"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

// documented is an appliance that serves documents as they are. Of a query it observes
// Offset alone, and nothing runs.
type documented struct {
	minor     int
	clock     *vbawstest.Clock
	documents map[string]string // by route below /api/v1
	mu        sync.Mutex
	asked     map[string]int
	// unfiltered counts the requests for a policy's sessions that name no policy. A
	// request for one row is for the newest session of all.
	unfiltered int
}

func (d *documented) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route := strings.TrimPrefix(r.URL.Path, "/api/v1")
	w.Header().Set("Date", d.clock.Now().UTC().Format(http.TimeFormat))
	switch document, ok := d.documents[route]; {
	case r.Header.Get("x-api-version") != fmt.Sprintf("1.%d-rev0", d.minor):
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"errorCode":"UnsupportedApiVersion"}`)
	case route == "/token":
		fmt.Fprint(w, `{"access_token":"a","refresh_token":"r","expires_in":3600000}`)
	case !ok:
		w.WriteHeader(http.StatusNotFound) // as a router answers that has no such route
	default:
		d.mu.Lock()
		defer d.mu.Unlock()
		d.asked[route]++
		q := r.URL.Query()
		if q.Get("PolicyId") == "" && q.Get("Sort") == vbaws.SortStartTimeDesc && q.Get("FromUtc") == "" && q.Get("Limit") != "1" && (q.Get("Types") == "Policy" || q.Get("Status") == "") {
			d.unfiltered++
		}
		if q.Get("Status") == "Running" {
			document = `{"totalCount":0,"results":[]}`
		} else if offset, _ := strconv.Atoi(q.Get("Offset")); offset > 0 {
			document = from(document, offset)
		}
		fmt.Fprint(w, document)
	}
}

// from returns what is left of a list from an offset on.
func from(document string, offset int) string {
	var page struct {
		TotalCount int               `json:"totalCount"`
		Results    []json.RawMessage `json:"results"`
	}
	if err := json.Unmarshal([]byte(document), &page); err != nil {
		panic(err)
	}
	page.Results = page.Results[min(offset, len(page.Results)):]
	rest, err := json.Marshal(page)
	if err != nil {
		panic(err)
	}
	return string(rest)
}

func payload(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../vbaws/testdata/payloads", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// watch returns a poller of the documents, its log, and what /metrics has.
func (d *documented) watch(t *testing.T) (*polltest.Exporter, *logbook, func() map[string]float64) {
	t.Helper()
	d.asked = make(map[string]int)
	server := httptest.NewServer(d)
	t.Cleanup(server.Close)
	w := newExporter(t, poller.Config{})
	client, err := polltest.NewClient(polltest.Options{URL: server.URL, Poller: poller.Config{Now: d.clock.Now}})
	if err != nil {
		t.Fatal(err)
	}
	w.watch(client, d.clock.Now)
	return w.p, w.log, func() map[string]float64 {
		t.Helper()
		samples := make(map[string]float64)
		for _, f := range w.p.Families(t) {
			for _, m := range f.GetMetric() {
				name := f.GetName()
				for _, l := range m.GetLabel() {
					if l.GetName() != "appliance" && l.GetName() != "policy_id" {
						name += " " + l.GetValue()
					}
				}
				samples[name] = polltest.Value(m)
			}
		}
		return samples
	}
}

func TestPayloads(t *testing.T) {
	t.Run("documents", testPayloadsDocuments)
	t.Run("VPC session without a name", testPayloadsVPCSessionWithoutAName)
	t.Run("unreadable schedule", testPayloadsUnreadableSchedule)
	t.Run("health check", testPayloadsHealthCheck)
}

// testPayloadsDocuments serves the answers in testdata as they are, and reads what comes of
// them from the metrics.
func testPayloadsDocuments(t *testing.T) {
	// An hour after the VPC policy's session.
	clock := vbawstest.NewClock(time.Date(2025, 9, 1, 2, 35, 0, 0, time.UTC))
	d := &documented{minor: 8, clock: clock, documents: map[string]string{
		"/sessions":                   payload(t, "sessions-1.7.json"),
		"/virtualMachines/policies":   payload(t, "policies-ec2-1.8-daily-int-hours.json"),
		"/efs/policies":               payload(t, "policies-efs-1.8.json"),
		"/policy/ec2SlaBasedPolicies": payload(t, "policies-ec2sla-1.8.json"),
		"/vpc/policy":                 payload(t, "vpc-policy-1.2.json"),
		"/settings/dateTime":          `{"timezone":{"name":"Europe/Prague","displayName":""}}`,
		"/rds/policies":               `{"totalCount":0,"results":[]}`,
	}}
	p, log, metrics := d.watch(t)
	poll := func() map[string]float64 {
		t.Helper()
		if err := p.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		return metrics()
	}
	check := func(got map[string]float64, want map[string]float64) {
		t.Helper()
		for name, value := range want {
			if v, ok := got[name]; !ok || v != value {
				t.Errorf("%s is %v (%t), want %v", name, v, ok, value)
			}
		}
	}
	got := poll()
	vpc := vbaws.VPCPolicyName
	check(got, map[string]float64{
		"vbaws_policy_expected_interval_seconds snapshot policy-a ec2":  7 * 3600, // six hours and the change of the clocks
		"vbaws_policy_expected_interval_seconds backup policy-a ec2":    25 * 3600,
		"vbaws_policy_expected_interval_seconds backup efs-a efs":       15*60 + 3600, // the doubled hour of autumn
		"vbaws_policy_expected_interval_seconds backup " + vpc + " vpc": 3600,
		"vbaws_policy_enabled policy-a ec2":                             1,
		"vbaws_policy_enabled efs-a efs":                                1,
		"vbaws_policy_enabled sla-a ec2_sla":                            1,
		"vbaws_policy_enabled " + vpc + " vpc":                          1,
		"vbaws_exporter_schedules_unreadable":                           0,
		// Its sessions are the VPC policy's.
		"vbaws_session_last_status VpcBackup " + vpc + " Failed Policy":   1,
		"vbaws_policy_last_success_timestamp_seconds backup policy-a ec2": float64(time.Date(2025, 9, 1, 0, 21, 8, 451697000, time.UTC).UnixMicro()) / 1e6,
	})
	if _, ok := got["vbaws_policy_expected_interval_seconds archive policy-a ec2"]; !ok {
		t.Error("no archive is expected, in spite of sendBackupsToArchive")
	}
	for name := range got {
		if strings.HasPrefix(name, "vbaws_policy_last_due") {
			t.Errorf("%s, before anything was due", name)
		}
	}

	// 06:10 in Prague: snapshots were due at 06:00, file systems at 06:00.
	clock.Set(time.Date(2025, 9, 1, 4, 10, 0, 0, time.UTC))
	due := float64(time.Date(2025, 9, 1, 4, 0, 0, 0, time.UTC).Unix())
	got = poll()
	check(got, map[string]float64{
		"vbaws_policy_last_due_timestamp_seconds snapshot policy-a ec2": due,
		"vbaws_policy_last_due_timestamp_seconds backup efs-a efs":      due,
	})
	for name := range got {
		if strings.HasPrefix(name, "vbaws_policy_last_due") && (strings.Contains(name, vpc) || strings.Contains(name, "sla-a") || strings.Contains(name, "backup policy-a")) {
			t.Errorf("%s: it has no times, or none that has passed", name)
		}
	}
	if d.unfiltered > 0 {
		t.Errorf("%d questions for the sessions of a policy without an id", d.unfiltered)
	}
	// Routes that this version lacks are not requested, and a documented route that this
	// appliance lacks is not an error.
	if endpointErrors := p.Published().EndpointErrors; len(endpointErrors) > 0 {
		t.Errorf("endpoint errors: %v", endpointErrors)
	}
	for _, line := range log.with("schedule") {
		if strings.Contains(line, "schedule") {
			t.Errorf("logged: %s", line)
		}
	}
}

// testPayloadsVPCSessionWithoutAName is of API version 1.1, which has /vpc/policy and no
// names of sessions.
func testPayloadsVPCSessionWithoutAName(t *testing.T) {
	clock := vbawstest.NewClock(time.Date(2025, 9, 1, 2, 30, 0, 0, time.UTC))
	d := &documented{minor: 1, clock: clock, documents: map[string]string{
		"/sessions": `{"totalCount":1,"results":[{"id":"1","type":"Policy","extendedSessionType":"VpcBackup","status":"Succeeded",
			"executionStartTime":"2025-09-01T01:00:00","executionStopTime":"2025-09-01T01:00:10","usn":1}]}`,
		"/policies":   `{"totalCount":1,"results":[{"id":"00000000-0000-4000-8000-000000000001","name":"other"}]}`,
		"/vpc/policy": payload(t, "vpc-policy-1.2.json"),
	}}
	p, _, metrics := d.watch(t)
	if err := p.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := metrics()
	name := "vbaws_session_last_status VpcBackup " + vbaws.VPCPolicyName + " Succeeded Policy"
	if got[name] != 1 || got["vbaws_policy_expected_interval_seconds backup "+vbaws.VPCPolicyName+" vpc"] != 3600 {
		t.Errorf("%v", got)
	}

	if d.unfiltered > 0 {
		t.Errorf("%d questions for the sessions of a policy without an id", d.unfiltered)
	}

	// An appliance of that version need not have it.
	delete(d.documents, "/vpc/policy")
	p, _, metrics = d.watch(t)
	if err := p.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if endpointErrors := p.Published().EndpointErrors; len(endpointErrors) > 0 || metrics()["vbaws_policy_enabled other ec2"] != 1 {
		t.Errorf("%v", endpointErrors)
	}
}

// testPayloadsUnreadableSchedule has a policy whose weekly schedule can't be
// understood.
func testPayloadsUnreadableSchedule(t *testing.T) {
	clock := vbawstest.NewClock(time.Date(2025, 9, 1, 2, 30, 0, 0, time.UTC))
	policy := func(day string) string {
		return `{"totalCount":1,"results":[{"id":"00000000-0000-4000-8000-000000000001","name":"odd","scheduleSettings":{
			"dailyScheduleEnabled":true,"dailySchedule":{"kind":"Everyday","backupOptions":{"schedule":{"hours":[3]}}},
			"weeklyScheduleEnabled":true,"weeklySchedule":{"timeLocal":"07:00","backupOptions":{"schedule":{"days":[` + day + `]}}}}}]}`
	}
	d := &documented{minor: 8, clock: clock, documents: map[string]string{
		"/sessions": payload(t, "sessions-1.7.json"), "/settings/dateTime": `{"timezone":{"name":"UTC"}}`,
	}}
	p, log, metrics := d.watch(t)
	for _, step := range []struct {
		day        string
		unreadable float64
		reason     string
		logged     int
	}{
		{`"Monday"`, 0, "", 0},
		{`"Moonday"`, 1, `weeklySchedule: /backupOptions: days: "Moonday" is not one of Sunday to Saturday`, 1},
		{`"Moonday"`, 1, `weeklySchedule: /backupOptions: days: "Moonday" is not one of Sunday to Saturday`, 1},
		{`8`, 1, `weeklySchedule: /backupOptions: days: 8 is not one of Sunday to Saturday`, 2},
		{`"Monday"`, 0, "", 2},
		{`8`, 1, `weeklySchedule: /backupOptions: days: 8 is not one of Sunday to Saturday`, 3},
	} {
		d.documents["/virtualMachines/policies"] = policy(step.day)
		clock.Advance(6 * time.Hour)
		if err := p.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := metrics()
		if got["vbaws_exporter_schedules_unreadable"] != step.unreadable {
			t.Errorf("%s: %v policies are unreadable", step.day, got["vbaws_exporter_schedules_unreadable"])
		}
		// The other part stands.
		if got["vbaws_policy_expected_interval_seconds backup odd ec2"] == 0 {
			t.Errorf("%s: no interval is expected", step.day)
		}
		if diff := cmp.Diff(step.reason, row(p, "odd").Unreadable); diff != "" {
			t.Errorf("%s: %s", step.day, diff)
		}
		if endpointErrors := p.Published().EndpointErrors; len(endpointErrors) > 0 {
			t.Errorf("%s: endpoint errors: %v", step.day, endpointErrors)
		}
		lines := 0
		for _, line := range log.with("schedule") {
			if strings.Contains(line, "part of a schedule is not understood") && strings.Contains(line, "policy=odd") && strings.Contains(line, "weeklySchedule") {
				lines++
			}
		}
		if lines != step.logged {
			t.Errorf("%s: %d lines are logged, want %d", step.day, lines, step.logged)
		}
	}
}

// testPayloadsHealthCheck: a health check meets no start, whatever else is in its name, and
// an unknown word stands for every kind.
func testPayloadsHealthCheck(t *testing.T) {
	d := newBerlin(t, "2026-06-10 18:30", vbawstest.Config{}, poller.Config{})
	pol := d.PutPolicy(vbawstest.Policy{Name: "Nightly", Enabled: true, Schedule: nightly(2)})
	d.after(0, "Nightly")
	for _, word := range []string{"PolicyBackupHealthCheck", "PolicyBackupVerification", "PolicyTestBackup", "SnapshotRetention"} {
		d.ran(pol, word, "Succeeded")
	}
	r := d.after(10*time.Hour, "Nightly")
	for _, k := range r.Kinds {
		if !k.Success.IsZero() || k.Kind == "" && !k.Due.IsZero() {
			t.Errorf("after health checks alone: %+v", k)
		}
	}
	d.ran(pol, "PolicySomethingNew", "Succeeded")
	r = d.after(time.Minute, "Nightly")
	if len(r.Kinds) != 3 {
		t.Errorf("%+v", r)
	}
	for _, k := range r.Kinds {
		// What makes no known kind has no schedule of its own.
		if k.Kind != "" && (k.Success.IsZero() || k.Success.Before(k.Due)) {
			t.Errorf("after a session of an unknown kind: %+v", k)
		}
	}
}
