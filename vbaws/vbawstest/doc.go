// Package vbawstest simulates a Veeam Backup for AWS appliance, in the manner
// of net/http/httptest.
//
// It knows the vendor's REST API and nothing of who calls it: it imports no
// other package of this module, so that what it answers is judged by the
// vendor's API description alone. What the appliance would refuse, it refuses:
// a missing revision, an unknown value of an enumeration, a token that has
// expired, a role that lacks the right. Where the description leaves a question
// open (what Usn= selects, what FromUtc compares, in which order rows come
// without Sort, how times are written), a switch of [Config] chooses the
// reading, and its zero value is the most plausible one.
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
// Only what a monitor reads is there: tokens, sessions with their logs and
// protected items, policies, repositories, statistics, license, version and
// time. Other routes of the API are answered with 404. Nothing can be changed
// through HTTP except tokens; what tries is listed by [Appliance.Violations].
package vbawstest
