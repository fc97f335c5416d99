package vbawstest

import (
	"cmp"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// params reads query parameters strictly. It collects mistakes, and the names of the known
// parameters.
type params struct {
	url.Values // names in lower case
	known      []string
	wrong      []string
}

// newParams returns the parameters of a query. Their names are case-insensitive in
// ASP.NET Core.
func newParams(query url.Values) params {
	values := make(url.Values, len(query))
	for name, v := range query {
		name = strings.ToLower(name)
		values[name] = append(values[name], v...)
	}
	return params{Values: values}
}

func (p *params) fail(format string, args ...any) {
	p.wrong = append(p.wrong, fmt.Sprintf(format, args...))
}

// unknown returns the names in the request that were not read.
func (p *params) unknown(sent url.Values) []string {
	var names []string
	for name := range sent {
		if !slices.Contains(p.known, strings.ToLower(name)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// values returns the values of a parameter, whose name has any case.
func (p *params) values(name string) []string {
	name = strings.ToLower(name)
	p.known = append(p.known, name)
	return p.Values[name]
}

// one returns the only value of a parameter that is not a list.
func (p *params) one(name string) (string, bool) {
	values := p.values(name)
	if len(values) == 0 {
		return "", false
	}
	if len(values) > 1 {
		p.fail("%s is given %d times", name, len(values))
		return "", false
	}
	if values[0] == "" {
		p.fail("%s is empty", name)
		return "", false
	}
	return values[0], true
}

func (p *params) integer(name string, lowest, highest int64) (int64, bool) {
	v, ok := p.one(name)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		p.fail("%s: %q is not an integer", name, v)
		return 0, false
	}
	if n < lowest || n > highest {
		p.fail("%s: %d is not between %d and %d", name, n, lowest, highest)
		return 0, false
	}
	return n, true
}

func (p *params) uuid(name string) (string, bool) {
	v, ok := p.one(name)
	if !ok {
		return "", false
	}
	if !isUUID(v) {
		p.fail("%s: %q is not a UUID", name, v)
		return "", false
	}
	return strings.ToLower(v), true
}

// isUUID accepts the 36 characters of the canonical form only.
func isUUID(s string) bool { return len(s) == 36 && uuid.Validate(s) == nil }

func (p *params) time(name string) (time.Time, bool) {
	v, ok := p.one(name)
	if !ok {
		return time.Time{}, false
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, v); err == nil {
			return t, true
		}
	}
	p.fail("%s: %q is not a date-time", name, v)
	return time.Time{}, false
}

// list returns the values of a parameter that can be repeated. Each must be one of allowed.
func (p *params) list(name string, allowed []string) []string {
	values := p.values(name)
	for _, v := range values {
		if !slices.Contains(allowed, v) {
			p.fail("%s: %q is not one of %s", name, v, strings.Join(allowed, ", "))
		}
	}
	return values
}

// sortings returns the values of Sort for some columns.
func sortings(columns ...string) []string {
	var allowed []string
	for _, c := range columns {
		allowed = append(allowed, c+"Asc", c+"Desc")
	}
	return allowed
}

// sorting reads the parameter Sort.
func (p *params) sorting(allowed []string) []sortKey {
	var keys []sortKey
	for _, v := range p.list("Sort", allowed) {
		column, desc := strings.CutSuffix(v, "Desc")
		keys = append(keys, sortKey{strings.TrimSuffix(column, "Asc"), desc})
	}
	return keys
}

type sortKey struct {
	column string
	desc   bool
}

// window is Offset and Limit; a negative limit is none.
type window struct{ offset, limit int }

func (p *params) window(cfg *Config) window {
	offset, _ := p.integer("Offset", 0, math.MaxInt32)
	most := int64(math.MaxInt32)
	if cfg.RefuseLimit && cfg.MaxPageSize > 0 {
		most = int64(cfg.MaxPageSize)
	}
	limit, given := p.integer("Limit", -1, most)
	w := window{int(offset), int(limit)}
	if cfg.IgnoreOffset {
		w.offset = 0
	}
	if !given {
		w.limit = cmp.Or(cfg.DefaultPageSize, -1)
	}
	if most := cfg.MaxPageSize; most > 0 && (w.limit < 0 || w.limit > most) {
		w.limit = most
	}
	return w
}

// bounds returns the part of n elements that is in the window.
func (w window) bounds(n int) (from, to int) {
	from = min(w.offset, n)
	if w.limit < 0 || w.limit > n-from {
		return from, n
	}
	return from, from + w.limit
}

// filterSet has the filters that a query has.
type filterSet uint

const (
	filterPolicy filterSet = 1 << iota
	filterStatus
	filterTypes
	filterFrom
	filterTo
	filterUsn
	filterVM
	filterParent
)

// sessionsQuery is a query of GET /api/v1/sessions.
type sessionsQuery struct {
	window
	filters  filterSet
	policyID string
	parentID string
	vmID     string
	statuses []string
	types    []string
	from, to time.Time
	usn      int64
	order    []sortKey // without any: no order
	key      string    // of everything that determines the rows and their order

	reading   FromUtc
	byStart   bool // from compares the start
	usnFilter UsnFilter
	processed func(sessionID, vmID string) bool
}

// Types of sessions by API version. Sources: the API description of 1.0, the REST
// reference of 1.7-rev0, the changelog of 1.5-rev0 for FlrEfsTask. When the others were added
// and removed is not documented: versions in between accept the types of both.
var (
	typesOld  = []string{"Policy", "Job", "Task", "UserPolicy", "RetentionActivity", "RestoreTask", "FLRTask", "ImportPolicy", "TombstoneRetention"}
	typesOnly = []string{"SelfBackupActivity"}
	typesNew  = []string{"ConfigurationBackupActivity", "ArchiveRetrieval", "ArchiveRetrievalProlongation", "ManualTask"}
)

func sessionTypes(minor int) []string {
	types := slices.Clone(typesOld)
	if minor < 7 {
		types = append(types, typesOnly...)
	}
	if minor > 0 {
		types = append(types, typesNew...)
	}
	if minor >= 5 {
		types = append(types, "FlrEfsTask")
	}
	return types
}

// parseSessions reads the query of GET /api/v1/sessions. It adds mistakes to p.wrong.
func parseSessions(p *params, cfg *Config, minor int) *sessionsQuery {
	q := &sessionsQuery{window: p.window(cfg)}
	var given bool
	set := func(f filterSet, given bool) {
		if given {
			q.filters |= f
		}
	}
	q.policyID, given = p.uuid("PolicyId")
	set(filterPolicy, given)
	q.statuses = p.list("Status", sessionStatuses)
	set(filterStatus, len(q.statuses) > 0)
	q.types = p.list("Types", sessionTypes(minor))
	set(filterTypes, len(q.types) > 0)
	q.from, given = p.time("FromUtc")
	set(filterFrom, given && cfg.FromUtc != FromIgnored)
	q.to, given = p.time("ToUtc")
	set(filterTo, given && cfg.FromUtc != FromIgnored)
	q.usn, given = p.integer("Usn", math.MinInt64, math.MaxInt64)
	set(filterUsn, given && cfg.UsnFilter != UsnIgnored)
	q.vmID, given = p.one("VmId")
	set(filterVM, given)
	if minor >= 7 {
		q.parentID, given = p.uuid("ParentSessionId")
		set(filterParent, given)
	}
	q.from, q.to = q.from.Add(cfg.FromUtcShift), q.to.Add(cfg.FromUtcShift)
	q.reading, q.byStart, q.usnFilter = cfg.FromUtc, cfg.FromUtc != FromStop, cfg.UsnFilter

	q.order = p.sorting(slices.DeleteFunc(sortings("startTime", "stopTime", "duration", "type", "reason", "usn"),
		func(s string) bool { return s == "usnDesc" && cfg.RefuseUsnDesc || cfg.RefuseSort }))
	if cfg.IgnoreSort {
		q.order = nil
	}
	if len(q.order) == 0 {
		switch cfg.DefaultOrder {
		case OrderStartDesc:
			q.order = []sortKey{{"startTime", true}}
		case OrderStartAsc:
			q.order = []sortKey{{"startTime", false}}
		case OrderUsnAsc:
			q.order = []sortKey{{"usn", false}}
		case OrderID:
			q.order = []sortKey{{"id", false}}
		}
	}
	var key strings.Builder
	fmt.Fprint(&key, q.filters, q.policyID, q.statuses, q.types, q.from, q.to, q.usn, q.parentID, q.order)
	fmt.Fprintf(&key, "%q", q.vmID)
	q.key = key.String()
	return q
}

var columns = map[string]func(a, b *row) int{
	"startTime": compareStart,
	"stopTime":  compareStop,
	"duration":  compareDuration,
	"type":      compareType,
	"reason":    compareReason,
	"usn":       compareUSN,
	"id":        compareID,
}

// compareKeys compares by the sort keys alone.
func (q *sessionsQuery) compareKeys(a, b *row) int {
	for _, k := range q.order {
		c := columns[k.column](a, b)
		if k.desc {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

func (q *sessionsQuery) compare(a, b *row) int {
	return cmp.Or(q.compareKeys(a, b), compareID(a, b))
}

func (q *sessionsQuery) same() func(a, b *row) bool {
	return func(a, b *row) bool { return q.compareKeys(a, b) == 0 }
}

func (q *sessionsQuery) matchesFrom(r *row) bool {
	switch q.reading {
	case FromAfterStart:
		return r.Start.After(q.from)
	case FromStop:
		return !r.Stop.IsZero() && !r.Stop.Before(q.from)
	default:
		return !r.Start.Before(q.from)
	}
}

func (q *sessionsQuery) matchesTo(r *row) bool {
	switch q.reading {
	case FromAfterStart:
		return r.Start.Before(q.to)
	case FromStop:
		return !r.Stop.IsZero() && !r.Stop.After(q.to)
	default:
		return !r.Start.After(q.to)
	}
}

func (q *sessionsQuery) matches(r *row) bool {
	has := func(f filterSet) bool { return q.filters&f != 0 }
	return (!has(filterPolicy) || r.PolicyID == q.policyID) &&
		(!has(filterStatus) || slices.Contains(q.statuses, r.Status)) &&
		(!has(filterTypes) || slices.Contains(q.types, r.Type)) &&
		(!has(filterFrom) || q.matchesFrom(r)) &&
		(!has(filterTo) || q.matchesTo(r)) &&
		(!has(filterUsn) || (q.usnFilter == UsnGreater && r.USN > q.usn) || (q.usnFilter == UsnEquals && r.USN == q.usn)) &&
		(!has(filterVM) || q.processed(r.ID, q.vmID)) &&
		(!has(filterParent) || r.ParentID == q.parentID)
}
