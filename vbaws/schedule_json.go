package vbaws

import (
	"bytes"
	"encoding/json"
	"errors"
)

// storedSchedule is a Schedule in a form of our own, that whoever keeps schedules
// can write and read again. Times of the day are in nanoseconds.
type storedSchedule struct {
	Daily   *DailySchedule   `json:"daily,omitempty"`
	Weekly  *WeeklySchedule  `json:"weekly,omitempty"`
	Monthly *MonthlySchedule `json:"monthly,omitempty"`
	Yearly  *YearlySchedule  `json:"yearly,omitempty"`
	Err     string           `json:"err,omitempty"`
}

// MarshalJSON writes s in a form that UnmarshalJSON reads. It is not the
// appliance's.
func (s *Schedule) MarshalJSON() ([]byte, error) {
	out := storedSchedule{Daily: s.Daily, Weekly: s.Weekly, Monthly: s.Monthly, Yearly: s.Yearly}
	if s.Err != nil {
		out.Err = s.Err.Error()
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *Schedule) UnmarshalJSON(b []byte) error {
	var in storedSchedule
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*s = Schedule{Daily: in.Daily, Weekly: in.Weekly, Monthly: in.Monthly, Yearly: in.Yearly}
	if in.Err != "" {
		s.Err = errors.New(in.Err)
	}
	return nil
}

// Equal reports whether both say the same; nil is only equal to nil.
func (s *Schedule) Equal(o *Schedule) bool {
	if s == nil || o == nil {
		return s == o
	}
	a, errA := s.MarshalJSON()
	b, errB := o.MarshalJSON()
	return errA == nil && errB == nil && bytes.Equal(a, b)
}
