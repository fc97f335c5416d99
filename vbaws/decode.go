package vbaws

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// tolerant are the options of all decoders: a page must not fail because of one malformed
// name.
var tolerant = []jsontext.Options{
	jsontext.AllowDuplicateNames(true),
	jsontext.AllowInvalidUTF8(true),
}

// errShape is the error of a document that is JSON, but not of the API.
type errShape string

func (e errShape) Error() string { return string(e) }

// decode reads a document that is one object. It reads the members of a struct as read does.
func decode(b *body, into any) error {
	dec := jsontext.NewDecoder(b, loosely...)
	if k := dec.PeekKind(); k != jsontext.KindBeginObject && k != jsontext.KindInvalid {
		return errShape("the document is not an object")
	}
	err := json.UnmarshalDecode(dec, into)
	if in, ok := errors.AsType[*json.SemanticError](err); ok {
		return in.Err // a list's
	}
	if err != nil {
		return err
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return cmp.Or(err, errors.New("data after the document"))
	}
	return nil
}

// list is an array of a document, read one element after the other.
type list[T any] struct {
	b *body
	// item returns an element, and whether to keep it. The value is only valid during
	// the call.
	item  func(jsontext.Value) (T, bool)
	items []T // the kept ones
	rows  int // elements in all
	found bool
}

// UnmarshalJSONFrom reads the array, and the last one if the document has several.
func (l *list[T]) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	key := dec.StackPointer().LastToken()
	l.items, l.rows, l.found = nil, 0, true
	if k := dec.PeekKind(); k != jsontext.KindBeginArray && k != jsontext.KindNull && k != jsontext.KindInvalid {
		return errShape(strconv.Quote(key) + " is not an array")
	}
	if begin, err := dec.ReadToken(); err != nil || begin.Kind() == jsontext.KindNull {
		return err // The vendor's framework can write an empty list as null.
	}
	for ; dec.PeekKind() != jsontext.KindEndArray; l.rows++ {
		l.b.next()
		v, err := dec.ReadValue()
		switch {
		case err != nil:
			return err
		case len(v) > maxValue: // Part of it was in the decoder's buffer already.
			return fmt.Errorf("a value is larger than %d bytes", maxValue)
		case l.rows == l.b.most:
			return fmt.Errorf("%q has more than %d elements", key, l.b.most)
		}
		if item, ok := l.item(v); ok {
			l.items = append(l.items, item)
		}
		if l.b.held > maxHeld {
			return fmt.Errorf("the strings in %q are longer than %d bytes", key, maxHeld)
		}
	}
	l.b.next()
	_, err := dec.ReadToken()
	return err
}

// decodePage reads a page of a list; item is as in list.
func decodePage[T any](b *body, item func(jsontext.Value) (T, bool)) (*Page[T], error) {
	in := struct {
		Total   int64   `json:"totalCount"`
		Results list[T] `json:"results"`
	}{-1, list[T]{b: b, item: item}}
	if err := decode(b, &in); err != nil {
		return nil, err
	}
	if !in.Results.found {
		return nil, errShape(`the document has no "results"`)
	}
	if in.Total > math.MaxInt32 {
		in.Total = -1
	}
	return &Page[T]{TotalCount: int(in.Total), Items: in.Results.items, Rows: in.Results.rows}, nil
}

// loosely are the options for all documents but lists of sessions: a member with another
// type than documented, or out of range, counts as missing.
var loosely = append(slices.Clip(tolerant), json.WithUnmarshalers(json.JoinUnmarshalers(
	optional(func(v jsontext.Value) (string, bool) { return string(textOf(v)), true }),
	optional(func(v jsontext.Value) (uncut, bool) { return uncut(unquote(v)), true }),
	optional(func(v jsontext.Value) (time.Time, bool) { return instant(v), true }),
	optional(func(v jsontext.Value) (bool, bool) { return v.Kind() == jsontext.KindTrue, true }),
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

// part is an object within a document; any other value counts as an empty object.
type part[T any] struct{ is T }

// UnmarshalJSON reads the object as read does.
func (p *part[T]) UnmarshalJSON(v []byte) error {
	*p = part[T]{}
	read(v, &p.is)
	return nil
}

// named is an object with a name.
type named struct {
	Name string `json:"name"`
}

// uncut is a string that is not shortened to MaxText, such as a token.
type uncut string

// optional returns the decoder of members of type T. read reports false for a member that
// counts as missing.
func optional[T any](read func(jsontext.Value) (T, bool)) *json.Unmarshalers {
	return json.UnmarshalFunc(func(v []byte, to *T) error {
		if is, ok := read(v); ok {
			*to = is
		}
		return nil
	})
}

// read reads from v the members that the struct at into has, up to the first syntax error.
// It reads nothing if v is not an object.
func read(v jsontext.Value, into any) {
	if v.Kind() == jsontext.KindBeginObject {
		_ = json.Unmarshal(v, into, loosely...) // what was read before a syntax error is enough
	}
}

// decodeLog reads a session's log of any length, and keeps the first errors and warnings.
// It uses fields, since with struct tags a log of 64 MB would allocate 1 GB.
func decodeLog(b *body) ([]LogItem, error) {
	b.page, b.most = maxLog, math.MaxInt
	kept := map[string]int{}
	line := func(v jsontext.Value) (item LogItem, ok bool) {
		if v.Kind() != jsontext.KindBeginObject {
			return item, false
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
		item.Status = b.word(status)
		text := textOf(message)
		if item.Status != LogError && item.Status != LogWarning || len(text) == 0 || kept[item.Status] == maxLogLines {
			return item, false
		}
		kept[item.Status]++
		item.Time, item.Message = instant(at), string(text)
		return item, true
	}
	in := struct {
		SessionID jsontext.Value `json:"sessionId"`
		Log       list[LogItem]  `json:"log"` // the vendor's description has it as optional
	}{Log: list[LogItem]{b: b, item: line}}
	if err := decode(b, &in); err != nil {
		return nil, err
	}
	if !in.Log.found && in.SessionID == nil {
		return nil, errShape(`the document has no "log"`)
	}
	return in.Log.items, nil
}

// login is the answer of POST /api/v1/token.
type login struct {
	Access  uncut `json:"access_token"`
	Refresh uncut `json:"refresh_token"`
	MFA     uncut `json:"mfa_token"`
	Seconds int64 `json:"expires_in"`
}

// decodeProblem reads the document of an error. It ignores syntax errors, since the status
// is known even if the answer ends early or isn't JSON. The texts are unchanged. Beside the
// vendor's form it reads those of OAuth and of the vendor's web framework.
func decodeProblem(document []byte) APIError {
	var in struct {
		ErrorCode   uncut          `json:"errorCode"`
		Type        uncut          `json:"type"`
		Title       uncut          `json:"title"`
		Details     uncut          `json:"details"`
		Detail      uncut          `json:"detail"`
		Description uncut          `json:"error_description"`
		Code        uncut          `json:"code"`
		Error       jsontext.Value `json:"error"` // a code, or a code and a message
	}
	var inner struct {
		Code    uncut `json:"code"`
		Message uncut `json:"message"`
	}
	read(document, &in)
	read(in.Error, &inner)
	return APIError{
		Code:    string(cmp.Or(in.ErrorCode, inner.Code, uncut(unquote(in.Error)), in.Code)),
		Type:    string(in.Type),
		Title:   string(cmp.Or(in.Title, inner.Message)),
		Details: string(cmp.Or(in.Details, in.Detail, in.Description)),
	}
}
