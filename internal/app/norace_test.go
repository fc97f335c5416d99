//go:build !race

package app

// maxPeak is the most memory that the exporter is allowed to use, in bytes.
const maxPeak = 256 << 20
