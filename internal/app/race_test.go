//go:build race

package app

// maxPeak is unlimited: the race detector multiplies the memory in use.
const maxPeak = 1 << 62
