//go:build race

package main

// maxPeak is unlimited: the race detector multiplies what a process has in use.
const maxPeak = 1 << 62
