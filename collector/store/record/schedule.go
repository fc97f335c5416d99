package record

import (
	"time"

	"vbaws_exporter/vbaws"
)

// The types below are a vbaws.Schedule on disk. They have its fields, in its order, so
// that the compiler refuses to convert one to the other when a field is added.
type (
	scheduleRecord struct {
		Daily      *dailyRecord   `json:"daily,omitzero"`
		Weekly     *weeklyRecord  `json:"weekly,omitzero"`
		Monthly    *monthlyRecord `json:"monthly,omitzero"`
		Yearly     *yearlyRecord  `json:"yearly,omitzero"`
		Every      time.Duration  `json:"every,omitzero"`
		Unreadable string         `json:"err,omitzero"`
	}
	dailyRecord struct {
		Days            vbaws.Weekdays
		RunsPerHour     int
		RunsMakeBackups bool `json:",omitzero"`

		Snapshot, Replica, Backup *vbaws.Hours
	}
	weeklyRecord struct {
		At time.Duration

		Snapshot, Replica, Backup *vbaws.Weekdays
	}
	monthlyRecord struct {
		At  time.Duration
		Day vbaws.DayInMonth

		Snapshot, Replica, Backup *vbaws.Months

		Archive bool `json:",omitzero"`
	}
	yearlyRecord struct {
		At      time.Duration
		Month   time.Month
		Day     vbaws.DayInMonth
		Archive bool `json:",omitzero"`
	}
)

// recordSchedule returns s as it is stored. Both may be nil.
func recordSchedule(s *vbaws.Schedule) *scheduleRecord {
	if s == nil {
		return nil
	}
	return &scheduleRecord{
		(*dailyRecord)(s.Daily), (*weeklyRecord)(s.Weekly), (*monthlyRecord)(s.Monthly), (*yearlyRecord)(s.Yearly), s.Every, s.Unreadable,
	}
}

// schedule is the reverse of recordSchedule.
func (r *scheduleRecord) schedule() *vbaws.Schedule {
	if r == nil {
		return nil
	}
	return &vbaws.Schedule{
		Daily:      (*vbaws.DailySchedule)(r.Daily),
		Weekly:     (*vbaws.WeeklySchedule)(r.Weekly),
		Monthly:    (*vbaws.MonthlySchedule)(r.Monthly),
		Yearly:     (*vbaws.YearlySchedule)(r.Yearly),
		Every:      r.Every,
		Unreadable: r.Unreadable,
	}
}
