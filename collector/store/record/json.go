package record

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"

	"vbaws_exporter/collector/verdict"
)

// The options of payloads. A time.Duration is its number of nanoseconds. Decoding is strict: a
// unknown member was written by a newer exporter, whose format has another
// version.
var (
	encodeOptions, decodeOptions = options(decodeTime)
	// importOptions are decodeOptions with a limit on times.
	_, importOptions = options(importTime)
)

func options(decodeTime func(*jsontext.Decoder, *time.Time) error) (encode, decode json.Options) {
	m := json.MarshalToFunc(encodeTime)
	u := json.JoinUnmarshalers(json.UnmarshalFromFunc(decodeTime), json.UnmarshalFromFunc(decodeClock))
	for _, f := range clientForms {
		m, u = json.JoinMarshalers(m, f.marshal), json.JoinUnmarshalers(u, f.unmarshal)
	}
	nano := jsonv1.FormatDurationAsNano(true)
	return json.JoinOptions(nano, json.Deterministic(true), json.WithMarshalers(m)),
		json.JoinOptions(nano, json.RejectUnknownMembers(true), json.WithUnmarshalers(u))
}

// encode returns v as JSON. It fails on strings that are not valid UTF-8, which text
// that was read from JSON always is, and on numbers that JSON can't represent.
func encode(v any) ([]byte, error) { return json.Marshal(v, encodeOptions) }

func decode[T any](payload []byte, options json.Options) (*T, error) {
	v := new(T)
	return v, json.Unmarshal(payload, v, options)
}

// encodeTime writes a time as text: whole seconds since 1970, rounded down, a point,
// and nine digits of nanoseconds. Any time can be said so, also those of years
// that RFC 3339 has no words for. The zero time is empty.
func encodeTime(e *jsontext.Encoder, t *time.Time) error {
	b := append(e.AvailableBuffer(), '"')
	if !t.IsZero() {
		b = strconv.AppendInt(b, t.Unix(), 10)
		// Nine digits, with a one before them that the point takes the place of.
		at := len(b)
		b = strconv.AppendInt(b, int64(1e9+t.Nanosecond()), 10)
		b[at] = '.'
	}
	return e.WriteValue(append(b, '"'))
}

func decodeTime(d *jsontext.Decoder, t *time.Time) error {
	value, err := d.ReadValue()
	if err != nil {
		return err
	}
	if value.Kind() != '"' {
		return fmt.Errorf("time %s is not text", value)
	}
	text := value[1 : len(value)-1]
	if len(text) == 0 {
		*t = time.Time{}
		return nil
	}
	whole, fraction, _ := bytes.Cut(text, []byte("."))
	sec, err := strconv.ParseInt(string(whole), 10, 64)
	if err != nil {
		return fmt.Errorf("time %q: %w", text, err)
	}
	nsec, err := strconv.ParseUint(string(fraction), 10, 32)
	if err != nil || len(fraction) != 9 {
		return fmt.Errorf("time %q: nanoseconds are nine digits", text)
	}
	*t = time.Unix(sec, int64(nsec)).UTC()
	return nil
}

// Times are of years that RFC 3339 has words for, give or take a time zone.
var (
	minTime = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, -2)
	maxTime = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC).AddDate(0, 0, 2)
)

// importTime is decodeTime within minTime and maxTime.
func importTime(d *jsontext.Decoder, t *time.Time) error {
	if err := decodeTime(d, t); err != nil {
		return err
	}
	if !t.IsZero() && (t.Before(minTime) || t.After(maxTime)) {
		return fmt.Errorf("time %d is out of range", t.Unix())
	}
	return nil
}

// decodeClock sets Known, which isn't stored.
func decodeClock(d *jsontext.Decoder, g *verdict.ClockGate) error {
	type stored verdict.ClockGate
	g.Known = true
	return json.UnmarshalDecode(d, (*stored)(g))
}
