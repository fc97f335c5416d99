package vbaws

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Limits on what an answer may make the client hold or read. Answers are decoded as
// they come, so what is held is one value, the rows, and their texts: below 100 MiB for
// the worst list that keeps to all limits, and 30 MiB for 100,000 real sessions.
const (
	maxValue   = 4 << 20  // bytes of one row, or of one other member of a page
	maxSmall   = 1 << 20  // bytes of the answer to a login
	maxLog     = 64 << 20 // bytes of a session's log, of which little is held
	maxProblem = 64 << 10 // bytes read of an error's document

	// maxPage is in bytes of an answer, uncompressed. An appliance that ignores Limit
	// sends all sessions at once, of about 600 bytes each with their links, so 100,000
	// of them fit four times. None of it is held as it came: the limit bounds the time.
	maxPage = 256 << 20
	// maxElements is how many elements a list may have, unless ten times as many were
	// asked for. An element may be two bytes long and cost 100 times as much.
	maxElements = 100_000
	// maxHeld is in bytes of the texts that are held of an answer.
	maxHeld = 16 << 20
	// maxWords is how many words an answer shares among its rows. There are a few of each
	// status and type, and as many as policies of names.
	maxWords = 1000
	// maxLogLines is how many errors, and how many warnings, are kept of a log.
	maxLogLines = 20
)

// tolerant are the options of all decoders: one badly written name of a policy
// must not cost a page.
var tolerant = []jsontext.Options{
	jsontext.AllowDuplicateNames(true),
	jsontext.AllowInvalidUTF8(true),
}

// body reads an answer within limits and remembers how it began.
type body struct {
	r     *bufio.Reader
	value int64 // bytes that the current value may still take
	page  int64 // bytes that the answer may still take
	held  int   // bytes of texts that were kept of it
	most  int   // elements that a list in it may have
	err   error // of r: the transport's, not the document's
	head  []byte
}

func newBody(r io.Reader, limit int64) *body {
	return &body{r: bufio.NewReaderSize(r, maxHead), value: maxValue, page: limit, most: maxElements}
}

// maxHead is how much of an answer is kept to say what came instead: more than
// is shown, so that a secret in it is whole when it is looked for.
const maxHead = 4 << 10

func (b *body) Read(p []byte) (int, error) {
	switch {
	case b.page <= 0:
		return 0, errors.New("the answer is too large")
	case b.value <= 0:
		return 0, fmt.Errorf("a value is larger than %d bytes", maxValue)
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.page, b.value)])
	b.page -= int64(n)
	b.value -= int64(n)
	b.head = append(b.head, p[:min(n, maxHead-len(b.head))]...)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// asked says how many elements were asked for.
func (b *body) asked(limit int) { b.most = max(maxElements, 10*limit) }

// beginning returns how the answer began, as far as it came.
func (b *body) beginning() []byte {
	more, _ := b.r.Peek(min(b.r.Buffered(), maxHead-len(b.head)))
	return append(b.head, more...)
}

// next begins another value.
func (b *body) next() { b.value = maxValue }

// errShape says that a document is JSON, and not the API's.
type errShape string

func (e errShape) Error() string { return string(e) }

// members reads an object and calls member for each of its members, with the
// decoder before the value, which member must read. The name is only valid until
// then.
func members(dec *jsontext.Decoder, member func(name []byte) error) error {
	if k := dec.PeekKind(); k != jsontext.KindBeginObject && k != jsontext.KindInvalid {
		return errShape("the document is not an object")
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != jsontext.KindEndObject {
		name, err := dec.ReadValue()
		if err != nil {
			return err
		}
		if err := member(unquote(name)); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// unquote returns what a JSON string stands for. The result may alias v.
func unquote(v jsontext.Value) []byte {
	for _, c := range v[1 : len(v)-1] {
		if c == '\\' || c >= utf8.RuneSelf {
			// v was read, so the error can only be invalid UTF-8, which is replaced.
			b, _ := jsontext.AppendUnquote(nil, v)
			return b
		}
	}
	return v[1 : len(v)-1]
}

// end checks that nothing follows the document.
func end(dec *jsontext.Decoder) error {
	switch _, err := dec.ReadToken(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return errors.New("more follows the document")
}

// decodeList reads an object with an array at key, and calls element for each
// of its elements; the value is only valid during the call. restart is called
// before the first. It returns totalCount, or -1.
func decodeList(b *body, key string, restart func(), element func(jsontext.Value)) (int, error) {
	return decodeOptionalList(b, key, key, restart, element)
}

// decodeOptionalList is decodeList of an object that may have no key, if it has the
// member mark.
func decodeOptionalList(b *body, key, mark string, restart func(), element func(jsontext.Value)) (int, error) {
	b.next()
	dec := jsontext.NewDecoder(b, tolerant...)
	total, found := -1, false
	err := members(dec, func(name []byte) error {
		b.next()
		switch string(name) {
		case key:
			found = true
			restart()
			return elements(dec, b, key, element)
		case mark:
			found = true
		case "totalCount":
			v, err := dec.ReadValue()
			if err != nil {
				return err
			}
			total = -1
			if n, err := strconv.ParseInt(string(v), 10, 32); err == nil && n >= 0 {
				total = int(n)
			}
			return nil
		}
		return dec.SkipValue()
	})
	if err != nil {
		return 0, err
	}
	if err := end(dec); err != nil {
		return 0, err
	}
	if !found {
		return 0, errShape("the document has no " + strconv.Quote(key))
	}
	return total, nil
}

func elements(dec *jsontext.Decoder, b *body, key string, element func(jsontext.Value)) error {
	switch dec.PeekKind() {
	case jsontext.KindNull: // The vendor's framework may write an empty list so.
		_, err := dec.ReadToken()
		return err
	case jsontext.KindBeginArray, jsontext.KindInvalid:
	default:
		return errShape(strconv.Quote(key) + " is not an array")
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for n := 0; dec.PeekKind() != jsontext.KindEndArray; n++ {
		b.next()
		v, err := dec.ReadValue()
		switch {
		case err != nil:
			return err
		case len(v) > maxValue: // Part of it was in the decoder's buffer already.
			return fmt.Errorf("a value is larger than %d bytes", maxValue)
		case n == b.most:
			return fmt.Errorf("%q has more than %d elements", key, b.most)
		}
		element(v)
		if b.held > maxHeld {
			return fmt.Errorf("the texts in %q are longer than %d bytes", key, maxHeld)
		}
	}
	_, err := dec.ReadToken()
	return err
}

// fields are the members of an object that a decoder has read, whole. That has
// checked it, so what is left is to see where each value ends: to decode it once
// more would take twice as long as that did.
func fields(object jsontext.Value) iter.Seq2[[]byte, jsontext.Value] {
	return func(yield func([]byte, jsontext.Value) bool) {
		i := pastSpace(object, 1)
		for object[i] != '}' {
			end := pastString(object, i)
			name := unquote(object[i:end])
			i = pastSpace(object, end) // at the colon
			i = pastSpace(object, i+1)
			end = pastValue(object, i)
			if !yield(name, object[i:end]) {
				return
			}
			if i = pastSpace(object, end); object[i] == ',' {
				i = pastSpace(object, i+1)
			}
		}
	}
}

// pastSpace returns the first place from i on where there is something.
func pastSpace(v []byte, i int) int {
	for v[i] == ' ' || v[i] == '\n' || v[i] == '\r' || v[i] == '\t' {
		i++
	}
	return i
}

// pastString returns the end of the string that begins at i.
func pastString(v []byte, i int) int {
	for i++; v[i] != '"'; i++ {
		if v[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// pastValue returns the end of the value that begins at i.
func pastValue(v []byte, i int) int {
	switch v[i] {
	case '"':
		return pastString(v, i)
	case '{', '[':
		for depth := 0; ; i++ {
			switch v[i] {
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			case '"':
				i = pastString(v, i) - 1
			}
		}
	}
	for {
		switch v[i] {
		case ',', '}', ']', ' ', '\n', '\r', '\t':
			return i
		}
		i++
	}
}

// textOf reads a string, and shortens it to MaxText.
func textOf(v jsontext.Value) ([]byte, bool) {
	if v.Kind() != jsontext.KindString {
		return nil, false
	}
	b := unquote(v)
	if len(b) > MaxText {
		b = []byte(Shorten(string(b), MaxText))
	}
	return b, true
}

// numeral returns the text of a number, which may be written as a string; nil of what
// is neither.
func numeral(v jsontext.Value) []byte {
	switch v.Kind() {
	case jsontext.KindNumber:
		return v
	case jsontext.KindString:
		return bytes.TrimSpace(unquote(v))
	}
	return nil
}

// integer reads an integer of 64 bits, as a number or as a string. 5.0 and 5e0 are one,
// if a float64 has them exactly.
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
// [d.]hh:mm:ss[.fffffff]. It is 0 for anything else, for what is below zero, and for
// what is out of range.
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

// midnight is what time.Parse makes of 00:00:00.
var midnight = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)

// instant reads a date; zero for what is none.
func instant(v jsontext.Value) time.Time {
	if v.Kind() != jsontext.KindString {
		return time.Time{}
	}
	t, _ := parseTime(string(unquote(v)))
	return t
}

// rows decodes sessions, one after the other. It is for one answer.
type rows struct {
	b     *body
	words map[string]string
}

func newRows(b *body) *rows { return &rows{b, make(map[string]string)} }

// text reads a string that is seldom seen twice; empty for what is none.
func (r *rows) text(v jsontext.Value) string {
	b, _ := textOf(v)
	r.b.held += len(b)
	return string(b)
}

// word reads a string of which few are different, and keeps one of each.
func (r *rows) word(v jsontext.Value) string {
	b, _ := textOf(v)
	if s, ok := r.words[string(b)]; ok {
		return s
	}
	s := string(b)
	r.b.held += len(s)
	if len(r.words) < maxWords {
		r.words[s] = s
	}
	return s
}

// row decodes one session. A field that could not be understood is a field that is not
// there, and only without an id, a type or a status there is no session.
func (r *rows) row(v jsontext.Value) Row {
	var row Row
	if v.Kind() != jsontext.KindBeginObject {
		row.Err = errNoObject
	} else {
		for name, v := range fields(v) {
			switch string(name) {
			case "id":
				row.ID = r.text(v)
			case "type":
				row.Type = r.word(v)
			case "extendedSessionType":
				row.ExtendedType = r.word(v)
			case "status":
				row.Status = r.word(v)
			case "result":
				row.Result = r.word(v)
			case "reason":
				row.Reason = r.word(v)
			case "name":
				row.Name = r.word(v)
			case "executionStartTime":
				row.Start = instant(v)
			case "executionStopTime":
				row.Stop = instant(v)
			case "executionDuration":
				row.Duration = duration(v)
			case "usn":
				row.USN, row.HasUSN = integer(v)
			}
		}
		row.Err = row.missing()
	}
	if row.Err == nil {
		return row
	}
	sum := sha256.Sum256(v)
	bad := Row{Session: Session{ID: row.ID, USN: row.USN}, HasUSN: row.HasUSN, Err: row.Err}
	copy(bad.Hash[:], sum[:])
	return bad
}

// Why a row is no session. They quote nothing, and a row that is none costs nothing
// beyond its place in the page.
var (
	errNoObject = errors.New("it is not an object")
	errNoID     = errors.New("id is missing, or not a string")
	errNoType   = errors.New("type is missing, or not a string")
	errNoStatus = errors.New("status is missing, or not a string")
)

// missing names the first required field that a session lacks.
func (r *Row) missing() error {
	switch {
	case r.ID == "":
		return errNoID
	case r.Type == "":
		return errNoType
	case r.Status == "":
		return errNoStatus
	}
	return nil
}

func decodeSessions(b *body) (*SessionsPage, error) {
	var p SessionsPage
	r := newRows(b)
	total, err := decodeList(b, "results",
		func() { p.Rows = p.Rows[:0] },
		func(v jsontext.Value) { p.Rows = append(p.Rows, r.row(v)) })
	if err != nil {
		return nil, err
	}
	p.TotalCount = total
	return &p, nil
}

// decodeOne reads a document that is one object.
func decodeOne(b *body) (jsontext.Value, error) {
	b.next()
	dec := jsontext.NewDecoder(b, tolerant...)
	v, err := dec.ReadValue()
	if err != nil {
		return nil, err
	}
	if v.Kind() != jsontext.KindBeginObject {
		return nil, errShape("the document is not an object")
	}
	v = slices.Clone(v) // The decoder takes it back at the next read.
	return v, end(dec)
}

// loosely are the options for all documents but lists of sessions: a member of another
// type than documented, or out of range, is a member that is not there.
var loosely = append(slices.Clip(tolerant), json.WithUnmarshalers(json.JoinUnmarshalers(
	optional(func(v jsontext.Value) (string, bool) { b, ok := textOf(v); return string(b), ok }),
	optional(func(v jsontext.Value) (time.Time, bool) { t := instant(v); return t, !t.IsZero() }),
	optional(func(v jsontext.Value) (bool, bool) {
		return v.Kind() == jsontext.KindTrue, v.Kind() != jsontext.KindNull
	}),
	// Counts and amounts, which are not below zero.
	optional(func(v jsontext.Value) (int64, bool) {
		n, ok := integer(v)
		return n, ok && n >= 0 && v.Kind() == jsontext.KindNumber
	}),
	optional(func(v jsontext.Value) (float64, bool) {
		n, err := strconv.ParseFloat(string(v), 64)
		return n, err == nil && n >= 0
	}),
)))

// optional returns how a member of type T is read.
func optional[T any](read func(jsontext.Value) (T, bool)) *json.Unmarshalers {
	return json.UnmarshalFromFunc(func(dec *jsontext.Decoder, to *T) error {
		v, err := dec.ReadValue()
		if err != nil {
			return err
		}
		if is, ok := read(v); ok {
			*to = is
		}
		return nil
	})
}

// read takes from v, which a decoder has read, the members that the struct at into has.
// What is no object has none.
func read(v jsontext.Value, into any) {
	if v.Kind() == jsontext.KindBeginObject {
		_ = json.Unmarshal(v, into, loosely...) // all that is left to fail is the caller's
	}
}

// decodeLog reads a session's log, whatever its length, and keeps the first errors
// and warnings.
func decodeLog(b *body) ([]LogItem, error) {
	var log []LogItem
	kept := map[string]int{}
	b.most = math.MaxInt
	_, err := decodeOptionalList(b, "log", "sessionId",
		func() { log = nil; clear(kept) },
		func(v jsontext.Value) {
			if v.Kind() != jsontext.KindBeginObject {
				return
			}
			var at, status, message jsontext.Value
			for name, v := range fields(v) {
				switch string(name) {
				case "logTime":
					at = v
				case "status":
					status = v
				case "message":
					message = v
				}
			}
			item := LogItem{Status: LogError}
			switch word, _ := textOf(status); string(word) {
			case LogError:
			case LogWarning:
				item.Status = LogWarning
			default:
				return
			}
			if said, _ := textOf(message); len(said) > 0 && kept[item.Status] < maxLogLines {
				kept[item.Status]++
				item.Time, item.Message = instant(at), string(said)
				log = append(log, item)
			}
		})
	if err != nil {
		return nil, err
	}
	return log, nil
}

// login is the answer of POST /api/v1/token.
type login struct {
	access, refresh, mfa string
	expiresIn            time.Duration // 0: not said
}

func decodeLogin(b *body) (login, error) {
	v, err := decodeOne(b)
	if err != nil {
		return login{}, err
	}
	var in struct {
		Access  jsontext.Value `json:"access_token"` // tokens are not cut
		Refresh jsontext.Value `json:"refresh_token"`
		MFA     jsontext.Value `json:"mfa_token"`
		Seconds int64          `json:"expires_in"`
	}
	read(v, &in)
	whole := func(v jsontext.Value) string {
		if v.Kind() != jsontext.KindString {
			return ""
		}
		return string(unquote(v))
	}
	return login{
		access: whole(in.Access), refresh: whole(in.Refresh), mfa: whole(in.MFA),
		expiresIn: time.Duration(min(in.Seconds, int64(math.MaxInt64/time.Second))) * time.Second,
	}, nil
}

// decodeProblem reads the document of an error, as much of it as there is. Its
// texts are as they came. Of the forms that are not the vendor's it knows OAuth's and that of the vendor's
// web framework.
func decodeProblem(document []byte) APIError {
	var e APIError
	dec := jsontext.NewDecoder(bytes.NewReader(document), tolerant...)
	str := func(dst *string) error {
		v, err := dec.ReadValue()
		if err == nil && v.Kind() == jsontext.KindString {
			*dst = string(unquote(v))
		}
		return err
	}
	// An answer that ends early, or isn't JSON, still has its status.
	_ = members(dec, func(name []byte) error {
		switch string(name) {
		case "errorCode":
			return str(&e.Code)
		case "code":
			if e.Code == "" {
				return str(&e.Code)
			}
		case "type":
			return str(&e.Type)
		case "title":
			return str(&e.Title)
		case "details", "detail", "error_description":
			return str(&e.Details)
		case "error":
			if dec.PeekKind() != jsontext.KindBeginObject {
				return str(&e.Code)
			}
			return members(dec, func(name []byte) error {
				switch string(name) {
				case "code":
					return str(&e.Code)
				case "message":
					return str(&e.Title)
				}
				return dec.SkipValue()
			})
		}
		return dec.SkipValue()
	})
	return e
}

// parseTime reads a date as the appliance writes it: with or without a zone, where it
// is UTC, and with any number of digits after the point. It also takes zones without a
// colon or without minutes, and a space for the T. The empty string and the zero date,
// wherever its zone puts it, are the zero Time.
func parseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	const day, second = len(time.DateOnly), len("2006-01-02T15:04:05")
	if len(s) < second {
		return time.Time{}, errors.New("a part of the date is missing")
	}
	zone := len(s)
	if i := strings.LastIndexAny(s[second:], "Z+-"); i >= 0 {
		zone = second + i
	}
	if s[day] != 'T' || s[len(s)-1] != 'Z' && len(s)-zone != len("+00:00") {
		clock, offset := strings.TrimRight(s[day+1:zone], " "), s[zone:]
		switch len(offset) {
		case 0:
			offset = "Z"
		case len("+00"):
			offset += ":00"
		case len("+0000"):
			offset = offset[:3] + ":" + offset[3:]
		}
		if s[day] != ' ' && s[day] != 'T' {
			return time.Time{}, errors.New("neither a T nor a space divides date and time")
		}
		s = s[:day] + "T" + clock + offset
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, err
	}
	t = t.UTC()
	switch year := t.Year(); {
	case year <= 1:
		return time.Time{}, nil
	case year > 9999:
		return time.Time{}, errors.New("the year is out of range")
	}
	return t, nil
}

// parseRetryAfter reads a Retry-After header, seconds or a date. It is 0 for
// what is neither, and for what is past.
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

// clip makes s fit for one line of a log: printable, and at most n bytes before the
// mark that it was cut.
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
