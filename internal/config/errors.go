package config

import "fmt"

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
	text := e.File
	if e.Line > 0 {
		text += fmt.Sprintf(":%d", e.Line)
	}
	if e.Column > 0 {
		text += fmt.Sprintf(":%d", e.Column)
	}
	if e.Key != "" {
		text += ": " + e.Key
	}
	return text + ": " + e.Message
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
