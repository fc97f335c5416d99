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

// tolerant are the options of all decoders: one badly written name of a policy
// must not cost a page.
var tolerant = []jsontext.Options{
	jsontext.AllowDuplicateNames(true),
	jsontext.AllowInvalidUTF8(true),
}

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

// end checks that nothing follows the document.
func end(dec *jsontext.Decoder) error {
	switch _, err := dec.ReadToken(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return errors.New("data after the document")
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
			return fmt.Errorf("the strings in %q are longer than %d bytes", key, maxHeld)
		}
	}
	_, err := dec.ReadToken()
	return err
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
	optional(func(v jsontext.Value) (uncut, bool) {
		if v.Kind() != jsontext.KindString {
			return "", false
		}
		return uncut(unquote(v)), true
	}),
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

// uncut is a text that is not shortened to MaxText, such as a token.
type uncut string

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

// read takes from v the members that the struct at into has: those before the first place
// that is not JSON, if there is one. What is not an object has none.
func read(v jsontext.Value, into any) {
	if v.Kind() == jsontext.KindBeginObject {
		_ = json.Unmarshal(v, into, loosely...) // all that is left to fail is the caller's
	}
}

// decodeLog reads a session's log, whatever its length, and keeps the first errors
// and warnings. It reads lines by fields, since by struct tags a log of 64 MB would
// allocate 1 GB.
func decodeLog(b *body) ([]LogItem, error) {
	var log []LogItem
	kept := map[string]int{}
	b.page, b.most = maxLog, math.MaxInt
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
		Access  uncut `json:"access_token"`
		Refresh uncut `json:"refresh_token"`
		MFA     uncut `json:"mfa_token"`
		Seconds int64 `json:"expires_in"`
	}
	read(v, &in)
	return login{
		access: string(in.Access), refresh: string(in.Refresh), mfa: string(in.MFA),
		expiresIn: time.Duration(min(in.Seconds, int64(math.MaxInt64/time.Second))) * time.Second,
	}, nil
}

// decodeProblem reads the document of an error, as much of it as there is: an answer that
// ends early, or isn't JSON, still has its status. Its texts are as they came. Of the
// forms that are not the vendor's it knows OAuth's and that of the vendor's web framework.
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
	if in.Error.Kind() == jsontext.KindString {
		inner.Code = uncut(unquote(in.Error))
	}
	return APIError{
		Code:    string(cmp.Or(in.ErrorCode, inner.Code, in.Code)),
		Type:    string(in.Type),
		Title:   string(cmp.Or(in.Title, inner.Message)),
		Details: string(cmp.Or(in.Details, in.Detail, in.Description)),
	}
}
