package vbaws

import (
	"bytes"
	"crypto/sha256"
	"iter"

	"github.com/go-json-experiment/json/jsontext"
)

// word reads a string that many rows have, and keeps one copy of it.
func (b *body) word(v jsontext.Value) string {
	text := textOf(v)
	if s, ok := b.words[string(text)]; ok {
		return s
	}
	s := string(text)
	b.held += len(s)
	if len(b.words) < maxWords {
		b.words[s] = s
	}
	return s
}

// row decodes one session. A field that could not be understood counts as missing. A row
// without id, type or status is not a session.
func (b *body) row(v jsontext.Value) Row {
	var row Row
	if v.Kind() != jsontext.KindBeginObject {
		row.Err = errShape("it is not an object")
	} else {
		for name, v := range fields(v) {
			switch string(name) {
			case "id":
				id := textOf(v)
				b.held += len(id)
				row.ID = string(id)
			case "type":
				row.Type = b.word(v)
			case "extendedSessionType":
				row.ExtendedType = b.word(v)
			case "status":
				row.Status = b.word(v)
			case "result":
				row.Result = b.word(v)
			case "reason":
				row.Reason = b.word(v)
			case "name":
				row.Name = b.word(v)
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
	return Row{Session: Session{ID: row.ID, USN: row.USN}, HasUSN: row.HasUSN, Err: row.Err, Hash: [16]byte(sum[:16])}
}

// missing returns an error about the first required field that a session lacks. It quotes
// nothing and allocates nothing.
func (r *Row) missing() error {
	switch {
	case r.ID == "":
		return errShape("id is missing, or not a string")
	case r.Type == "":
		return errShape("type is missing, or not a string")
	case r.Status == "":
		return errShape("status is missing, or not a string")
	}
	return nil
}

func decodeSessions(b *body) (*SessionsPage, error) {
	p, err := decodePage(b, func(v jsontext.Value) (Row, bool) { return b.row(v), true })
	if err != nil {
		return nil, err
	}
	return &SessionsPage{TotalCount: p.TotalCount, Rows: p.Items, Date: b.date}, nil
}

// fields returns the members of an object, which a decoder must have validated: it only
// looks for the end of each value. It is for rows and lines of logs, which are many: with
// struct tags, a page of sessions takes twice the CPU (see BenchmarkPage). Other documents
// are decoded with struct tags.
func fields(object jsontext.Value) iter.Seq2[[]byte, jsontext.Value] {
	return func(yield func([]byte, jsontext.Value) bool) {
		i := pastSpace(object, 1)
		for object[i] != '}' {
			end := pastString(object, i)
			name := unquote(object[i:end])
			i = pastSpace(object, end) // the colon
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

// pastSpace returns the first position from i on that is not white space.
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
	return i + bytes.IndexAny(v[i:], ",}] \n\r\t")
}
