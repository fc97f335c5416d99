package vbaws

import (
	"time"
)

// Session is one row of GET /api/v1/sessions, with the words of the appliance.
type Session struct {
	// ID is the session's id, unchanged. It is documented as a UUID.
	ID string
	// Type, ExtendedType, Status, Result and Reason are open sets: unknown words are
	// kept. ExtendedType is empty before API version 1.1. These, ID and Name are
	// shortened to MaxText. A value that is not a string counts as empty.
	Type, ExtendedType     string
	Status, Result, Reason string
	// Name is empty before API version 1.2. For the type Policy it is the policy's name.
	Name string
	// Start and Stop are in UTC, and zero if they are absent, null, empty, a date of the
	// year 1, or could not be understood. Times without a zone are UTC.
	Start, Stop time.Time
	// Duration is executionDuration: a number of milliseconds, or a time span of .NET;
	// 0 if it is absent or could not be understood. Start and Stop are more reliable:
	// the documented sample has only the millisecond component.
	Duration time.Duration
	// USN is the update sequence number. It can be negative. See Row.HasUSN.
	USN int64
}

// Row is one element of a page's results.
type Row struct {
	Session
	// Err is the reason if the row is not a session: its id, type or status is missing or
	// could not be understood. Of such a row only ID (can be empty), Hash and, if HasUSN,
	// USN are set.
	Err error
	// HasUSN reports whether the row has a USN that could be understood.
	HasUSN bool
	// Hash is the first half of the SHA-256 of the row's bytes if Err is not nil. It
	// identifies a row without an id.
	Hash [16]byte
}

// SessionsPage is one answer of GET /api/v1/sessions.
type SessionsPage struct {
	// TotalCount is the appliance's totalCount, -1 if the answer lacks it.
	TotalCount int
	// Rows are in the answer's order, rows that could not be understood included,
	// so that len(Rows) is what Offset counts.
	Rows []Row
	// Date is the appliance's clock: the Date header, to the second. Zero if the answer
	// lacks it.
	Date time.Time
}

// Page is one answer of a route that lists items other than sessions.
type Page[T any] struct {
	// TotalCount is the appliance's totalCount, -1 if the answer lacks it.
	TotalCount int
	Items      []T
	// Rows is the number of elements of the answer, including those that are not in
	// Items. Offset counts these.
	Rows int
	// Err is about the first value in an item that could not be understood; nil if there
	// is none.
	Err error
}

// Words of Session.Status that the exporter treats specially, and the documented words of
// finished sessions.
const (
	StatusRunning       = "Running"
	StatusNeverExecuted = "NeverExecuted"
	StatusSucceeded     = "Succeeded"
	StatusWarning       = "Warning"
	StatusFailed        = "Failed"
	StatusCanceled      = "Canceled"
)

// FinalStatuses are the documented words of a finished session.
var FinalStatuses = []string{StatusSucceeded, StatusWarning, StatusFailed, StatusCanceled}

// TypePolicy is the Session.Type of a policy's own session. Sessions of the types Job and
// Task are its children.
const TypePolicy = "Policy"

// Sort orders of GET /api/v1/sessions that the exporter uses.
const (
	SortUSNDesc       = "usnDesc"
	SortStartTimeDesc = "startTimeDesc"
)

// SessionsQuery selects sessions. The zero value selects all of them, in the appliance's
// own order and page size.
type SessionsQuery struct {
	Offset int
	// Limit is the page size; 0 leaves it to the appliance. A page can be shorter: only
	// an empty page is the end of the list.
	Limit    int
	Sort     string
	Types    []string
	Status   []string
	PolicyID string
	// FromUTC and ToUTC are sent in UTC with a Z and to the second. Zero: not sent.
	FromUTC, ToUTC time.Time
}

// The words of LogItem.Status. Lines with other words, such as NeverExecuted, Success and
// Pending, are omitted. They are not the words of Session.Status.
const (
	LogError   = "Error"
	LogWarning = "Warning"
)

// LogItem is one line of a session's log.
type LogItem struct {
	Time time.Time
	// Status is LogError or LogWarning.
	Status  string
	Message string
}

// Request describes one HTTP exchange.
type Request struct {
	// Endpoint is the route's template, such as /api/v1/sessions/{id}, without an id.
	Endpoint string
	// Code is the HTTP status, 0 if there was no answer.
	Code     int
	Duration time.Duration
}
