package vbawstest

import (
	"fmt"
	"slices"
	"strings"
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
// product 10 with one administrator. If a behavior is not documented, it is a field, and
// the zero value is the most plausible behavior.
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

	// Product is the product's major version, 2 to 11; 0 is 10. It decides which
	// API versions are accepted: see Revisions.
	Product int
	// Revisions, if not empty, are the API versions accepted instead of the
	// product's own, such as "1.7-rev0". A version newer than the published ones is
	// served as the newest of them.
	Revisions []string
	// Refusal is the form of the answer to an API version that is not accepted.
	Refusal VersionRefusal
	// RouteRefusesVersion makes a route that the API version lacks answer as if the
	// version were not accepted. The zero value answers 404 NotFound. Neither is
	// documented; the forms of the framework always refuse.
	RouteRefusesVersion bool
	// VersionCodeInTypeOnly gives the vendor's answer to a missing or unknown API
	// version the errorCode UnexpectedContent, so that only its type names the
	// problem: the enumeration of errorCode in the API description of 1.0 has no
	// other that fits. The zero value puts ApiVersionUnspecified or
	// UnsupportedApiVersion into errorCode, as the REST reference shows.
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
	// FromUtcShift is added to FromUtc and ToUtc before they are compared: an appliance
	// that reads them as times of another zone.
	FromUtcShift time.Duration
	// TotalIsWhole makes totalCount the length of the whole list, whatever the filters.
	// The zero value counts the filtered list.
	TotalIsWhole bool
	// DefaultPageSize is the length of a page without Limit; 0 is everything.
	DefaultPageSize int
	// MaxPageSize is the length of the longest page, whatever Limit; 0 is no limit. No
	// version documents such a limit.
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
	// RefuseSort makes every value of Sort an unknown one. Not documented.
	RefuseSort bool
	// RefuseUsnDesc makes Sort=usnDesc an unknown value.
	RefuseUsnDesc bool
	// IgnoreSort makes Sort have no effect: the order is DefaultOrder. Not documented.
	IgnoreSort bool
	// MissingSession is the answer to a request for a session that is not there.
	MissingSession MissingSession

	// Times is how date-times are written.
	Times TimeFormat
	// RunningStop is the stop time of a session that has none.
	RunningStop RunningStop
	// Duration is what executionDuration holds.
	Duration DurationFormat
	// WriteNulls writes the absent parts of a policy as null, as the answers that
	// lcp-llp/terraform-provider-veeambackup reads at 1.8. The zero value leaves
	// them out, as the API description of 1.0 does.
	WriteNulls bool
	// IsEnabled is how isEnabled is written.
	IsEnabled IsEnabled
	// NamedVPC gives the VPC policy id, name and isEnabled. Whether it has them is
	// not documented.
	NamedVPC bool
	// ReplicationOptions writes the hours, days and months of replicas and copies
	// as replicationOptions. The zero value is replicaOptions, as documented for
	// 1.0 and observed for EC2 and RDS at 1.8. The name of the other workloads is
	// not documented.
	ReplicationOptions bool

	// Zone is the appliance's time zone, which schedules are in; nil is UTC.
	Zone *time.Location
	// ZoneName is the name that /settings/dateTime gives; empty is Zone's.
	ZoneName string
	// Version is the product's full version; empty is made from Product.
	Version string
	// License is the answer of /licensing/license; nil is a free license for ten
	// instances.
	License *License
	// Summary has the counts of /statistics/summary that don't follow from other fields.
	Summary Summary
	// Repositories are the backup repositories.
	Repositories []Repository
	// Instances are EC2 instances in addition to the items of EC2 policies.
	Instances []Instance
	// InstanceForm is the form of the protection in a row of /virtualMachines.
	InstanceForm InstanceForm
	// LicenseIDs is the meaning of id in a row of /licensing/licensedWorkloads.
	LicenseIDs LicenseIDs
}

// UsnFilter is a reading of the query parameter Usn.
type UsnFilter int

const (
	// UsnEquals selects the sessions with that USN, as in the description.
	UsnEquals UsnFilter = iota
	// UsnGreater selects sessions with a higher USN.
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

// MissingSession is an answer to /sessions/{id}, and to the routes below it, for an id
// without a session. The API description of 1.0 documents 404 with a problem,
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
	// TimesByRevision is TimesNaive for API version 1.0, as in the vendor's sample,
	// and TimesMicroZ later, where both are observed.
	TimesByRevision TimeFormat = iota
	// TimesNaive has microseconds and no zone: 2020-06-19T04:00:05.901095.
	TimesNaive
	// TimesMicroZ has microseconds and a Z.
	TimesMicroZ
	// TimesMilliZ has milliseconds and a Z.
	TimesMilliZ
	// TimesTicksZ has seven digits, .NET's ticks, and a Z: observed at 1.7
	// (jorgedlcruz/veeam-html-reporting).
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
	// DurationMillis is the duration in milliseconds: the vendor's schema Session
	// of 1.0, and what VeeamHub/grafana (1.1, 1.2) and
	// jorgedlcruz/veeam-html-reporting (1.7) read.
	DurationMillis DurationFormat = iota
	// DurationComponent is the millisecond component of the duration, as in the
	// vendor's one sample at 1.0: 550 for 2.550602 s.
	DurationComponent
	// DurationZero is always 0. Not documented.
	DurationZero
	// DurationTimeSpan is a .NET time span, 00:00:02.5506020 or 1.02:03:04, as the
	// API of Veeam Backup for Microsoft Azure has it in the same field.
	DurationTimeSpan
)

// timeSpan formats a duration as .NET's TimeSpan does by default: days and the
// seven digits of the fraction are there only if they are not zero.
func timeSpan(d time.Duration) string {
	var b strings.Builder
	if days := d / (24 * time.Hour); days > 0 {
		fmt.Fprintf(&b, "%d.", days)
	}
	fmt.Fprintf(&b, "%02d:%02d:%02d", d/time.Hour%24, d/time.Minute%60, d/time.Second%60)
	if ticks := d % time.Second / 100; ticks > 0 {
		fmt.Fprintf(&b, ".%07d", ticks)
	}
	return b.String()
}

// IsEnabled is a way to write isEnabled of a policy that is enabled. The API
// description of 1.0 requires it; whether it stays so later is not documented.
type IsEnabled int

const (
	// IsEnabledTrue writes true.
	IsEnabledTrue IsEnabled = iota
	// IsEnabledAbsent leaves the field out.
	IsEnabledAbsent
	// IsEnabledNull writes null.
	IsEnabledNull
)

// License is the content of /licensing/license.
type License struct {
	// Type is Free, Subscription, Marketplace or Managed.
	Type string
	// Instances is how many instances the license covers, Used how many it is used for.
	Instances  int
	Used       float64
	LicensedTo string
	// Expires is zero for a license that doesn't expire.
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

func (c *Config) product() int {
	if c.Product == 0 {
		return defaultProduct
	}
	return c.Product
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

// orElse returns v, or def if v is the zero value.
func orElse[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
