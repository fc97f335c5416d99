// Package simulation plays policies of simulated appliances for days, and checks that
// the alerts of ../../prometheus/alerts.yml report each problem once, in time, and
// nothing else.
//
// Each minute of a world the appliance does what a script says, the real poller polls
// it, a scrape of the real collector goes into Prometheus's own storage, and
// Prometheus's own engine evaluates the rules. What ought to fire is computed from the
// script by collector/verdict/oracle, which knows nothing of the exporter.
//
// The files, one idea each: script_test.go draws worlds, play_test.go plays them,
// compare_test.go compares what fired with the oracle.
//
// Not in it: Alertmanager, a restart of Prometheus, and policies that are renamed.
package simulation
