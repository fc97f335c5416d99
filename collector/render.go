package collector

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/verdict"
)

// rendering is what one appliance has published, as metrics. It is immutable.
type rendering struct {
	of *poller.Published
	// status is what belongs to the process; policies, facts and instances are what does
	// not belong to sessions.
	status, policies, facts, instances []*metric
	view                               *viewRendering // nil without a view
}

// viewRendering is a view as metrics.
type viewRendering struct {
	of *ledger.View
	// series are parallel to those of the view.
	series []*seriesRendering
	// metrics are all of them, each family's together and sorted by label values:
	// the order in which they are exposed, so that a scrape finds them sorted.
	metrics []*metric
}

// seriesRendering is what a series is published as, save what runs.
type seriesRendering struct {
	of      *ledger.Series
	labels  []*dto.LabelPair // those of bySeries
	metrics []*metric
}

// render returns p as metrics. What old, which may be nil, has of the same
// appliance is used again where it still holds.
func render(appliance string, p *poller.Published, old *rendering) *rendering {
	if old == nil {
		old = &rendering{}
	}
	if old.of == p {
		return old
	}
	r := &rendering{of: p, status: renderStatus(appliance, &p.Status)}
	if old.of != nil && old.of.Policies == p.Policies {
		r.policies = old.policies
	} else {
		r.policies = renderPolicies(appliance, p.Policies)
	}
	if old.of != nil && old.of.Facts == p.Facts {
		r.facts = old.facts
	} else {
		r.facts = renderFacts(appliance, p.Facts)
	}
	if old.of != nil && old.of.Instances == p.Instances {
		r.instances = old.instances
	} else {
		r.instances = renderInstances(appliance, p.Instances)
	}
	switch {
	case p.View == nil:
	case old.view != nil && old.view.of == p.View:
		r.view = old.view
	default:
		r.view = renderView(appliance, p.View, old.view)
	}
	return r
}

func renderStatus(appliance string, s *poller.Status) []*metric {
	var b builder
	if s.Polls > 0 {
		b.gauge(up, boolean(s.Up), appliance)
		b.gauge(endpointErrors, float64(len(s.EndpointErrors)), appliance)
	}
	if s.APIVersion != "" {
		b.gauge(applianceInfo, 1, appliance, s.Version, s.APIVersion)
	}
	if !s.CertificateExpiry.IsZero() {
		b.gauge(certificateExpiry, unixSeconds(s.CertificateExpiry), appliance)
	}
	if s.ClockKnown {
		b.gauge(clockOffset, s.ClockOffset.Seconds(), appliance)
	}
	if !s.LastPoll.IsZero() {
		b.gauge(lastPoll, unixSeconds(s.LastPoll), appliance)
	}
	if !s.LastSuccess.IsZero() {
		b.gauge(lastSuccessfulPoll, unixSeconds(s.LastSuccess), appliance)
	}
	for _, endpoint := range slices.Sorted(maps.Keys(s.Forbidden)) {
		b.gauge(endpointForbidden, boolean(s.Forbidden[endpoint]), appliance, endpoint)
	}
	return b.metrics
}

func renderPolicies(appliance string, set *poller.PolicySet) []*metric {
	if set == nil {
		return nil
	}
	var b builder
	b.gauge(schedulesUnreadable, float64(set.Unreadable), appliance)
	for _, p := range set.All {
		b.gauge(policyInfo, 1, appliance, p.Name, p.ID, p.Workload)
	}
	for _, row := range set.Rows {
		if !row.Unlisted {
			b.gauge(policyEnabled, boolean(row.Enabled), appliance, row.Name, row.Workload)
		}
		problem := func(kind, problem string, p verdict.Problem) {
			if !p.Judged {
				return
			}
			b.gauge(policyProblem, boolean(p.Exists()), appliance, row.Name, row.Workload, kind, problem)
			if p.Exists() {
				b.gauge(policyProblemSince, unixSeconds(p.Since), appliance, row.Name, row.Workload, kind, problem)
			}
		}
		problem("", string(verdict.Silent), row.Verdict.Silent)
		problem("", string(verdict.Disabled), row.Verdict.Disabled)
		for _, k := range row.Kinds {
			kind := string(k.Kind)
			problem(kind, string(verdict.Failing), k.Failing)
			problem(kind, string(verdict.Overdue), k.Overdue)
			problem(kind, string(verdict.Stuck), k.Stuck)
			if k.Overdue.Judged {
				b.gauge(policyOverdueRuns, float64(k.OverdueRuns), appliance, row.Name, row.Workload, kind)
			}
			if !k.NextDue.IsZero() {
				b.gauge(policyNextDue, unixSeconds(k.NextDue), appliance, row.Name, row.Workload, kind)
			}
			if k.Interval > 0 {
				b.gauge(policyInterval, k.Interval.Seconds(), appliance, row.Name, row.Workload, kind)
			}
			if !k.Due.IsZero() {
				b.gauge(policyDue, unixSeconds(k.Due), appliance, row.Name, row.Workload, kind)
			}
			if !k.Success.IsZero() {
				b.gauge(policySuccess, unixSeconds(k.Success), appliance, row.Name, row.Workload, kind)
			}
		}
	}
	return inOrder(b.metrics)
}

func renderFacts(appliance string, f *poller.Facts) []*metric {
	if f == nil {
		return nil
	}
	var b builder
	known := func(f *family, value float64) {
		if value >= 0 { // the client says -1 for what the appliance didn't say
			b.gauge(f, value, appliance)
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
		b.gauge(licenseInfo, 1, appliance, l.Type)
		if !l.Expires.IsZero() {
			b.gauge(licenseExpiry, unixSeconds(l.Expires), appliance)
		}
		known(licenseInstances, float64(l.Instances))
		known(licenseInstancesUsed, l.Used)
	}
	if f.Repositories == nil {
		return inOrder(b.metrics)
	}
	b.gauge(overLimit, float64(f.Repositories.Over), appliance, "repositories")
	for _, r := range f.Repositories.Shown {
		b.gauge(repositoryInfo, 1, appliance, r.Name, r.ID, r.Bucket, r.Region, strconv.FormatBool(r.Encrypted))
	}
	return inOrder(b.metrics)
}

func renderInstances(appliance string, all *poller.Instances) []*metric {
	if all == nil {
		return nil
	}
	var b builder
	b.gauge(overLimit, float64(all.Over), appliance, "instances")
	for _, i := range all.Shown {
		b.gauge(instanceInfo, 1, appliance, i.Name, i.ID, i.Region)
		b.gauge(instanceProtected, boolean(i.Protected), appliance, i.Name, i.ID)
		switch {
		case !i.BackupKnown:
		case i.LastBackup.IsZero():
			b.gauge(instanceLastBackup, 0, appliance, i.Name, i.ID)
		default:
			b.gauge(instanceLastBackup, unixSeconds(i.LastBackup), appliance, i.Name, i.ID)
		}
	}
	return inOrder(b.metrics)
}

func renderView(appliance string, v *ledger.View, old *viewRendering) *viewRendering {
	var b builder
	if v.Watermark != nil {
		b.gauge(watermarkUSN, float64(v.Watermark.USN), appliance)
	}
	if !v.LastResync.IsZero() {
		b.gauge(watermarkTime, unixSeconds(v.LastResync), appliance)
	}
	for _, what := range ledger.Limits {
		b.gauge(overLimit, float64(v.OverLimit[what]), appliance, what)
	}
	b.counter(watermarkResets, v.Resets, appliance)
	for _, reason := range ledger.SkipReasons {
		b.counter(sessionsSkipped, v.Skipped[reason], appliance, reason)
	}

	r := &viewRendering{of: v, series: make([]*seriesRendering, len(v.Series))}
	known := newReuse(v, old)
	for i, s := range v.Series {
		sr := known.find(s.Series)
		if sr == nil {
			sr = renderSeries(appliance, s.Series, v.Bounds)
		}
		r.series[i] = sr
		b.metrics = append(b.metrics, sr.metrics...)
		b.add(sessionsRunning, sr.labels, float64(s.Running))
		if !s.OldestStart().IsZero() {
			b.add(runningOldestStart, sr.labels, unixSeconds(s.OldestStart()))
		}
	}
	r.metrics = inOrder(b.metrics)
	return r
}

func renderSeries(appliance string, s *ledger.Series, bounds []float64) *seriesRendering {
	var b builder
	labels := newLabels(sessionsRunning, appliance, s.Key.Type, s.Key.ExtendedType, s.Key.Policy)
	for _, c := range s.Counters {
		labels := withLabel(labels, "status", c.Status)
		b.metrics = append(b.metrics, &metric{family: sessionsTotal, labels: labels, counter: newSessionCounter(c)})
		if c.Histogram != nil {
			b.metrics = append(b.metrics, &metric{family: sessionDuration, labels: labels, histogram: newSessionHistogram(c, bounds)})
		}
		if !c.End.IsZero() {
			b.add(lastEnd, labels, unixSeconds(c.End))
		}
		if !s.Last.End.IsZero() {
			b.add(lastStatus, labels, boolean(c.Status == s.Last.Status))
		}
	}
	if !s.Last.End.IsZero() {
		b.add(lastDuration, labels, s.Last.Duration.Seconds())
	}
	if s.Key.Policy != "" && !s.History.Empty() { // which are of type Policy
		values := []string{appliance, s.Key.ExtendedType, s.Key.Policy}
		b.gauge(consecutiveFailures, float64(s.History.ConsecutiveFailures()), values...)
		if typical, ok := s.History.Typical(); ok {
			b.gauge(typicalDuration, typical.Seconds(), values...)
		}
	}
	return &seriesRendering{of: s, labels: labels, metrics: b.metrics}
}

// reuse finds the series of an older view that are still the same. Views are
// sorted, so both are walked side by side.
type reuse struct {
	series []*seriesRendering
}

func newReuse(v *ledger.View, old *viewRendering) *reuse {
	if old == nil || !slices.Equal(old.of.Bounds, v.Bounds) {
		return &reuse{}
	}
	return &reuse{series: old.series}
}

// find returns nil for a series that is new or has changed. It must be asked in
// the order of keys.
func (r *reuse) find(s *ledger.Series) *seriesRendering {
	for len(r.series) > 0 && r.series[0].of.Key.Compare(s.Key) < 0 {
		r.series = r.series[1:]
	}
	if len(r.series) > 0 && r.series[0].of == s {
		return r.series[0]
	}
	return nil
}

// builder gathers metrics.
type builder struct {
	metrics []*metric
}

func (b *builder) gauge(f *family, value float64, labelValues ...string) {
	b.add(f, newLabels(f, labelValues...), value)
}

func (b *builder) counter(f *family, value uint64, labelValues ...string) {
	b.metrics = append(b.metrics, &metric{
		family:  f,
		labels:  newLabels(f, labelValues...),
		counter: &dto.Counter{Value: new(float64(value))},
	})
}

// add adds a gauge whose labels are there already.
func (b *builder) add(f *family, labels []*dto.LabelPair, value float64) {
	b.metrics = append(b.metrics, &metric{family: f, labels: labels, gauge: &dto.Gauge{Value: &value}})
}

// newLabels returns the labels of f, whose values come in the order of f.Labels,
// sorted by name.
func newLabels(f *family, values ...string) []*dto.LabelPair {
	for i := range values {
		values[i] = labelValue(values[i])
	}
	return prometheus.MakeLabelPairs(f.desc, values)
}

// withLabel returns labels and another one in its place. It shares the pairs of
// labels, which are most of what a series weighs.
func withLabel(labels []*dto.LabelPair, name, value string) []*dto.LabelPair {
	value = labelValue(value)
	all := make([]*dto.LabelPair, 0, len(labels)+1)
	i, _ := slices.BinarySearchFunc(labels, name, func(l *dto.LabelPair, name string) int {
		return strings.Compare(l.GetName(), name)
	})
	all = append(all, labels[:i]...)
	all = append(all, &dto.LabelPair{Name: &name, Value: &value})
	return append(all, labels[i:]...)
}

// inOrder returns metrics in the order of exposition.
func inOrder(metrics []*metric) []*metric {
	byFamily := make(map[*family][]*metric, len(collected))
	for _, m := range metrics {
		byFamily[m.family] = append(byFamily[m.family], m)
	}
	sorted := make([]*metric, 0, len(metrics))
	for _, f := range collected {
		of := byFamily[f]
		slices.SortFunc(of, compareLabels)
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
