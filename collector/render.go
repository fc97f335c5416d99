package collector

import (
	"slices"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/verdict"
)

// rendering is what one appliance has published, as metrics. It is immutable.
type rendering struct {
	parts [5]part
	// series are those of the view with these bounds.
	series map[*ledger.Series]*seriesRendering
	bounds []float64
}

// part has the metrics of one value in poller.Published, each family's
// together and sorted by label values. That is the order in which they are exposed, so
// that a scrape finds them sorted.
type part struct {
	of      any
	metrics []*metric
}

// seriesRendering has the metrics of a series, except those of running sessions.
type seriesRendering struct {
	labels  []*dto.LabelPair // those of bySeries
	metrics []*metric
}

// render returns p as metrics. It uses again what still holds of old, the earlier
// rendering of the appliance or nil.
func render(appliance string, p *poller.Published, old *rendering) *rendering {
	if old == nil {
		old = &rendering{}
	}
	r := &rendering{series: old.series, bounds: old.bounds}
	labels := with(nil, "appliance", appliance)
	r.parts = [...]part{
		renderPart(old.parts[0], &p.Status, labels, (*builder).status),
		renderPart(old.parts[1], p.Policies, labels, (*builder).policies),
		renderPart(old.parts[2], p.Facts, labels, (*builder).facts),
		renderPart(old.parts[3], p.Instances, labels, (*builder).instances),
		renderPart(old.parts[4], p.View, labels, r.view),
	}
	return r
}

// renderPart returns old if it was rendered from the same value. Otherwise it renders of,
// unless that is nil.
func renderPart[T any](old part, of *T, appliance []*dto.LabelPair, render func(*builder, *T)) part {
	if old.of == any(of) {
		return old
	}
	b := builder{appliance: appliance}
	if of != nil {
		render(&b, of)
	}
	return part{of, inOrder(b.metrics)}
}

// builder gathers metrics.
type builder struct {
	appliance []*dto.LabelPair
	metrics   []*metric
}

func (b *builder) gauge(f *family, labels []*dto.LabelPair, value float64) {
	b.metrics = append(b.metrics, &metric{family: f, labels: labels, gauge: &dto.Gauge{Value: &value}})
}

// time adds a gauge of t, unless that is zero.
func (b *builder) time(f *family, labels []*dto.LabelPair, t time.Time) {
	if !t.IsZero() {
		b.gauge(f, labels, unixSeconds(t))
	}
}

func (b *builder) counter(f *family, labels []*dto.LabelPair, value uint64) {
	b.metrics = append(b.metrics, &metric{family: f, labels: labels, counter: &dto.Counter{Value: new(float64(value))}})
}

func (b *builder) status(s *poller.Status) {
	if s.Polls > 0 {
		b.gauge(up, b.appliance, boolean(s.Up))
		b.gauge(endpointErrors, b.appliance, float64(len(s.EndpointErrors)))
	}
	if s.APIVersion != "" {
		b.gauge(applianceInfo, with(b.appliance, "version", s.Version, "api_version", s.APIVersion), 1)
	}
	b.time(certificateExpiry, b.appliance, s.CertificateExpiry)
	if s.ClockKnown {
		b.gauge(clockOffset, b.appliance, s.ClockOffset.Seconds())
	}
	b.time(lastPoll, b.appliance, s.LastPoll)
	b.time(lastSuccessfulPoll, b.appliance, s.LastSuccess)
	for endpoint, is := range s.Forbidden {
		b.gauge(endpointForbidden, with(b.appliance, "endpoint", endpoint), boolean(is))
	}
}

func (b *builder) policies(set *poller.PolicySet) {
	b.gauge(schedulesUnreadable, b.appliance, float64(set.Unreadable))
	for _, p := range set.All {
		b.gauge(policyInfo, with(b.appliance, "policy", p.Name, "policy_id", p.ID, "workload", p.Workload), 1)
	}
	for _, row := range set.Rows {
		policy := with(b.appliance, "policy", row.Name, "workload", row.Workload)
		if !row.Unlisted {
			b.gauge(policyEnabled, policy, boolean(row.Enabled))
		}
		none := with(policy, "kind", "")
		b.problem(none, verdict.Silent, row.Silent)
		b.problem(none, verdict.Disabled, row.Disabled)
		for _, k := range row.Kinds {
			kind := with(policy, "kind", string(k.Kind))
			b.problem(kind, verdict.Failing, k.Failing)
			b.problem(kind, verdict.Overdue, k.Overdue)
			b.problem(kind, verdict.Stuck, k.Stuck)
			if k.Overdue.Judged {
				b.gauge(policyOverdueRuns, kind, float64(k.OverdueRuns))
			}
			if k.Interval > 0 {
				b.gauge(policyInterval, kind, k.Interval.Seconds())
			}
			b.time(policyNextDue, kind, k.NextDue)
			b.time(policyDue, kind, k.Due)
			b.time(policySuccess, kind, k.Success)
		}
	}
}

func (b *builder) problem(kind []*dto.LabelPair, problem verdict.State, p verdict.Problem) {
	if p.Judged {
		labels := with(kind, "problem", string(problem))
		b.gauge(policyProblem, labels, boolean(p.Exists()))
		b.time(policyProblemSince, labels, p.Since)
	}
}

func (b *builder) facts(f *poller.Facts) {
	known := func(f *family, value float64) {
		if value >= 0 { // the client returns -1 for what the answer lacks
			b.gauge(f, b.appliance, value)
		}
	}
	if s := f.Summary; s != nil {
		known(instances, float64(s.Instances))
		known(instancesProtected, float64(s.ProtectedInstances))
		known(policies, float64(s.Policies))
		known(repositories, float64(s.Repositories))
		known(alarms, float64(s.Alarms))
	}
	if l := f.License; l != nil {
		b.gauge(licenseInfo, with(b.appliance, "license_type", l.Type), 1)
		b.time(licenseExpiry, b.appliance, l.Expires)
		known(licenseInstances, float64(l.Instances))
		known(licenseInstancesUsed, l.Used)
	}
	if f.Repositories == nil {
		return
	}
	b.overLimit("repositories", f.Repositories.Over)
	for _, r := range f.Repositories.Shown {
		b.gauge(repositoryInfo, with(b.appliance, "repository", r.Name, "repository_id", r.ID,
			"bucket", r.Bucket, "region", r.Region, "encryption", strconv.FormatBool(r.Encrypted)), 1)
	}
}

func (b *builder) overLimit(what string, n int) {
	b.gauge(overLimit, with(b.appliance, "what", what), float64(n))
}

func (b *builder) instances(all *poller.Instances) {
	b.overLimit("instances", all.Over)
	for _, i := range all.Shown {
		labels := with(b.appliance, "instance_name", i.Name, "instance_id", i.ID)
		b.gauge(instanceInfo, with(labels, "region", i.Region), 1)
		b.gauge(instanceProtected, labels, boolean(i.Protected))
		switch {
		case !i.BackupKnown:
		case i.LastBackup.IsZero():
			b.gauge(instanceLastBackup, labels, 0)
		default:
			b.time(instanceLastBackup, labels, i.LastBackup)
		}
	}
}

// view renders v. Series that were rendered before, and have not changed, are used again.
func (r *rendering) view(b *builder, v *ledger.View) {
	b.time(watermarkTime, b.appliance, v.LastResync)
	if v.Watermark != nil {
		b.gauge(watermarkUSN, b.appliance, float64(v.Watermark.USN))
	}
	for _, what := range ledger.Limits {
		b.overLimit(what, v.OverLimit[what])
	}
	b.counter(watermarkResets, b.appliance, v.Resets)
	for _, reason := range ledger.SkipReasons {
		b.counter(sessionsSkipped, with(b.appliance, "reason", reason), v.Skipped[reason])
	}

	known := r.series
	if !slices.Equal(r.bounds, v.Bounds) {
		known = nil
	}
	r.series, r.bounds = make(map[*ledger.Series]*seriesRendering, len(v.Series)), v.Bounds
	for _, s := range v.Series {
		sr := known[s.Series]
		if sr == nil {
			sr = renderSeries(b.appliance, s.Series, v.Bounds)
		}
		r.series[s.Series] = sr
		b.metrics = append(b.metrics, sr.metrics...)
		b.gauge(sessionsRunning, sr.labels, float64(s.Running))
		b.time(runningOldestStart, sr.labels, s.OldestStart())
	}
}

func renderSeries(appliance []*dto.LabelPair, s *ledger.Series, bounds []float64) *seriesRendering {
	var b builder
	labels := with(appliance, "type", s.Key.Type, "extended_type", s.Key.ExtendedType, "policy", s.Key.Policy)
	for _, c := range s.Counters {
		labels := with(labels, "status", c.Status)
		b.metrics = append(b.metrics, &metric{family: sessionsTotal, labels: labels, counter: newSessionCounter(c)})
		if c.Histogram != nil {
			b.metrics = append(b.metrics, &metric{family: sessionDuration, labels: labels, histogram: newSessionHistogram(c, bounds)})
		}
		b.time(lastEnd, labels, c.End)
		if !s.Last.End.IsZero() {
			b.gauge(lastStatus, labels, boolean(c.Status == s.Last.Status))
		}
	}
	if !s.Last.End.IsZero() {
		b.gauge(lastDuration, labels, s.Last.Duration.Seconds())
	}
	if s.Key.Policy != "" && !s.History.Empty() { // which are of type Policy
		labels := with(appliance, "extended_type", s.Key.ExtendedType, "policy", s.Key.Policy)
		b.gauge(consecutiveFailures, labels, float64(s.History.ConsecutiveFailures()))
		if typical, ok := s.History.Typical(); ok {
			b.gauge(typicalDuration, labels, typical.Seconds())
		}
	}
	return &seriesRendering{labels, b.metrics}
}

// with returns labels and more of them, a name and a value each, sorted by name. It shares
// the pairs of labels, which take most of the memory of a series.
func with(labels []*dto.LabelPair, more ...string) []*dto.LabelPair {
	all := make([]*dto.LabelPair, len(labels), len(labels)+len(more)/2)
	copy(all, labels)
	for i := 0; i < len(more); i += 2 {
		all = append(all, &dto.LabelPair{Name: &more[i], Value: new(labelValue(more[i+1]))})
	}
	slices.SortFunc(all, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	return all
}

// inOrder returns metrics in the order of exposition. Of those with the same labels it
// returns one, since the registry would reject the whole scrape: a name can be what another
// one is cut to.
func inOrder(metrics []*metric) []*metric {
	byFamily := make(map[*family][]*metric)
	for _, m := range metrics {
		byFamily[m.family] = append(byFamily[m.family], m)
	}
	sorted := make([]*metric, 0, len(metrics))
	for _, of := range byFamily {
		slices.SortFunc(of, compareLabels)
		of = slices.CompactFunc(of, func(a, b *metric) bool { return compareLabels(a, b) == 0 })
		sorted = append(sorted, of...)
	}
	return sorted
}

// compareLabels compares metrics of one family.
func compareLabels(a, b *metric) int {
	return slices.CompareFunc(a.labels, b.labels, func(a, b *dto.LabelPair) int {
		return strings.Compare(a.GetValue(), b.GetValue())
	})
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
