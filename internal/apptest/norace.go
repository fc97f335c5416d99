//go:build !race

package apptest

// raceDetector reports whether the test has the race detector.
const raceDetector = false
