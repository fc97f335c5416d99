package vbaws

import (
	"bufio"
	"bytes"
	"cmp"
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

	"github.com/go-json-experiment/json/jsontext"
)

// Limits on what an answer may make the client hold or read.
const (
	maxValue   = 4 << 20  // bytes of one row, or of one other member of a page
	maxPage    = 1 << 30  // bytes of an answer, uncompressed
	maxSmall   = 1 << 20  // bytes of the answer to a login
	maxLog     = 64 << 20 // bytes of a session's log
	maxProblem = 64 << 10 // bytes read of an error's document
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
	err   error // of r: the transport's, not the document's
	head  []byte
}

func newBody(r io.Reader, limit int64) *body {
	return &body{r: bufio.NewReaderSize(r, maxHead), value: maxValue, page: limit}
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
	case err == io.EOF:
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
	for dec.PeekKind() != jsontext.KindEndArray {
		b.next()
		v, err := dec.ReadValue()
		if err != nil {
			return err
		}
		if len(v) > maxValue { // Part of it was in the decoder's buffer already.
			return fmt.Errorf("a value is larger than %d bytes", maxValue)
		}
		element(v)
	}
	_, err := dec.ReadToken()
	return err
}

// objects decodes the elements of lists, one after the other.
type objects struct {
	words map[string]string
	first error // the first member that could not be understood
}

func newObjects() *objects { return &objects{words: make(map[string]string)} }

// each calls member for each member of the object v, which a decoder has read. It
// returns the first complaint of text, word, date or integer, after all members
// were read.
func (o *objects) each(v jsontext.Value, member func(name []byte, v jsontext.Value)) error {
	if v.Kind() != jsontext.KindBeginObject {
		return fmt.Errorf("%s is not an object", clip(string(v), 40))
	}
	o.first = nil
	for name, v := range fields(v) {
		member(name, v)
	}
	return o.first
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

func (o *objects) complain(name string, v jsontext.Value, want string) {
	if o.first == nil {
		o.first = fmt.Errorf("%s: %s is not %s", name, clip(string(v), 40), want)
	}
}

// is reports whether v is of that kind; null is not, and is no reason to complain.
func (o *objects) is(v jsontext.Value, kind jsontext.Kind, name, want string) bool {
	switch v.Kind() {
	case kind:
		return true
	case jsontext.KindNull:
	default:
		o.complain(name, v, want)
	}
	return false
}

// text reads a string that is seldom seen twice.
func (o *objects) text(v jsontext.Value, name string) string {
	if !o.is(v, jsontext.KindString, name, "a string") {
		return ""
	}
	return string(unquote(v))
}

// name reads a text that is remembered.
func (o *objects) name(v jsontext.Value, name string) string {
	return Shorten(o.text(v, name), MaxText)
}

// word reads a string of which few are different, and keeps one of each.
func (o *objects) word(v jsontext.Value, name string) string {
	if !o.is(v, jsontext.KindString, name, "a string") {
		return ""
	}
	b := unquote(v)
	if s, ok := o.words[string(b)]; ok {
		return s
	}
	s := Shorten(string(b), MaxText)
	if len(o.words) < 1000 && len(b) < 256 {
		o.words[s] = s
	}
	return s
}

func (o *objects) date(v jsontext.Value, name string) time.Time {
	if !o.is(v, jsontext.KindString, name, "a string") {
		return time.Time{}
	}
	t, err := parseTime(string(unquote(v)))
	if err != nil {
		o.complain(name, v, "a date of a known layout and range")
		return time.Time{}
	}
	return t
}

// integer reads an integer, and reports whether there was one.
func (o *objects) integer(v jsontext.Value, name string) (n int64, ok bool) {
	if !o.is(v, jsontext.KindNumber, name, "an integer") {
		return 0, false
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil {
		o.complain(name, v, "an integer of 64 bits")
		return 0, false
	}
	return n, true
}

func (o *objects) boolean(v jsontext.Value, name string) bool {
	switch v.Kind() {
	case jsontext.KindTrue:
		return true
	case jsontext.KindFalse, jsontext.KindNull:
	default:
		o.complain(name, v, "true or false")
	}
	return false
}

// milliseconds reads a duration; what is below zero is zero.
func (o *objects) milliseconds(v jsontext.Value, name string) time.Duration {
	if !o.is(v, jsontext.KindNumber, name, "a number") {
		return 0
	}
	ms, err := strconv.ParseFloat(string(v), 64)
	if err != nil || ms >= math.MaxInt64/float64(time.Millisecond) {
		o.complain(name, v, "a duration of a sane range")
		return 0
	}
	return time.Duration(max(ms, 0) * float64(time.Millisecond))
}

// row decodes one session. Whatever is wrong with it is the row's own affair.
func (o *objects) row(v jsontext.Value) Row {
	var r Row
	err := o.each(v, func(name []byte, v jsontext.Value) {
		switch string(name) {
		case "id":
			r.ID = o.name(v, "id")
		case "type":
			r.Type = o.word(v, "type")
		case "extendedSessionType":
			r.ExtendedType = o.word(v, "extendedSessionType")
		case "status":
			r.Status = o.word(v, "status")
		case "result":
			r.Result = o.word(v, "result")
		case "reason":
			r.Reason = o.word(v, "reason")
		case "name":
			r.Name = o.word(v, "name")
		case "executionStartTime":
			r.Start = o.date(v, "executionStartTime")
		case "executionStopTime":
			r.Stop = o.date(v, "executionStopTime")
		case "executionDuration":
			r.Duration = o.milliseconds(v, "executionDuration")
		case "usn":
			r.USN, r.HasUSN = o.integer(v, "usn")
		}
	})
	if err == nil {
		err = r.missing()
	}
	if err == nil {
		return r
	}
	sum := sha256.Sum256(v)
	bad := Row{Session: Session{ID: r.ID, USN: r.USN}, HasUSN: r.HasUSN, Err: err}
	copy(bad.Hash[:], sum[:])
	return bad
}

// missing names the first required field that a session lacks.
func (r *Row) missing() error {
	switch {
	case r.ID == "":
		return errors.New("id is missing")
	case r.Type == "":
		return errors.New("type is missing")
	case r.Status == "":
		return errors.New("status is missing")
	case !r.HasUSN:
		return errors.New("usn is missing")
	}
	return nil
}

func decodeSessions(b *body) (*SessionsPage, error) {
	var page SessionsPage
	o := newObjects()
	total, err := decodeList(b, "results",
		func() { page.Rows = page.Rows[:0] },
		func(v jsontext.Value) { page.Rows = append(page.Rows, o.row(v)) })
	if err != nil {
		return nil, err
	}
	page.TotalCount = total
	return &page, nil
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

// add decodes one policy into the page. It is only lost where it has no id or no
// name: one that is not listed would seem to be deleted.
func (page *PoliciesPage) add(o *objects, v jsontext.Value) {
	var p Policy
	err := o.each(v, func(name []byte, v jsontext.Value) {
		switch string(name) {
		case "id":
			p.ID = o.name(v, "id")
		case "name":
			p.Name = o.name(v, "name")
		case "isEnabled":
			// Where it can't be told, one that doesn't run had better be missed.
			p.Enabled = o.boolean(v, "isEnabled") || v.Kind() != jsontext.KindFalse && v.Kind() != jsontext.KindNull
		case "usn":
			p.USN, _ = o.integer(v, "usn")
		// These may be of any kind.
		case "backupType":
			if p.BackupType = ""; v.Kind() == jsontext.KindString {
				p.BackupType = string(unquote(v))
			}
		case "scheduleSettings":
			p.Schedule = decodeSchedule(v)
		}
	})
	switch {
	case p.ID != "" && p.Name != "":
		page.Policies = append(page.Policies, p)
		if err != nil {
			err = fmt.Errorf("policy %q: %w", p.Name, err)
		}
	case err == nil:
		err = errors.New("a policy has no id or no name")
	}
	page.Rows++
	page.Err = cmp.Or(page.Err, err)
}

func decodePolicies(b *body) (*PoliciesPage, error) {
	var page PoliciesPage
	o := newObjects()
	total, err := decodeList(b, "results",
		func() { page = PoliciesPage{} },
		func(v jsontext.Value) { page.add(o, v) })
	if err != nil {
		return nil, err
	}
	page.TotalCount = total
	return &page, nil
}

func decodeLog(b *body) ([]LogItem, error) {
	var log []LogItem
	o := newObjects()
	_, err := decodeOptionalList(b, "log", "sessionId",
		func() { log = nil },
		func(v jsontext.Value) {
			var item LogItem
			// What could not be read of a line stays empty: it is there to be shown.
			_ = o.each(v, func(name []byte, v jsontext.Value) {
				switch string(name) {
				case "logTime":
					item.Time = o.date(v, "logTime")
				case "status":
					item.Status = o.word(v, "status")
				case "message":
					item.Message = o.text(v, "message")
				}
			})
			log = append(log, item)
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
	var l login
	v, err := decodeOne(b)
	if err != nil {
		return l, err
	}
	o := newObjects()
	// A member of another type than documented is a member that is not there.
	_ = o.each(v, func(name []byte, v jsontext.Value) {
		switch string(name) {
		case "access_token":
			l.access = o.text(v, "access_token")
		case "refresh_token":
			l.refresh = o.text(v, "refresh_token")
		case "mfa_token":
			l.mfa = o.text(v, "mfa_token")
		case "expires_in":
			seconds, _ := o.integer(v, "expires_in")
			seconds = min(seconds, int64(math.MaxInt64/time.Second))
			l.expiresIn = time.Duration(max(seconds, 0)) * time.Second
		}
	})
	return l, nil
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

// parseTime reads a date as the appliance writes it: with or without a zone,
// where it is UTC, and with any number of digits after the point. The empty
// string and the zero date, wherever its zone puts it, are the zero Time.
func parseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if !strings.HasSuffix(s, "Z") && len(s) > len(time.DateOnly) && !strings.ContainsAny(s[len(time.DateOnly):], "Z+-") {
		s += "Z"
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

// clip makes s fit for one line of a log: printable, and at most n runes.
func clip(s string, n int) string {
	var b strings.Builder
	for _, r := range s {
		if n == 0 {
			b.WriteString("…")
			break
		}
		n--
		if !unicode.IsPrint(r) {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}
