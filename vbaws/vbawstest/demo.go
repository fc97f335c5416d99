package vbawstest

import (
	"fmt"
	"time"
)

// DemoPolicies returns the policies of a plausible company: most of them succeed, some fail
// now and then, some always, one is stuck, one is silent, one is disabled.
func DemoPolicies() []PolicySpec {
	days := func(n int) Retention { return Retention{Type: "Days", Count: n} }
	points := func(n int) Retention { return Retention{Count: n} }

	nightly := func(hour int) *ScheduleSettings {
		return &ScheduleSettings{DailyEnabled: true, Daily: &DailySchedule{Kind: "Everyday", RunsPerHour: 1,
			Snapshot: Hours(points(7), hour), Backup: Hours(days(30), hour)}}
	}
	snapshots := func(hours ...int) *ScheduleSettings {
		return &ScheduleSettings{DailyEnabled: true, Daily: &DailySchedule{Kind: "Everyday", RunsPerHour: 1,
			Snapshot: Hours(points(24), hours...)}}
	}
	backups := func(hours ...int) *ScheduleSettings {
		return &ScheduleSettings{DailyEnabled: true, Daily: &DailySchedule{Kind: "Everyday", RunsPerHour: 1,
			Backup: Hours(days(30), hours...)}}
	}
	copied := func(hour int) *ScheduleSettings {
		s := backups(hour)
		s.Daily.Replica = Hours(days(90), hour)
		return s
	}
	replicated := func(hour int) *ScheduleSettings {
		s := nightly(hour)
		s.Daily.Replica = Hours(points(3), hour)
		return s
	}
	weekdays := func(hour int) *ScheduleSettings {
		s := snapshots(hour)
		s.Daily.Kind = "WeekDays"
		return s
	}
	archived := nightly(21)
	archived.WeeklyEnabled = true
	archived.Weekly = &WeeklySchedule{TimeLocal: At(23, 30), Snapshot: Weekdays(points(4)), Backup: Weekdays(days(90), time.Sunday)}
	archived.MonthlyEnabled = true
	archived.Monthly = &MonthlySchedule{TimeLocal: At(23, 45), DayInMonth: DayInMonth{Number: "First", DayOfWeek: "Sunday"},
		Backup: InMonths(Retention{Type: "Months", Count: 12})}
	archived.YearlyEnabled = true
	archived.Yearly = &YearlySchedule{TimeLocal: At(3, 0), DayInMonth: DayInMonth{Number: "OnDay", DayOfMonth: 1}, Month: "January",
		Retention: Retention{Type: "Years", Count: 7}}
	hourly := &ScheduleSettings{DailyEnabled: true, Daily: &DailySchedule{Kind: "Everyday", RunsPerHour: 1,
		Snapshot: EveryHour(points(48)), Backup: Hours(days(14), 0)}}

	specs := []PolicySpec{
		{Policy: Policy{Name: "Production web servers", Schedule: nightly(22), RetryTimes: 3}, FailureRate: 0.05, RetryFailureRate: 0.3},
		{Policy: Policy{Name: "Production databases on EC2", Schedule: replicated(23), RetryTimes: 3}, Typical: 40 * time.Minute},
		{Policy: Policy{Name: "Domain controllers", Schedule: archived, RetryTimes: 3}},
		{Policy: Policy{Name: "Order processing", Schedule: hourly, RetryTimes: 1}, Typical: 6 * time.Minute, FailureRate: 0.04},
		{Policy: Policy{Name: "Build agents", Schedule: weekdays(19)}, FailureRate: 0.3, Typical: 10 * time.Minute},
		{Policy: Policy{Name: "Staging", Schedule: weekdays(20), RetryTimes: 1}, WarningRate: 1},
		{Policy: Policy{Name: "File servers", Schedule: nightly(1), RetryTimes: 3}, Typical: 90 * time.Minute, WarningRate: 0.2},
		{Policy: Policy{Name: "SAP application servers", Schedule: nightly(2), RetryTimes: 3}, FailureRate: 0.5, RetryFailureRate: 0.1},
		{Policy: Policy{Name: "Legacy ERP", Schedule: nightly(3), RetryTimes: 2}, FailureRate: 1, RetryFailureRate: 1, Typical: 3 * time.Minute},
		{Policy: Policy{Name: "Monitoring hosts", Schedule: snapshots(6, 18)}, Typical: 5 * time.Minute},
		{Policy: Policy{Name: "VPN gateways", Schedule: snapshots(0, 6, 12, 18)}, StopAfterRuns: 1, Typical: 4 * time.Minute},
		{Policy: Policy{Name: "Data lake importers", Schedule: snapshots(5, 17)}, StuckAtRun: 1, Typical: 30 * time.Minute},
		{Policy: Policy{Name: "Former Berlin office", Schedule: nightly(4)}},
		{Policy: Policy{Name: "Customer database", Workload: RDS, Schedule: snapshots(0, 4, 8, 12, 16, 20), RetryTimes: 3}, Typical: 12 * time.Minute},
		{Policy: Policy{Name: "Billing database", Workload: RDS, Schedule: replicated(2), RetryTimes: 3}, Typical: 20 * time.Minute, FailureRate: 0.1},
		{Policy: Policy{Name: "Reporting database", Workload: RDS, Schedule: snapshots(5)}, WarningRate: 0.3},
		{Policy: Policy{Name: "Home directories", Workload: EFS, Schedule: backups(1), RetryTimes: 3}, Typical: 70 * time.Minute},
		{Policy: Policy{Name: "Shared media", Workload: EFS, Schedule: copied(3), RetryTimes: 1}, Typical: 2 * time.Hour, FailureRate: 0.15, RetryFailureRate: 0.5},
		{Policy: Policy{Name: VPCSessionName, Workload: VPC, Every: Interval{"Hours", 2}}, Typical: 40 * time.Second},
		{Policy: Policy{Name: "Session store", Workload: DynamoDB, Schedule: backups(3, 15)}, Typical: 8 * time.Minute},
		{Policy: Policy{Name: "Shopping carts", Workload: DynamoDB, Schedule: copied(4), RetryTimes: 2}, FailureRate: 0.2, RetryFailureRate: 0.2},
		{Policy: Policy{Name: "Data warehouse", Workload: Redshift, Schedule: backups(6), RetryTimes: 1}, Typical: 50 * time.Minute},
		{Policy: Policy{Name: "Ad-hoc analytics", Workload: RedshiftServerless, Schedule: backups(7)}, WarningRate: 0.1},
		{Policy: Policy{Name: "Windows shares", Workload: FSx, Schedule: backups(2), RetryTimes: 3}, Typical: 45 * time.Minute},
		{Policy: Policy{Name: "Gold SLA", Workload: EC2SLA, Schedule: snapshots(0, 8, 16), RetryTimes: 3}, Typical: 15 * time.Minute},
	}
	for i := range specs {
		p := &specs[i].Policy
		p.Enabled = p.Name != "Former Berlin office"
		p.Priority = int64(i + 1)
		p.Description = "Simulated"
		for n := range 1 + i%3 {
			// Far from the ids of tests.
			p.Items = append(p.Items, Item{
				ID:     ID(1_000_000 + 10*i + n),
				Name:   fmt.Sprintf("%s-%02d", hostNames[i%len(hostNames)], n+1),
				Region: "eu-central-1",
			})
		}
	}
	return specs
}

var hostNames = []string{"web", "pg", "dc", "orders", "agent", "stage", "fs", "sap", "erp", "mon"}

// DemoFleet returns a fleet of DemoPolicies that has a day of history once
// Backfill(start minus a day) was called, and from start on runs what is
// scheduled daily about every minute. It makes some two hundred sessions a minute
// and keeps them for a good day.
//
// At start, at any time of the day, the silent policy has missed its newest start by three to
// four hours, and the session of the stuck policy has been running for at least the 12 hours
// between two of its starts.
func DemoFleet(seed uint64, start time.Time) FleetConfig {
	policies := DemoPolicies()
	for i := range policies {
		if p := &policies[i]; p.StopAfterRuns > 0 {
			first := (start.UTC().Hour() + 24 - 3) % 6
			p.Schedule.Daily.Snapshot = Hours(Retention{Count: 24}, first, first+6, first+12, first+18)
		}
	}
	return FleetConfig{
		Seed:      seed,
		Policies:  policies,
		Start:     start,
		Compress:  24 * 60,
		Stretch:   20,
		Retention: 25 * time.Hour,
	}
}

// DemoConfig returns an appliance that goes with DemoPolicies: a license,
// repositories, counts.
func DemoConfig(seed uint64, now time.Time) Config {
	return Config{
		Seed:      seed,
		Product:   newestProduct,
		Forgetful: true,
		License: &License{Type: "Subscription", Instances: 60, Used: 48, LicensedTo: "Example Ltd.",
			Expires: now.AddDate(0, 0, 47).Truncate(24 * time.Hour)},
		Summary: Summary{Alarms: 2, Instances: 64, ProtectedInstances: 48},
		Repositories: []Repository{
			{ID: ID(2_000_001), Name: "Standard", Description: "Backups", Folder: "vba", Encrypted: true, Bucket: "example-backups", Region: "eu-central-1"},
			{ID: ID(2_000_002), Name: "Archive", Description: "Yearly backups", Folder: "vba-archive", Encrypted: true, Bucket: "example-archive", Region: "eu-west-1"},
		},
	}
}
