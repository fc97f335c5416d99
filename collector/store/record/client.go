package record

import (
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/vbaws"
)

// The client's types have no tags for the state: the types below have their fields, and the
// tags. The compiler checks that they are the same.
type (
	session struct {
		ID           string        `json:"id"`
		Type         string        `json:"type,omitzero"`
		ExtendedType string        `json:"extended_type,omitzero"`
		Status       string        `json:"status,omitzero"`
		Result       string        `json:"result,omitzero"`
		Reason       string        `json:"reason,omitzero"`
		Name         string        `json:"name,omitzero"`
		Start        time.Time     `json:"start,omitzero"`
		Stop         time.Time     `json:"stop,omitzero"`
		Duration     time.Duration `json:"duration,omitzero"`
		USN          int64         `json:"usn,omitzero"`
	}
	wholeSchedule struct {
		Daily      *vbaws.DailySchedule   `json:"daily,omitzero"`
		Weekly     *vbaws.WeeklySchedule  `json:"weekly,omitzero"`
		Monthly    *vbaws.MonthlySchedule `json:"monthly,omitzero"`
		Yearly     *vbaws.YearlySchedule  `json:"yearly,omitzero"`
		Every      time.Duration          `json:"every,omitzero"`
		Unreadable string                 `json:"err,omitzero"`
	}
	daily struct {
		Days                      vbaws.Weekdays
		RunsPerHour               int
		RunsMakeBackups           bool `json:",omitzero"`
		Snapshot, Replica, Backup *vbaws.Hours
	}
	monthly struct {
		At                        time.Duration
		Day                       vbaws.DayInMonth
		Snapshot, Replica, Backup *vbaws.Months
		Archive                   bool `json:",omitzero"`
	}
	yearly struct {
		At      time.Duration
		Month   time.Month
		Day     vbaws.DayInMonth
		Archive bool `json:",omitzero"`
	}
)

// unfinished is a ledger.Unfinished, which leaves its session to this package.
type unfinished struct {
	Session            session `json:",embed"`
	*ledger.Unfinished `json:",embed"`
}

var clientForms = []form{
	as(func(v *vbaws.Schedule) *wholeSchedule { return (*wholeSchedule)(v) }),
	as(func(v *vbaws.DailySchedule) *daily { return (*daily)(v) }),
	as(func(v *vbaws.MonthlySchedule) *monthly { return (*monthly)(v) }),
	as(func(v *vbaws.YearlySchedule) *yearly { return (*yearly)(v) }),
	{
		json.MarshalToFunc(func(e *jsontext.Encoder, u *ledger.Unfinished) error {
			return json.MarshalEncode(e, unfinished{session(u.Session), u})
		}),
		json.UnmarshalFromFunc(func(d *jsontext.Decoder, u *ledger.Unfinished) error {
			r := unfinished{Unfinished: u}
			err := json.UnmarshalDecode(d, &r)
			u.Session = vbaws.Session(r.Session)
			return err
		}),
	},
}

// form is how values of a type are stored.
type form struct {
	marshal   *json.Marshalers
	unmarshal *json.Unmarshalers
}

// as returns the form of T, which a conversion of its pointer gives.
func as[T, R any](convert func(*T) *R) form {
	return form{
		json.MarshalToFunc(func(e *jsontext.Encoder, v *T) error { return json.MarshalEncode(e, convert(v)) }),
		json.UnmarshalFromFunc(func(d *jsontext.Decoder, v *T) error { return json.UnmarshalDecode(d, convert(v)) }),
	}
}
