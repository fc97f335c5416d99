package vbaws

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/google/go-cmp/cmp"
)

// FuzzFields compares what is found in an object with what a decoder finds.
func FuzzFields(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { } `, `{"a":1}`, `{"a":-1.5e+3 , "b" : true}`, "{\n\t\"a\" :\r null}", `{"":""}`,
		`{"a\\":"b\\\\","c\"":"\\\"","d":"\u00e9\ud83d\ude00"}`, `{"a":{"b":[1,"]}\"",{}],"c":"}"},"d":[[],[{"e":"["}]]}`,
		`{"a":1,"a":2}`, "{\"a\":\"\xff\",\"\xc3\":\"é\"}", `{"_links":[{"rel":"self"}] ,"usn":7}`, string(benchmarkPage(2)),
	} {
		f.Add([]byte(s))
	}
	type field struct{ Name, Value string }
	f.Fuzz(func(t *testing.T, document []byte) {
		v, err := jsontext.NewDecoder(bytes.NewReader(document), tolerant...).ReadValue()
		if err != nil || v.Kind() != jsontext.KindBeginObject {
			return // fields is not called with it
		}
		var want, got []field
		dec := jsontext.NewDecoder(bytes.NewReader(v), tolerant...)
		if _, err := dec.ReadToken(); err != nil {
			t.Fatal(err)
		}
		for dec.PeekKind() != jsontext.KindEndObject {
			name, err := dec.ReadToken()
			if err != nil {
				t.Fatal(err)
			}
			of := name.String()
			v, err := dec.ReadValue()
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, field{of, string(v)})
		}
		for name, v := range fields(v) {
			got = append(got, field{string(name), string(v)})
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("in %q (-decoder +fields):\n%s", document, diff)
		}
	})
}

// benchmarkPage is a page of an API version from 1.2 on.
func benchmarkPage(rows int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"totalCount":%d,"results":[`, rows)
	for i := range rows {
		if i > 0 {
			b.WriteByte(',')
		}
		id := fmt.Sprintf("f66b0bd7-033e-4a2a-bbc5-%012x", i)
		fmt.Fprintf(&b, `{"id":"%s","type":"Policy","extendedSessionType":"PolicyBackup","name":"policy %d",`+
			`"status":"Succeeded","result":"Success","reason":"","usn":%d,`+
			`"executionStartTime":"2024-06-19T04:00:05.901095Z","executionStopTime":"2024-06-19T04:10:08.451697Z","executionDuration":550,`+
			`"_links":[{"method":"GET","rel":"self","href":"https://192.0.2.1:11005/api/v1/sessions/%s"},`+
			`{"method":"GET","rel":"SessionLogs","href":"https://192.0.2.1:11005/api/v1/sessions/%s/log"}]}`, id, i%20, 1000+i, id, id)
	}
	b.WriteString(`],"_links":[]}`)
	return b.Bytes()
}

// standardPage is the page for encoding/json.
type standardPage struct {
	TotalCount int               `json:"totalCount"`
	Results    []standardSession `json:"results"`
}

type standardSession struct {
	ID           string    `json:"id"`
	Type         string    `json:"type"`
	ExtendedType string    `json:"extendedSessionType"`
	Status       string    `json:"status"`
	Result       string    `json:"result"`
	Reason       string    `json:"reason"`
	Name         string    `json:"name"`
	Start        time.Time `json:"executionStartTime"`
	Stop         time.Time `json:"executionStopTime"`
	Milliseconds int64     `json:"executionDuration"`
	USN          int64     `json:"usn"`
}

// BenchmarkPage decodes a page of 500 sessions, also with encoding/json: "ratio" is the time
// of this package divided by that of encoding/json.
func BenchmarkPage(b *testing.B) {
	document := benchmarkPage(500)
	b.SetBytes(int64(len(document)))
	b.ReportAllocs()
	var standard, own time.Duration
	for b.Loop() {
		start := time.Now()
		var page standardPage
		if err := json.NewDecoder(bytes.NewReader(document)).Decode(&page); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		ours, err := decodeSessions(newBody(bytes.NewReader(document)))
		if err != nil {
			b.Fatal(err)
		}
		own += time.Since(middle)
		standard += middle.Sub(start)
		if len(ours.Rows) != len(page.Results) {
			b.Fatal("the two differ")
		}
	}
	b.ReportMetric(float64(own.Nanoseconds())/float64(b.N), "own-ns/op")
	b.ReportMetric(float64(standard.Nanoseconds())/float64(b.N), "encoding/json-ns/op")
	b.ReportMetric(own.Seconds()/standard.Seconds(), "ratio")
}
