package vbawstest_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vbaws_exporter/vbaws/vbawstest"
)

// hourly is a schedule of one snapshot an hour.
func hourly() *vbawstest.ScheduleSettings {
	return &vbawstest.ScheduleSettings{DailyEnabled: true, Daily: &vbawstest.DailySchedule{
		Kind: "Everyday", RunsPerHour: 1, Snapshot: vbawstest.EveryHour(vbawstest.Retention{Count: 24})}}
}

// last returns the last state of each session that want holds for.
func last(a *vbawstest.Appliance, want func(vbawstest.Session) bool) (out []vbawstest.Session) {
	for _, h := range a.History() {
		if s := h.States[len(h.States)-1].Session; want(s) {
			out = append(out, s)
		}
	}
	return out
}

func ofType(name string) func(vbawstest.Session) bool {
	return func(s vbawstest.Session) bool { return s.Type == name }
}

func statuses(sessions []vbawstest.Session) (out []string) {
	for _, s := range sessions {
		out = append(out, s.Status)
	}
	return out
}

// play runs one policy for a while and returns the appliance.
func play(spec vbawstest.PolicySpec, length time.Duration) *vbawstest.Appliance {
	return playBy(vbawstest.FleetConfig{}, spec, length)
}

// playBy is play with another configuration of the fleet.
func playBy(cfg vbawstest.FleetConfig, spec vbawstest.PolicySpec, length time.Duration) *vbawstest.Appliance {
	a, clock := setup(vbawstest.Config{})
	spec.Name = "P"
	cfg.Seed, cfg.Policies, cfg.PoliciesOnly = 1, []vbawstest.PolicySpec{spec}, true
	f := vbawstest.NewFleet(a, cfg)
	f.Advance(clock.Advance(length))
	return a
}

func TestFleet(t *testing.T) {
	t.Run("start during a run", testFleetStartDuringARun)
	t.Run("kinds of a run", testFleetKindsOfARun)
	t.Run("VPC policy", testFleetVPCPolicy)
	t.Run("yearly backups without archive", testFleetYearlyBackupsWithoutArchive)
	t.Run("configured words", testFleetConfiguredWords)
	t.Run("clock change", testFleetClockChange)
	t.Run("behavior of policies", testFleetBehaviorOfPolicies)
	t.Run("retry", testFleetRetry)
	t.Run("parts of a run", testFleetPartsOfARun)
	t.Run("changed policies", testFleetChangedPolicies)
	t.Run("any steps", testFleetAnySteps)
	t.Run("history of a demo", testFleetHistoryOfADemo)
	t.Run("retention", testFleetRetention)
	t.Run("real time", testFleetRealTime)
	t.Run("compression", testFleetCompression)
}

// testFleetStartDuringARun has an hourly policy whose runs take longer than an hour, some
// of them.
func testFleetStartDuringARun(t *testing.T) {
	spec := vbawstest.PolicySpec{Policy: enabled(0), Typical: time.Hour}
	const starts = 48
	run := func(overlap vbawstest.Overlap) []vbawstest.Session {
		return last(playBy(vbawstest.FleetConfig{Overlap: overlap}, spec, starts*time.Hour), ofType("Policy"))
	}
	due := func(i int) time.Time { return epoch.Add(time.Duration(i+1) * time.Hour) }

	skipped := run(vbawstest.OverlapSkip)
	if len(skipped) == starts || len(skipped) < starts/3 {
		t.Errorf("skipped: %d runs of %d starts", len(skipped), starts)
	}
	for i, s := range skipped {
		if !s.Start.Equal(s.Start.Truncate(time.Hour)) || i > 0 && s.Start.Before(skipped[i-1].Stop) {
			t.Errorf("skipped: run %d from %v", i, s.Start)
		}
	}
	var end time.Time
	for i, s := range run(vbawstest.OverlapQueue) {
		want := due(i)
		if end.After(want) {
			want = end
		}
		end = s.Stop
		if s.Start.Sub(want).Abs() > time.Microsecond {
			t.Errorf("queued: run %d began %v, want %v", i, s.Start, want)
		}
	}
	beside := run(vbawstest.OverlapBeside)
	if len(beside) != starts {
		t.Errorf("beside: %d runs of %d starts", len(beside), starts)
	}
	for i, s := range beside {
		if !s.Start.Equal(due(i)) {
			t.Errorf("beside: run %d began %v, want %v", i, s.Start, due(i))
		}
	}

	spec.StuckAtRun = 2
	for overlap, want := range map[vbawstest.Overlap]int{vbawstest.OverlapSkip: 2, vbawstest.OverlapQueue: 2, vbawstest.OverlapBeside: starts} {
		if got := run(overlap); len(got) != want {
			t.Errorf("overlap %d, a run is stuck: %d runs, want %d", overlap, len(got), want)
		}
	}
}

// testFleetKindsOfARun checks kinds of a run one after another, and side by side with their
// own retries. The run lasts until the last of its kinds has ended.
func testFleetKindsOfARun(t *testing.T) {
	keep := vbawstest.Retention{Count: 1}
	spec := vbawstest.PolicySpec{Typical: 20 * time.Minute, FailureRate: 1, Policy: vbawstest.Policy{Enabled: true, RetryTimes: 1,
		Schedule: &vbawstest.ScheduleSettings{DailyEnabled: true, Daily: &vbawstest.DailySchedule{Kind: "Everyday",
			Snapshot: vbawstest.Hours(keep, 23), Replica: vbawstest.Hours(keep, 23), Backup: vbawstest.Hours(keep, 23)}}}}
	words := func(sessions []vbawstest.Session) (out []string) {
		for _, s := range sessions {
			out = append(out, s.ExtendedType+" "+s.Status)
		}
		return out
	}
	due := epoch.Add(time.Hour)
	for sideBySide, want := range map[bool][]string{
		false: {"PolicySnapshot Failed", "PolicySnapshot Succeeded", "PolicyRemoteSnapshot Failed", "PolicyRemoteSnapshot Succeeded", "PolicyBackup Failed", "PolicyBackup Succeeded"},
		true:  {"PolicySnapshot Failed", "PolicyRemoteSnapshot Failed", "PolicyBackup Failed"},
	} {
		got := last(playBy(vbawstest.FleetConfig{SideBySide: sideBySide}, spec, 24*time.Hour), ofType("Policy"))
		if len(got) != 6 || !slices.Equal(words(got)[:len(want)], want) {
			t.Fatalf("side by side %v: %q", sideBySide, words(got))
		}
		for i, s := range got {
			if sideBySide && i < 3 && !s.Start.Equal(due) || !sideBySide && i > 0 && s.Start.Before(got[i-1].Stop) {
				t.Errorf("side by side %v: session %d began %v", sideBySide, i, s.Start)
			}
		}
	}
}

func testFleetVPCPolicy(t *testing.T) {
	spec := vbawstest.PolicySpec{Typical: time.Minute, Policy: vbawstest.Policy{Workload: vbawstest.VPC, Enabled: true,
		Every: vbawstest.Interval{Type: "Minutes", Count: 90}}}
	got := last(play(spec, 6*time.Hour), ofType("Policy"))
	if len(got) != 4 {
		t.Fatalf("%d runs", len(got))
	}
	for i, s := range got[:3] {
		if want := epoch.Add(time.Duration(i+1) * 90 * time.Minute); !s.Start.Equal(want) || s.ExtendedType != "VpcBackup" || s.Name != "VPC Configuration Backup" {
			t.Errorf("run %d: %+v, want start %v", i, s, want)
		}
	}
}

func testFleetYearlyBackupsWithoutArchive(t *testing.T) {
	yearly := &vbawstest.ScheduleSettings{YearlyEnabled: true, Yearly: &vbawstest.YearlySchedule{
		DayInMonth: vbawstest.DayInMonth{Number: "OnDay", DayOfMonth: 2}, Month: "March"}}
	for workload, want := range map[vbawstest.Workload]string{vbawstest.EC2: "PolicyArchive", vbawstest.EFS: "PolicyEfsBackup"} {
		got := last(play(vbawstest.PolicySpec{Policy: vbawstest.Policy{Workload: workload, Enabled: true, Schedule: yearly}}, 3*time.Hour), ofType("Policy"))
		if len(got) != 1 || got[0].ExtendedType != want {
			t.Errorf("%s: %+v", workload, got)
		}
	}
}

func testFleetConfiguredWords(t *testing.T) {
	cfg := vbawstest.FleetConfig{ExtendedType: func(w vbawstest.Workload, kind string) string { return "Unheard " + string(w) + " " + kind }}
	for _, s := range last(playBy(cfg, vbawstest.PolicySpec{Policy: enabled(0)}, 2*time.Hour), ofType("Policy")) {
		if s.ExtendedType != "Unheard ec2 snapshot" {
			t.Errorf("got %q", s.ExtendedType)
		}
	}
}

// testFleetClockChange has a policy at 02:30, which is missing on one day.
func testFleetClockChange(t *testing.T) {
	for missing, want := range map[vbawstest.MissingHour][]string{
		vbawstest.MissingLater:   {"07 02:30", "08 03:30", "09 02:30"},
		vbawstest.MissingSkipped: {"07 02:30", "09 02:30"},
	} {
		newYork := zone(t, "America/New_York")
		clock := vbawstest.NewClock(time.Date(2026, time.March, 6, 12, 0, 0, 0, newYork))
		a := vbawstest.New(vbawstest.Config{Now: clock.Now, Zone: newYork})
		f := vbawstest.NewFleet(a, vbawstest.FleetConfig{ClockChange: vbawstest.ClockChange{Missing: missing}, PoliciesOnly: true,
			Policies: []vbawstest.PolicySpec{{Policy: vbawstest.Policy{Enabled: true, Schedule: &vbawstest.ScheduleSettings{WeeklyEnabled: true,
				Weekly: &vbawstest.WeeklySchedule{TimeLocal: vbawstest.At(2, 30), Snapshot: vbawstest.Weekdays(vbawstest.Retention{}, 0, 1, 2, 3, 4, 5, 6)}}}}}})
		f.Advance(clock.Advance(3 * 24 * time.Hour))
		var got []string
		for _, s := range last(a, ofType("Policy")) {
			got = append(got, s.Start.In(newYork).Format("02 15:04"))
		}
		if !slices.Equal(got, want) {
			t.Errorf("missing hour %d: %q, want %q", missing, got, want)
		}
	}
}

func enabled(retries int) vbawstest.Policy {
	return vbawstest.Policy{Enabled: true, Schedule: hourly(), RetryTimes: retries}
}

func testFleetBehaviorOfPolicies(t *testing.T) {
	many := func(status string, n int) []string { return slices.Repeat([]string{status}, n) }
	// Six starts, at 23:00, 00:00, …, 04:00; the run of the last one has ended, too.
	const length = 6*time.Hour + 59*time.Minute
	short := time.Minute
	for _, tt := range []struct {
		name string
		spec vbawstest.PolicySpec
		want []string
	}{
		{"always well", vbawstest.PolicySpec{Policy: enabled(0), Typical: short}, many("Succeeded", 6)},
		{"always failing", vbawstest.PolicySpec{Policy: enabled(0), Typical: short, FailureRate: 1}, many("Failed", 6)},
		{"always with warnings", vbawstest.PolicySpec{Policy: enabled(3), Typical: short, WarningRate: 1}, many("Warning", 6)},
		{"well when retried", vbawstest.PolicySpec{Policy: enabled(3), Typical: short, FailureRate: 1}, slices.Repeat([]string{"Failed", "Succeeded"}, 6)},
		{"failing when retried", vbawstest.PolicySpec{Policy: enabled(2), Typical: short, FailureRate: 1, RetryFailureRate: 1}, many("Failed", 18)},
		{"stuck in the third run", vbawstest.PolicySpec{Policy: enabled(0), Typical: short, StuckAtRun: 3}, []string{"Succeeded", "Succeeded", "Running"}},
		{"silent after two runs", vbawstest.PolicySpec{Policy: enabled(0), Typical: short, StopAfterRuns: 2}, many("Succeeded", 2)},
		{"disabled", vbawstest.PolicySpec{Policy: vbawstest.Policy{Schedule: hourly()}}, nil},
		{"without a schedule", vbawstest.PolicySpec{Policy: vbawstest.Policy{Enabled: true}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := play(tt.spec, length)
			got := last(a, ofType("Policy"))
			if diff := gocmp.Diff(tt.want, statuses(got)); diff != "" {
				t.Error(diff)
			}
			want := vbawstest.StatusNeverExecuted
			if len(tt.want) > 0 {
				want = tt.want[len(tt.want)-1]
			}
			if p := a.Policies()[0]; p.LastStatus != want && !(p.LastStatus == "" && len(tt.want) == 0) {
				t.Errorf("the policy's last status is %q, want %q", p.LastStatus, want)
			}
		})
	}
}

func testFleetRetry(t *testing.T) {
	got := last(play(vbawstest.PolicySpec{Policy: enabled(1), Typical: time.Minute, FailureRate: 1}, 2*time.Hour), ofType("Policy"))
	if d := got[1].Start.Sub(got[0].Stop); d != time.Minute {
		t.Errorf("%v after the failure", d)
	}
}

func testFleetPartsOfARun(t *testing.T) {
	spec := vbawstest.PolicySpec{Policy: enabled(0), FailureRate: 1, Typical: 20 * time.Minute}
	spec.Items = []vbawstest.Item{{ID: vbawstest.ID(1), Name: "web"}, {ID: vbawstest.ID(2), Name: "db"}}
	a := play(spec, 119*time.Minute)
	policy, job, tasks := last(a, ofType("Policy")), last(a, ofType("Job")), last(a, ofType("Task"))
	if len(policy) != 1 || len(job) != 1 || len(tasks) != 2 {
		t.Fatalf("%d policy, %d job, %d task sessions", len(policy), len(job), len(tasks))
	}
	failed := 0
	for _, s := range append(slices.Clone(tasks), job...) {
		if s.Start.Before(policy[0].Start) || s.Stop.After(policy[0].Stop) || s.Stop.IsZero() || s.ExtendedType != "PolicySnapshot" || s.PolicyID != policy[0].PolicyID {
			t.Errorf("part %+v of %+v", s, policy[0])
		}
		if s.Type == "Task" && s.Status == vbawstest.StatusFailed {
			failed++
		}
	}
	if failed != 1 || tasks[0].ParentID != job[0].ID || job[0].ParentID != policy[0].ID {
		t.Errorf("%d failed of %+v, job %+v", failed, tasks, job)
	}
	if tasks[0].Name != "web" || policy[0].Name != "P" {
		t.Errorf("names %q, %q", tasks[0].Name, policy[0].Name)
	}
}

func testFleetChangedPolicies(t *testing.T) {
	a, clock := setup(vbawstest.Config{})
	f := vbawstest.NewFleet(a, vbawstest.FleetConfig{PoliciesOnly: true, Policies: []vbawstest.PolicySpec{{Policy: enabled(0), Typical: time.Minute}}})
	id := a.Policies()[0].ID
	step := func() int {
		before := len(last(a, ofType("Policy")))
		f.Advance(clock.Advance(time.Hour))
		return len(last(a, ofType("Policy"))) - before
	}
	if n := step(); n != 1 {
		t.Errorf("at first %d runs", n)
	}
	a.EnablePolicy(id, false)
	if n := step(); n != 0 {
		t.Errorf("disabled: %d runs", n)
	}
	a.EnablePolicy(id, true)
	a.RenamePolicy(id, "Renamed")
	if n := step(); n != 1 {
		t.Errorf("enabled again: %d runs", n)
	}
	if got := last(a, ofType("Policy")); got[len(got)-1].Name != "Renamed" {
		t.Errorf("name %q", got[len(got)-1].Name)
	}
	a.DeletePolicy(id)
	if n := step(); n != 0 {
		t.Errorf("deleted: %d runs", n)
	}
}

// testFleetAnySteps advances two fleets to the same time, one at once and one in steps.
func testFleetAnySteps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := vbawstest.FleetConfig{
			Seed:      rapid.Uint64().Draw(t, "seed"),
			Policies:  vbawstest.DemoPolicies(),
			Compress:  rapid.SampledFrom([]float64{0, 60, 1440}).Draw(t, "compress"),
			Retention: 6 * time.Hour,
		}
		length := time.Duration(rapid.Int64Range(0, int64(10*time.Minute)).Draw(t, "length"))
		if cfg.Compress == 0 {
			length *= 60
		}
		backfill := rapid.Bool().Draw(t, "backfill")
		cfg.Overlap = vbawstest.Overlap(rapid.IntRange(0, 2).Draw(t, "overlap"))
		cfg.SideBySide = rapid.Bool().Draw(t, "side by side")
		run := func(steps int) []vbawstest.Session {
			a, clock := setup(vbawstest.Config{})
			f := vbawstest.NewFleet(a, cfg)
			if backfill {
				f.Backfill(epoch.Add(-5 * time.Hour))
			}
			for i := range steps {
				clock.Set(epoch.Add(length * time.Duration(i+1) / time.Duration(steps)))
				f.Advance(clock.Now())
			}
			return last(a, func(vbawstest.Session) bool { return true })
		}
		if diff := gocmp.Diff(run(1), run(rapid.IntRange(2, 9).Draw(t, "steps"))); diff != "" {
			t.Fatal(diff)
		}
	})
}

func testFleetHistoryOfADemo(t *testing.T) {
	cfg := vbawstest.DemoConfig(1, epoch)
	cfg.Forgetful = false
	a, clock := setup(cfg)
	specs := vbawstest.DemoPolicies()
	if len(specs) < 20 {
		t.Fatalf("%d policies", len(specs))
	}
	f := vbawstest.NewFleet(a, vbawstest.DemoFleet(1, epoch))
	f.Backfill(epoch.AddDate(0, 0, -1))

	nightly := func(s vbawstest.Session) bool { return s.Type == "Policy" && s.Name == "Domain controllers" }
	before := len(last(a, nightly))
	if before < 1 || before > 3 {
		t.Errorf("%d sessions of a nightly policy in a day", before)
	}
	f.Advance(clock.Advance(10 * time.Minute))
	after := last(a, nightly)
	if n := len(after) - before; n < 10 || n > 40 {
		t.Errorf("%d sessions of a nightly policy in ten minutes", n)
	}

	seen := make(map[string]map[string]int)
	for _, s := range last(a, ofType("Policy")) {
		if s.Start.After(clock.Now()) || s.Stop.After(clock.Now()) || s.Start.Before(epoch.AddDate(0, 0, -1)) {
			t.Errorf("not of the time between: %+v", s)
		}
		if s.ExtendedType == "" {
			t.Errorf("without an extended type: %+v", s)
		}
		if seen[s.Name] == nil {
			seen[s.Name] = make(map[string]int)
		}
		seen[s.Name][s.Status]++
	}
	for _, spec := range specs {
		n := seen[spec.Name]
		switch {
		case !spec.Enabled:
			if len(n) != 0 {
				t.Errorf("%s is disabled and has %v", spec.Name, n)
			}
		case spec.StuckAtRun > 0:
			if n[vbawstest.StatusRunning] != 1 {
				t.Errorf("%s is stuck and has %v", spec.Name, n)
			}
		case spec.StopAfterRuns > 0:
			if n[vbawstest.StatusSucceeded] != spec.StopAfterRuns {
				t.Errorf("%s is silent and has %v", spec.Name, n)
			}
		case spec.FailureRate == 1:
			if n[vbawstest.StatusFailed] < 10 || n[vbawstest.StatusSucceeded] > 0 {
				t.Errorf("%s always fails and has %v", spec.Name, n)
			}
		default:
			if n[vbawstest.StatusSucceeded]+n[vbawstest.StatusWarning] == 0 {
				t.Errorf("%s has %v", spec.Name, n)
			}
		}
	}
	for _, name := range []string{"RetentionActivity", "ConfigurationBackupActivity", "RestoreTask", "Job", "Task"} {
		if len(last(a, ofType(name))) == 0 {
			t.Errorf("no session of type %s", name)
		}
	}
	s := loggedIn(t, a, "1.8-rev0")
	if w := s.get("/api/v1/vpc/policy"); w.Code != 200 {
		t.Errorf("VPC policy: %d", w.Code)
	}
	if running := s.sessions(t, "Status=Running&Types=Policy").TotalCount; running < 1 {
		t.Errorf("%d are running", running)
	}
}

func testFleetRetention(t *testing.T) {
	a, clock := setup(vbawstest.Config{})
	f := vbawstest.NewFleet(a, vbawstest.FleetConfig{Retention: 24 * time.Hour, Policies: []vbawstest.PolicySpec{{Policy: enabled(0), Typical: time.Minute}}})
	f.Advance(clock.Advance(80 * time.Hour)) // to 06:00
	oldest := time.Date(2026, time.March, 4, 4, 0, 0, 0, time.UTC)
	for _, h := range a.History() {
		start := h.States[0].Start
		if gone := !h.Deleted.IsZero(); gone != start.Before(oldest) {
			t.Errorf("started %v, deleted %v", start, gone)
		}
	}
}

func testFleetRealTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := vbawstest.New(vbawstest.Config{})
		f := vbawstest.NewFleet(a, vbawstest.FleetConfig{PoliciesOnly: true, Compress: 60, Policies: []vbawstest.PolicySpec{{Policy: enabled(0)}}})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute+30*time.Second)
		defer cancel()
		f.Run(ctx)
		// What runs hourly runs every minute.
		if n := len(last(a, ofType("Policy"))); n != 10 {
			t.Errorf("%d runs", n)
		}
	})
}

// testFleetCompression: a Duration is at most 292 years, which a demo of 74 days exceeds.
func testFleetCompression(t *testing.T) {
	a, clock := setup(vbawstest.Config{})
	// A disabled policy has only one event a year.
	yearly := vbawstest.Policy{Name: "Yearly", Schedule: &vbawstest.ScheduleSettings{YearlyEnabled: true,
		Yearly: &vbawstest.YearlySchedule{DayInMonth: vbawstest.DayInMonth{Number: "OnDay", DayOfMonth: 1}, Month: "January"}}}
	f := vbawstest.NewFleet(a, vbawstest.FleetConfig{Seed: 1, Compress: 1440, PoliciesOnly: true,
		Policies: []vbawstest.PolicySpec{{Policy: yearly}}})
	end := clock.Now().AddDate(1, 0, 0)
	last, _ := f.Next()
	for last.Before(end) {
		f.Advance(last)
		next, ok := f.Next()
		if year := next.Sub(last) * 1440; !ok || year < 365*24*time.Hour-time.Second || year > 366*24*time.Hour+time.Second {
			t.Fatalf("a year after %v takes %v", last, year)
		}
		last = next
	}
}
