package vbaws

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestShorten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(20, 100).Draw(t, "limit")
		a, b := rapid.StringN(0, 120, -1).Draw(t, "a"), rapid.StringN(0, 120, -1).Draw(t, "b")
		short := Shorten(a, limit)
		switch {
		case len(a) <= limit && short != a:
			t.Errorf("%q was changed to %q", a, short)
		case len(short) > limit || !utf8.ValidString(short):
			t.Errorf("%q became %q of %d bytes", a, short, len(short))
		case a != b && short == Shorten(b, limit):
			t.Errorf("%q and %q became one", a, b)
		}
	})
	long := strings.Repeat("x", 1<<20)
	if a, b := Shorten(long+"a", 256), Shorten(long+"b", 256); a == b || len(a) != 256 {
		t.Errorf("%q and %q", a, b)
	}
}
