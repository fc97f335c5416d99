package poller_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vbaws_exporter/collector/poller"
	"vbaws_exporter/internal/polltest"
	"vbaws_exporter/vbaws/vbawstest"
)

// steps is how long each life of a fleet is.
var steps = flag.Int("steps", defaultSteps, "random steps of each fleet's life in TestMetricsEqualTheTruth; from 1000 on also all of TestCutoff/wrong_clocks_at_the_initial_sync")

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv("RAPID_CHECKS") == "" && !given("rapid.checks") {
		// Each check is a life of a thousand steps, and each row of switches has
		// its own.
		flag.Set("rapid.checks", "1")
	}
	os.Exit(m.Run())
}

func given(name string) (is bool) {
	flag.Visit(func(f *flag.Flag) { is = is || f.Name == name })
	return is
}

// switches are what is unknown of an appliance, and how it is read.
type switches struct {
	revision     string
	perSession   bool
	fromUTC      vbawstest.FromUtc
	shift        time.Duration
	totalIsWhole bool
	maxPage      int
	order        vbawstest.Order
	shuffleTies  bool
	refuseDesc   bool
	times        vbawstest.TimeFormat
	runningStop  vbawstest.RunningStop
	duration     vbawstest.DurationFormat
	usnFilter    vbawstest.UsnFilter
	offset       time.Duration
	watermark    poller.Watermark
	backfill     time.Duration
	partSize     int
	faults       bool
}

// factors are the values of each switch.
var factors = [][]any{
	{"1.0-rev0", "1.1-rev0", "1.2-rev0", "1.5-rev0", "1.8-rev0"},
	{false, true},
	{vbawstest.FromStart, vbawstest.FromAfterStart, vbawstest.FromStop, vbawstest.FromIgnored},
	{time.Duration(0), 14 * time.Hour, -12 * time.Hour},
	{false, true},
	{0, 20, 100},
	{vbawstest.OrderStartDesc, vbawstest.OrderStartAsc, vbawstest.OrderUsnAsc, vbawstest.OrderID, vbawstest.OrderShuffled},
	{false, true},
	{false, true},
	{vbawstest.TimesNaive, vbawstest.TimesMicroZ, vbawstest.TimesMilliZ, vbawstest.TimesTicksZ},
	{vbawstest.StopAbsent, vbawstest.StopNull, vbawstest.StopZero},
	{vbawstest.DurationComponent, vbawstest.DurationMillis, vbawstest.DurationZero},
	{vbawstest.UsnEquals, vbawstest.UsnGreater, vbawstest.UsnIgnored},
	{time.Duration(0), 6 * time.Hour, -6 * time.Hour},
	{poller.WatermarkAuto, poller.WatermarkFromUTC, poller.WatermarkUSN},
	{24 * time.Hour, 5 * 24 * time.Hour},
	{0, 1, 7},
	{false, true},
}

func newSwitches(row []any) switches {
	s := switches{
		revision: row[0].(string), perSession: row[1].(bool), fromUTC: row[2].(vbawstest.FromUtc),
		shift: row[3].(time.Duration), totalIsWhole: row[4].(bool), maxPage: row[5].(int),
		order: row[6].(vbawstest.Order), shuffleTies: row[7].(bool), refuseDesc: row[8].(bool),
		times: row[9].(vbawstest.TimeFormat), runningStop: row[10].(vbawstest.RunningStop),
		duration: row[11].(vbawstest.DurationFormat), usnFilter: row[12].(vbawstest.UsnFilter),
		offset: row[13].(time.Duration), watermark: row[14].(poller.Watermark),
		backfill: row[15].(time.Duration), partSize: row[16].(int), faults: row[17].(bool),
	}
	if s.refuseDesc && s.watermark == poller.WatermarkUSN {
		s.refuseDesc = false // a poll must fail there: TestForcedUSNFailsWhereItIsRefused
	}
	return s
}

// pairwise returns rows in which every pair of values of two factors occurs.
func pairwise(factors [][]any) [][]any {
	type pair struct{ f, v, g, w int }
	open := make(map[pair]bool)
	for f := range factors {
		for g := f + 1; g < len(factors); g++ {
			for v := range factors[f] {
				for w := range factors[g] {
					open[pair{f, v, g, w}] = true
				}
			}
		}
	}
	var rows [][]any
	for len(open) > 0 {
		// Greedy: start with an open pair, then give each factor the value that
		// closes the most.
		seed := slices.SortedFunc(maps.Keys(open), func(a, b pair) int {
			return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
		})[0]
		row := make([]int, len(factors))
		for i := range row {
			row[i] = -1
		}
		row[seed.f], row[seed.g] = seed.v, seed.w
		closes := func(f, v int) (n int) {
			for g, w := range row {
				if w >= 0 && (f < g && open[pair{f, v, g, w}] || g < f && open[pair{g, w, f, v}]) {
					n++
				}
			}
			return n
		}
		for f := range factors {
			if row[f] >= 0 {
				continue
			}
			best, most := len(rows)%len(factors[f]), -1
			for i := range factors[f] {
				v := (i + len(rows)) % len(factors[f])
				if n := closes(f, v); n > most {
					best, most = v, n
				}
			}
			row[f] = best
		}
		values := make([]any, len(factors))
		for f, v := range row {
			values[f] = factors[f][v]
			for g := f + 1; g < len(row); g++ {
				delete(open, pair{f, v, g, row[g]})
			}
		}
		rows = append(rows, values)
	}
	return rows
}

// TestMetricsEqualTheTruth lets a fleet live through a thousand random steps
// under every pair of values of the switches, with polls in between, and
// compares all of /metrics with what happened.
func TestMetricsEqualTheTruth(t *testing.T) {
	for i, row := range pairwise(factors) {
		s := newSwitches(row)
		t.Run(fmt.Sprintf("%02d", i), func(t *testing.T) {
			t.Parallel()
			t.Logf("%+v", s)
			rapid.Check(t, func(t *rapid.T) { live(t, s) })
		})
	}
}

var epoch = time.Date(2026, time.March, 28, 22, 13, 7, 0, time.UTC)

const backfill = 24 * time.Hour

// life is one fleet, and an exporter that watches it.
type life struct {
	*world
	switches
	rapid  *rapid.T
	policy []vbawstest.Policy
	// synced is the appliance's clock at the initial sync, and stepped how far it was set
	// since.
	synced  time.Time
	stepped time.Duration
	// seen are the sessions as they were at the last settlement.
	seen map[string]vbawstest.Session
	// touched are sessions that were changed since then after their end, or
	// removed: once is enough, since what happens twice between two polls can't
	// be seen.
	touched map[string]bool
	removed map[string]bool // before their end
	// owners are the policies that sessions belonged to when they began.
	owners map[string]string
	polls  int
	// refusals are faults of requests for one session, which fail no poll: it is
	// requested again later.
	refusals []*vbawstest.Injection
	// broken are the ids of what the appliance can't return for now.
	broken []string
}

func live(t *rapid.T, s switches) {
	w := newWorldOn(t, vbawstest.NewServer, epoch, vbawstest.Config{
		Offset: s.offset, Seed: rapid.Uint64().Draw(t, "seed"),
		Revisions: []string{s.revision}, USNPerSession: s.perSession, UsnFilter: s.usnFilter,
		FromUtc: s.fromUTC, FromUtcShift: s.shift, TotalIsWhole: s.totalIsWhole,
		MaxPageSize: s.maxPage, DefaultOrder: s.order, ShuffleTies: s.shuffleTies,
		RefuseUsnDesc: s.refuseDesc, Times: s.times, RunningStop: s.runningStop, Duration: s.duration,
	}, poller.Config{
		Watermark: s.watermark, Backfill: s.backfill, PartSize: s.partSize, Logger: log.NewNopLogger(),
		InventoryInterval: 24 * time.Hour, // it is no part of this
	})
	l := &life{
		world: w, switches: s, rapid: t,
		seen: make(map[string]vbawstest.Session), touched: make(map[string]bool),
		removed: make(map[string]bool), owners: make(map[string]string),
	}
	for i, name := range []string{"Nightly EC2", "Hourly \"prod\"", "Größe\nñ", "finance"} {
		l.policy = append(l.policy, l.PutPolicy(vbawstest.Policy{Name: name, Enabled: i != 3, Workload: vbawstest.EC2}))
	}

	// What was there before, all of it within reach of initial sync.
	for range rapid.IntRange(0, 40).Draw(t, "old sessions") {
		start := l.Now().Add(-time.Duration(rapid.Int64Range(int64(time.Minute), int64(s.backfill+10*time.Hour)).Draw(t, "age")))
		id := l.start(start)
		if rapid.IntRange(0, 9).Draw(t, "ended") > 0 {
			end := start.Add(l.length())
			if now := l.Now(); end.After(now) {
				end = now
			}
			l.Finish(id, l.final(), end)
		}
	}
	l.synced = l.Now().Truncate(time.Second)
	l.poll()
	l.succeeds()
	l.settle()

	for range *steps {
		l.step()
	}
	l.settle()
	if v := l.Violations(); len(v) > 0 {
		t.Fatalf("the exporter did what a monitor must not: %v", v)
	}
}

func (l *life) length() time.Duration {
	return time.Duration(rapid.Int64Range(0, int64(3*time.Hour)).Draw(l.rapid, "length"))
}

func (l *life) final() string {
	return rapid.SampledFrom([]string{"Succeeded", "Succeeded", "Warning", "Failed", "Canceled", "Expired"}).Draw(l.rapid, "status")
}

// start begins a session of one kind or another.
func (l *life) start(at time.Time, opts ...vbawstest.ChangeOption) string {
	s := vbawstest.Session{Start: at, Status: vbawstest.StatusRunning}
	kind := rapid.IntRange(0, 9).Draw(l.rapid, "kind")
	switch {
	case kind < 8:
		p := rapid.SampledFrom(l.policy).Draw(l.rapid, "policy")
		s.Type = rapid.SampledFrom([]string{"Policy", "Policy", "Job", "Task"}).Draw(l.rapid, "type")
		s.ExtendedType = rapid.SampledFrom([]string{"PolicyBackup", "PolicySnapshot"}).Draw(l.rapid, "extended type")
		s.Name, s.PolicyID = p.Name, p.ID
	case kind == 8:
		s.Type, s.ExtendedType, s.Name = "RestoreTask", "VmRestore", rapid.SampledFrom([]string{"web-1", "db-2"}).Draw(l.rapid, "workload")
	default:
		s.Type = "RetentionActivity"
	}
	s = l.Put(s, opts...)
	if s.PolicyID != "" {
		l.owners[s.ID] = s.Name
	}
	return s.ID
}

// pick draws one of the sessions that match.
func (l *life) pick(match func(vbawstest.Session) bool) (string, bool) {
	var ids []string
	for _, h := range l.History() {
		if s := h.States[len(h.States)-1].Session; h.Deleted.IsZero() && match(s) && !l.removed[s.ID] && !l.touched[s.ID] {
			ids = append(ids, s.ID)
		}
	}
	if len(ids) == 0 {
		return "", false
	}
	return rapid.SampledFrom(ids).Draw(l.rapid, "session"), true
}

func running(s vbawstest.Session) bool { return s.Status == vbawstest.StatusRunning }

// settled are finished sessions that were settled as they are.
func (l *life) settled(s vbawstest.Session) bool {
	seen, ok := l.seen[s.ID]
	return ok && !running(s) && !running(seen)
}

// recent are settled sessions that reading by FromUtc sees again: it doesn't
// look at what is older.
func (l *life) recent(s vbawstest.Session) bool {
	return l.settled(s) && s.Start.After(l.Now().Add(-50*time.Minute))
}

// step does something to the fleet, to its appliance or to the exporter.
func (l *life) step() {
	switch n := rapid.IntRange(0, 99).Draw(l.rapid, "step"); {
	case n < 20:
		if rapid.IntRange(0, 4).Draw(l.rapid, "at the same time") > 0 {
			l.clock.Advance(time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(5*time.Second)).Draw(l.rapid, "later")))
		}
		l.start(l.Now())
	case n < 45:
		if id, ok := l.pick(running); ok {
			l.Finish(id, l.final(), time.Time{}, l.delay()...)
		}
	case n < 70:
		l.clock.Advance(time.Duration(rapid.Int64Range(0, int64(10*time.Minute)).Draw(l.rapid, "later")))
	case n < 73: // becomes visible late, as a transaction that commits late
		l.start(l.Now(), l.delay()...)
	case n < 76: // a result that is corrected
		if id, ok := l.pick(l.recent); ok {
			l.Update(id, func(s *vbawstest.Session) { s.Status, s.Result = l.final(), "" })
			l.touched[id] = true
		}
	case n < 78: // back to life
		if id, ok := l.pick(l.recent); ok {
			l.seen[id], _ = l.Reopen(id)
		}
	case n < 80: // an old row is touched and rises to the top
		if id, ok := l.pick(l.settled); ok {
			l.Update(id, func(s *vbawstest.Session) { s.Reason += "." })
		}
	case n < 82: // retention
		if id, ok := l.pick(l.settled); ok {
			l.Delete(id)
			l.touched[id] = true
		}
	case n < 83: // a session is removed before its end
		if id, ok := l.pick(func(s vbawstest.Session) bool { _, seen := l.seen[s.ID]; return seen && running(s) }); ok {
			l.Delete(id)
			l.removed[id] = true
		}
	case n < 84:
		if !l.perSession {
			l.ResetUSN(rapid.Int64Range(-50, 400).Draw(l.rapid, "USN"))
		}
	case n < 85:
		if !l.perSession {
			l.RenumberUSN(rapid.Int64Range(-50, 400).Draw(l.rapid, "USN"))
		}
	case n < 86: // a tie
		if id, ok := l.pick(running); ok {
			if other, ok := l.pick(running); ok {
				s, _ := l.Lookup(other)
				l.Update(id, func(s *vbawstest.Session) { s.Reason += "." }, vbawstest.WithUSN(s.USN))
			}
		}
	case n < 87:
		// Never so far that a time is more than an hour ahead: what becomes of such a
		// session depends on when it is polled.
		to := time.Duration(rapid.Int64Range(-int64(25*time.Minute), int64(25*time.Minute)).Draw(l.rapid, "clock"))
		l.StepClock(to - l.stepped)
		l.stepped = to
	case n < 90:
		if l.faults {
			l.inject()
		}
	case n < 91:
		l.RevokeTokens()
	case n < 92:
		l.betweenPages()
	case n < 99:
		l.poll()
	default:
		l.settle()
	}
}

func (l *life) delay() []vbawstest.ChangeOption {
	if rapid.IntRange(0, 4).Draw(l.rapid, "late") > 0 {
		return nil
	}
	return []vbawstest.ChangeOption{vbawstest.VisibleAfter(time.Duration(rapid.Int64Range(0, int64(40*time.Minute)).Draw(l.rapid, "delay")))}
}

func (l *life) inject() {
	if rapid.IntRange(0, 3).Draw(l.rapid, "broken") == 0 && len(l.broken) < 10 {
		l.breakOne()
		return
	}
	f := vbawstest.Fault{
		Kind: rapid.SampledFrom([]vbawstest.FaultKind{
			vbawstest.FaultStatus, vbawstest.FaultReset, vbawstest.FaultTruncate, vbawstest.FaultStartPage, vbawstest.FaultGarbage,
		}).Draw(l.rapid, "fault"),
		Skip:   rapid.IntRange(0, 6).Draw(l.rapid, "skip"),
		Count:  rapid.IntRange(1, 6).Draw(l.rapid, "count"),
		Status: rapid.SampledFrom([]int{500, 503, 429, 404, 403, 400}).Draw(l.rapid, "HTTP status"),
	}
	f.Route = rapid.SampledFrom([]string{"/api/v1/sessions", "/api/v1/sessions/{id}", "/api/v1/token"}).Draw(l.rapid, "route")
	in := l.Inject(f)
	if f.Route == "/api/v1/sessions/{id}" {
		l.refusals = append(l.refusals, in)
	}
}

// breakOne makes the appliance unable to return a session, or the sessions of a policy.
func (l *life) breakOne() {
	id := l.policy[rapid.IntRange(0, len(l.policy)-1).Draw(l.rapid, "policy")].ID
	if rapid.IntRange(0, 4).Draw(l.rapid, "row") > 0 {
		var ok bool
		if id, ok = l.pick(func(s vbawstest.Session) bool { return running(s) || l.recent(s) }); !ok {
			return
		}
	}
	l.broken = append(l.broken, id)
	l.Break(id)
}

// betweenPages lets the list move after each of the next pages.
func (l *life) betweenPages() {
	var moves []func()
	for range rapid.IntRange(1, 8).Draw(l.rapid, "moves") {
		switch rapid.IntRange(0, 2).Draw(l.rapid, "move") {
		case 0:
			if id, ok := l.pick(running); ok {
				status := l.final()
				moves = append(moves, func() {
					if h, _ := l.HistoryOf(id); h.Deleted.IsZero() && running(h.States[len(h.States)-1].Session) {
						l.Finish(id, status, time.Time{})
					}
				})
			}
		case 1:
			if id, ok := l.pick(l.settled); ok {
				l.touched[id] = true
				moves = append(moves, func() { l.Delete(id) })
			}
		case 2:
			if id, ok := l.pick(l.settled); ok {
				moves = append(moves, func() {
					l.Update(id, func(s *vbawstest.Session) { s.Reason += "." })
				})
			}
		}
	}
	l.AfterPage(func(*http.Request) {
		if len(moves) > 0 {
			moves[0]()
			moves = moves[1:]
		}
	})
}

// poll makes a poll, which may fail only while faults are on.
func (l *life) poll() {
	l.polls++
	if err := l.p.Poll(context.Background()); err != nil && !l.faults {
		l.Fatalf("poll %d: %v", l.polls, err)
	}
}

// succeeds makes polls until one succeeds.
func (l *life) succeeds() {
	var err error
	for range 30 {
		l.polls++
		if err = l.p.Poll(context.Background()); err == nil {
			return
		}
		l.clock.Advance(time.Minute)
	}
	l.Fatalf("no poll succeeds: %v", err)
}

// settle lets the fleet rest for as long as anything may take to be seen, and
// compares the scrape with the truth.
func (l *life) settle() {
	l.AfterPage(nil)
	l.Reveal()
	for _, in := range l.refusals {
		in.Remove()
	}
	l.refusals = nil
	l.Mend(l.broken...)
	l.broken = nil
	for range 3 {
		l.clock.Advance(61 * time.Minute)
		l.succeeds()
	}
	// If FromUtc is misread, only the daily resync is sure to show everything.
	l.clock.Advance(25 * time.Hour)
	l.succeeds()
	l.succeeds()
	want, got := l.truth(), scrape(l.world)
	if d := cmp.Diff(want, got); d != "" {
		l.Fatalf("after %d polls, -truth +/metrics:\n%s\nby %s", l.polls, d, l.p.Published().Mode)
	}
	clear(l.touched)
	clear(l.seen)
	for _, h := range l.History() {
		if h.Deleted.IsZero() {
			l.seen[h.ID] = h.States[len(h.States)-1].Session
		}
	}
}

// written is t as the appliance writes it.
func (l *life) written(t time.Time) time.Time {
	if l.times == vbawstest.TimesMilliZ {
		return t.Truncate(time.Millisecond)
	}
	return t.Truncate(time.Microsecond)
}

// key labels what belongs to a session.
func (l *life) key(s vbawstest.Session) string {
	ext := s.ExtendedType
	if l.revision == "1.0-rev0" {
		ext = ""
	}
	return fmt.Sprintf("extended_type=%q policy=%q type=%q", ext, l.owners[s.ID], s.Type)
}

// truth returns what /metrics must have.
func (l *life) truth() map[string]float64 {
	m := make(map[string]float64)
	sums := make(map[string]time.Duration)
	type last struct {
		id     string
		end    time.Time
		status string
		took   time.Duration
	}
	lasts := make(map[string]last)
	statuses := make(map[string]map[string]bool)
	since := l.synced.Add(-l.backfill)
	for _, h := range l.History() {
		s := h.States[0].Session
		k := l.key(s)
		if statuses[k] == nil {
			statuses[k] = map[string]bool{"Succeeded": true, "Warning": true, "Failed": true, "Canceled": true}
		}
		counted := false
		var mine last
		for _, st := range h.States {
			if running(st.Session) {
				continue
			}
			start, stop := l.written(st.Start), l.written(st.Stop)
			if stop.Before(start) {
				stop = start // the clock was set back; its duration is served as 0
			}
			took := max(0, stop.Sub(start)).Round(time.Microsecond)
			ks := k[:strings.Index(k, " type=")] + fmt.Sprintf(" status=%q", st.Status) + k[strings.Index(k, " type="):]
			statuses[k][st.Status] = true
			if !counted {
				counted = true
				if l.wasInWindow(st, since) {
					m["vbaws_sessions_total "+ks]++
					m["vbaws_session_duration_seconds_count "+ks]++
					sums[ks] += took
				}
			}
			end := "vbaws_session_last_end_timestamp_seconds " + ks
			m[end] = max(m[end], seconds(stop))
			mine = last{h.ID, stop, st.Status, took}
		}
		if o := lasts[k]; mine.id != "" && (mine.end.After(o.end) || mine.end.Equal(o.end) && mine.id > o.id) {
			lasts[k] = mine
		}
		run := "vbaws_sessions_running " + k
		m[run] += 0
		if now := h.States[len(h.States)-1].Session; running(now) && h.Deleted.IsZero() {
			m[run]++
			oldest := "vbaws_sessions_running_oldest_start_timestamp_seconds " + k
			if at := seconds(l.written(now.Start)); m[oldest] == 0 || at < m[oldest] {
				m[oldest] = at
			}
		}
	}
	for ks, sum := range sums {
		m["vbaws_session_duration_seconds_sum "+ks] = float64(sum.Microseconds()) / 1e6
	}
	for k, words := range statuses {
		at := strings.Index(k, " type=")
		for w := range words {
			ks := k[:at] + fmt.Sprintf(" status=%q", w) + k[at:]
			m["vbaws_sessions_total "+ks] += 0
			if o, ok := lasts[k]; ok {
				m["vbaws_session_last_status "+ks] = 0
				if o.status == w {
					m["vbaws_session_last_status "+ks] = 1
				}
			}
		}
		if o, ok := lasts[k]; ok {
			m["vbaws_session_last_duration_seconds "+k] = o.took.Seconds()
		}
	}
	return m
}

// wasInWindow reports whether initial sync counted a session that had ended by
// then, or a later one is to be counted.
func (l *life) wasInWindow(ended vbawstest.State, since time.Time) bool {
	if ended.Committed.After(epoch) {
		return true
	}
	since = since.Add(l.shift)
	switch l.fromUTC {
	case vbawstest.FromStart:
		return !ended.Start.Before(since)
	case vbawstest.FromAfterStart:
		return ended.Start.After(since)
	case vbawstest.FromStop:
		return !ended.Stop.Before(since)
	}
	return true
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// scrape gathers what truth returns.
func scrape(w *world) map[string]float64 {
	m := make(map[string]float64)
	for _, f := range w.p.Families(w) {
		for _, metric := range f.Metric {
			k := polltest.Labels(metric)
			switch name := f.GetName(); name {
			case "vbaws_session_duration_seconds":
				m[name+"_count "+k] = float64(metric.Histogram.GetSampleCount())
				m[name+"_sum "+k] = metric.Histogram.GetSampleSum()
			case "vbaws_sessions_total":
				m[name+" "+k] = metric.Counter.GetValue()
			case "vbaws_sessions_running", "vbaws_sessions_running_oldest_start_timestamp_seconds",
				"vbaws_session_last_end_timestamp_seconds", "vbaws_session_last_status", "vbaws_session_last_duration_seconds":
				m[name+" "+k] = metric.Gauge.GetValue()
			}
		}
	}
	return m
}
