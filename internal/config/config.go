// Package config reads the configuration file.
//
// It knows every key, its limits and its default. It reads the password when it is
// needed, and makes an HTTP transport that reads certificates again when their files
// change, and the client of an appliance. It doesn't know the use of the other values,
// and opens no connection. A missing certificate or password file is not a mistake of
// the configuration: it can be created later.
//
// A Config is always valid in every key. Errors name file, line and key, and the
// valid values. They never quote a value of the file, because any value can be a
// misplaced secret.
//
// # Keys
//
// A key is declared once: as a field of a struct, with tags. Decoding, defaults and
// [Config.YAML] follow from them, and a test compares them with the documentation.
//
//	yaml     its name; ",inline" for a struct whose keys belong to the outer one
//	default  its default, as YAML
//	range    minimum and maximum of a duration or number, separated by a comma
//	oneof    the valid strings, separated by spaces
//	required "true" if it has no default and must be set
//	format   how a string is validated or shown: name, url, proxy_url, password, file,
//	         api_version, certificates
//
// The library parses YAML into nodes, and this package decodes the nodes itself: the
// library's decoder quotes values in its errors, stops at the first error of a key,
// and can't suggest the intended key.
package config

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	commoncfg "github.com/prometheus/common/config"
)

// Config is a valid configuration. It is immutable.
type Config struct {
	// DurationBuckets are the upper bounds, in seconds, of the classic buckets of
	// session durations: ascending, positive, finite. The default covers retention,
	// which takes seconds, snapshots, which take minutes, and a backup that takes the
	// whole day of a daily policy. The steps are finest, a factor of two, between a
	// quarter of an hour and eight hours, the duration of most backups.
	DurationBuckets []float64 `yaml:"duration_buckets" default:"[10, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 57600, 86400]"`
	// Appliances has at least one element. Their names differ.
	Appliances []Appliance `yaml:"appliances"`
}

// Settings can be set for all appliances and for each.
type Settings struct {
	// PollInterval is the time from one poll to the next. A poll is a few requests;
	// more often than every five seconds they would load the appliance, and no
	// scrape would see the difference.
	PollInterval time.Duration `yaml:"poll_interval" default:"1m" range:"5s,1d"`
	// PollTimeout is the longest wait for a page.
	PollTimeout time.Duration `yaml:"poll_timeout" default:"2m" range:"1s,1h"`
	// Backfill is how far before the initial sync sessions are counted, by their
	// start; 0 counts only later ones. An appliance keeps sessions for at most 365
	// days by default.
	Backfill time.Duration `yaml:"backfill" default:"1d" range:"0,365d"`
	// Watermark is how the list of sessions is read: a poller.Watermark.
	Watermark string `yaml:"watermark" default:"auto" oneof:"auto usn from_utc"`
	// NewSeriesHold is how long a counter that is new after the initial sync shows 0;
	// with 0 it never does.
	NewSeriesHold time.Duration `yaml:"new_series_hold" default:"2m" range:"0,1d"`
	// InventoryInterval is how often policies, schedules, the license and counts are read.
	InventoryInterval time.Duration `yaml:"inventory_interval" default:"5m" range:"1m,1d"`
	// OverdueGrace is how long after a scheduled start its run is not overdue.
	OverdueGrace time.Duration `yaml:"overdue_grace" default:"1h" range:"10m,7d"`
	// PolicyRetention is how long after its last session a policy that can't be
	// listed is removed. Less than a month would remove policies that run monthly.
	PolicyRetention time.Duration `yaml:"policy_retention" default:"35d" range:"7d,400d"`
	// MaxPolicies is how many policies have their own series. The upper limit is more
	// than any appliance has, and few enough series for Prometheus.
	MaxPolicies int `yaml:"max_policies" default:"2000" range:"1,100000"`
	// Instances says whether EC2 instances and their newest backups are read.
	Instances bool `yaml:"instances" default:"false"`
	// MaxInstances is how many EC2 instances are shown, each of which has three series.
	MaxInstances int `yaml:"max_instances" default:"5000" range:"1,100000"`
	// Policies and Types select sessions by the name of their policy and by type. The
	// filter of an appliance replaces the one of the file.
	Policies Filter `yaml:"policies"`
	Types    Filter `yaml:"types"`
}

// Filter selects words. The zero value selects all. Each expression matches the
// whole word.
type Filter struct {
	Include []*regexp.Regexp `yaml:"include"`
	Exclude []*regexp.Regexp `yaml:"exclude"`
}

// Wants reports whether s is selected: it matches an expression of Include, if there
// is one, and none of Exclude.
func (f *Filter) Wants(s string) bool {
	matches := func(r *regexp.Regexp) bool { return r.MatchString(s) }
	return (len(f.Include) == 0 || slices.ContainsFunc(f.Include, matches)) && !slices.ContainsFunc(f.Exclude, matches)
}

// Appliance is one appliance to monitor. Printing or marshalling it shows no secret.
type Appliance struct {
	// Name is the value of the label "appliance", and the key of the state.
	Name string `yaml:"name" required:"true" format:"name"`
	// URL has a scheme, http or https, and a host; no user, path or query.
	URL *url.URL `yaml:"url" required:"true" format:"url"`
	// Username is the account's.
	Username string `yaml:"username" required:"true"`
	// Login and Network are pointers, of which fmt prints only the address.
	Login *login `yaml:",inline" json:"-"`
	// APIVersion is the version to use, such as 1.7-rev0; empty to negotiate.
	APIVersion string `yaml:"api_version" default:"auto" format:"api_version"`
	// TimeZone is the time zone of the schedules, for an account that is not allowed
	// to read it; nil if it is not set.
	TimeZone *time.Location `yaml:"timezone"`
	Network  *network       `yaml:",inline" json:"-"`
	Settings `yaml:",inline"`
}

// login has one of the two.
type login struct {
	Password commoncfg.Secret `yaml:"password" format:"password"`
	File     string           `yaml:"password_file" format:"file"`
}

// network has the settings of the connection. Its tls_config has the keys of that of
// Prometheus.
type network struct {
	TLS   commoncfg.TLSConfig `yaml:"tls_config"`
	Proxy *url.URL            `yaml:"proxy_url" format:"proxy_url"` // nil without one
}

// Password returns the password of the account. It reads password_file at each call, so
// a change needs no restart. It is safe for concurrent use.
func (a *Appliance) Password() (string, error) {
	if a.Login.File == "" {
		return string(a.Login.Password), nil
	}
	b, err := readFile(a.Login.File, 64<<10, "64 KiB")
	if err != nil {
		return "", fmt.Errorf("reading password_file: %w", err)
	}
	password := trimBreaks(strings.TrimPrefix(string(b), byteOrderMark))
	if password == "" {
		return "", fmt.Errorf("reading password_file: %s is empty", a.Login.File)
	}
	return password, nil
}

// byteOrderMark is written at the start of a file by some editors on Windows.
const byteOrderMark = "\ufeff"

// trimBreaks removes line breaks at the end of a file or a block of YAML.
func trimBreaks(s string) string { return strings.TrimRight(s, "\r\n") }

// maxSize is in bytes, and far larger than any configuration. It keeps other files (a
// device, a log) from filling memory.
const maxSize = 8 << 20

// Load reads and validates the file at path.
func Load(path string) (*Config, error) {
	data, err := readFile(path, maxSize, "8 MiB: not a configuration file")
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	return Parse(path, data)
}

// readFile reads a file of at most limit bytes. most is the limit in words.
func readFile(path string, limit int64, most string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is larger than %s", path, most)
	}
	return data, err
}

// Parse validates data, the content of the file called name. Relative file names are
// relative to its directory. Mistakes are returned as Errors.
func Parse(name string, data []byte) (*Config, error) {
	p := &parser{file: name, dir: filepath.Dir(name)}
	c := p.parse(data)
	if len(p.errs) > 0 {
		slices.SortStableFunc(p.errs, func(a, b *Error) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return nil, p.errs
	}
	return c, nil
}
