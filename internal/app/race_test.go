//go:build race

package app

// maxPeak is unlimited: the race detector multiplies what a process has in use.
const maxPeak = 1 << 62
