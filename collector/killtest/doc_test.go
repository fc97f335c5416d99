// Package killtest shows that nothing is lost and nothing is counted twice,
// whatever ends the process.
//
// It knows the exporter as Prometheus does, by what /metrics says, and puts its
// parts together as the daemon does: client, poller, state on disk, collector,
// HTTP. What is right it learns from the simulated appliance alone. It doesn't
// know how anything is counted or kept.
//
// TestKill ends processes, hundreds of them. TestMove moves appliances between
// processes, by the exporter's own commands. The other tests restart, restore and
// break things within one process.
package killtest
