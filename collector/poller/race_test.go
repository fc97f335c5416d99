//go:build race

package poller_test

// The race detector makes a step ten times as long, and finds what it looks for in
// fewer: whole lives are for the build without it.
const defaultSteps = 60
