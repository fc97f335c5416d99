package vbaws

import (
	"bytes"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// unquote returns the content of a JSON string, nil if v is not a string. The result can
// alias v.
func unquote(v jsontext.Value) []byte {
	if v.Kind() != jsontext.KindString {
		return nil
	}
	for _, c := range v[1 : len(v)-1] {
		if c == '\\' || c >= utf8.RuneSelf {
			// v was read, so the error can only be invalid UTF-8, which is replaced.
			b, _ := jsontext.AppendUnquote(nil, v)
			return b
		}
	}
	return v[1 : len(v)-1]
}

// textOf is unquote, and shortens the string to MaxText.
func textOf(v jsontext.Value) []byte {
	b := unquote(v)
	if len(b) > MaxText {
		b = []byte(Shorten(string(b), MaxText))
	}
	return b
}

// numeral returns the text of a number or of a string, which can contain a number; nil if v
// is neither.
func numeral(v jsontext.Value) []byte {
	if v.Kind() == jsontext.KindNumber {
		return v
	}
	return bytes.TrimSpace(unquote(v))
}

// integer reads an integer of 64 bits, as a number or as a string. 5.0 and 5e0 are integers,
// too, if a float64 can represent them exactly.
func integer(v jsontext.Value) (int64, bool) {
	s := numeral(v)
	if n, err := strconv.ParseInt(string(s), 10, 64); err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(string(s), 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, false
	}
	return int64(f), true
}

// duration reads milliseconds, as a number or as a string, or a time span of .NET:
// [d.]hh:mm:ss[.fffffff]. It is 0 for any other value, and for one that is negative or out
// of range.
func duration(v jsontext.Value) time.Duration {
	s := string(numeral(v))
	if ms, err := strconv.ParseFloat(s, 64); err == nil {
		if !(ms > 0 && ms < math.MaxInt64/float64(time.Millisecond)) {
			return 0
		}
		return time.Duration(ms * float64(time.Millisecond))
	}
	var days uint64
	if point, colon := strings.IndexByte(s, '.'), strings.IndexByte(s, ':'); 0 < point && point < colon {
		var err error
		if days, err = strconv.ParseUint(s[:point], 10, 16); err != nil { // 2^16 days fit
			return 0
		}
		s = s[point+1:]
	}
	t, err := time.Parse(time.TimeOnly, s)
	if err != nil {
		return 0
	}
	return time.Duration(days)*24*time.Hour + t.Sub(midnight)
}

// midnight is the result of time.Parse for 00:00:00.
var midnight = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)

// instant reads a date. It is zero if v is not a date.
func instant(v jsontext.Value) time.Time { return parseTime(string(unquote(v))) }

// otherDates are layouts of dates that RFC 3339 doesn't have.
var otherDates = []string{
	"2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05Z07",
	"2006-01-02T15:04:05 Z07:00", "2006-01-02T15:04:05 Z0700", "2006-01-02T15:04:05 Z07",
}

// parseTime reads a date as the appliance writes it: with a zone or, in UTC, without, and
// with any number of digits after the point. It also accepts zones without a colon or
// without minutes, and a space instead of the T. It returns the zero Time for any other
// text, and for the zero date in any zone.
func parseTime(s string) time.Time {
	const day, second = len(time.DateOnly), len("2006-01-02T15:04:05")
	if len(s) < second {
		return time.Time{}
	}
	if s[day] == ' ' {
		s = s[:day] + "T" + s[day+1:]
	}
	if !strings.ContainsAny(s[second:], "Z+-") {
		s += "Z"
	}
	t, err := time.Parse(time.RFC3339, s)
	for i := 0; err != nil && i < len(otherDates); i++ {
		t, err = time.Parse(otherDates[i], s)
	}
	t = t.UTC()
	if err != nil || t.Year() <= 1 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}

// parseRetryAfter reads a Retry-After header, seconds or a date. It is 0 for any other
// value, and for the past.
func parseRetryAfter(s string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		return time.Duration(min(n, math.MaxInt64/uint64(time.Second))) * time.Second
	}
	t, err := http.ParseTime(s)
	if err != nil {
		return 0
	}
	return max(t.Sub(now), 0)
}

// clip returns s for one line of a log: printable, and at most n bytes, then … if it was
// cut.
func clip(s string, n int) string {
	var b strings.Builder
	for _, r := range s {
		if !unicode.IsPrint(r) {
			r = ' '
		}
		if b.Len()+utf8.RuneLen(r) > n {
			b.WriteString("…")
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}
