package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one mistake in a configuration file.
type Error struct {
	File string
	// Line and Column count from 1; 0 is unknown.
	Line, Column int
	// Key is the path of the key, such as appliances[0].url; empty for the whole
	// file.
	Key string
	// Message describes the mistake and the valid values.
	Message string
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
		if e.Column > 0 {
			fmt.Fprintf(&b, ":%d", e.Column)
		}
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Message)
	return b.String()
}

// Errors are all mistakes in a file, in the order of the file. It is never empty. Its
// message is one line: the first mistake, and the number of further ones.
type Errors []*Error

func (e Errors) Error() string {
	s := e[0].Error()
	switch n := len(e) - 1; n {
	case 0:
		return s
	case 1:
		return s + " (and 1 more error)"
	default:
		return fmt.Sprintf("%s (and %d more errors)", s, n)
	}
}

// Unwrap returns all of them, for errors.Is and errors.As.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i := range e {
		errs[i] = e[i]
	}
	return errs
}

// sorted sorts the mistakes by their place in the file.
func (e Errors) sorted() Errors {
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return e
}
