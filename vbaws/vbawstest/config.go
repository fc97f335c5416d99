package vbawstest

import (
	"fmt"
	"slices"
	"time"
)

// Roles of a portal user, as the vendor's API description spells them. Any
// other word is a role without special rights.
const (
	RoleAdministrator = "Portal Administrator"
	RoleOperator      = "Portal Operator"
)

// The user of an appliance whose Config names none.
const (
	DefaultUsername = "prometheus"
	DefaultPassword = "correct horse battery staple"
)

// User is a portal user.
type User struct {
	Name     string
	Password string
	// Role is RoleAdministrator, RoleOperator or any other word.
	Role string
	// MFA makes a login by password answer with an mfa_token and no access
	// token. MFACode is what the grant "mfa" then accepts; empty: nothing.
	MFA     bool
	MFACode string
}

// Config describes an appliance. The zero value is a freshly installed one of
// the newest product with one administrator.
type Config struct {
	// Now is the world's clock; nil is time.Now. The appliance's own clock
	// differs from it by Offset. Now must be safe for concurrent use and must not
	// call the Appliance.
	Now func() time.Time
	// Offset is how far the appliance's own clock is ahead of Now. It drives the
	// Date header, token life times, /system/time and stamped times.
	Offset time.Duration
	// Seed determines generated ids, tokens and every shuffle.
	Seed uint64

	// Forgetful keeps no history of deleted sessions and only the newest thousand
	// or so requests and violations: for an appliance that runs for weeks.
	Forgetful bool

	// Product is the product's major version, 2 to 10; 0 is 10. It decides which
	// revisions are spoken: see Revisions.
	Product int
	// Revisions, where not empty, are the revisions spoken instead of the
	// product's own, such as "1.7-rev0".
	Revisions []string
	// VersionCodeInTypeOnly makes the answer to a missing or unknown revision
	// carry errorCode UnexpectedContent, one of the documented codes, so that
	// only the problem's type tells. The zero value puts ApiVersionUnspecified or
	// UnsupportedApiVersion into errorCode.
	VersionCodeInTypeOnly bool

	// Users are the accounts; none means DefaultUsername as an administrator.
	Users []User
	// AccessLifetime is how long an access token is valid; 0 is one hour.
	AccessLifetime time.Duration
	// RefreshLifetime is how long a refresh token is valid; 0 is two hours.
	RefreshLifetime time.Duration
	// LoginRefusedStatus is the HTTP status of a refused login; 0 is 401. The
	// description allows 400 too.
	LoginRefusedStatus int

	// USNPerSession gives each session a sequence of its own that starts at 1.
	// The zero value is one sequence for the appliance, so that every change has
	// a USN higher than any before.
	USNPerSession bool
	// FirstUSN is the first number of the appliance's sequence; 0 is 1. To start
	// at 0 itself, call ResetUSN.
	FirstUSN int64
	// UsnFilter is what the query parameter Usn selects.
	UsnFilter UsnFilter
	// FromUtc is what the query parameters FromUtc and ToUtc compare.
	FromUtc FromUtc
	// FromUtcShift is added to FromUtc and ToUtc before they are compared: the
	// mistake of an appliance that takes them for times of another zone.
	FromUtcShift time.Duration
	// TotalIsWhole makes totalCount the length of the whole list whatever the
	// filters. The zero value counts what the filters left.
	TotalIsWhole bool
	// DefaultPageSize is the length of a page without Limit; 0 is everything.
	DefaultPageSize int
	// MaxPageSize is the longest page, whatever Limit; 0 is no limit. That there is
	// one is not documented at any version.
	MaxPageSize int
	// RefuseLimit makes a Limit above MaxPageSize an error of validation. The zero
	// value shortens the page. Neither is documented. Limit=-1 shortens it always.
	RefuseLimit bool
	// IgnoreOffset makes every page begin with the first row. Not documented.
	IgnoreOffset bool
	// DefaultOrder is the order of sessions without Sort.
	DefaultOrder Order
	// ShuffleTies gives rows that tie in the sort key a new order for every
	// request. The zero value keeps them in order of their ids.
	ShuffleTies bool
	// RefuseUsnDesc makes Sort=usnDesc an unknown value.
	RefuseUsnDesc bool
	// IgnoreSort makes Sort have no effect: DefaultOrder holds. Not documented.
	IgnoreSort bool
	// MissingSession is the answer to a request for a session that is not there.
	MissingSession MissingSession

	// Times is how date-times are written.
	Times TimeFormat
	// RunningStop is the stop time of a session that has none.
	RunningStop RunningStop
	// Duration is what executionDuration holds.
	Duration DurationFormat

	// Zone is the appliance's time zone, which schedules are in; nil is UTC.
	Zone *time.Location
	// ZoneName is the name that /settings/dateTime gives; empty is Zone's.
	ZoneName string
	// Version is the product's full version; empty is made from Product.
	Version string
	// License is what /licensing/license answers; nil is a free license for ten
	// instances.
	License *License
	// Summary are the counts of /statistics/summary that nothing else gives.
	Summary Summary
	// Repositories are the backup repositories.
	Repositories []Repository
}

// UsnFilter is a reading of the query parameter Usn.
type UsnFilter int

const (
	// UsnEquals selects the sessions with that USN, as the description says by
	// the letter.
	UsnEquals UsnFilter = iota
	// UsnGreater selects sessions with a higher one.
	UsnGreater
	// UsnIgnored selects all.
	UsnIgnored
)

// FromUtc is a reading of the query parameters FromUtc and ToUtc.
type FromUtc int

const (
	// FromStart selects sessions that started at FromUtc or later, and at ToUtc
	// or earlier.
	FromStart FromUtc = iota
	// FromAfterStart selects sessions that started after FromUtc and before ToUtc.
	FromAfterStart
	// FromStop compares the stop time, inclusively, and leaves out sessions that
	// have none.
	FromStop
	// FromIgnored selects all.
	FromIgnored
)

// MissingSession is an answer to /sessions/{id}, and to what is below it, for an
// id without a session. The API description of 1.0 documents 404 with a problem,
// whose code is one of an enumeration that includes NotFound.
type MissingSession int

const (
	// MissingNotFound is 404 with the problem resourceNotFound and errorCode
	// NotFound, as documented for 1.0.
	MissingNotFound MissingSession = iota
	// MissingOtherCode is 404 with a problem of another code, SessionNotFound. Not
	// documented.
	MissingOtherCode
	// MissingNoCode is the 404 of ASP.NET Core's ProblemDetails: a problem without
	// errorCode.
	MissingNoCode
	// MissingEmpty is ASP.NET Core's bare 404: no body.
	MissingEmpty
	// MissingInvalid is 400 with the problem validationError. Not documented.
	MissingInvalid
	// MissingError is 500 with the problem unknownError. Not documented.
	MissingError
)

// Order is an order of sessions. Ties are in order of ids.
type Order int

const (
	// OrderStartDesc is newest start first.
	OrderStartDesc Order = iota
	// OrderStartAsc is oldest start first.
	OrderStartAsc
	// OrderUsnAsc is lowest USN first.
	OrderUsnAsc
	// OrderID is in order of ids, which are random.
	OrderID
	// OrderShuffled is another order for every request.
	OrderShuffled
)

// TimeFormat is a way to write a date-time.
type TimeFormat int

const (
	// TimesByRevision is TimesNaive for revision 1.0 and TimesMicroZ later.
	TimesByRevision TimeFormat = iota
	// TimesNaive has microseconds and no zone: 2020-06-19T04:00:05.901095.
	TimesNaive
	// TimesMicroZ has microseconds and a Z.
	TimesMicroZ
	// TimesMilliZ has milliseconds and a Z.
	TimesMilliZ
	// TimesTicksZ has seven digits, .NET's ticks, and a Z.
	TimesTicksZ
)

func (f TimeFormat) format(t time.Time) string {
	switch f {
	case TimesMicroZ:
		return t.UTC().Format("2006-01-02T15:04:05.000000Z")
	case TimesMilliZ:
		return t.UTC().Format("2006-01-02T15:04:05.000Z")
	case TimesTicksZ:
		return t.UTC().Format("2006-01-02T15:04:05.0000000Z")
	default:
		return t.UTC().Format("2006-01-02T15:04:05.000000")
	}
}

// RunningStop is how a missing stop time is written.
type RunningStop int

const (
	// StopAbsent leaves the field out.
	StopAbsent RunningStop = iota
	// StopNull writes null.
	StopNull
	// StopZero writes the first instant of year 1, .NET's default.
	StopZero
)

// DurationFormat is a content of executionDuration.
type DurationFormat int

const (
	// DurationComponent is the millisecond component of the duration, as in the
	// vendor's one sample: 550 for 2.550602 s.
	DurationComponent DurationFormat = iota
	// DurationMillis is the duration in milliseconds, as the description says.
	DurationMillis
	// DurationZero is always 0.
	DurationZero
)

// License is the content of /licensing/license.
type License struct {
	// Type is Free, Subscription, Marketplace or Managed.
	Type string
	// Instances is what the license covers, Used what is taken of it.
	Instances  int
	Used       float64
	LicensedTo string
	// Expires is zero for a license that doesn't.
	Expires time.Time
}

// Summary are the counts of /statistics/summary beside those of policies and
// repositories, which the appliance counts itself.
type Summary struct {
	Alarms, Instances, ProtectedInstances int
}

// Repository is a backup repository.
type Repository struct {
	// ID is a UUID.
	ID, Name, Description string
	Folder                string
	Encrypted             bool
	Bucket, Region        string
}

// minors holds, by product, the lowest and the highest revision 1.x spoken.
// Product 8 is documented to accept no less than 1.4; for product 9 that is a
// guess.
var minors = map[int][2]int{
	2: {0, 0}, 3: {0, 0}, 4: {0, 2}, 5: {0, 3}, 6: {0, 4}, 7: {3, 5}, 8: {4, 6}, 9: {4, 7}, 10: {4, 8},
}

const (
	oldestProduct = 2
	newestProduct = 10
)

func (c *Config) product() int {
	if c.Product == 0 {
		return newestProduct
	}
	return c.Product
}

// revisions returns the revisions spoken, oldest first.
func (c *Config) revisions() []string {
	if len(c.Revisions) > 0 {
		return c.Revisions
	}
	span := minors[c.product()]
	var revs []string
	for minor := span[0]; minor <= span[1]; minor++ {
		revs = append(revs, fmt.Sprintf("1.%d-rev0", minor))
	}
	return revs
}

func (c *Config) users() []User {
	if len(c.Users) == 0 {
		return []User{{Name: DefaultUsername, Password: DefaultPassword, Role: RoleAdministrator}}
	}
	return c.Users
}

func (c *Config) user(name string) (User, bool) {
	users := c.users()
	i := slices.IndexFunc(users, func(u User) bool { return u.Name == name })
	if i < 0 {
		return User{}, false
	}
	return users[i], true
}

func (c *Config) accessLifetime() time.Duration { return orElse(c.AccessLifetime, time.Hour) }

func (c *Config) refreshLifetime() time.Duration { return orElse(c.RefreshLifetime, 2*time.Hour) }

func (c *Config) zone() *time.Location {
	if c.Zone == nil {
		return time.UTC
	}
	return c.Zone
}

func (c *Config) times(minor int) TimeFormat {
	if c.Times != TimesByRevision {
		return c.Times
	}
	if minor == 0 {
		return TimesNaive
	}
	return TimesMicroZ
}

// orElse returns v, or def where v is the zero value.
func orElse[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
