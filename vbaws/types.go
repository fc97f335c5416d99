package vbaws

import (
	"time"
)

// Session is one row of GET /api/v1/sessions, in the appliance's own words.
type Session struct {
	// ID is the session's id as the appliance wrote it (a UUID, as documented).
	ID string
	// Type, ExtendedType, Status, Result and Reason are open sets: unknown words are
	// kept. ExtendedType is empty before API version 1.1. These, ID and Name are
	// shortened to MaxText. All but ID, Type and Status are empty if they are not
	// strings.
	Type, ExtendedType     string
	Status, Result, Reason string
	// Name is absent before API version 1.2. On type Policy it is the policy's name.
	Name string
	// Start and Stop are in UTC, and zero if the appliance has none (absent, null,
	// empty or a zero date of the year 1) or one that could not be understood. Times
	// without a zone are UTC. Without a Start, the Stop is the next best, and without
	// either the time when the session was first seen.
	Start, Stop time.Time
	// Duration is executionDuration: a number of milliseconds, or a time span of .NET;
	// 0 if there is none that could be understood. The documented sample shows the
	// millisecond component only, so it is the last resort: see Start and Stop.
	Duration time.Duration
	// USN is the update sequence number. It may be negative. See Row.HasUSN.
	USN int64
}

// Row is one element of a page's results.
type Row struct {
	Session
	// Err says why the row is not a session: it has no id, type or status that could be
	// understood. Nil if it is one. Of such a row only ID (may be empty) and, if HasUSN,
	// USN count.
	Err error
	// HasUSN says that there is a USN that could be understood, as a number or text.
	HasUSN bool
	// Hash is the first half of the SHA-256 of the row's bytes, and set only
	// where Err is not nil: it identifies a row that has no id.
	Hash [16]byte
}

// SessionsPage is one answer of GET /api/v1/sessions.
type SessionsPage struct {
	// TotalCount is the appliance's totalCount, -1 where the answer has none.
	TotalCount int
	// Rows are in the answer's order, rows that could not be understood included,
	// so that len(Rows) is what Offset counts.
	Rows []Row
	// Date is the appliance's clock: the Date header, to the second. Zero where
	// the answer has none.
	Date time.Time
}

// Page is one answer of a route that lists something else than sessions.
type Page[T any] struct {
	// TotalCount is the appliance's totalCount, -1 if the answer has none.
	TotalCount int
	Items      []T
	// Rows counts the elements of the answer, those that are not among the Items
	// included: it is what Offset counts.
	Rows int
	// Err is the first thing of the items that could not be understood; nil if all
	// could.
	Err error
}

// Words of Session.Status that the exporter treats in a way of their own, and
// the final ones that the documentation lists.
const (
	StatusRunning       = "Running"
	StatusNeverExecuted = "NeverExecuted"
	StatusSucceeded     = "Succeeded"
	StatusWarning       = "Warning"
	StatusFailed        = "Failed"
	StatusCanceled      = "Canceled"
)

// FinalStatuses are the documented words of a session that has ended.
var FinalStatuses = []string{StatusSucceeded, StatusWarning, StatusFailed, StatusCanceled}

// TypePolicy is the Session.Type of a policy's own session; the sessions of its
// parts (Job, Task) are its children.
const TypePolicy = "Policy"

// Sort orders of GET /api/v1/sessions that the exporter uses.
const (
	SortUSNDesc       = "usnDesc"
	SortStartTimeDesc = "startTimeDesc"
)

// SessionsQuery selects sessions. The zero value asks for all of them in the
// server's own order and page size.
type SessionsQuery struct {
	Offset int
	// Limit is the page size asked for; 0 leaves it to the appliance. A page may
	// be shorter: the end is where no row comes.
	Limit    int
	Sort     string
	Types    []string
	Status   []string
	PolicyID string
	// FromUTC and ToUTC are sent in UTC with a Z and to the second. Zero: not sent.
	FromUTC, ToUTC time.Time
}

// The words of LogItem.Status. A log has others, such as NeverExecuted, Success and
// Pending: they are not the words of Session.Status.
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

// Request describes one HTTP exchange, for whoever counts them.
type Request struct {
	// Endpoint is the route's template, such as /api/v1/sessions/{id}: never an
	// id.
	Endpoint string
	// Code is the HTTP status, 0 where no answer came.
	Code     int
	Duration time.Duration
}
