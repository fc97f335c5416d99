//go:build !race

package app

// maxPeak is how much memory the exporter may have in use at most, in bytes.
const maxPeak = 256 << 20
