// Package config reads the configuration file.
//
// It knows every key, its limits and its default, and builds from them what
// talks to an appliance: a password that is read when it is needed, and an HTTP
// transport whose certificates are read again when their files change. It
// doesn't know what the values are used for, and opens no connection. A file that
// is missing is no mistake of the configuration: it can come later.
//
// A Config results only from a file that is right in every key, so its users need
// not check it. Errors say file, line and key, and what would be right. They never
// repeat a value of the file, because any value can be a secret that was put in the
// wrong place.
//
// # Keys
//
// A key is declared once: as a field of a struct, with tags. Decoding, defaults,
// [Config.YAML] and [Keys] follow from them.
//
//	yaml     its name; ",inline" for a struct whose keys are those of the outer one
//	default  its value if the file has none, as YAML
//	range    the least and the greatest duration or number, separated by a comma
//	oneof    the values of a text, separated by spaces
//	format   how a text is checked: name, url, proxy_url, password, file, api_version
//
// The library parses YAML into nodes, and this package puts the nodes into structs
// itself: the library's decoder quotes values in its errors, ends a mapping's list of
// mistakes at the first of a key, and can't suggest the key that was meant.
package config

import (
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
	// session durations: ascending, above 0, finite. The default reaches from
	// retention, which takes seconds, over snapshots, which take minutes, to a backup
	// that fills the day a daily policy has. The steps are finest, by two, where most
	// backups end: from a quarter of an hour to eight hours.
	DurationBuckets []float64 `yaml:"duration_buckets" default:"[10, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 57600, 86400]"`
	// Appliances has at least one element. Their names differ.
	Appliances []Appliance `yaml:"appliances"`
}

// Settings can be set for all appliances and for each.
type Settings struct {
	// PollInterval is the time from one poll to the next. A poll is a few requests:
	// more often than every five seconds they would burden the appliance, and no
	// scrape would see the difference.
	PollInterval time.Duration `yaml:"poll_interval" default:"1m" range:"5s,1d"`
	// PollTimeout is the longest wait without a page arriving.
	PollTimeout time.Duration `yaml:"poll_timeout" default:"2m" range:"1s,1h"`
	// Backfill is how long before the initial sync the sessions began that are
	// counted; 0 counts only what begins later. An appliance keeps sessions for 365
	// days at most by default.
	Backfill time.Duration `yaml:"backfill" default:"1d" range:"0,365d"`
	// Watermark is how the list of sessions is read: a poller.Watermark.
	Watermark string `yaml:"watermark" default:"auto" oneof:"auto usn from_utc"`
	// NewSeriesHold is how long a counter that is new after the initial sync shows 0;
	// with 0 it never does.
	NewSeriesHold time.Duration `yaml:"new_series_hold" default:"2m" range:"0,1d"`
	// InventoryInterval is how often policies and facts of the appliance are read.
	InventoryInterval time.Duration `yaml:"inventory_interval" default:"5m" range:"1m,1d"`
	// OverdueGrace is how long after a scheduled start its run is not overdue.
	OverdueGrace time.Duration `yaml:"overdue_grace" default:"1h" range:"10m,7d"`
	// PolicyRetention is how long after its last session a policy is removed that
	// can't be listed. Shorter than a month, it would remove policies that run once a
	// month.
	PolicyRetention time.Duration `yaml:"policy_retention" default:"35d" range:"7d,400d"`
	// MaxPolicies is how many policies have series of their own. The upper limit is
	// more than an appliance has, and less than Prometheus minds.
	MaxPolicies int `yaml:"max_policies" default:"2000" range:"1,100000"`
	// Instances says whether EC2 instances and their newest backups are read.
	Instances bool `yaml:"instances" default:"false"`
	// MaxInstances is how many EC2 instances are shown, each of which has three series.
	MaxInstances int `yaml:"max_instances" default:"5000" range:"1,100000"`
	// Policies and Types choose sessions by the name of their policy and by type. An
	// appliance's filter replaces the one for all.
	Policies Filter `yaml:"policies"`
	Types    Filter `yaml:"types"`
}

// Filter chooses words. The zero value chooses all. Each expression is for the
// whole of a word.
type Filter struct {
	Include []*regexp.Regexp `yaml:"include"`
	Exclude []*regexp.Regexp `yaml:"exclude"`
}

// Wants reports whether s is chosen: included, if anything is, and not excluded.
func (f *Filter) Wants(s string) bool {
	matches := func(r *regexp.Regexp) bool { return r.MatchString(s) }
	return (len(f.Include) == 0 || slices.ContainsFunc(f.Include, matches)) && !slices.ContainsFunc(f.Exclude, matches)
}

// Appliance is one appliance to watch. Printing or marshalling it shows no
// secret.
type Appliance struct {
	// Name is the value of the label "appliance", and what state is kept under.
	Name string `yaml:"name" format:"name"`
	// URL has a scheme, http or https, and a host; no user, path or query.
	URL *url.URL `yaml:"url" format:"url"`
	// Username is the account's.
	Username string `yaml:"username"`
	// Login is behind a pointer, of which fmt prints the address, and so is Network.
	Login *login `yaml:",inline" json:"-"`
	// APIVersion is the one to speak, such as 1.7-rev0; empty to negotiate.
	APIVersion string `yaml:"api_version" default:"auto" format:"api_version"`
	// TimeZone is that of the appliance's schedules, for an account that isn't allowed
	// to read it; nil if it isn't given.
	TimeZone *time.Location `yaml:"timezone"`
	Network  *network       `yaml:",inline" json:"-"`
	Settings `yaml:",inline"`
}

// login has one of the two.
type login struct {
	Password commoncfg.Secret `yaml:"password" format:"password"`
	File     string           `yaml:"password_file" format:"file"`
}

// network is the way to an appliance. Its tls_config has the keys of Prometheus's.
type network struct {
	TLS   commoncfg.TLSConfig `yaml:"tls_config"`
	Proxy *url.URL            `yaml:"proxy_url" format:"proxy_url"` // nil without one
}

// Password returns the account's password. One in a file is read again at each
// call, so that it can be changed without a restart. Any goroutine may call.
func (a *Appliance) Password() (string, error) {
	if a.Login.File == "" {
		return string(a.Login.Password), nil
	}
	f, err := os.Open(a.Login.File)
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
		return "", fmt.Errorf("reading password_file: %s is longer than any password", a.Login.File)
	}
	password := trimBreaks(strings.TrimPrefix(string(b), byteOrderMark))
	if password == "" {
		return "", fmt.Errorf("reading password_file: %s is empty", a.Login.File)
	}
	return password, nil
}

// byteOrderMark is written at the start of a file by some editors on Windows.
const byteOrderMark = "\ufeff"

// trimBreaks leaves out what ends a file, or a block of YAML, and no password.
func trimBreaks(s string) string { return strings.TrimRight(s, "\r\n") }

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
