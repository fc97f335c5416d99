// Package simulation plays policies of simulated appliances for days, and checks that
// the alerts of ../../prometheus/alerts.yml report each problem once, in time, and
// nothing else.
//
// Each minute of a world, the appliance follows a script, the real poller polls it, a
// scrape of the real collector goes into Prometheus's own storage, and Prometheus's own
// engine evaluates the rules. collector/verdict/oracle computes from the script alone
// which alerts must fire.
//
// script_test.go draws worlds, play_test.go plays them, and compare_test.go compares the
// alerts with the oracle.
//
// It leaves out Alertmanager, restarts of Prometheus, and renamed policies.
package simulation
