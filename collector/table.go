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

// Metrics returns a copy of the table of all metrics of this package, in the order of
// the documentation.
func Metrics() []MetricDoc {
	table := slices.Concat(collected, instrumented)
	docs := make([]MetricDoc, len(table))
	for i, f := range table {
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
	up = newGauge("vbaws_up",
		"Whether the last finished poll of the appliance succeeded. Absent before the first poll of this process.",
		byAppliance)
	applianceInfo = newGauge("vbaws_appliance_info",
		"Always 1. Labelled by the version of the product (empty if unknown) and the API version in use.",
		[]string{"appliance", "version", "api_version"})

	certificateExpiry = newGauge("vbaws_appliance_certificate_expiry_timestamp_seconds",
		"Expiry of the certificate that the appliance presented, in Unix time. Absent without TLS.",
		byAppliance)
	clockOffset = newGauge("vbaws_appliance_clock_offset_seconds",
		"The appliance's clock minus the exporter's at the last successful poll, in whole seconds.",
		byAppliance)

	sessionsTotal = newCounter("vbaws_sessions_total",
		"Number of finished sessions, each counted once.",
		byStatus)
	sessionDuration = newHistogram("vbaws_session_duration_seconds",
		"Duration of finished sessions, from start to stop.",
		byStatus)
	sessionsRunning = newGauge("vbaws_sessions_running",
		"Number of sessions that have started and not finished.",
		bySeries)
	runningOldestStart = newGauge("vbaws_sessions_running_oldest_start_timestamp_seconds",
		"Start of the session that has been running longest, in Unix time. Absent if none is running.",
		bySeries)
	lastEnd = newGauge("vbaws_session_last_end_timestamp_seconds",
		"Newest end of a session with this status, in Unix time.",
		byStatus)
	lastStatus = newGauge("vbaws_session_last_status",
		"1 for the status of the session that finished last, 0 for the other statuses seen.",
		byStatus)
	lastDuration = newGauge("vbaws_session_last_duration_seconds",
		"Duration of the session that finished last.",
		bySeries)

	consecutiveFailures = newGauge("vbaws_session_consecutive_failures",
		"Number of sessions of type Policy that failed since the newest Succeeded or Warning. Canceled and unknown statuses neither count nor reset it.",
		byPolicyType)
	typicalDuration = newGauge("vbaws_session_typical_duration_seconds",
		"Median duration of the last 15 sessions of type Policy with Succeeded or Warning. Absent below 5.",
		byPolicyType)

	policyProblem = newGauge("vbaws_policy_problem",
		"Whether the policy has the problem: failing, overdue, stuck, silent, disabled (the last two with an empty kind). Absent if it cannot be judged.",
		byProblem)
	policyProblemSince = newGauge("vbaws_policy_problem_since_timestamp_seconds",
		"When the problem began, in Unix time: the oldest overdue start, the end of the first failure, the start of the stuck session, the last success, or when the policy was first seen disabled. Absent without the problem.",
		byProblem)
	policyOverdueRuns = newGauge("vbaws_policy_overdue_runs",
		"Number of scheduled starts that no success followed and whose deadline has passed.",
		byPolicyKind)
	policyNextDue = newGauge("vbaws_policy_next_due_timestamp_seconds",
		"Next scheduled start, in Unix time. Absent if the policy is disabled or has no schedule, or the time zone is unknown.",
		byPolicyKind)
	policyInfo = newGauge("vbaws_policy_info",
		"Always 1, for each policy of the appliance. Names need not be unique; policy_id is.",
		[]string{"appliance", "policy", "policy_id", "workload"})
	policyEnabled = newGauge("vbaws_policy_enabled",
		"Whether the policy is enabled.",
		byPolicy)
	policyInterval = newGauge("vbaws_policy_expected_interval_seconds",
		"Longest gap between two scheduled runs of the policy. Absent without a schedule.",
		byPolicyKind)
	policyDue = newGauge("vbaws_policy_last_due_timestamp_seconds",
		"Newest scheduled start since the policy was first seen enabled with its schedule, in Unix time. Absent if the policy is disabled or has no schedule, or the time zone is unknown.",
		byPolicyKind)
	policySuccess = newGauge("vbaws_policy_last_success_timestamp_seconds",
		"Newest end of a session of the policy with Succeeded or Warning, in Unix time. A backup also counts as a snapshot. Absent if none is known.",
		byPolicyKind)
	instances = newGauge("vbaws_instances",
		"Number of instances that the appliance knows.",
		byAppliance)
	instancesProtected = newGauge("vbaws_instances_protected",
		"Number of instances that a policy protects.",
		byAppliance)
	policies = newGauge("vbaws_policies",
		"Number of policies, as counted by the appliance.",
		byAppliance)
	repositories = newGauge("vbaws_repositories",
		"Number of backup repositories, as counted by the appliance.",
		byAppliance)
	alarms = newGauge("vbaws_alarms",
		"Number of alarms of the appliance.",
		byAppliance)
	licenseInfo = newGauge("vbaws_license_info",
		"Always 1. Labelled by the type of the license: Free, Subscription, Marketplace, Managed.",
		[]string{"appliance", "license_type"})
	licenseExpiry = newGauge("vbaws_license_expiry_timestamp_seconds",
		"Expiry of the license, in Unix time. Absent for a license that does not expire.",
		byAppliance)
	licenseInstances = newGauge("vbaws_license_instances",
		"Number of instances that the license covers.",
		byAppliance)
	licenseInstancesUsed = newGauge("vbaws_license_instances_used",
		"Number of instances of the license in use, which can be a fraction.",
		byAppliance)
	repositoryInfo = newGauge("vbaws_repository_info",
		`Always 1, for each backup repository. encryption is "true" or "false".`,
		[]string{"appliance", "repository", "repository_id", "bucket", "region", "encryption"})

	instanceInfo = newGauge("vbaws_instance_info",
		"Always 1, for each EC2 instance. instance_id is that of AWS, or the appliance's if that is not known. Only with instances: true.",
		[]string{"appliance", "instance_name", "instance_id", "region"})
	instanceProtected = newGauge("vbaws_instance_protected",
		"Whether a policy protects the EC2 instance.",
		byInstance)
	instanceLastBackup = newGauge("vbaws_instance_last_backup_timestamp_seconds",
		"When the newest backup, replica or snapshot of a protected EC2 instance was made, in Unix time. 0 if the appliance has none, absent if it is not known.",
		byInstance)

	lastPoll = newGauge("vbaws_exporter_last_poll_timestamp_seconds",
		"End of the last poll of the appliance, successful or not, in Unix time.",
		byAppliance)
	lastSuccessfulPoll = newGauge("vbaws_exporter_last_successful_poll_timestamp_seconds",
		"End of the last successful poll of the appliance, in Unix time.",
		byAppliance)
	watermarkUSN = newGauge("vbaws_exporter_watermark_usn",
		"Update sequence number up to which the list of sessions has been read.",
		byAppliance)
	watermarkTime = newGauge("vbaws_exporter_watermark_timestamp_seconds",
		"Start time, by the appliance's clock, up to which the list of sessions has been read, in Unix time.",
		byAppliance)
	watermarkResets = newCounter("vbaws_exporter_watermark_resets_total",
		"Number of times the update sequence number of the appliance started over.",
		byAppliance)
	sessionsSkipped = newCounter("vbaws_exporter_sessions_skipped_total",
		"Number of sessions that were not counted, by reason.",
		[]string{"appliance", "reason"})
	endpointForbidden = newGauge("vbaws_exporter_endpoint_forbidden",
		"Whether the account lacks the right to use the endpoint.",
		[]string{"appliance", "endpoint"})
	endpointErrors = newGauge("vbaws_exporter_endpoint_errors",
		"Endpoints that no poll depends on and whose last request failed, for another reason than a missing right. Their last values are kept.",
		byAppliance)

	schedulesUnreadable = newGauge("vbaws_exporter_schedules_unreadable",
		"Number of policies with a schedule that could not be understood. Such a schedule makes no run due. Absent until policies are known.",
		byAppliance)
	overLimit = newGauge("vbaws_exporter_over_limit",
		"Number of names beyond a limit since the start of this process, at most 10,000 of each: policies (sessions are counted as those of no policy); types, extended_types, statuses and series (counted as other); unfinished sessions (counted when they finish); repositories and instances (not exposed).",
		[]string{"appliance", "what"})

	collected = []*family{
		up, applianceInfo, certificateExpiry, clockOffset,
		sessionsTotal, sessionDuration, sessionsRunning, runningOldestStart, lastEnd, lastStatus, lastDuration,
		consecutiveFailures, typicalDuration,
		policyProblem, policyProblemSince, policyOverdueRuns, policyNextDue,
		policyInfo, policyEnabled, policyInterval, policyDue, policySuccess,
		instances, instancesProtected, policies, repositories, repositoryInfo, alarms,
		licenseInfo, licenseExpiry, licenseInstances, licenseInstancesUsed,
		instanceInfo, instanceProtected, instanceLastBackup,
		lastPoll, lastSuccessfulPoll, watermarkUSN, watermarkTime, watermarkResets, sessionsSkipped, endpointForbidden, endpointErrors,
		schedulesUnreadable, overLimit,
	}
)

// The metrics of Instruments.
var (
	polls = newCounter("vbaws_exporter_polls_total",
		"Number of polls of the appliance, by result: success or the kind of failure.",
		[]string{"appliance", "result"})
	pollDuration = newHistogram("vbaws_exporter_poll_duration_seconds",
		"Duration of polls of the appliance.",
		byAppliance)
	apiRequests = newCounter("vbaws_exporter_api_requests_total",
		`Number of requests to the appliance, by route and HTTP status; code is "error" if no answer arrived.`,
		[]string{"appliance", "endpoint", "code"})
	apiRequestDuration = newHistogram("vbaws_exporter_api_request_duration_seconds",
		"Duration of requests to all appliances, by route.",
		[]string{"endpoint"})
	reloadSuccessful = newGauge("vbaws_exporter_config_last_reload_successful",
		"Whether the last load of the configuration succeeded.",
		nil)
	reloadSuccessTime = newGauge("vbaws_exporter_config_last_reload_success_timestamp_seconds",
		"When the configuration in use was loaded, in Unix time.",
		nil)
	// buildInfo is registered by its library; the help is the library's.
	buildInfo = newGauge("vbaws_exporter_build_info",
		"A metric with a constant '1' value labeled by version, revision, branch, goversion from which vbaws_exporter was built, and the goos and goarch for the build.",
		[]string{"version", "revision", "branch", "goversion", "goos", "goarch", "tags"})

	instrumented = []*family{
		polls, pollDuration, apiRequests, apiRequestDuration, reloadSuccessful, reloadSuccessTime, buildInfo,
	}
)

// family is a metric of the table, and its descriptor.
type family struct {
	MetricDoc
	desc *prometheus.Desc
}

func newCounter(name, help string, labels []string) *family {
	return newFamily("counter", name, help, labels)
}

func newGauge(name, help string, labels []string) *family {
	return newFamily("gauge", name, help, labels)
}

func newHistogram(name, help string, labels []string) *family {
	return newFamily("histogram", name, help, labels)
}

func newFamily(typ, name, help string, labels []string) *family {
	f := &family{MetricDoc: MetricDoc{Name: name, Type: typ, Labels: labels, Help: help}}
	f.desc = prometheus.V2.NewDesc(name, help, prometheus.UnconstrainedLabels(labels), nil, prometheus.WithUnit(f.unit()))
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
