// Package killtest shows that nothing is lost and nothing is counted twice,
// whatever ends the process.
//
// It reads /metrics as Prometheus does, and puts the exporter's parts together as the
// daemon does: client, poller, state on disk, collector, HTTP. What is right comes from
// the simulated appliance alone. The tests don't depend on how anything is counted or
// kept.
//
// TestKill ends processes, hundreds of them. TestMove moves appliances between
// processes, by the exporter's own commands. The other tests restart, restore and
// break things within one process.
package killtest
