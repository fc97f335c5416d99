// Package vbawstest simulates a Veeam Backup for AWS appliance, like net/http/httptest
// simulates a server.
//
// It implements the vendor's REST API as published, and imports no other package of this
// module, so that it doesn't share a mistake with the client. It refuses what the appliance
// refuses: a missing API version, an unknown value of an enumeration, an expired token, a
// role that lacks the right.
//
// It serves the API versions 1.0-rev0 to 1.9-rev0, each with its own routes,
// filters and fields. Each form names its source in a comment: the vendor's API
// description of 1.0, REST references, changelogs and user guide, public clients
// that run against appliances, or the framework of the product. Behavior that none of
// them documents (what Usn= selects, what FromUtc compares, the order of rows without Sort,
// the form of a refusal) is a switch of [Config], and its zero value is the most plausible
// behavior. Undocumented behavior of policies (a start during a run, kinds side by side,
// the hours of a change of the clocks) is a switch of [FleetConfig].
//
// The layers, each of which can be used without the next:
//
//   - [Clock] is a settable clock.
//   - [Appliance] is the table of sessions and policies behind an http.Handler,
//     with users, tokens, faults on demand and a log of requests. Its [Appliance.History]
//     has every state that every session ever had.
//   - [Server] serves an Appliance with TLS on the loopback interface, on a given
//     address, or over in-memory pipes that work in a bubble of testing/synctest.
//   - [Fleet] makes sessions start, run, fail and retry by the schedules of its
//     policies, from a seed.
//
// It has only what a monitor reads: tokens, sessions with their logs, policies, restore
// points, repositories, statistics, license, version and time. Other routes of the API
// return 404. HTTP requests can change nothing except tokens; [Appliance.Violations] lists
// requests that try to.
package vbawstest
