// Package schedule says when a policy's runs are due.
//
// It knows the calendar, the wall clocks of time zones and the kinds of restore
// points. It does no I/O, has no clock and knows neither sessions nor metrics:
// whether a run that was due took place is for its caller to say.
//
// The appliance doesn't say when a policy runs next, and its API description says
// little about what a schedule means. This package reads it so; where it had to
// choose, it takes the reading under which no run is said to be due that may not
// be:
//
//   - A daily schedule starts on the full hour. runsPerHour starts are spread
//     evenly over the hour, and they make snapshots alone: the vendor's user guide
//     offers several an hour for these only.
//   - A day that a month doesn't have (OnDay 31 in June) is skipped, not moved to
//     the last day. If the appliance moves it, a run missed on such a day shows with
//     the next one.
//   - A yearly schedule makes backups, as the vendor's user guide says. From there,
//     as from a monthly schedule, they may go to the archive; nothing that is known
//     of a schedule tells. So no start is of kind archive, and an archive that was
//     made stands for a backup: see Satisfies.
//   - A time that the wall clock skips in spring is due at the instant of the
//     change. A time that it shows twice in autumn is due the first time, once.
package schedule
