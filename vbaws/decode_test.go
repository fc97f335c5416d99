package vbaws

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func textBody(s string) *body { return newBody(strings.NewReader(s)) }

func readRow(s string) Row { return textBody("").row(jsontext.Value(s)) }

func TestRow(t *testing.T) {
	t.Run("each field", testRowEachField)
	t.Run("vendor's sample", testRowVendorsSample)
	t.Run("no USN", testRowNoUSN)
	t.Run("durations", testRowDurations)
	t.Run("not a session", testRowNotASession)
	t.Run("bad rows among good ones", testRowBadRowsAmongGoodOnes)
	t.Run("times", testRowTimes)
	t.Run("times in zones", testRowTimesInZones)
}

func testRowVendorsSample(t *testing.T) {
	sample, err := os.ReadFile("testdata/sessions-sample.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeSessions(textBody(string(sample)))
	if err != nil {
		t.Fatal(err)
	}
	want := &SessionsPage{TotalCount: 57, Rows: []Row{{
		HasUSN: true,
		Session: Session{
			ID:       "f66b0bd7-033e-4a2a-bbc5-8aefb1e0cea5",
			Type:     "RetentionActivity",
			Status:   "Succeeded",
			Result:   "Success",
			Start:    time.Date(2020, 6, 19, 4, 0, 5, 901095000, time.UTC),
			Stop:     time.Date(2020, 6, 19, 4, 0, 8, 451697000, time.UTC),
			Duration: 550 * time.Millisecond,
			USN:      26,
		},
	}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func testRowEachField(t *testing.T) {
	base := Session{ID: "a", Type: "Policy", Status: "Running", USN: 5}
	with := func(f func(*Session)) Session { s := base; f(&s); return s }
	const required = `"id":"a","type":"Policy","status":"Running","usn":5`
	for name, test := range map[string]struct {
		row  string
		want Session
	}{
		"only what is required": {`{` + required + `}`, base},
		"unknown members":       {`{"zzz":{"id":[1,{}]},` + required + `,"_links":[]}`, base},
		"null is absent": {`{` + required + `,"name":null,"result":null,"reason":null,"extendedSessionType":null,` +
			`"executionStartTime":null,"executionStopTime":null,"executionDuration":null}`, base},
		"all": {`{` + required + `,"name":"n","result":"r","reason":"s","extendedSessionType":"e",` +
			`"executionStartTime":"2024-02-29T23:59:59.9999999Z","executionStopTime":"2024-03-01T01:00:00+01:00","executionDuration":1500}`,
			with(func(s *Session) {
				s.Name, s.Result, s.Reason, s.ExtendedType = "n", "r", "s", "e"
				s.Start = time.Date(2024, 2, 29, 23, 59, 59, 999999900, time.UTC)
				s.Stop = time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC)
				s.Duration = 1500 * time.Millisecond
			})},
		"another case is another member": {`{` + required + `,"Name":"x","USN":"x"}`, base},
		"escapes":                        {`{"\u0069d":"a","type":"P\u006flicy","status":"Running","usn":5}`, base},
		"duplicates: the last one":       {`{"usn":4,` + required + `}`, base},
		"zero date":                      {`{` + required + `,"executionStopTime":"0001-01-01T00:00:00"}`, base},
		"zero date east of Greenwich":    {`{` + required + `,"executionStopTime":"0001-01-01T00:00:00+02:00"}`, base},
		"empty date":                     {`{` + required + `,"executionStopTime":""}`, base},
		"duration below zero":            {`{` + required + `,"executionDuration":-7}`, base},
		"duration with a fraction": {`{` + required + `,"executionDuration":0.5}`,
			with(func(s *Session) { s.Duration = 500 * time.Microsecond })},
		"largest usn": {`{"id":"a","type":"Policy","status":"Running","usn":9223372036854775807}`,
			with(func(s *Session) { s.USN = math.MaxInt64 })},
		"smallest usn": {`{"id":"a","type":"Policy","status":"Running","usn":-9223372036854775808}`,
			with(func(s *Session) { s.USN = math.MinInt64 })},
		"usn is text":                {`{"id":"a","type":"Policy","status":"Running","usn":" 5 "}`, base},
		"usn is a float":             {`{"id":"a","type":"Policy","status":"Running","usn":5.0}`, base},
		"usn is a float by exponent": {`{"id":"a","type":"Policy","status":"Running","usn":50e-1}`, base},
		"dates of other layouts": {`{` + required + `,"executionStartTime":"2024-02-29 23:59:59","executionStopTime":"2024-03-01T01:00:00.1234567891+0100"}`,
			with(func(s *Session) {
				s.Start = time.Date(2024, 2, 29, 23, 59, 59, 0, time.UTC)
				s.Stop = time.Date(2024, 3, 1, 0, 0, 0, 123456789, time.UTC)
			})},
		"dates that are none":             {`{` + required + `,"executionStartTime":"N/A","executionStopTime":0}`, base},
		"date is too late":                {`{` + required + `,"executionStopTime":"9999-12-31T23:59:59-01:00"}`, base},
		"text not of the documented form": {`{` + required + `,"name":{"a":[]},"result":7,"reason":[],"extendedSessionType":true,"executionDuration":{}}`, base},
		"duration is a time span": {`{` + required + `,"executionDuration":"1.02:03:04.5"}`,
			with(func(s *Session) { s.Duration = 26*time.Hour + 3*time.Minute + 4500*time.Millisecond })},
		"invalid UTF-8": {`{` + required + ",\"name\":\"a\xff\\tb\",\"reason\":\"\xff\xfe\"}",
			with(func(s *Session) { s.Name, s.Reason = "a\uFFFD\tb", "\uFFFD\uFFFD" })},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(Row{Session: test.want, HasUSN: true}, readRow(test.row), cmpopts.EquateErrors()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A row with a USN that can't be understood is a session without a USN.
func testRowNoUSN(t *testing.T) {
	for _, usn := range []string{
		``, `,"usn":null`, `,"usn":"x"`, `,"usn":""`, `,"usn":5.5`, `,"usn":true`, `,"usn":[5]`, `,"usn":9223372036854775808`,
		`,"usn":"9223372036854775808"`, `,"usn":1e300`, `,"usn":1e999`, `,"usn":"NaN"`, `,"usn":5,"usn":"x"`,
	} {
		want := Row{Session: Session{ID: "a", Type: "T", Status: "S"}}
		if diff := cmp.Diff(want, readRow(`{"id":"a","type":"T","status":"S"`+usn+`}`)); diff != "" {
			t.Errorf("%s: %s", usn, diff)
		}
	}
}

func testRowDurations(t *testing.T) {
	const day = 24 * time.Hour
	for s, want := range map[string]time.Duration{
		`1500`: 1500 * time.Millisecond, `0.5`: 500 * time.Microsecond, `0`: 0, `-7`: 0, `1e300`: 0, `1e999`: 0,
		`"1500"`: 1500 * time.Millisecond, `" 1.5 "`: 1500 * time.Microsecond, `"-1"`: 0, `"NaN"`: 0, `"Inf"`: 0,
		`"00:21:02.5506020"`: 21*time.Minute + 2550602*time.Microsecond,
		`"00:00:00"`:         0,
		`"00:05:00"`:         5 * time.Minute,
		`"23:59:59.9999999"`: day - 100*time.Nanosecond,
		`"1.02:03:04"`:       day + 2*time.Hour + 3*time.Minute + 4*time.Second,
		`"365.00:00:00.001"`: 365*day + time.Millisecond,
		`"-00:05:00"`:        0, `"-1.02:03:04"`: 0, `"24:00:00"`: 0, `"00:60:00"`: 0, `"106752.00:00:00"`: 0,
		`"99999999999999999999.00:00:00"`: 0, `"00:05"`: 0, `".00:05:00"`: 0, `"1.2.00:05:00"`: 0, `"5 min"`: 0, `""`: 0,
		`null`: 0, `true`: 0, `{}`: 0, `["00:05:00"]`: 0,
	} {
		if got := duration(jsontext.Value(s)); got != want {
			t.Errorf("%s: %s, want %s", s, got, want)
		}
	}
}

func testRowNotASession(t *testing.T) {
	for name, test := range map[string]struct {
		row    string
		id     string
		usn    int64
		hasUSN bool
		text   string
	}{
		"no object":        {`[1]`, "", 0, false, "not an object"},
		"null":             {`null`, "", 0, false, "not an object"},
		"empty":            {`{}`, "", 0, false, "id is missing"},
		"no id":            {`{"type":"T","status":"S","usn":5}`, "", 5, true, "id is missing"},
		"empty id":         {`{"id":"","type":"T","status":"S","usn":5}`, "", 5, true, "id is missing"},
		"id is a number":   {`{"id":7,"type":"T","status":"S","usn":5}`, "", 5, true, "id is missing, or not a string"},
		"no type":          {`{"id":"a","status":"S","usn":5}`, "a", 5, true, "type is missing"},
		"type is a list":   {`{"id":"a","type":[],"status":"S"}`, "a", 0, false, "type is missing, or not a string"},
		"null status":      {`{"id":"a","type":"T","status":null,"usn":5}`, "a", 5, true, "status is missing"},
		"status is a flag": {`{"id":"a","type":"T","status":true,"usn":"6"}`, "a", 6, true, "status is missing, or not a string"},
	} {
		t.Run(name, func(t *testing.T) {
			got := readRow(test.row)
			if got.Err == nil || !strings.Contains(got.Err.Error(), test.text) {
				t.Errorf("error %v, want one with %q", got.Err, test.text)
			}
			sum := sha256.Sum256([]byte(test.row))
			if !bytes.Equal(got.Hash[:], sum[:16]) {
				t.Error("the hash is not that of the row")
			}
			got.Err, got.Hash = nil, [16]byte{}
			want := Row{Session: Session{ID: test.id, USN: test.usn}, HasUSN: test.hasUSN}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Rows that can't be understood stay at their positions in the page, with the hash of their
// bytes.
func testRowBadRowsAmongGoodOnes(t *testing.T) {
	const good = `{"id":"a","type":"T","status":"S","usn":5}`
	const bad = `{"id" : "b", "usn":6 }`
	page, err := decodeSessions(textBody(`{"results":[` + good + `,` + bad + `, 7,` + good + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	if page.TotalCount != -1 || len(page.Rows) != 4 {
		t.Fatalf("total %d, %d rows", page.TotalCount, len(page.Rows))
	}
	sum := sha256.Sum256([]byte(bad))
	if r := page.Rows[1]; r.Err == nil || r.ID != "b" || r.USN != 6 || !bytes.Equal(r.Hash[:], sum[:16]) {
		t.Errorf("bad row: %+v", r)
	}
	for _, i := range []int{0, 3} {
		if page.Rows[i].Err != nil {
			t.Error(page.Rows[i].Err)
		}
	}
}

func TestPage(t *testing.T) {
	t.Run("pages", testPagePages)
	t.Run("not a page", testPageNotAPage)
	t.Run("truncated", testPageTruncated)
	t.Run("limits", testPageLimits)
	t.Run("elements", testPageElements)
	t.Run("long texts", testPageLongTexts)
	t.Run("memory of hostile answers", testPageMemoryOfHostileAnswers)
}

func testPagePages(t *testing.T) {
	for document, want := range map[string]*SessionsPage{
		`{"results":[],"totalCount":3}`:                {TotalCount: 3},
		`{"results":null,"totalCount":0}`:              {TotalCount: 0},
		`{"results":[],"totalCount":"3"}`:              {TotalCount: -1},
		`{"results":[],"totalCount":-3}`:               {TotalCount: -1},
		`{"results":[],"totalCount":4294967296}`:       {TotalCount: -1},
		` {"_links":[[[]]],"results":[] } ` + "\r\n":   {TotalCount: -1},
		`{"results":[1,2],"results":[],"Results":[3]}`: {TotalCount: -1},
	} {
		got, err := decodeSessions(textBody(document))
		if err != nil {
			t.Errorf("%s: %v", document, err)
			continue
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", document, diff)
		}
	}
}

func testPageNotAPage(t *testing.T) {
	deep := strings.Repeat("[", 20000)
	for _, document := range []string{
		``, ` `, `null`, `[]`, `"x"`, `{}`, `{"totalCount":1}`, `{"results":{}}`, `{"results":"x"}`, `<html>`,
		`{"results":[]}x`, `{"results":[]}{}`, `{"results":[}`, `{"results":[{"id":}]}`, `{"results":[,]}`,
		`{results:[]}`, `{"results":[` + deep,
	} {
		page, err := decodeSessions(textBody(document))
		if err == nil {
			t.Errorf("%.40s: %+v", document, page)
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%.40s: taken for a truncated answer: %v", document, err)
		}
	}
}

// An answer that is cut at any position is an error, and never a shorter page.
func testPageTruncated(t *testing.T) {
	sample, err := os.ReadFile("testdata/sessions-sample.json")
	if err != nil {
		t.Fatal(err)
	}
	whole := strings.TrimSpace(string(sample))
	for n := 1; n < len(whole); n++ {
		if _, err := decodeSessions(textBody(whole[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

func testPageLimits(t *testing.T) {
	row := func(n int) string {
		return `{"id":"a","type":"T","status":"S","usn":5,"reason":"` + strings.Repeat("x", n) + `"}`
	}
	if _, err := decodeSessions(textBody(`{"results":[` + row(maxValue-1000) + `]}`)); err != nil {
		t.Errorf("a large row: %v", err)
	}
	for name, document := range map[string]string{
		"row":        `{"results":[` + row(maxValue) + `]}`,
		"other":      `{"other":"` + strings.Repeat("x", maxValue+10000) + `"}`,
		"whitespace": strings.Repeat(" ", maxValue+1) + `{"results":[]}`,
	} {
		if _, err := decodeSessions(textBody(document)); err == nil || !strings.Contains(err.Error(), "larger than") {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := textBody(`{"results":[` + strings.Repeat(row(10)+",", 100) + row(10) + `]}`)
	b.page = 5000
	if _, err := decodeSessions(b); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("page: %v", err)
	}
}

// The number of elements of a list, and the bytes of its texts, are limited.
func testPageElements(t *testing.T) {
	const good = `{"id":"a","type":"T","status":"S","usn":5}`
	many := func(n int, element string) string {
		return `{"results":[` + strings.Repeat(element+",", n-1) + element + `]}`
	}
	for limit, want := range map[int]int{
		0: maxElements, -1: maxElements, 500: maxElements, maxElements / 10: maxElements, maxElements/10 + 1: maxElements + 10,
	} {
		b := textBody("")
		if b.asked(limit); b.most != want {
			t.Errorf("Limit=%d: at most %d elements, want %d", limit, b.most, want)
		}
	}
	if page, err := decodeSessions(textBody(many(maxElements, good))); err != nil || len(page.Rows) != maxElements {
		t.Errorf("%d elements: %v", maxElements, err)
	}
	if _, err := decodeSessions(textBody(many(maxElements+1, good))); err == nil || !strings.Contains(err.Error(), strconv.Itoa(maxElements)) {
		t.Errorf("%d elements: %v", maxElements+1, err)
	}
	for _, element := range []string{`{}`, `0`, good} {
		limited := func() *body {
			b := textBody(many(11, element))
			b.most = 10
			return b
		}
		if _, err := decodePolicies(limited(), Workload{Name: "ec2"}); err == nil {
			t.Errorf("%s: a page of policies passes", element)
		}
		if _, err := decodeRepositories(limited()); err == nil {
			t.Errorf("%s: a page of repositories passes", element)
		}
	}
	for name, list := range map[string]func(*body) error{
		"sessions":     func(b *body) error { _, err := decodeSessions(b); return err },
		"policies":     func(b *body) error { _, err := decodePolicies(b, Workload{Name: "ec2"}); return err },
		"repositories": func(b *body) error { _, err := decodeRepositories(b); return err },
	} {
		var b strings.Builder
		b.WriteString(`{"results":[`)
		for i := range maxHeld/MaxText + 10 {
			text := fmt.Sprintf("%d%s", i, strings.Repeat("x", MaxText))
			fmt.Fprintf(&b, `{"id":%q,"name":%[1]q,"type":"T","status":"S"},`, text)
		}
		b.WriteString(`{}]}`)
		if err := list(textBody(b.String())); err == nil || !strings.Contains(err.Error(), "longer than") {
			t.Errorf("%s: long texts: %v", name, err)
		}
	}
}

// A long text is cut between two runes, and two that differ at the end still differ.
func testPageLongTexts(t *testing.T) {
	name := strings.Repeat("ü", 1<<19)
	first := readRow(`{"id":"a","type":"T","status":"S","name":"` + name + `1"}`)
	second := readRow(`{"id":"a","type":"T","status":"S","name":"` + name + `2"}`)
	for _, r := range []Row{first, second} {
		if r.Err != nil || len(r.Name) > MaxText || len(r.Name) < MaxText-4 || !utf8.ValidString(r.Name) || !strings.HasPrefix(r.Name, "üü") {
			t.Errorf("%d bytes, %v: %q", len(r.Name), r.Err, r.Name)
		}
	}
	if first.Name == second.Name {
		t.Error("two names became one")
	}
	// A policy's name is cut like the name of its sessions.
	page, err := decodePolicies(textBody(`{"results":[{"id":"1","name":"`+name+`1"}]}`), Workload{Name: "ec2"})
	if err != nil || page.Items[0].Name != first.Name {
		t.Error("policy and session have different names", err)
	}
	if r := readRow(`{"id":"a","type":"T","status":"S","name":"` + strings.Repeat("x", MaxText) + `"}`); len(r.Name) != MaxText || strings.Contains(r.Name, "…") {
		t.Error("a text that fits was cut")
	}
}

// endless reads n bytes: begin, and then middle again and again.
type endless struct {
	begin, middle string
	n, at         int
}

func (e *endless) Read(p []byte) (n int, err error) {
	for n < len(p) {
		text, at := e.begin, e.at
		if at >= len(text) {
			text, at = e.middle, (at-len(text))%len(e.middle)
		}
		if e.at >= e.n {
			return n, io.EOF
		}
		c := copy(p[n:], text[at:])
		n, e.at = n+c, e.at+c
	}
	return n, nil
}

// No answer makes the client allocate much memory.
func testPageMemoryOfHostileAnswers(t *testing.T) {
	const mb = 1 << 20
	sessions := func(b *body) error { _, err := decodeSessions(b); return err }
	policies := func(b *body) error { _, err := decodePolicies(b, Workload{Name: "ec2"}); return err }
	repositories := func(b *body) error { _, err := decodeRepositories(b); return err }
	log := func(b *body) error { _, err := decodeLog(b); return err }
	one := func(b *body) error { var v jsontext.Value; return decode(b, &v) }
	const results, lines = `{"results":[`, `{"sessionId":"a","log":[`
	long := strings.Repeat("x", mb)
	for _, test := range []struct {
		name          string
		read          func(*body) error
		begin, middle string
		size          int
		allocated     uint64 // at most, in all
	}{
		{"{}", sessions, results, `{},`, 30 * mb, 110 * mb},
		{"0", sessions, results, `0,`, 30 * mb, 110 * mb},
		{"named but no session", sessions, results, `{"id":"a","usn":5},`, 30 * mb, 110 * mb},
		{"sessions", sessions, results, `{"id":"a","type":"T","status":"S"},`, 30 * mb, 110 * mb},
		{"long names", sessions, results, `{"id":"a","type":"T","status":"S","name":"` + long + `"},`, 60 * mb, 150 * mb},
		{"escaped names", sessions, results, `{"id":"a","type":"T","status":"S","name":"\u00fc` + long + `"},`, 30 * mb, 130 * mb},
		{"long member", sessions, results, `{"` + long + `":0},`, 30 * mb, 60 * mb},
		{"policies {}", policies, results, `{},`, 30 * mb, 110 * mb},
		{"policies 0", policies, results, `0,`, 30 * mb, 110 * mb},
		{"policies", policies, results, `{"id":"a","name":"b"},`, 30 * mb, 150 * mb},
		{"repositories {}", repositories, results, `{},`, 30 * mb, 110 * mb},
		{"repositories", repositories, results, `{"id":"a"},`, 30 * mb, 150 * mb},
		{"log of {}", log, lines, `{},`, 8 * mb, mb},
		{"log of 0", log, lines, `0,`, 8 * mb, mb},
		{"log of errors", log, lines, `{"status":"Error","message":"no room"},`, 8 * mb, mb},
		{"log of long errors", log, lines, `{"status":"Error","message":"` + long + `"},`, 63 * mb, 150 * mb},
		{"object", one, `{"a":[`, `{},`, 63 * mb, 30 * mb},
		{"deep", sessions, results, `[`, 30 * mb, 30 * mb},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBody(&endless{begin: test.begin, middle: test.middle, n: test.size})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := test.read(b)
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Error("an answer without an end passes")
			}
			took := after.TotalAlloc - before.TotalAlloc
			t.Logf("%d KiB allocated: %v", took>>10, clip(err.Error(), 100))
			if took > test.allocated {
				t.Errorf("%d MiB allocated, want at most %d", took>>20, test.allocated>>20)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	t.Run("log", testAnswersLog)
	t.Run("problem", testAnswersProblem)
	t.Run("Retry-After", testAnswersRetryAfter)
	t.Run("text is said once", testAnswersTextIsSaidOnce)
}

func testAnswersLog(t *testing.T) {
	got, err := decodeLog(textBody(`{"sessionId":"a","log":[
		{"logTime":"2020-06-19T04:00:05","status":"Success","message":"begun"},
		{"logTime":"2020-06-19T04:00:05","status":"Error","message":"no\nroom","executionDuration":1},
		{"logTime":"2020-06-19T04:00:05","status":"Error","message":""},
		{"logTime":"?","status":"Warning","message":"m"}, 3, {"status":7,"message":"m"}, {"status":"Error","message":7}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []LogItem{
		{Time: time.Date(2020, 6, 19, 4, 0, 5, 0, time.UTC), Status: "Error", Message: "no\nroom"},
		{Status: "Warning", Message: "m"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// Only the first errors and warnings of a long log are kept.
	var long strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&long, `{"status":%q,"message":"%d"},`, []string{"Success", "Warning", "Error"}[min(i/100, 2)], i)
	}
	got, err = decodeLog(textBody(`{"sessionId":"a","log":[` + long.String() + `{}]}`))
	if err != nil || len(got) != 2*maxLogLines || got[0].Message != "100" || got[maxLogLines].Message != "200" {
		t.Errorf("%v: %+v", err, got)
	}
	// The vendor's description has log as optional.
	if got, err := decodeLog(textBody(`{"sessionId":"a"}`)); len(got) != 0 || err != nil {
		t.Errorf("without a line: %v, %v", got, err)
	}
	if _, err := decodeLog(textBody(`{"id":"a"}`)); err == nil {
		t.Error("another document is accepted as a log")
	}
}

func FuzzPage(f *testing.F) {
	if sample, err := os.ReadFile("testdata/sessions-sample.json"); err == nil {
		f.Add(sample)
	}
	for _, s := range []string{
		``, `{}`, `{"results":null}`, `{"results":[{"id":"a","type":"T","status":"S","usn":5},7]}`,
		`{"results":[{"\u0069d":"\ud800","type":"T\u0000","status":"S","usn":-0,"name":"` + "\xff\xfe" + `"}],"totalCount":1}`,
		`{"results":[{"id":"a","type":"T","status":"S","usn":5,"executionStopTime":"0001-01-01T00:00:00","executionDuration":1e3}]} `,
		`{"results":[{"usn":1,"usn":"x"}],"results":[1`, `<!DOCTYPE html>`,
		`{"results":[{"id":"a","type":"T","status":"S","usn":"5","executionStartTime":"N/A","executionDuration":"1.02:03:04.5","name":7,"result":{}}]}`,
		`{"results":[{"id":"a","type":"T","status":"S","usn":5.0,"executionStartTime":"2020-06-19 04:00:05","executionDuration":"1500"}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		page, err := decodeSessions(textBody(string(document)))
		if (page == nil) == (err == nil) {
			t.Fatalf("page %v, error %v", page, err)
		}
		if err != nil {
			return
		}
		for _, r := range page.Rows {
			if usable := r.missing() == nil; usable != (r.Err == nil) {
				t.Errorf("usable %t, error %v: %+v", usable, r.Err, r)
			}
			if (r.Err != nil) != (r.Hash != [16]byte{}) {
				t.Errorf("error %v, hash %x", r.Err, r.Hash)
			}
			if r.Err != nil && r.Session != (Session{ID: r.ID, USN: r.USN}) {
				t.Errorf("a row with an error has fields: %+v", r)
			}
			if r.Duration < 0 {
				t.Errorf("duration %s", r.Duration)
			}
			if !r.HasUSN && r.USN != 0 {
				t.Errorf("no USN, and it is %d", r.USN)
			}
			for _, s := range []string{r.ID, r.Type, r.ExtendedType, r.Status, r.Result, r.Reason, r.Name} {
				if len(s) > MaxText || !utf8.ValidString(s) {
					t.Errorf("not a text that is held: %q", s)
				}
			}
		}
		// Another indentation gives the same page.
		again := jsontext.Value(bytes.Clone(document))
		if err := again.Indent(append(tolerant, jsontext.WithIndent("\t"))...); err != nil {
			t.Fatalf("decoded, but not JSON: %v", err)
		}
		page2, err := decodeSessions(textBody(string(again)))
		if err != nil {
			t.Fatalf("rewritten: %v", err)
		}
		for _, rows := range [][]Row{page.Rows, page2.Rows} {
			for i := range rows {
				rows[i].Hash = [16]byte{}
				if rows[i].Err != nil {
					rows[i].Err = errShape("some")
				}
			}
		}
		if diff := cmp.Diff(page, page2, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("rewritten:\n%s", diff)
		}
	})
}

func testRowTimes(t *testing.T) {
	at := time.Date(2020, 6, 19, 4, 0, 5, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"2020-06-19T04:00:05":                     at,
		"2020-06-19T04:00:05Z":                    at,
		"2020-06-19T06:00:05+02:00":               at,
		"2020-06-18T22:30:05-05:30":               at,
		"2020-06-19T04:00:05.0000000":             at,
		"2020-06-19T04:00:05.9":                   at.Add(900 * time.Millisecond),
		"2020-06-19T04:00:05.901095":              at.Add(901095 * time.Microsecond),
		"2020-06-19T04:00:05.123456789123456789Z": at.Add(123456789),
		"2020-06-19 04:00:05":                     at,
		"2020-06-19 04:00:05Z":                    at,
		"2020-06-19 04:00:05.0000000000":          at,
		"2020-06-19T04:00:05+0000":                at,
		"2020-06-19T04:00:05+00":                  at,
		"2020-06-19T06:00:05+0200":                at,
		"2020-06-18T22:30:05.0-0530":              at,
		"2020-06-18 20:00:05-08":                  at,
		"2020-06-19 04:00:05 +00:00":              at,
		"2020-06-19 04:00:05 +0000":               at,
		"2020-06-19 06:00:05  +02":                at,
		"2020-06-19 04:00:05 Z":                   at,
		"2020-06-19T04:00:05.1234567891234+0000":  at.Add(123456789),
		"0001-01-01 00:00:00+0000":                {},
		"":                                        {},
		"0001-01-01T00:00:00":                     {},
		"0001-01-01T00:00:00Z":                    {},
		"0001-01-01T00:00:00.0000000-08:00":       {},
		"0001-01-01T00:00:00+08:00":               {},
		"9999-12-31T23:59:59.9999999":             time.Date(9999, 12, 31, 23, 59, 59, 999999900, time.UTC),
		"1969-12-31T23:59:59":                     time.Unix(-1, 0).UTC(),
		"2024-02-29T00:00:00":                     time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC),
	} {
		if got := parseTime(s); got != want {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	}
	for _, s := range []string{
		"noon", "2020-06-19", "2020-06-19T04:00", "19.06.2020 04:00:05", "2023-02-29T00:00:00",
		"10000-01-01T00:00:00Z", "9999-12-31T23:59:59-01:00", "2020-06-19T04:00:05ZZ",
		"2020-06-19T04:00:05+0", "2020-06-19T04:00:05+000", "2020-06-19T04:00:05+00000", "2020-06-19T04:00:05+2500", "2020-06-19X04:00:05",
		"2020-06-19T04:00:05+00:00:00", "2020-06-19T04:00:05 UTC", "2020-06-19  04:00:05",
		"1592539205", " 2020-06-19T04:00:05Z", "2020-06-19T25:00:05Z",
	} {
		if got := parseTime(s); !got.IsZero() {
			t.Errorf("%q passes for %s", s, got)
		}
	}
}

// A time is the same with a Z, without a zone, and in any other zone.
func testRowTimesInZones(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "s"), rapid.Int64Range(0, 1e9-1).Draw(t, "ns")).UTC()
		offset := rapid.IntRange(-14*60, 14*60).Draw(t, "offset")
		zone, hours := time.FixedZone("", 60*offset), time.FixedZone("", 3600*(offset/60))
		for _, s := range []string{
			at.Format("2006-01-02T15:04:05.999999999"),
			at.Format("2006-01-02T15:04:05.000000000"),
			at.Format(time.RFC3339Nano),
			at.In(zone).Format(time.RFC3339Nano),
			at.In(zone).Format("2006-01-02T15:04:05.999999999-0700"),
			at.In(zone).Format("2006-01-02 15:04:05.999999999Z0700"),
			at.In(hours).Format("2006-01-02T15:04:05.999999999-07"),
		} {
			if got := parseTime(s); got != at {
				t.Fatalf("%s: %v; want %v", s, got, at)
			}
		}
	})
}

// FuzzValues compares the values of a session's members with those of other decoders.
func FuzzValues(f *testing.F) {
	for _, s := range []string{
		`5`, `"5"`, `5.0`, `"5.50"`, `-0`, `1e3`, `9223372036854775807`, `9223372036854775808`, `" 7 "`, `"00:21:02.5506020"`, `"1.02:03:04"`,
		`"-1.02:03:04"`, `"65535.23:59:59.9999999"`, `null`, `[1]`, `{"a":1}`, `"0x1p3"`, `"1_0"`, `"١"`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		v, err := jsontext.NewDecoder(bytes.NewReader(document), tolerant...).ReadValue()
		if err != nil {
			return
		}
		n, ok := integer(v)
		s := string(v)
		if v.Kind() == jsontext.KindString {
			s = strings.TrimSpace(string(unquote(v)))
		}
		exact, isNumber := new(big.Float).SetPrec(2000).SetString(s)
		if isNumber && len(s) < 30 && !strings.ContainsAny(s, "xXpPbBoO_iI") {
			if want, accuracy := exact.Int64(); ok && math.Abs(float64(n)) < 1<<50 && exact.MinPrec() < 53 && (want != n || accuracy != big.Exact) {
				t.Errorf("%s is %d", v, n)
			}
			if plain, err := strconv.ParseInt(s, 10, 64); err == nil && (!ok || plain != n) {
				t.Errorf("%s is %d, %t", v, n, ok)
			}
		}
		if !ok && n != 0 {
			t.Errorf("%s is none, and %d", v, n)
		}
		d := duration(v)
		if d < 0 {
			t.Errorf("%s lasts %s", v, d)
		}
		if d > 0 && v.Kind() == jsontext.KindString { // as .NET writes it
			days, rest := d/(24*time.Hour), midnight.Add(d%(24*time.Hour))
			again := fmt.Sprintf("%q", fmt.Sprintf("%d.%s", days, rest.Format("15:04:05.000000000")))
			if days < 1<<16 && duration(jsontext.Value(again)) != d {
				t.Errorf("%s lasts %s, and %s does not", v, d, again)
			}
		}
		switch v.Kind() {
		case jsontext.KindString, jsontext.KindNumber:
		default:
			if ok || d != 0 {
				t.Errorf("%s is %d, and lasts %s", v, n, d)
			}
		}
	})
}

func FuzzTime(f *testing.F) {
	for _, s := range []string{
		"", "2020-06-19T04:00:05.901095", "2020-06-19T04:00:05Z", "0001-01-01T00:00:00+14:00",
		"9999-12-31T23:59:59-01:00", "2020-06-19T04:00:05.1234567891234+02:00", "2020-06-19T4:00:05,5",
		"2020-06-19 04:00:05+0000", "2020-06-19T04:00:05.1-08", "2020-06-19 04:00:05 +00:00", "2020-06-19T04:00:05+",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at := parseTime(s)
		switch {
		case at.IsZero():
			return
		case at.Year() <= 1 || at.Year() > 9999 || at.Location() != time.UTC:
			t.Errorf("%q: %v", s, at)
		}
		if again := parseTime(at.Format(time.RFC3339Nano)); again != at {
			t.Errorf("%q: %v, then %v", s, at, again)
		}
	})
}

func testAnswersProblem(t *testing.T) {
	for document, want := range map[string]APIError{
		`{"type":"/api/v1/problems/notFound","title":"No","status":404,"errorCode":"NotFound","details":"d","data":{}}`: {
			Type: "/api/v1/problems/notFound", Title: "No", Code: "NotFound", Details: "d"},
		`{"error":{"code":"UnsupportedApiVersion","message":"m","innerError":null}}`: {Code: "UnsupportedApiVersion", Title: "m"},
		`{"error":"invalid_grant","error_description":"d"}`:                          {Code: "invalid_grant", Details: "d"},
		`{"code":"UnsupportedApiVersion","detail":"d"}`:                              {Code: "UnsupportedApiVersion", Details: "d"},
		`{"code":"x","errorCode":"NotFound"}`:                                        {Code: "NotFound"},
		`{"errorCode":"NotFound","code":"x"}`:                                        {Code: "NotFound"},
		`{"code":400,"errorCode":"NotFound"}`:                                        {Code: "NotFound"},
		`{"errorCode":7,"title":null,"details":["x"]}`:                               {},
		`{"errorCode":"Early","title":"cut o`:                                        {Code: "Early"},
		`<html>`:                                                                     {}, ``: {}, `[]`: {}, `"x"`: {},
	} {
		if diff := cmp.Diff(want, decodeProblem([]byte(document))); diff != "" {
			t.Errorf("%s: %s", document, diff)
		}
	}
}

func FuzzProblem(f *testing.F) {
	for _, s := range []string{
		``, `<html>`, `{"type":"a/unsupportedApiVersion","errorCode":"x"}`, `{"error":{"code":1,"message":"m"}}`, `{"error":"e"`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		e := decodeProblem(document)
		if e.StatusCode != 0 || e.RetryAfter != 0 {
			t.Errorf("a document decides on status or time: %+v", e)
		}
		e.StatusCode = 400
		refusesVersion(RouteToken, &e)
		for _, s := range []string{e.Code, e.Type, e.Title, e.Details} {
			if c := clip(s, 300); strings.ContainsAny(c, "\n\r\x00") || len([]rune(c)) > 301 {
				t.Errorf("not fit for a line: %q", c)
			}
		}
	})
}

func testAnswersRetryAfter(t *testing.T) {
	now := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"0":                              0,
		"17":                             17 * time.Second,
		"18446744073709551615":           math.MaxInt64 / time.Second * time.Second,
		"-3":                             0,
		"soon":                           0,
		"":                               0,
		now.Format(http.TimeFormat):      0,
		"Mon, 06 May 2024 07:08:29 GMT":  20 * time.Second,
		"Mon, 06 May 2024 07:00:00 GMT":  0,
		"Monday, 06-May-24 07:08:10 GMT": time.Second,
		"Mon May  6 07:08:11 2024":       2 * time.Second,
	} {
		if got := parseRetryAfter(s, now); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "1", "99999999999999999999", "-1", "Mon, 06 May 2024 07:08:29 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		f.Add(s, int64(1715000000))
	}
	f.Fuzz(func(t *testing.T, s string, now int64) {
		if d := parseRetryAfter(s, time.Unix(now%(1<<40), 0)); d < 0 {
			t.Errorf("%q: %s", s, d)
		}
	})
}
