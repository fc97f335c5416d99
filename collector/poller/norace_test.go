//go:build !race

package poller_test

const defaultSteps = 100
