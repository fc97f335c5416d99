package record

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"

	"vbaws_exporter/collector/ledger"
)

// form has a type encoded and decoded as another.
type form struct {
	marshal   *json.Marshalers
	unmarshal *json.Unmarshalers
}

// as returns the form of T, which a conversion of its pointer gives.
func as[T, R any](convert func(*T) *R) form {
	return form{
		json.MarshalToFunc(func(e *jsontext.Encoder, v *T) error { return json.MarshalEncode(e, convert(v)) }),
		json.UnmarshalFromFunc(func(d *jsontext.Decoder, v *T) error { return json.UnmarshalDecode(d, convert(v)) }),
	}
}

// encodeOptions and decodeOptions are those of payloads: a time.Duration is its number of
// nanoseconds.
var encodeOptions, decodeOptions = func() (json.Options, json.Options) {
	var m []*json.Marshalers
	var u []*json.Unmarshalers
	for _, f := range forms {
		m, u = append(m, f.marshal), append(u, f.unmarshal)
	}
	nano := jsonv1.FormatDurationAsNano(true)
	return json.JoinOptions(nano, json.Deterministic(true), json.WithMarshalers(json.JoinMarshalers(m...))),
		json.JoinOptions(nano, json.RejectUnknownMembers(true), json.WithUnmarshalers(json.JoinUnmarshalers(u...)))
}()

// encode returns v as JSON. It fails on strings that are not valid UTF-8, which text
// that was read from JSON always is, and on numbers that JSON can't represent.
func encode(v any) ([]byte, error) { return json.Marshal(v, encodeOptions) }

// decode is strict: a member that it doesn't know was written by a newer exporter,
// whose format has another version.
func decode(payload []byte, v any) error { return json.Unmarshal(payload, v, decodeOptions) }

// instant is a time as text: whole seconds since 1970, rounded down, a point,
// and nine digits of nanoseconds. Any time can be said so, also those of years
// that RFC 3339 has no words for. The zero time is left out.
type instant time.Time

func (i instant) MarshalText() ([]byte, error) {
	t := time.Time(i)
	if t.IsZero() {
		return nil, nil
	}
	b := strconv.AppendInt(make([]byte, 0, 24), t.Unix(), 10)
	// Nine digits, with a one before them that the point takes the place of.
	at := len(b)
	b = strconv.AppendInt(b, int64(1e9+t.Nanosecond()), 10)
	b[at] = '.'
	return b, nil
}

func (i *instant) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*i = instant{}
		return nil
	}
	whole, fraction, _ := strings.Cut(string(text), ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return fmt.Errorf("time %q: %w", text, err)
	}
	nsec, err := strconv.ParseUint(fraction, 10, 32)
	if err != nil || len(fraction) != 9 {
		return fmt.Errorf("time %q: nanoseconds are nine digits", text)
	}
	*i = instant(time.Unix(sec, int64(nsec)).UTC())
	return nil
}

// hexID is an id as text.
type hexID ledger.ID

func (h hexID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

func (h *hexID) UnmarshalText(text []byte) error {
	if len(text) != 2*len(h) {
		return fmt.Errorf("id %q has %d digits, not %d", text, len(text), 2*len(h))
	}
	if _, err := hex.Decode(h[:], text); err != nil {
		return fmt.Errorf("id %q: %w", text, err)
	}
	return nil
}
