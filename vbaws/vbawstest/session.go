package vbawstest

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Session is a session in the appliance's table.
type Session struct {
	// ID is a lower-case UUID. If it is empty, the appliance sets a random one.
	ID string
	// Type is Policy, Job, Task, RetentionActivity, …, any word; ExtendedType is
	// served from API version 1.1 on (VeeamHub/grafana, v3) and Name from 1.2 on
	// (VeeamHub/grafana).
	Type, ExtendedType, Name string
	// Status is Running, Succeeded, …. If Result is empty, it follows from Status.
	Status, Result, Reason string
	// Start and Stop are times of the appliance's own clock, kept to the
	// microsecond; zero is none.
	Start, Stop time.Time
	// USN is set by the appliance on every change.
	USN int64
	// PolicyID is the value of the filter PolicyId that finds the session. It is never
	// served.
	PolicyID string
	// ParentID is the session that this one is a part of, and the value of the filter
	// ParentSessionId that finds it. It is never served.
	ParentID string
}

// The words of Session.Status that the vendor's API description lists.
const (
	StatusRunning       = "Running"
	StatusNeverExecuted = "NeverExecuted"
	StatusSucceeded     = "Succeeded"
	StatusWarning       = "Warning"
	StatusFailed        = "Failed"
	StatusCanceled      = "Canceled"
)

var sessionStatuses = []string{
	StatusRunning, StatusNeverExecuted, StatusSucceeded, StatusWarning, StatusFailed, StatusCanceled,
}

// results maps a status to the result that goes with it.
var results = map[string]string{
	StatusRunning:   "Running",
	StatusSucceeded: "Success",
	StatusWarning:   "Warning",
	StatusFailed:    "Failed",
	StatusCanceled:  "Cancelled",
}

// LogItem is a line of a session's log.
type LogItem struct {
	Time time.Time
	// Status is Success, Warning, Error, Running, …: not a word of
	// Session.Status.
	Status  string
	Message string
	// Start and Duration are optional.
	Start    time.Time
	Duration time.Duration
}

// Item is a workload that a session processed.
type Item struct {
	// ID is a UUID.
	ID, Name string
	// Status is Succeeded, Warning or Failed.
	Status string
	Region string
}

// ID returns the n-th of a fixed sequence of ascending UUIDs, for tests. n must not be
// negative.
func ID(n int) string {
	return fmt.Sprintf("%08x-7e57-4000-8000-%012x", n>>24, n)
}

type link struct {
	Method string `json:"method"`
	Rel    string `json:"rel"`
	Href   string `json:"href"`
}

// appendTo appends the row as the appliance sends it. It doesn't use encoding/json, because
// the pages of a large table are read often.
func (r *row) appendTo(b []byte, q *request) []byte {
	if r.raw != nil {
		return append(b, r.raw...)
	}
	s := &r.Session
	self := q.base + "/api/v1/sessions/" + s.ID
	times := q.cfg.times(q.minor)
	field := func(name, value string) {
		b = appendString(append(append(append(b, `,"`...), name...), `":`...), value)
	}

	b = appendString(append(b, `{"id":`...), s.ID)
	field("type", s.Type)
	if q.minor >= 1 && s.ExtendedType != "" {
		field("extendedSessionType", s.ExtendedType)
	}
	if q.minor >= 2 && s.Name != "" {
		field("name", s.Name)
	}
	if !s.Start.IsZero() {
		field("executionStartTime", times.format(s.Start))
	}
	switch {
	case !s.Stop.IsZero():
		field("executionStopTime", times.format(s.Stop))
	case q.cfg.RunningStop == StopNull:
		b = append(b, `,"executionStopTime":null`...)
	case q.cfg.RunningStop == StopZero:
		field("executionStopTime", times.format(time.Time{}))
	}
	if duration := max(s.duration(), 0); q.cfg.Duration == DurationTimeSpan {
		field("executionDuration", timeSpan(duration))
	} else {
		millis := duration.Milliseconds()
		switch q.cfg.Duration {
		case DurationComponent:
			millis %= 1000
		case DurationZero:
			millis = 0
		}
		b = strconv.AppendInt(append(b, `,"executionDuration":`...), millis, 10)
	}
	field("status", s.Status)
	if result := orElse(s.Result, results[s.Status]); result != "" {
		field("result", result)
	}
	field("reason", s.Reason)
	b = strconv.AppendInt(append(b, `,"usn":`...), s.USN, 10)
	b = appendLink(append(b, `,"_links":[`...), "self", self)
	b = appendLink(append(b, ','), "SessionLogs", self+"/log")
	b = append(b, ']')
	switch s.Type {
	case "RetentionActivity":
		b = appendLink(append(b, `,"_embedded":{"retentionJobDeletedRestorePoints":`...), "RetentionJobDeletedRestorePoints", self+"/deletedItems")
		b = append(b, '}')
	case "RestoreTask":
		b = appendLink(append(b, `,"_embedded":{"restoreJobInfo":`...), "RestoreJobInfo", self+"/restoredItems")
		b = append(b, '}')
	case "Policy", "Job", "Task":
		b = appendLink(append(b, `,"_embedded":{"backupJobInfo":`...), "BackupJobInfo", self+"/protectedItems")
		b = append(b, '}')
	}
	return append(b, '}')
}

func appendLink(b []byte, rel, href string) []byte {
	b = appendString(append(b, `{"method":"GET","rel":`...), rel)
	b = appendString(append(b, `,"href":`...), href)
	return append(b, '}')
}

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return append(b, mustMarshal(s)...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// duration is 0 if start or stop is missing.
func (s *Session) duration() time.Duration {
	if s.Start.IsZero() || s.Stop.IsZero() {
		return 0
	}
	return s.Stop.Sub(s.Start)
}

// mustMarshal encodes a value of this package, which can't fail.
func mustMarshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("vbawstest: " + err.Error())
	}
	return b
}
