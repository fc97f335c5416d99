// Package vbawstest simulates a Veeam Backup for AWS appliance, in the manner
// of net/http/httptest.
//
// It knows the vendor's REST API and nothing of who calls it: it imports no
// other package of this module, so that what it answers is judged by what is
// published of the API alone. What the appliance would refuse, it refuses:
// a missing API version, an unknown value of an enumeration, a token that has
// expired, a role that lacks the right.
//
// It serves the API versions 1.0-rev0 to 1.9-rev0, each with its own routes,
// filters and fields. Each form names its source in a comment: the vendor's API
// description of 1.0, REST references, changelogs and user guide, public clients
// that run against appliances, or the framework that the product is built on. What
// none of them says (what Usn= selects, what FromUtc compares, in which order rows
// come without Sort, which form a refusal has) is a switch of [Config], and its zero
// value is the most plausible answer. What a policy does, if that is not documented
// (a start during a run, kinds side by side, the hours of a change of the clocks), is
// a switch of [FleetConfig].
//
// The layers, each of use without the next:
//
//   - [Clock] is a settable clock.
//   - [Appliance] is the table of sessions and policies behind an http.Handler,
//     with users, tokens, faults on demand and a log of requests. Its [Appliance.History]
//     is the truth: every state of every session that ever was.
//   - [Server] serves an Appliance, by TLS on the loopback interface, on an
//     address of the caller's, or over in-memory pipes that work in a bubble of
//     testing/synctest.
//   - [Fleet] makes sessions start, run, fail and retry as its policies'
//     schedules say, from a seed.
//
// Only what a monitor reads is there: tokens, sessions with their logs, policies,
// restore points, repositories, statistics, license, version and time. Other routes
// of the API are answered with 404. Nothing can be changed through HTTP except
// tokens; what tries is listed by [Appliance.Violations].
package vbawstest
