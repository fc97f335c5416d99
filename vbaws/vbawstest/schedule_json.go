package vbawstest

import "time"

// object is a JSON object.
type object map[string]any

// policyForm determines how policies are written.
type policyForm struct {
	cfg      *Config
	minor    int // of the API version 1.minor
	workload Workload
}

// put writes a part, which can be absent.
func (f policyForm) put(o object, name string, there bool, value func() any) {
	if there {
		o[name] = value()
	} else if f.cfg.WriteNulls {
		o[name] = nil
	}
}

// schedule writes the schema ScheduleSettings.
func (f policyForm) schedule(s *ScheduleSettings) object {
	o := object{
		"dailyScheduleEnabled":   s.DailyEnabled,
		"weeklyScheduleEnabled":  s.WeeklyEnabled,
		"monthlyScheduleEnabled": s.MonthlyEnabled,
		"yearlyScheduleEnabled":  s.YearlyEnabled,
	}
	f.put(o, "dailySchedule", s.Daily != nil, func() any { return f.daily(s.Daily) })
	f.put(o, "weeklySchedule", s.Weekly != nil, func() any { return f.weekly(s.Weekly) })
	f.put(o, "monthlySchedule", s.Monthly != nil, func() any { return f.monthly(s.Monthly) })
	f.put(o, "yearlySchedule", s.Yearly != nil, func() any { return f.yearly(s.Yearly) })
	if f.minor >= 8 && f.workload == EC2 {
		o["healthCheckScheduleEnabled"] = s.HealthCheckEnabled
		f.put(o, "healthCheckSchedule", s.HealthCheck != nil, func() any { return f.healthCheck(s.HealthCheck) })
	}
	return o
}

func (f policyForm) daily(d *DailySchedule) object {
	o := object{"kind": d.Kind, "runsPerHour": d.RunsPerHour}
	f.put(o, "days", len(d.Days) > 0, func() any { return d.Days })
	write := func(h *HoursOption) object { return written(h.Retention, "hours", f.hours(h.Schedule.Hours)) }
	putOptions(f, o, write, d.Snapshot, d.Replica, d.Backup, Hours(Retention{}))
	return o
}

// hours writes the hours of a daily schedule: 24 booleans as the API description of
// 1.0 has them, and from 1.2 on the hours themselves, as in the changelog of 1.2-rev0 and
// as lcp-llp/terraform-provider-veeambackup reads at 1.8. From 1.2 on, a missing list is
// null.
func (f policyForm) hours(on []bool) any {
	if f.minor < 2 {
		day := make([]bool, 24)
		copy(day, on)
		return day
	}
	if on == nil {
		return nil
	}
	hours := []int{}
	for h, is := range on {
		if is {
			hours = append(hours, h)
		}
	}
	return hours
}

func (f policyForm) weekly(w *WeeklySchedule) object {
	o := object{"timeLocal": w.TimeLocal.written()}
	write := func(d *DaysOption) object { return written(d.Retention, "days", d.Schedule.Days) }
	putOptions(f, o, write, w.Snapshot, w.Replica, w.Backup, Weekdays(Retention{}))
	return o
}

func (f policyForm) monthly(m *MonthlySchedule) object {
	o := f.day(m.DayInMonth)
	o["timeLocal"] = m.TimeLocal.written()
	write := func(m *MonthsOption) object { return written(m.Retention, "months", m.Schedule.Months) }
	putOptions(f, o, write, m.Snapshot, m.Replica, m.Backup, &MonthsOption{Schedule: struct{ Months []string }{[]string{}}})
	f.archive(o, m.ToArchive)
	return o
}

func (f policyForm) yearly(y *YearlySchedule) object {
	o := f.day(y.DayInMonth)
	o["timeLocal"], o["month"], o["retention"] = y.TimeLocal.written(), y.Month, y.Retention.written()
	f.archive(o, true)
	return o
}

func (f policyForm) archive(o object, send bool) {
	if f.minor >= 8 && f.workload.hasSnapshots() {
		o["sendBackupsToArchive"] = send
	}
}

// healthCheck writes the one part whose dayOfWeek is a list
// (lcp-llp/terraform-provider-veeambackup).
func (f policyForm) healthCheck(h *HealthCheckSchedule) object {
	o := f.day(h.DayInMonth)
	o["months"] = h.Months
	if h.DayOfWeek != "" {
		o["dayOfWeek"] = []string{h.DayOfWeek}
	}
	return o
}

func (f policyForm) day(d DayInMonth) object {
	o := object{"dayNumberInMonth": d.Number}
	f.put(o, "dayOfWeek", d.DayOfWeek != "", func() any { return d.DayOfWeek })
	f.put(o, "dayOfMonth", d.DayOfMonth != 0, func() any { return d.DayOfMonth })
	return o
}

// putOptions writes when each kind of restore point is made. EC2 and RDS require
// snapshotOptions, at least at 1.0: none is written for the schedule without
// snapshots. The other workloads have backupOptions and no snapshots; those of EFS
// are observed, for DynamoDB, FSx, Redshift and Redshift Serverless they follow from
// the user guide of product 10.
func putOptions[O any](f policyForm, o object, write func(*O) object, snapshot, replica, backup, none *O) {
	if f.workload.hasSnapshots() {
		if snapshot == nil {
			snapshot = none
		}
		o["snapshotOptions"] = write(snapshot)
	}
	name := "replicaOptions"
	if f.cfg.ReplicationOptions {
		name = "replicationOptions"
	}
	f.put(o, name, replica != nil, func() any { return write(replica) })
	f.put(o, "backupOptions", backup != nil, func() any { return write(backup) })
}

func written(r Retention, name string, list any) object {
	return object{"retention": r.written(), "schedule": object{name: list}}
}

func (r Retention) written() object {
	o := object{"count": r.Count}
	if r.Type != "" {
		o["type"] = r.Type
	}
	return o
}

// written is a date-time without a zone on an arbitrary day.
func (t TimeOfDay) written() string {
	return time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(t)).Format("2006-01-02T15:04:05")
}
