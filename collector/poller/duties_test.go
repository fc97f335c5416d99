package poller_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	kitlog "github.com/go-kit/log"
	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/verdict"
	"vbaws_exporter/internal/polltest"
	"vbaws_exporter/vbaws/vbawstest"
)

// newBerlin returns a world in Berlin at a time of its clock. It has no policy.
func newBerlin(t *testing.T, at string, acfg vbawstest.Config, cfg poller.Config) *world {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	start, err := time.ParseInLocation("2006-01-02 15:04", at, zone)
	if err != nil {
		t.Fatal(err)
	}
	acfg.Zone, cfg.Backfill = zone, time.Hour
	return newWorldOn(t, vbawstest.NewServer, start.UTC(), acfg, cfg)
}

// after lets time pass, makes a poll and returns the row of a policy.
func (d *world) after(wait time.Duration, policy string) *poller.PolicyRow {
	d.Helper()
	d.later(wait)
	return row(d.p, policy)
}

func row(p *polltest.Exporter, policy string) *poller.PolicyRow {
	for _, r := range p.Published().Policies.Rows {
		if r.Name == policy {
			return &r
		}
	}
	return nil
}

// ran puts a session of a policy that ended just now.
func (d *world) ran(policy vbawstest.Policy, extendedType, status string) {
	now := d.Now()
	d.Put(vbawstest.Session{
		Type: "Policy", ExtendedType: extendedType, Name: policy.Name, PolicyID: policy.ID,
		Status: status, Start: now.Add(-time.Minute), Stop: now,
	})
}

func kind(t *testing.T, r *poller.PolicyRow, name string) verdict.Kind {
	t.Helper()
	if r != nil {
		for _, k := range r.Kinds {
			if string(k.Kind) == name {
				return k
			}
		}
	}
	t.Fatalf("no kind %q in %+v", name, r)
	return verdict.Kind{}
}

func nightly(hour int) *vbawstest.ScheduleSettings {
	days := vbawstest.Retention{Type: "Days", Count: 7}
	return &vbawstest.ScheduleSettings{
		DailyEnabled: true,
		Daily: &vbawstest.DailySchedule{
			Kind: "Everyday", RunsPerHour: 1,
			Snapshot: vbawstest.Hours(vbawstest.Retention{Count: 3}, hour, (hour+12)%24),
			Backup:   vbawstest.Hours(days, hour),
		},
	}
}

func TestDue(t *testing.T) {
	t.Run("due and next start", testDueDueAndNextStart)
	t.Run("hourly snapshots and a missing backup", testDueHourlySnapshotsAndAMissingBackup)
	t.Run("revision without kinds", testDueRevisionWithoutKinds)
	t.Run("time zone by configuration", testDueTimeZoneByConfiguration)
	t.Run("other time zone", testDueOtherTimeZone)
	t.Run("renamed policy", testDueRenamedPolicy)
	t.Run("policy below the limit again", testDuePolicyBelowTheLimitAgain)
	t.Run("first seen by a clock that was ahead", testDueFirstSeenByAClockThatWasAhead)
	t.Run("successes before the initial sync", testDueSuccessesBeforeTheInitialSync)
}

// testDueDueAndNextStart follows one policy that runs, then doesn't, then is switched
// off and on.
func testDueDueAndNextStart(t *testing.T) {
	d := newBerlin(t, "2026-06-10 18:30", vbawstest.Config{}, poller.Config{})
	pol := d.PutPolicy(vbawstest.Policy{Name: "Nightly", Enabled: true, Schedule: nightly(2)})

	// Starts before it was first seen are not owed.
	r := d.after(0, "Nightly")
	if k := kind(t, r, "backup"); !k.Due.IsZero() || !k.Success.IsZero() || k.Interval != 25*time.Hour || !r.Enabled {
		t.Errorf("at the initial sync: %+v", r)
	}
	if k := kind(t, r, "snapshot"); k.Interval != 13*time.Hour {
		t.Errorf("the snapshots' longest gap is %v", k.Interval)
	}

	// 02:10: due at 02:00, which is midnight in UTC.
	r = d.after(7*time.Hour+40*time.Minute, "Nightly")
	due := time.Date(2026, 6, 11, 0, 0, 0, 0, time.UTC)
	if k := kind(t, r, "backup"); !k.Due.Equal(due) || !k.Success.IsZero() {
		t.Errorf("the first time: %+v, want due %v and no success", k, due)
	}

	// A snapshot is no backup, but a backup a snapshot.
	d.ran(pol, "PolicySnapshot", "Succeeded")
	r = d.after(5*time.Minute, "Nightly")
	if b, s := kind(t, r, "backup"), kind(t, r, "snapshot"); !b.Success.IsZero() || s.Success.Before(s.Due) {
		t.Errorf("after a snapshot: %+v", r)
	}
	d.ran(pol, "PolicyBackup", "Failed")
	if k := kind(t, d.after(5*time.Minute, "Nightly"), "backup"); !k.Success.IsZero() {
		t.Errorf("after a failure: %+v", k)
	}
	d.ran(pol, "PolicyBackup", "Warning")
	if k := kind(t, d.after(5*time.Minute, "Nightly"), "backup"); k.Success.Before(k.Due) {
		t.Errorf("after a warning, which has backed up: %+v", k)
	}

	// The next night nothing runs, and only the time shows it: the appliance has no
	// change.
	r = d.after(24*time.Hour, "Nightly")
	if k := kind(t, r, "backup"); !k.Due.Equal(due.Add(24*time.Hour)) || !k.Success.Before(k.Due) {
		t.Errorf("a missed night: %+v", k)
	}

	// The next process has the same before its first poll.
	d.restart()
	if diff := cmp.Diff(r, row(d.p, "Nightly")); diff != "" {
		t.Errorf("after a restart: %s", diff)
	}

	d.EnablePolicy(pol.ID, false)
	r = d.after(10*time.Minute, "Nightly")
	if k := kind(t, r, "backup"); r.Enabled || !k.Due.IsZero() || k.Success.IsZero() {
		t.Errorf("switched off: %+v", r)
	}
	d.EnablePolicy(pol.ID, true)
	if k := kind(t, d.after(10*time.Minute, "Nightly"), "backup"); !k.Due.IsZero() {
		t.Errorf("switched on again, due by what it missed meanwhile: %+v", k)
	}
	if k := kind(t, d.after(24*time.Hour, "Nightly"), "backup"); k.Due.IsZero() {
		t.Errorf("a day later: %+v", k)
	}

	d.DeletePolicy(pol.ID)
	d.after(10*time.Minute, "Nightly")
	if r := d.after(10*time.Minute, "Nightly"); r != nil {
		t.Errorf("deleted: %+v", r)
	}
}

// testDueHourlySnapshotsAndAMissingBackup has snapshots succeed for two days.
func testDueHourlySnapshotsAndAMissingBackup(t *testing.T) {
	d := newBerlin(t, "2026-03-28 12:00", vbawstest.Config{}, poller.Config{}) // summer time begins on the 29th
	pol := d.PutPolicy(vbawstest.Policy{Name: "Busy", Enabled: true, Schedule: nightly(2)})
	d.after(0, "Busy")
	for range 48 {
		d.clock.Advance(time.Hour)
		d.ran(pol, "PolicySnapshot", "Succeeded")
		r := d.after(0, "Busy")
		b, s := kind(t, r, "backup"), kind(t, r, "snapshot")
		if s.Success.Before(s.Due) {
			t.Fatalf("snapshots are late at %v: %+v", d.clock.Now(), s)
		}
		if b.Success.After(b.Due) {
			t.Fatalf("backups look done at %v: %+v", d.clock.Now(), b)
		}
	}
}

// testDueRevisionWithoutKinds watches a policy whose sessions have no extended type.
func testDueRevisionWithoutKinds(t *testing.T) {
	d := newBerlin(t, "2026-06-10 18:30", vbawstest.Config{Revisions: []string{"1.0-rev0"}}, poller.Config{})
	pol := d.PutPolicy(vbawstest.Policy{Name: "Nightly", Enabled: true, Schedule: nightly(2)})
	d.after(0, "Nightly")
	d.clock.Advance(8 * time.Hour)
	d.ran(pol, "", "Succeeded")
	r := d.after(time.Minute, "Nightly")
	k := kind(t, r, "")
	if len(r.Kinds) != 1 || k.Due.IsZero() || k.Success.Before(k.Due) || k.Interval != 13*time.Hour {
		t.Errorf("%+v", r)
	}
	// The first poll of the next process changes nothing.
	d.PutPolicy(vbawstest.Policy{Name: "Never", Enabled: true, Schedule: nightly(2)})
	d.after(6*time.Minute, "Never")
	d.after(time.Minute, "Never")
	d.restart()
	if r := d.after(time.Second, "Never"); len(r.Kinds) != 1 || r.Kinds[0].Kind != "" {
		t.Errorf("%+v", r)
	}
	d.PutPolicy(vbawstest.Policy{Name: "By hand", Enabled: true})
	if r := d.after(6*time.Minute, "By hand"); len(r.Kinds) > 0 || r.State != verdict.Pending {
		t.Errorf("without a schedule: %+v", r)
	}
}

// testDueTimeZoneByConfiguration polls with an account that is not allowed to read it.
func testDueTimeZoneByConfiguration(t *testing.T) {
	newYork, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	users := []vbawstest.User{{Name: vbawstest.DefaultUsername, Password: vbawstest.DefaultPassword, Role: "Reader"}}
	for _, zone := range []*time.Location{nil, newYork} {
		d := newBerlin(t, "2026-06-10 18:30", vbawstest.Config{Users: users}, poller.Config{TimeZone: zone})
		d.PutPolicy(vbawstest.Policy{Name: "Nightly", Enabled: true, Schedule: nightly(2)})
		d.after(0, "Nightly")
		k := kind(t, d.after(24*time.Hour, "Nightly"), "backup")
		if zone == nil {
			if !k.Due.IsZero() || k.Interval == 0 {
				t.Errorf("without a zone: %+v", k)
			}
		} else if want := time.Date(2026, 6, 11, 6, 0, 0, 0, time.UTC); !k.Due.Equal(want) {
			t.Errorf("due %v, want %v", k.Due, want)
		}
		if got := d.p.Published().Forbidden; !got["/api/v1/settings/dateTime"] || got["/api/v1/statistics/summary"] {
			t.Errorf("forbidden: %v", got)
		}
	}
}

// testDueOtherTimeZone: what ran by the old one isn't late by the new one.
func testDueOtherTimeZone(t *testing.T) {
	newYork, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	d := newBerlin(t, "2026-06-09 18:30", vbawstest.Config{}, poller.Config{}) // a Tuesday
	pol := d.PutPolicy(vbawstest.Policy{Name: "Weekly", Enabled: true, Schedule: &vbawstest.ScheduleSettings{
		WeeklyEnabled: true,
		Weekly:        &vbawstest.WeeklySchedule{TimeLocal: vbawstest.At(3, 0), Backup: vbawstest.Weekdays(vbawstest.Retention{Count: 3}, time.Wednesday)},
	}})
	d.after(0, "Weekly")
	d.clock.Advance(9 * time.Hour)
	d.ran(pol, "PolicyBackup", "Succeeded")
	if k := kind(t, d.after(12*time.Hour, "Weekly"), "backup"); k.Due.IsZero() || k.Success.Before(k.Due) {
		t.Fatalf("due %v, done %v", k.Due, k.Success)
	}
	d.Reconfigure(func(c *vbawstest.Config) { c.Zone = newYork })
	for range 6 {
		if k := kind(t, d.after(24*time.Hour, "Weekly"), "backup"); k.Success.Before(k.Due) {
			t.Fatalf("due %v, done %v", k.Due, k.Success)
		}
	}
	k := kind(t, d.after(24*time.Hour, "Weekly"), "backup")
	if want := time.Date(2026, 6, 17, 7, 0, 0, 0, time.UTC); !k.Due.Equal(want) {
		t.Errorf("due %v, want %v", k.Due, want)
	}
}

// testDueRenamedPolicy: nothing is late of a policy that is renamed, left out
// for a while, or away for a while.
func testDueRenamedPolicy(t *testing.T) {
	for name, change := range map[string]func(d *world, pol vbawstest.Policy, leaveOut func(bool)) (now string){
		"renamed": func(d *world, pol vbawstest.Policy, _ func(bool)) string {
			d.RenamePolicy(pol.ID, "Daily")
			return "Daily"
		},
		"left out": func(d *world, pol vbawstest.Policy, leaveOut func(bool)) string {
			leaveOut(true)
			for range 3 {
				d.after(24*time.Hour-2*time.Minute, "")
				d.ran(pol, "PolicyBackup", "Succeeded")
				d.after(2*time.Minute, "")
			}
			leaveOut(false)
			return "Nightly"
		},
		"away": func(d *world, pol vbawstest.Policy, _ func(bool)) string {
			d.DeletePolicy(pol.ID)
			for range 3 {
				d.after(6*time.Minute, "")
			}
			d.PutPolicy(pol)
			return "Nightly"
		},
	} {
		t.Run(name, func(t *testing.T) {
			out := false
			d := newBerlin(t, "2026-06-10 18:30", vbawstest.Config{}, poller.Config{Ledger: ledger.Options{Filter: ledger.Filter{
				Policy: func(name string) bool { return !out || name != "Nightly" },
			}}})
			pol := d.PutPolicy(vbawstest.Policy{Name: "Nightly", Enabled: true, Schedule: nightly(2)})
			d.after(0, "Nightly")
			d.after(7*time.Hour+40*time.Minute, "Nightly")
			d.ran(pol, "PolicyBackup", "Succeeded")
			if k := kind(t, d.after(5*time.Minute, "Nightly"), "backup"); k.Due.IsZero() || k.Success.Before(k.Due) {
				t.Fatalf("%+v", k)
			}
			now := change(d, pol, func(o bool) { out = o; d.restart() })
			d.after(6*time.Minute, now)
			for range 3 {
				if k := kind(t, d.after(6*time.Minute, now), "backup"); k.Success.Before(k.Due) {
					t.Errorf("late: %+v", k)
				}
			}
			if k := kind(t, d.after(24*time.Hour, now), "backup"); !k.Success.Before(k.Due) {
				t.Errorf("not late the day after: %+v", k)
			}
		})
	}
}

// testDuePolicyBelowTheLimitAgain: nothing was due of it before it was listed since.
func testDuePolicyBelowTheLimitAgain(t *testing.T) {
	out := true
	d := newBerlin(t, "2026-06-10 18:30", vbawstest.Config{}, poller.Config{Ledger: ledger.Options{Filter: ledger.Filter{
		Policy: func(name string) bool { return !out || name != "Nightly" },
	}}})
	d.PutPolicy(vbawstest.Policy{Name: "Nightly", Enabled: true, Schedule: nightly(2)})
	d.after(0, "")
	d.after(6*time.Minute, "")
	out = false
	d.restart()
	if k := kind(t, row(d.p, "Nightly"), "backup"); !k.Due.IsZero() {
		t.Errorf("at the start %+v", k)
	}
	in := d.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Route: "/api/v1/virtualMachines/policies", Status: 500, Count: -1})
	if k := kind(t, d.after(6*time.Minute, "Nightly"), "backup"); !k.Due.IsZero() {
		t.Errorf("while it can't be listed %+v", k)
	}
	in.Remove()
	d.after(6*time.Minute, "Nightly")
	if k := kind(t, d.after(24*time.Hour, "Nightly"), "backup"); k.Due.IsZero() {
		t.Errorf("the day after %+v", k)
	}
}

// testDueFirstSeenByAClockThatWasAhead: it is due by the clock that is right.
func testDueFirstSeenByAClockThatWasAhead(t *testing.T) {
	d := newBerlin(t, "2027-06-10 18:30", vbawstest.Config{}, poller.Config{})
	d.PutPolicy(vbawstest.Policy{Name: "Nightly", Enabled: true, Schedule: nightly(2)})
	d.after(0, "Nightly")
	d.after(-365*24*time.Hour, "Nightly")
	d.after(5*24*time.Hour, "Nightly")
	if k := kind(t, d.after(6*time.Minute, "Nightly"), "backup"); k.Due.IsZero() {
		t.Errorf("never due: %+v", k)
	}
}

// testDueSuccessesBeforeTheInitialSync: a weekly backup that succeeded days ago isn't
// late because the exporter is new.
func testDueSuccessesBeforeTheInitialSync(t *testing.T) {
	d := newBerlin(t, "2026-06-10 18:30", vbawstest.Config{}, poller.Config{})
	pol := d.PutPolicy(vbawstest.Policy{Name: "Weekly", Enabled: true, Schedule: &vbawstest.ScheduleSettings{
		WeeklyEnabled: true,
		Weekly: &vbawstest.WeeklySchedule{
			TimeLocal: vbawstest.At(3, 0),
			Snapshot:  vbawstest.Weekdays(vbawstest.Retention{Count: 3}, time.Saturday),
			Backup:    vbawstest.Weekdays(vbawstest.Retention{Type: "Days", Count: 7}, time.Saturday),
		},
	}})
	long := d.Now().Add(-100 * time.Hour)
	for i := range 30 { // a backup, and many failures since
		s := vbawstest.Session{
			Type: "Policy", ExtendedType: "PolicyBackup", Name: pol.Name, PolicyID: pol.ID,
			Status: "Failed", Start: long.Add(time.Duration(i) * time.Hour),
		}
		if i == 0 {
			s.Status = "Succeeded"
		}
		s.Stop = s.Start.Add(10 * time.Minute)
		d.Put(s)
	}
	d.after(0, "Weekly")
	r := d.after(time.Minute, "Weekly")
	if k := kind(t, r, "backup"); !k.Success.Equal(long.Add(10 * time.Minute).Truncate(time.Microsecond)) {
		t.Errorf("backup: %+v, want the success of %v", k, long)
	}
	for _, s := range d.p.Published().View.Series {
		for _, c := range s.Counters {
			if c.Count != 0 {
				t.Errorf("%+v: %d sessions of before the window are counted", s.Key, c.Count)
			}
		}
	}
	d.ResetRequests()
	d.after(time.Minute, "Weekly")
	if n := len(d.Requests()); n != 1 {
		t.Errorf("%d requests, want 1: the look-up is made once", n)
	}
}

func TestInventory(t *testing.T) {
	t.Run("endpoint that fails", testInventoryEndpointThatFails)
	t.Run("repositories that move", testInventoryRepositoriesThatMove)
	t.Run("license that is removed", testInventoryLicenseThatIsRemoved)
	t.Run("rejected login", testInventoryRejectedLogin)
	t.Run("listing that fails", testInventoryListingThatFails)
	t.Run("saved poll", testInventorySavedPoll)
	t.Run("saved sessions logged", testInventorySavedSessionsLogged)
}

// testInventoryEndpointThatFails lets every endpoint that isn't sessions fail or hang.
func testInventoryEndpointThatFails(t *testing.T) {
	d := newBerlin(t, "2026-06-10 18:30", vbawstest.Config{
		Summary: vbawstest.Summary{Instances: 9, ProtectedInstances: 7},
	}, poller.Config{})
	pol := d.PutPolicy(vbawstest.Policy{Name: "Nightly", Enabled: true, Schedule: nightly(2)})
	d.after(0, "Nightly")
	before := d.p.Published()
	if before.Facts.Summary.ProtectedInstances != 7 || before.Facts.License == nil || before.Version == "" {
		t.Fatalf("facts: %+v of version %q", before.Facts, before.Version)
	}
	d.OnRequest(func(r *http.Request) {
		if r.URL.Path != "/api/v1/sessions" && r.URL.Path != "/api/v1/token" {
			panic(http.ErrAbortHandler) // resets the connection
		}
	})
	d.ran(pol, "PolicyBackup", "Succeeded")
	r := d.after(10*time.Minute, "Nightly")
	if k := kind(t, r, "backup"); k.Success.IsZero() {
		t.Errorf("the session was not taken in: %+v", k)
	}
	after := d.p.Published()
	if !after.Up || after.Facts.Summary.ProtectedInstances != 7 || after.Version != before.Version {
		t.Errorf("up %v, facts %+v, version %q: the last values must stay", after.Up, after.Facts, after.Version)
	}
	if len(after.EndpointErrors) < 5 {
		t.Errorf("endpoint errors %v: every endpoint that fails must show", after.EndpointErrors)
	}
	d.OnRequest(nil)
	d.after(10*time.Minute, "Nightly")
	if got := d.p.Published().EndpointErrors; len(got) != 0 {
		t.Errorf("endpoint errors that are over: %v", got)
	}
}

// testInventoryRepositoriesThatMove: one that two pages show is one.
func testInventoryRepositoriesThatMove(t *testing.T) {
	repository := func(n int) vbawstest.Repository {
		return vbawstest.Repository{ID: vbawstest.ID(100 + n), Name: fmt.Sprint("repository ", n)}
	}
	d := newBerlin(t, "2026-06-10 18:30", vbawstest.Config{
		MaxPageSize: 2, Repositories: []vbawstest.Repository{repository(2), repository(3), repository(4)},
	}, poller.Config{})
	moved := false
	d.OnRequest(func(r *http.Request) {
		if r.URL.Path == "/api/v1/repositories" && r.URL.Query().Get("Offset") == "2" && !moved {
			moved = true
			d.Reconfigure(func(c *vbawstest.Config) { c.Repositories = append(c.Repositories, repository(1)) })
		}
	})
	d.after(0, "")
	var got []string
	for _, r := range d.p.Published().Facts.Repositories.Shown {
		got = append(got, r.Name)
	}
	slices.Sort(got)
	if want := []string{"repository 1", "repository 2", "repository 3", "repository 4"}; !moved || !slices.Equal(got, want) {
		t.Errorf("%q, moved %v, endpoint errors %v", got, moved, d.p.Published().EndpointErrors)
	}
	d.p.Families(t)
}

// testInventoryLicenseThatIsRemoved: the earlier license is not exposed any more, and the
// next one is as soon as it is there.
func testInventoryLicenseThatIsRemoved(t *testing.T) {
	d := newBerlin(t, "2026-06-10 18:30", vbawstest.Config{}, poller.Config{})
	d.after(0, "")
	in := d.Inject(vbawstest.Fault{
		Kind: vbawstest.FaultStatus, Route: "/api/v1/licensing/license", Status: 404, ErrorCode: "NotFound", Count: -1,
	})
	d.after(6*time.Minute, "")
	if p := d.p.Published(); p.Facts.License != nil || len(p.EndpointErrors) > 0 {
		t.Errorf("license %+v, endpoint errors %v", p.Facts.License, p.EndpointErrors)
	}
	in.Remove()
	d.after(6*time.Minute, "")
	if d.p.Published().Facts.License == nil {
		t.Error("the next license is not exposed")
	}
}

// testInventoryRejectedLogin: some appliances reject it by the status of a bad request.
func testInventoryRejectedLogin(t *testing.T) {
	d := newBerlin(t, "2026-06-10 18:30", vbawstest.Config{LoginRefusedStatus: http.StatusBadRequest}, poller.Config{})
	d.after(0, "")
	d.Reconfigure(func(c *vbawstest.Config) {
		c.Users = []vbawstest.User{{Name: vbawstest.DefaultUsername, Password: "another", Role: vbawstest.RoleAdministrator}}
	})
	d.RevokeTokens()
	if err := d.p.Poll(context.Background()); err == nil {
		t.Fatal("the password is wrong and the poll succeeds")
	}
	if got := d.p.Published(); got.Result != "auth" || got.Mode != "usn" {
		t.Errorf("result %s, read by %s, want auth and usn", got.Result, got.Mode)
	}
}

// testInventoryListingThatFails: a session of an unknown policy is counted when the listing has
// failed for long, and with its policy if the listing succeeds before.
func testInventoryListingThatFails(t *testing.T) {
	for failing, policy := range map[int]string{0: "Nightly", 2: "Nightly", 3: ""} {
		d := newBerlin(t, "2026-06-10 18:30", vbawstest.Config{}, poller.Config{})
		pol := d.PutPolicy(vbawstest.Policy{Name: "Nightly", Enabled: true})
		now := d.Now()
		d.Put(vbawstest.Session{
			Type: "Job", Name: pol.Name, PolicyID: pol.ID, Status: "Failed", Start: now.Add(-time.Minute), Stop: now,
		})
		fault := d.Inject(vbawstest.Fault{Route: "/api/v1/virtualMachines/policies", Count: -1, Status: http.StatusServiceUnavailable})
		polls := 0
		for good := false; !good; polls++ {
			if polls == failing {
				fault.Remove()
			}
			good = d.p.Poll(context.Background()) == nil
			d.clock.Advance(time.Minute)
			if polls == 2 && failing == 3 {
				fault.Remove()
			}
		}
		if want := min(failing, 2) + 1; polls != want {
			t.Errorf("%d failures of the listing: poll %d succeeds, want %d", failing, polls, want)
		}
		if s := d.p.Published().View.Series; len(s) != 1 || s[0].Key.Policy != policy {
			t.Errorf("%d failures of the listing: counted as %+v, want policy %q", failing, s, policy)
		}
	}
}

// testInventorySavedPoll: a poll that was saved when its context ends still
// publishes and logs its sessions, since no later poll does.
func testInventorySavedPoll(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var log strings.Builder
	cfg := poller.Config{
		Logger: kitlog.NewLogfmtLogger(&log),
		Step: func(name string) {
			if name == poller.StepSaved && strings.Contains(log.String(), "polling appliance") {
				cancel()
			}
		},
	}
	d := newBerlin(t, "2026-06-10 18:30", vbawstest.Config{}, cfg)
	pol := d.PutPolicy(vbawstest.Policy{Name: "Nightly", Enabled: true})
	if err := d.p.Poll(ctx); err != nil {
		t.Fatal(err)
	}
	d.clock.Advance(time.Minute)
	d.ran(pol, "PolicyBackup", "Succeeded")
	if err := d.p.Poll(ctx); err != nil || ctx.Err() == nil {
		t.Fatalf("%v, cancelled: %v", err, ctx.Err())
	}
	if n := strings.Count(log.String(), "session finished"); n != 1 {
		t.Errorf("%d sessions are logged, want 1: %s", n, log.String())
	}
	if got := d.p.Published(); got.Polls != 2 || len(got.Recent) != 1 {
		t.Errorf("published: %+v", got.Status)
	}
}

// testInventorySavedSessionsLogged: what was saved is published and logged, since no later poll
// does, also if what is decided on policies after that can't be saved.
func testInventorySavedSessionsLogged(t *testing.T) {
	var d *world
	full := false
	d = newBerlin(t, "2026-06-10 18:30", vbawstest.Config{}, poller.Config{Step: func(name string) {
		if full && name == poller.StepSaved {
			d.storage.err = errDisk
		}
	}})
	d.PutPolicy(vbawstest.Policy{Name: "Nightly", Enabled: true, Schedule: nightly(2)})
	d.after(0, "Nightly")
	d.after(8*time.Hour+25*time.Minute, "Nightly")
	d.clock.Advance(8 * time.Minute) // the start at 2:00 is overdue if policies that are listed now still have it
	d.PutPolicy(vbawstest.Policy{Name: "Other", Enabled: true})
	d.ran(vbawstest.Policy{Name: "Other"}, "PolicyBackup", "Failed")
	full = true
	if err := d.fails(); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	d.storage.err, full = nil, false
	d.later(time.Minute)
	if lines := d.log.with("session finished"); len(lines) != 1 || len(d.p.Published().Recent) != 1 {
		t.Errorf("log lines %q, recent sessions %+v", lines, d.p.Published().Recent)
	}
}
