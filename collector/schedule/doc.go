// Package schedule computes when a policy's runs are due.
//
// It has the calendar, the wall clocks of time zones and the kinds of restore points. It
// does no I/O, has no clock, and has neither sessions nor metrics: whether a run that was
// due took place is for its caller to find out.
//
// The appliance doesn't return when a policy runs next, and its API description has little
// about what a schedule means. This package interprets it as follows. In
// doubt, it takes the interpretation under which no run is due by mistake:
//
//   - A daily schedule starts on the full hour. runsPerHour starts are spread
//     evenly over the hour, and they make snapshots for EC2 and RDS and backups for
//     other workloads: the vendor's user guide offers several an hour for these only.
//   - Backups, replicas and copies are made only together with the snapshot, or the
//     backup, of the same hour, day or month, as the user guide says. What a schedule
//     has beside that is not due.
//   - A day that a month doesn't have (OnDay 31 in June) is skipped, not moved to
//     the last day. If the appliance moves it, a run missed on such a day shows with
//     the next one.
//   - A yearly schedule makes backups, as the vendor's user guide says. Those of a
//     monthly or yearly schedule with sendBackupsToArchive are also archived, so that
//     an archive is due at the same time.
//   - A time that the wall clock skips in spring is due at the instant of the
//     change. A time that it shows twice in autumn is due the first time, once.
package schedule
