package check

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"vbaws_exporter/collector/poller"
	"vbaws_exporter/vbaws"
)

// sample is the number of sessions of the page that is examined.
const sample = 1000

// reportIt is the remedy for what no known appliance does.
const reportIt = "report it to the authors of the exporter with the API version"

// list examines undocumented behaviour of the list of sessions. Counting doesn't
// depend on it; it determines how the exporter reads the list.
func (p *prober) list(ctx context.Context) []Finding {
	byUSN := true
	q := vbaws.SessionsQuery{Sort: vbaws.SortUSNDesc, Limit: sample}
	page, err := p.sessions(ctx, q)
	refusal := err
	if vbaws.HasStatus(err, http.StatusBadRequest) {
		byUSN, q.Sort = false, vbaws.SortStartTimeDesc
		page, err = p.sessions(ctx, q)
	}
	if err != nil {
		return []Finding{fail(Sessions, "", "cannot read the list, sorted by %s: %v", q.Sort, err)}
	}
	times := p.writtenTimes()
	findings := []Finding{found(page)}
	if !byUSN {
		findings = append(findings, p.withoutUSN("the appliance refuses Sort=%s: %v", vbaws.SortUSNDesc, refusal))
	}
	if len(page.Rows) == 0 {
		return findings
	}
	if byUSN {
		findings = append(findings, p.order(page))
	}
	findings = append(findings, p.usnFilter(ctx, q, page.Rows))
	findings = append(findings, p.paging(ctx, page)...)
	findings = append(findings, p.total(ctx, page), p.fromUTC(ctx, page))
	return append(findings, p.times(page, times))
}

// found reports the number of sessions, and of those that are not understood.
func found(page *vbaws.SessionsPage) Finding {
	bad, why := 0, error(nil)
	for i := range page.Rows {
		if err := page.Rows[i].Err; err != nil {
			bad, why = bad+1, err
		}
	}
	total := strconv.Itoa(page.TotalCount)
	if page.TotalCount < 0 {
		total = "an unknown number of"
	}
	switch {
	case len(page.Rows) == 0:
		return warn(Sessions, "run a policy, and check that the account sees its session in the appliance", "there are none yet")
	case bad > 0:
		return warn(Sessions, reportIt, "%s in total; %d of %d are not understood and are skipped, such as: %v",
			total, bad, len(page.Rows), why)
	}
	return ok(Sessions, "%s in total (totalCount)", total)
}

// withoutUSN reports that the USN can't be used.
func (p *prober) withoutUSN(format string, args ...any) Finding {
	why := fmt.Sprintf(format, args...)
	if p.a.Watermark == string(poller.WatermarkUSN) {
		return fail(USN, "set watermark to auto or from_utc", "%s, and watermark is usn", why)
	}
	return ok(USN, "%s; the exporter reads the list by time instead", why)
}

// order examines a page that was requested by descending USN.
func (p *prober) order(page *vbaws.SessionsPage) Finding {
	owner := map[int64]string{}
	last := int64(math.MaxInt64)
	for i := range page.Rows {
		r := &page.Rows[i]
		switch id, taken := owner[r.USN]; {
		case r.Err != nil && !r.HasUSN:
			continue
		case !r.HasUSN:
			return p.withoutUSN("session %s has no USN", r.ID)
		case r.USN > last:
			return p.withoutUSN("Sort=%s is accepted, but %d follows %d", vbaws.SortUSNDesc, r.USN, last)
		case taken && id != r.ID:
			return p.withoutUSN("sessions share a USN (%d), so it does not identify changes", r.USN)
		}
		owner[r.USN], last = r.ID, r.USN
	}
	if len(owner) == 0 {
		return p.withoutUSN("no session has a USN")
	}
	s := fmt.Sprintf("Sort=%s is supported and in order, and each USN belongs to one session; the highest is %d", vbaws.SortUSNDesc, slices.Max(slices.Collect(maps.Keys(owner))))
	if p.a.Watermark == string(poller.WatermarkFromUTC) {
		s += "; not used, since watermark is from_utc"
	}
	return ok(USN, "%s", s)
}

// usnFilter examines what the parameter Usn selects: by the vendor's API description
// the equal USN, by a script that runs against appliances the greater ones. rows are
// the answer to q without the parameter.
func (p *prober) usnFilter(ctx context.Context, q vbaws.SessionsQuery, rows []vbaws.Row) Finding {
	const unused = "; the exporter does not use it"
	var usns []int64
	for i := range rows {
		if rows[i].HasUSN {
			usns = append(usns, rows[i].USN)
		}
	}
	slices.Sort(usns)
	if usns = slices.Compact(usns); len(usns) < 3 {
		return ok(USN, "too few sessions to determine what the parameter Usn selects%s", unused)
	}
	asked := func(usn int64) (*vbaws.SessionsPage, error) {
		p.wire.usn = strconv.FormatInt(usn, 10)
		defer func() { p.wire.usn = "" }()
		return p.sessions(ctx, q)
	}
	refused := func(err error) Finding { return ok(USN, "the parameter Usn is rejected%s: %v", unused, err) }
	// No session has that USN now or soon. A page for a USN in the middle can lack lower
	// ones by chance, if pages are short and ties are unordered.
	beyond := usns[len(usns)-1] + 1<<20
	page, err := asked(beyond)
	if err != nil {
		return refused(err)
	}
	if len(page.Rows) > 0 {
		return ok(USN, "the parameter Usn is ignored%s", unused)
	}
	// With some below and some above it.
	middle := usns[len(usns)/2]
	if page, err = asked(middle); err != nil {
		return refused(err)
	}
	found := map[int]bool{} // whether there are lower ones (-1), that one (0), higher ones (1)
	for i := range page.Rows {
		if r := &page.Rows[i]; r.HasUSN {
			found[cmp.Compare(r.USN, middle)] = true
		}
	}
	reading := "nothing"
	switch {
	case found[-1]:
		reading = "lower USNs too"
	case found[0] && found[1]:
		reading = "that USN and higher ones"
	case found[0]:
		reading = "only that USN"
	case found[1]:
		reading = "higher USNs"
	}
	return ok(USN, "the parameter Usn selects %s%s", reading, unused)
}

func count(n int) string { return fmt.Sprintf("%d %s", n, plural(n, "session", "sessions")) }

// paging examines Limit and Offset. page was requested with a large Limit.
func (p *prober) paging(ctx context.Context, page *vbaws.SessionsPage) []Finding {
	var findings []Finding
	n, total := len(page.Rows), page.TotalCount
	switch {
	case total < 0:
		findings = append(findings, warn(Paging, reportIt, "the list has no totalCount, so an incomplete list is not noticed"))
	case p.pages.Clip(sample) < sample:
		findings = append(findings, ok(Paging, "Limit=%d is refused, and a smaller one returns %s of %d: the exporter reads smaller pages", sample, count(n), total))
	case n > sample:
		findings = append(findings, ok(Paging, "Limit=%d is ignored: it returns %s", sample, count(n)))
	case n < min(sample, total):
		findings = append(findings, ok(Paging, "Limit=%d returns %s of %d: the page size is limited, so the exporter reads more pages", sample, count(n), total))
	default:
		findings = append(findings, ok(Paging, "Limit=%d returns %s of %d: no limit found", sample, count(n), total))
	}
	if n < 2 && total < 2 {
		return findings
	}
	short, err := p.sessions(ctx, vbaws.SessionsQuery{Sort: vbaws.SortStartTimeDesc, Limit: 2})
	switch {
	case err != nil:
		return append(findings, fail(Paging, "", "cannot read a page of two, sorted by %s: %v", vbaws.SortStartTimeDesc, err))
	case len(short.Rows) != 2:
		return append(findings, warn(Paging, reportIt, "Limit=2 returns %s", count(len(short.Rows))))
	}
	findings = append(findings, ok(Paging, "Limit=2 returns two"))
	return append(findings, p.offset(ctx, max(n, total), n < total, short.Rows[0].ID))
}

// offset reads the last of total sessions. first is the id of the first session, which
// must not be in the answer.
func (p *prober) offset(ctx context.Context, total int, capped bool, first string) Finding {
	last, err := p.sessions(ctx, vbaws.SessionsQuery{Sort: vbaws.SortStartTimeDesc, Offset: total - 1, Limit: 1})
	switch {
	case err != nil:
		return fail(Paging, "", "cannot read the last session, with Offset=%d: %v", total-1, err)
	case len(last.Rows) == 0 || last.Rows[0].ID != first:
		return ok(Paging, "Offset is supported")
	case capped:
		return fail(Paging, reportIt, "Offset is ignored and the page size is limited: only the first page can be read")
	}
	return warn(Paging, reportIt, "Offset is ignored; harmless as long as the list fits into one page")
}

// total examines whether totalCount counts the filtered list.
func (p *prober) total(ctx context.Context, page *vbaws.SessionsPage) Finding {
	running, err := p.sessions(ctx, vbaws.SessionsQuery{Status: []string{vbaws.StatusRunning}, Sort: vbaws.SortStartTimeDesc, Limit: sample})
	if err != nil {
		return fail(Sessions, "", "cannot list the running sessions: %v", err)
	}
	n, others := len(running.Rows), 0
	for i := range running.Rows {
		if r := &running.Rows[i]; r.Err == nil && r.Status != vbaws.StatusRunning {
			others++
		}
	}
	switch {
	case others > 0:
		return warn(Sessions, reportIt, "Status=Running is ignored: it returns %s of other statuses", count(others))
	case running.TotalCount == n && n < page.TotalCount:
		return ok(Paging, "totalCount counts the filtered list: %d running of %d", n, page.TotalCount)
	case n < len(page.Rows) && running.TotalCount >= len(page.Rows):
		return ok(Paging, "totalCount counts the whole list, whatever the filter (%d with %d running), so an incomplete filtered list is not noticed", running.TotalCount, n)
	}
	return ok(Paging, "%d running of %d: too few to determine whether totalCount counts the filtered list", n, page.TotalCount)
}

// fromUTC requests sessions that start in two days.
func (p *prober) fromUTC(ctx context.Context, page *vbaws.SessionsPage) Finding {
	// By the appliance's clock, and further ahead than any mistake of time zone.
	now := page.Date
	if now.IsZero() {
		now = p.now()
	}
	ahead, err := p.sessions(ctx, vbaws.SessionsQuery{FromUTC: now.Add(48 * time.Hour), Sort: vbaws.SortStartTimeDesc, Limit: 2})
	switch {
	case err != nil && p.a.Watermark == string(poller.WatermarkFromUTC):
		return warn(Times, "set watermark to auto", "FromUtc two days ahead is rejected: %v", err)
	case err != nil:
		return ok(Times, "FromUtc two days ahead is rejected, so its support is unknown: %v", err)
	case len(ahead.Rows) > 0:
		return warn(Times, "", "FromUtc is ignored: each read by time reads the whole list")
	}
	return ok(Times, "FromUtc is supported: no session starts two days ahead")
}

// startTimes finds the start times of sessions in an answer.
var startTimes = regexp.MustCompile(`"executionStartTime"\s*:\s*("(?:[^"\\]|\\.)+")`)

// writtenTimes returns the start times of the sessions in the last answer, in the
// format of the appliance. Of a long answer, only the part that was kept is read.
func (p *prober) writtenTimes() []string {
	var times []string
	for _, m := range startTimes.FindAllSubmatch(p.wire.body, -1) {
		var s string
		if json.Unmarshal(m[1], &s) == nil {
			times = append(times, s)
		}
	}
	return times
}

// times examines the format of times, and whether they are UTC.
func (p *prober) times(page *vbaws.SessionsPage, written []string) Finding {
	if len(written) == 0 {
		return ok(Times, "no session has a start")
	}
	naive, example := 0, written[0]
	for _, s := range written {
		if len(s) > len(time.DateOnly) && !strings.ContainsAny(s[len(time.DateOnly):], "Zz+-") {
			naive, example = naive+1, s
		}
	}
	newest := slices.MaxFunc(page.Rows, func(a, b vbaws.Row) int { return a.Start.Compare(b.Start) }).Start
	if ahead := newest.Sub(page.Date); !page.Date.IsZero() && ahead > skewed {
		return warn(Times, "set the appliance's clock or time zone", "a session started %s in the future, so times are not UTC or the clock was set back: %s",
			ahead.Round(time.Second), example)
	}
	if naive == 0 {
		return ok(Times, "times have a zone, such as %s", example)
	}
	return ok(Times, "times have no zone and are treated as UTC, such as %s", example)
}
