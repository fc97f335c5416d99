//go:build !race

package apptest

// raceDetector says whether the test has the race detector.
const raceDetector = false
