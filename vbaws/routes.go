package vbaws

// The routes of the REST API that the client uses, as in the vendor's references of 1.0 to
// 1.8. The routes of policies are in Workloads. Routes are also the values of
// Request.Endpoint. {id} is the id of a session.
const (
	RouteToken        = "/api/v1/token"
	RouteSessions     = "/api/v1/sessions"
	RouteSession      = "/api/v1/sessions/{id}"
	RouteSessionLog   = "/api/v1/sessions/{id}/log"
	RouteSummary      = "/api/v1/statistics/summary"
	RouteLicense      = "/api/v1/licensing/license"
	RouteRepositories = "/api/v1/repositories"
	RouteVersion      = "/api/v1/system/version"
	RouteTime         = "/api/v1/system/time"
	RouteDateTime     = "/api/v1/settings/dateTime"
	RouteInstances    = "/api/v1/virtualMachines"
	RouteLicensed     = "/api/v1/licensing/licensedWorkloads"
	// RouteRestorePointsOld is that of 1.0 and 1.1: see Client.RestorePointsRoute.
	RouteRestorePoints    = "/api/v1/virtualMachines/restorePoints"
	RouteRestorePointsOld = "/api/v1/vmRestorePoints"
)
