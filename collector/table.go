package collector

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// MetricDoc documents one metric.
type MetricDoc struct {
	Name string
	// Type is counter, gauge or histogram.
	Type string
	// Labels are in the order of the documentation, not of the exposition.
	Labels []string
	Help   string
}

// Metrics returns a copy of the table of all metrics of this package.
func Metrics() []MetricDoc {
	docs := make([]MetricDoc, len(all))
	for i, f := range all {
		docs[i] = f.MetricDoc
		docs[i].Labels = slices.Clone(f.Labels)
	}
	return docs
}

// Label names. All metrics of sessions have the same ones.
var (
	byAppliance = []string{"appliance"}
	bySeries    = []string{"appliance", "type", "extended_type", "policy"}
	byStatus    = []string{"appliance", "type", "extended_type", "policy", "status"}

	byPolicy     = []string{"appliance", "policy", "workload"}
	byPolicyKind = []string{"appliance", "policy", "workload", "kind"}
	byProblem    = []string{"appliance", "policy", "workload", "kind", "problem"}
	byPolicyType = []string{"appliance", "extended_type", "policy"}
	byInstance   = []string{"appliance", "instance_name", "instance_id"}
)

// The metrics of Collector.
var (
	up = collect(gauge, "vbaws_up",
		"Whether the last finished poll read the appliance, also if what it read could not be saved. Absent before the first poll of this process.",
		byAppliance)
	applianceInfo = collect(gauge, "vbaws_appliance_info",
		"Always 1. Labelled by the version of the product (empty if unknown) and the API version in use.",
		[]string{"appliance", "version", "api_version"})

	certificateExpiry = collect(gauge, "vbaws_appliance_certificate_expiry_timestamp_seconds",
		"Expiry of the certificate that the appliance presented, in Unix time. Absent without TLS.",
		byAppliance)
	clockOffset = collect(gauge, "vbaws_appliance_clock_offset_seconds",
		"The appliance's clock minus the exporter's at the last successful poll, in whole seconds.",
		byAppliance)

	sessionsTotal = collect(counter, "vbaws_sessions_total",
		"Number of finished sessions, each counted once.",
		byStatus)
	sessionDuration = collect(histogram, "vbaws_session_duration_seconds",
		"Duration of finished sessions, from start to stop.",
		byStatus)
	sessionsRunning = collect(gauge, "vbaws_sessions_running",
		"Number of sessions that have started and not finished.",
		bySeries)
	runningOldestStart = collect(gauge, "vbaws_sessions_running_oldest_start_timestamp_seconds",
		"Start of the session that has been running longest, in Unix time. Absent if none is running.",
		bySeries)
	lastEnd = collect(gauge, "vbaws_session_last_end_timestamp_seconds",
		"Newest end of a session with this status, in Unix time.",
		byStatus)
	lastStatus = collect(gauge, "vbaws_session_last_status",
		"1 for the status of the session that finished last, 0 for the other statuses seen.",
		byStatus)
	lastDuration = collect(gauge, "vbaws_session_last_duration_seconds",
		"Duration of the session that finished last.",
		bySeries)

	consecutiveFailures = collect(gauge, "vbaws_session_consecutive_failures",
		"Number of sessions of type Policy that failed since the newest Succeeded or Warning. Canceled and unknown statuses neither count nor reset it.",
		byPolicyType)
	typicalDuration = collect(gauge, "vbaws_session_typical_duration_seconds",
		"Median duration of the last 15 sessions of type Policy with Succeeded or Warning. Absent below 5.",
		byPolicyType)

	policyProblem = collect(gauge, "vbaws_policy_problem",
		"Whether the policy has the problem: failing, overdue, stuck, silent, disabled (the last two with an empty kind). Absent if it cannot be judged.",
		byProblem)
	policyProblemSince = collect(gauge, "vbaws_policy_problem_since_timestamp_seconds",
		"When the problem began, in Unix time: the oldest overdue start, the end of the first failure, the start of the stuck session, the last success, or when the policy was first seen disabled. Absent without the problem.",
		byProblem)
	policyOverdueRuns = collect(gauge, "vbaws_policy_overdue_runs",
		"Number of scheduled starts that no success followed and whose deadline has passed.",
		byPolicyKind)
	policyNextDue = collect(gauge, "vbaws_policy_next_due_timestamp_seconds",
		"Next scheduled start, in Unix time. Absent if the policy is disabled or has no schedule, or the time zone is unknown.",
		byPolicyKind)
	policyInfo = collect(gauge, "vbaws_policy_info",
		"Always 1, for each policy of the appliance. Names need not be unique; policy_id is.",
		[]string{"appliance", "policy", "policy_id", "workload"})
	policyEnabled = collect(gauge, "vbaws_policy_enabled",
		"Whether the policy is enabled.",
		byPolicy)
	policyInterval = collect(gauge, "vbaws_policy_expected_interval_seconds",
		"Longest gap between two scheduled runs of the policy. Absent without a schedule.",
		byPolicyKind)
	policyDue = collect(gauge, "vbaws_policy_last_due_timestamp_seconds",
		"Newest scheduled start since the policy was first seen enabled with its schedule, in Unix time. Absent if the policy is disabled or has no schedule, or the time zone is unknown.",
		byPolicyKind)
	policySuccess = collect(gauge, "vbaws_policy_last_success_timestamp_seconds",
		"Newest end of a session of the policy with Succeeded or Warning, in Unix time. A backup also counts as a snapshot. Absent if none is known.",
		byPolicyKind)
	instances = collect(gauge, "vbaws_instances",
		"Number of instances that the appliance knows.",
		byAppliance)
	instancesProtected = collect(gauge, "vbaws_instances_protected",
		"Number of instances that a policy protects.",
		byAppliance)
	policies = collect(gauge, "vbaws_policies",
		"Number of policies, as counted by the appliance.",
		byAppliance)
	repositories = collect(gauge, "vbaws_repositories",
		"Number of backup repositories, as counted by the appliance.",
		byAppliance)
	repositoryInfo = collect(gauge, "vbaws_repository_info",
		`Always 1, for each backup repository. encryption is "true" or "false".`,
		[]string{"appliance", "repository", "repository_id", "bucket", "region", "encryption"})
	alarms = collect(gauge, "vbaws_alarms",
		"Number of alarms of the appliance.",
		byAppliance)
	licenseInfo = collect(gauge, "vbaws_license_info",
		"Always 1. Labelled by the type of the license: Free, Subscription, Marketplace, Managed.",
		[]string{"appliance", "license_type"})
	licenseExpiry = collect(gauge, "vbaws_license_expiry_timestamp_seconds",
		"Expiry of the license, in Unix time. Absent for a license that does not expire.",
		byAppliance)
	licenseInstances = collect(gauge, "vbaws_license_instances",
		"Number of instances that the license covers.",
		byAppliance)
	licenseInstancesUsed = collect(gauge, "vbaws_license_instances_used",
		"Number of instances of the license in use, which can be a fraction.",
		byAppliance)

	instanceInfo = collect(gauge, "vbaws_instance_info",
		"Always 1, for each EC2 instance. instance_id is that of AWS, or the appliance's if that is not known. Only with instances: true.",
		[]string{"appliance", "instance_name", "instance_id", "region"})
	instanceProtected = collect(gauge, "vbaws_instance_protected",
		"Whether a policy protects the EC2 instance.",
		byInstance)
	instanceLastBackup = collect(gauge, "vbaws_instance_last_backup_timestamp_seconds",
		"When the newest backup, replica or snapshot of a protected EC2 instance was made, in Unix time. 0 if the appliance has none, absent if it is not known.",
		byInstance)

	lastPoll = collect(gauge, "vbaws_exporter_last_poll_timestamp_seconds",
		"End of the last poll of the appliance, successful or not, in Unix time.",
		byAppliance)
	lastSuccessfulPoll = collect(gauge, "vbaws_exporter_last_successful_poll_timestamp_seconds",
		"End of the last successful poll of the appliance, in Unix time.",
		byAppliance)
	watermarkUSN = collect(gauge, "vbaws_exporter_watermark_usn",
		"Update sequence number up to which the list of sessions has been read.",
		byAppliance)
	watermarkTime = collect(gauge, "vbaws_exporter_watermark_timestamp_seconds",
		"Start time, by the appliance's clock, up to which the list of sessions has been read, in Unix time.",
		byAppliance)
	watermarkResets = collect(counter, "vbaws_exporter_watermark_resets_total",
		"Number of times the update sequence number of the appliance started over.",
		byAppliance)
	sessionsSkipped = collect(counter, "vbaws_exporter_sessions_skipped_total",
		"Number of sessions that were not counted, by reason.",
		[]string{"appliance", "reason"})
	endpointForbidden = collect(gauge, "vbaws_exporter_endpoint_forbidden",
		"Whether the account lacks the right to use the endpoint.",
		[]string{"appliance", "endpoint"})
	endpointErrors = collect(gauge, "vbaws_exporter_endpoint_errors",
		"Endpoints that no poll depends on and whose last request failed, for another reason than a missing right. Their last values are kept.",
		byAppliance)

	schedulesUnreadable = collect(gauge, "vbaws_exporter_schedules_unreadable",
		"Number of policies with a schedule that could not be understood. Such a schedule makes no run due. Absent until policies are known.",
		byAppliance)
	overLimit = collect(gauge, "vbaws_exporter_over_limit",
		"Number of names beyond a limit since the start of this process, at most 10,000 of each: policies (sessions are counted as those of no policy); types, extended_types, statuses and series (counted as other); unfinished sessions (counted when they finish); repositories and instances (not exposed).",
		[]string{"appliance", "what"})
)

// The metrics of Instruments.
var (
	polls = newFamily(counter, "vbaws_exporter_polls_total",
		"Number of polls of the appliance, by result: success or the kind of failure.",
		[]string{"appliance", "result"})
	pollDuration = newFamily(histogram, "vbaws_exporter_poll_duration_seconds",
		"Duration of polls of the appliance.",
		byAppliance)
	apiRequests = newFamily(counter, "vbaws_exporter_api_requests_total",
		`Number of requests to the appliance, by route and HTTP status; code is "error" if no answer arrived.`,
		[]string{"appliance", "endpoint", "code"})
	apiRequestDuration = newFamily(histogram, "vbaws_exporter_api_request_duration_seconds",
		"Duration of requests to all appliances, by route.",
		[]string{"endpoint"})
	reloadSuccessful = newFamily(gauge, "vbaws_exporter_config_last_reload_successful",
		"Whether the last load of the configuration succeeded.",
		nil)
	reloadSuccessTime = newFamily(gauge, "vbaws_exporter_config_last_reload_success_timestamp_seconds",
		"When the configuration in use was loaded, in Unix time.",
		nil)
	// buildInfo is registered by its library; the help is the library's.
	buildInfo = newFamily(gauge, "vbaws_exporter_build_info",
		"A metric with a constant '1' value labeled by version, revision, branch, goversion from which vbaws_exporter was built, and the goos and goarch for the build.",
		[]string{"version", "revision", "branch", "goversion", "goos", "goarch", "tags"})
)

// family is a metric of the table, and its descriptor.
type family struct {
	MetricDoc
	desc *prometheus.Desc
}

// The types of metrics.
const (
	counter   = "counter"
	gauge     = "gauge"
	histogram = "histogram"
)

// all are the metrics in the order of their declaration; collected are those of Collector.
var all, collected []*family

// collect declares a metric of Collector.
func collect(typ, name, help string, labels []string) *family {
	f := newFamily(typ, name, help, labels)
	collected = append(collected, f)
	return f
}

// newFamily declares a metric.
func newFamily(typ, name, help string, labels []string) *family {
	f := &family{MetricDoc: MetricDoc{Name: name, Type: typ, Labels: labels, Help: help}}
	f.desc = prometheus.V2.NewDesc(name, help, prometheus.UnconstrainedLabels(labels), nil, prometheus.WithUnit(f.unit()))
	all = append(all, f)
	return f
}

// unit returns the unit for OpenMetrics, which must be the last word of the name; empty
// for none.
func (f *family) unit() string {
	if strings.HasSuffix(f.Name, "_seconds") {
		return "seconds"
	}
	return ""
}
