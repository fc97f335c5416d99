// Package config reads the configuration file.
//
// It knows every key, its limits and its default, and builds from them what
// talks to an appliance: a password that is read when it is needed, and an HTTP
// transport whose certificates are read again when their files change. It
// doesn't know what the values are used for, and opens no connection. A file that
// is missing is no mistake of the configuration: it may come later.
//
// A Config can only be had by reading a file that is right in every key, so
// who holds one need not check it. Errors say file, line and key, and what
// would be right. They never repeat a value of the file, because any value may
// be a secret that was put in the wrong place.
package config

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	commoncfg "github.com/prometheus/common/config"

	"vbaws_exporter/vbaws"
)

// Config is a valid configuration. It is immutable.
type Config struct {
	// DurationBuckets are the upper bounds, in seconds, of the classic buckets of
	// session durations: ascending, above 0, finite.
	DurationBuckets []float64
	// Appliances has at least one element. Their names differ.
	Appliances []Appliance
}

// Settings can be set for all appliances and for each.
type Settings struct {
	// PollInterval is the time from one pass to the next.
	PollInterval time.Duration
	// PollTimeout is the longest wait without a page arriving.
	PollTimeout time.Duration
	// Backfill is how long before first contact the sessions began that are
	// counted; 0 counts only what begins later.
	Backfill time.Duration
	// Watermark is how the list of sessions is read.
	Watermark Watermark
	// NewSeriesHold is how long a counter born after first contact shows 0; with
	// 0 it never does.
	NewSeriesHold time.Duration
	// InventoryInterval is how often policies and facts of the appliance are asked
	// for.
	InventoryInterval time.Duration
	// PolicyRetention is how long after its last session a policy goes that can't
	// be listed.
	PolicyRetention time.Duration
	// MaxPolicies is how many policies have series of their own.
	MaxPolicies int
	// Policies and Types choose sessions by the name of their policy and by type.
	Policies, Types Filter
}

// Filter chooses words. The zero value chooses all.
type Filter struct {
	include, exclude []*regexp.Regexp
}

// Wants reports whether s is chosen: included, where anything is, and not
// excluded.
func (f *Filter) Wants(s string) bool {
	matches := func(r *regexp.Regexp) bool { return r.MatchString(s) }
	return (len(f.include) == 0 || slices.ContainsFunc(f.include, matches)) && !slices.ContainsFunc(f.exclude, matches)
}

// Watermark is a way to find what is new in the list of sessions.
type Watermark string

// The values of the key watermark.
const (
	// WatermarkAuto goes by USN as long as the appliance's are fit for it.
	WatermarkAuto Watermark = "auto"
	// WatermarkUSN reads from the highest USN down to the one read last.
	WatermarkUSN Watermark = "usn"
	// WatermarkFromUTC reads what began since the last pass, and some time before.
	WatermarkFromUTC Watermark = "from_utc"
)

// Appliance is one appliance to watch. Printing or marshalling it shows no
// secret.
type Appliance struct {
	Settings
	// Name is the value of the label "appliance", and what state is kept under.
	Name string
	// URL has a scheme, http or https, and a host; no user, path or query.
	URL *url.URL
	// Username is the account's.
	Username string
	// APIVersion is the revision to speak, such as 1.7-rev0; empty to negotiate.
	APIVersion string
	// TimeZone is that of the appliance's schedules, for an account that may not ask
	// the appliance; nil where it isn't given.
	TimeZone *time.Location

	// These are behind pointers, where fmt prints an address.
	login *login
	http  *commoncfg.HTTPClientConfig
}

type login struct {
	password commoncfg.Secret
	file     string // in place of password
}

// Password returns the account's password. One in a file is read anew at each
// call, so that it can be changed without a restart. Any goroutine may call.
func (a *Appliance) Password() (string, error) {
	if a.login.file == "" {
		return string(a.login.password), nil
	}
	f, err := os.Open(a.login.file)
	if err != nil {
		return "", fmt.Errorf("reading password_file: %w", err)
	}
	defer f.Close()
	const limit = 64 << 10
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return "", fmt.Errorf("reading password_file: %w", err)
	}
	if len(b) > limit {
		return "", fmt.Errorf("reading password_file: %s is longer than any password", a.login.file)
	}
	password := trimBreaks(string(b))
	if password == "" {
		return "", fmt.Errorf("reading password_file: %s is empty", a.login.file)
	}
	return password, nil
}

// trimBreaks leaves out what ends a file, or a block of YAML, and no password.
func trimBreaks(s string) string { return strings.TrimRight(s, "\r\n") }

// CheckTLS returns what is wrong with the certificates and the key of tls_config,
// in files or not, as a *vbaws.Error of vbaws.KindConfig.
func (a *Appliance) CheckTLS() error {
	if _, err := commoncfg.NewTLSConfig(&a.http.TLSConfig); err != nil {
		return &vbaws.Error{Kind: vbaws.KindConfig, Op: "tls_config", Err: err}
	}
	return nil
}

// Transport returns a new transport to the appliance, with connections of its
// own. It reads the files of tls_config at the first request, and again whenever
// one changed. A request that fails while CheckTLS has an error fails with that.
func (a *Appliance) Transport() http.RoundTripper { return &transport{appliance: a} }

// transport is made of what the library's transport needs once that is there.
type transport struct {
	appliance *Appliance

	mu   sync.Mutex
	next http.RoundTripper // nil before the files could be read
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.try(r)
	if err == nil {
		return resp, nil
	}
	// The library's errors have no type. It reads the files at each request and at
	// each handshake, so if they are broken, that is why it failed.
	if local := t.appliance.CheckTLS(); local != nil {
		err = local
	}
	return nil, err
}

func (t *transport) try(r *http.Request) (*http.Response, error) {
	next, err := t.made()
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	return next.RoundTrip(r)
}

func (t *transport) made() (_ http.RoundTripper, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next == nil {
		t.next, err = commoncfg.NewRoundTripperFromConfig(*t.appliance.http, t.appliance.Name)
	}
	return t.next, err
}

// CloseIdleConnections is what http.Client.CloseIdleConnections calls.
func (t *transport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next != nil {
		(&http.Client{Transport: t.next}).CloseIdleConnections()
	}
}

// maxSize is far beyond any configuration, and keeps a path that isn't one
// (a device, a log) from filling memory.
const maxSize = 8 << 20

// Load reads and validates the file at path.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	if len(data) > maxSize {
		return nil, fmt.Errorf("reading configuration: %s is larger than %d MiB: not a configuration file", path, maxSize>>20)
	}
	return Parse(path, data)
}

// Parse validates data, the content of the file called name: its folder is what
// relative file names in it refer to. What is wrong comes as Errors.
func Parse(name string, data []byte) (*Config, error) {
	p := &parser{file: name, dir: filepath.Dir(name)}
	c := p.parse(data)
	if len(p.errs) > 0 {
		return nil, p.errs.sorted()
	}
	return c, nil
}

// Error is one mistake in a configuration file.
type Error struct {
	File string
	// Line and Column count from 1; 0 is unknown.
	Line, Column int
	// Key is the path of the key, such as appliances[0].url; empty for the whole
	// file.
	Key string
	// Message says what is wrong, and what would be right.
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

// Errors are all the mistakes in a file, in its order. It is never empty. As
// an error it is one line: the first, and how many more there are.
type Errors []*Error

func (e Errors) Error() string {
	s := e[0].Error()
	switch n := len(e) - 1; n {
	case 0:
		return s
	case 1:
		return s + " (and 1 more mistake)"
	default:
		return fmt.Sprintf("%s (and %d more mistakes)", s, n)
	}
}

// Unwrap makes each of them visible to errors.Is and errors.As.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i := range e {
		errs[i] = e[i]
	}
	return errs
}

var errNoValue = errors.New("has no value (one that begins with a character like # & * ! needs quotes)")
