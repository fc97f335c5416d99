package vbaws

import (
	"crypto/sha256"
	"encoding/hex"
	"unicode/utf8"
)

// MaxText is how many bytes are kept of an id, name, type or status of an appliance. Longer
// ones are shortened.
const MaxText = 4 << 10

// Shorten returns s or, if it is longer than limit bytes, its beginning, cut between two
// runes, and a hash of the whole, together at most limit bytes. Different strings stay
// different. limit must be at least 20.
func Shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	hash := "…" + hex.EncodeToString(sum[:8])
	cut := limit - len(hash)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + hash
}
