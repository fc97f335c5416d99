package config

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	commoncfg "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v4"

	"vbaws_exporter/collector/schedule"
)

// value reads v as a value of the key, whose value before is now. It can return a value
// together with an error: the key then counts as set. Relative file names are relative
// to dir.
func (k *key) value(v *yaml.Node, dir string, now any) (any, error) {
	switch now.(type) {
	case int:
		lo, hi := limits(k, strconv.Atoi)
		message := fmt.Sprintf("must be a number from %d to %d", lo, hi)
		n, err := load[int](v, message)
		if err == nil && (n < lo || n > hi) {
			err = errors.New(message)
		}
		return n, err
	case bool:
		return load[bool](v, "must be true or false")
	case commoncfg.TLSVersion:
		return load[commoncfg.TLSVersion](v, "must be TLS10, TLS11, TLS12 or TLS13")
	case []*regexp.Regexp:
		return patterns(v)
	case []float64:
		return buckets(v)
	}
	s, err := text(v)
	if err != nil {
		return now, err
	}
	switch now.(type) {
	case time.Duration:
		return duration(s, k)
	case *time.Location:
		return timeZone(s)
	}
	switch k.tag.Get("format") {
	case "name":
		return name(s)
	case "url":
		return applianceURL(s)
	case "proxy_url":
		return proxyURL(s)
	case "password":
		return password(s)
	case "api_version":
		return apiVersion(s)
	case "file":
		return commoncfg.JoinDir(dir, s), checkFileName(s)
	}
	if words := strings.Fields(k.tag.Get("oneof")); len(words) > 0 && !slices.Contains(words, s) {
		last := len(words) - 1
		return "", errors.New("must be " + strings.Join(words[:last], ", ") + " or " + words[last])
	}
	return s, nil
}

// load reads a value as the library does, and returns an error with the message if it
// can't.
func load[T any](v *yaml.Node, message string) (x T, err error) {
	if isNull(v) || v.Load(&x) != nil {
		return *new(T), errors.New(message)
	}
	return x, nil
}

var errNoValue = errors.New("has no value (quote a value that starts with # & * or !)")

// text returns the value as it is written: a password 0123 stays a string.
func text(v *yaml.Node) (string, error) {
	if v.Kind != yaml.ScalarNode {
		return "", errors.New("must be a string")
	}
	if v.Value == "" || hasNoText(v) {
		return "", errNoValue
	}
	return v.Value, nil
}

// hasNoText reports whether v is null or begins with a tag: text that starts with a
// special character, and is not quoted.
func hasNoText(v *yaml.Node) bool {
	return isNull(v) || v.Style&yaml.TaggedStyle != 0 && v.ShortTag() != "!!str"
}

// maxFileName is in bytes, as systems limit it.
const maxFileName = 4096

// checkFileName validates the name of a file. An error about an unreadable file quotes
// the name, so it must not be the content: a key, or a password in a block of YAML.
func checkFileName(s string) error {
	if len(s) > maxFileName || strings.ContainsFunc(s, unicode.IsControl) {
		return errors.New("is not a file name: it contains a line break or is too long; it must not be the content of the file")
	}
	return nil
}

func duration(s string, k *key) (time.Duration, error) {
	if n, err := strconv.Atoi(s); err == nil && n > 0 {
		return 0, errors.New("has no unit: use 30s, 1m, 1h30m or 1d")
	}
	d, err := model.ParseDuration(s)
	if err != nil {
		return 0, errors.New("is not a valid duration: use 30s, 1m, 1h30m or 1d")
	}
	if lo, hi := limits(k, model.ParseDuration); d < lo || d > hi {
		return 0, fmt.Errorf("%v is out of range: must be from %v to %v", d, lo, hi)
	}
	return time.Duration(d), nil
}

// limits returns the range of a key. It panics if it is declared wrong.
func limits[T any](k *key, parse func(string) (T, error)) (lo, hi T) {
	least, greatest, _ := strings.Cut(k.tag.Get("range"), ",")
	lo, err := parse(least)
	if err == nil {
		hi, err = parse(greatest)
	}
	if err != nil {
		panic(fmt.Sprintf("config: range of %s: %v", k.name, err))
	}
	return lo, hi
}

// checkTLS validates the combination of the keys of tls_config.
func checkTLS(t *commoncfg.TLSConfig) error {
	if err := t.Validate(); err != nil {
		return err
	}
	if lo, hi := t.MinVersion, t.MaxVersion; lo > 0 && hi > 0 && lo > hi {
		return errors.New("min_version is above max_version")
	}
	return nil
}

// password returns a string without line breaks at its end.
func password(s string) (string, error) {
	if s = trimBreaks(s); s == "" {
		return "", errNoValue
	}
	return s, nil
}

var revision = regexp.MustCompile(`^[0-9]{1,3}\.[0-9]{1,3}-rev[0-9]{1,3}$`)

// apiVersion returns an empty string for auto.
func apiVersion(s string) (string, error) {
	switch {
	case s == "auto":
		return "", nil
	case !revision.MatchString(s):
		return "", errors.New("must be auto or an API version such as 1.7-rev0")
	}
	return s, nil
}

// maxBuckets limits the number of series.
const maxBuckets = 100

func buckets(v *yaml.Node) ([]float64, error) {
	const want = "a list of seconds such as [60, 300, 3600]"
	if v.Kind != yaml.SequenceNode {
		return nil, errors.New("must be " + want)
	}
	if n := len(v.Content); n == 0 || n > maxBuckets {
		return nil, fmt.Errorf("has %d elements: must have from 1 to %d", n, maxBuckets)
	}
	bounds := make([]float64, len(v.Content))
	for i, n := range v.Content {
		n = deref(n)
		if n.Kind != yaml.ScalarNode || isNull(n) || n.Load(&bounds[i]) != nil {
			return nil, fmt.Errorf("element %d is not a number: must be %s", i+1, want)
		}
		switch b := bounds[i]; {
		case math.IsInf(b, 1):
			return nil, fmt.Errorf("element %d is infinite: remove it, the bucket +Inf always exists", i+1)
		case math.IsNaN(b) || b <= 0:
			return nil, fmt.Errorf("element %d is not positive: must be %s", i+1, want)
		case i > 0 && b <= bounds[i-1]:
			return nil, fmt.Errorf("element %d is not greater than element %d: must be ascending", i+1, i)
		}
	}
	return bounds, nil
}

// maxName is in characters. The name is in every series.
const maxName = 200

func name(s string) (string, error) {
	switch {
	case utf8.RuneCountInString(s) > maxName:
		return "", fmt.Errorf("has more than %d characters", maxName)
	case strings.TrimSpace(s) != s:
		return "", errors.New("starts or ends with a space: remove it")
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }):
		return "", errors.New("contains a control character: use letters, digits, punctuation and spaces")
	}
	return s, nil
}

func applianceURL(s string) (*url.URL, error) {
	const want = "use https://host:11005"
	u, err := parseURL(s, want)
	if err != nil {
		return nil, err
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("has an unsupported scheme: " + want)
	case u.User != nil:
		return nil, errors.New("contains credentials: set username and password_file instead")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("contains a path or a query: " + want)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

func proxyURL(s string) (*url.URL, error) {
	const want = "use http://host:3128"
	u, err := parseURL(s, want)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
		return u, nil
	}
	return nil, errors.New("has an unsupported scheme, must be http, https, socks5 or socks5h: " + want)
}

// parseURL returns a URL that has a scheme and a host.
func parseURL(s, want string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		// The library's error repeats the URL, and with it a password.
		return nil, errors.New("is not a valid URL: " + want)
	case !strings.Contains(s, "://"):
		return nil, errors.New("has no scheme: " + want)
	case u.Hostname() == "":
		return nil, errors.New("has no host: " + want)
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > math.MaxUint16 {
			return nil, errors.New("has an invalid port: must be from 1 to 65535")
		}
	}
	return u, nil
}

// wholeBegin and wholeEnd anchor a pattern at both ends.
const wholeBegin, wholeEnd = "^(?s:", ")$"

// patterns reads a list of regular expressions, each of which matches a whole word.
func patterns(v *yaml.Node) ([]*regexp.Regexp, error) {
	var words []string
	if v.Kind != yaml.SequenceNode || v.Load(&words) != nil {
		return nil, errors.New("must be a list of regular expressions, each in quotes")
	}
	if i := slices.IndexFunc(v.Content, func(n *yaml.Node) bool { return hasNoText(deref(n)) }); i >= 0 {
		return nil, fmt.Errorf("element %d %w", i+1, errNoValue)
	}
	var all []*regexp.Regexp // nil if the list is empty, as without the key
	for i, w := range words {
		if _, err := regexp.Compile(w); err != nil {
			return nil, fmt.Errorf("element %d is not a valid regular expression (RE2 syntax)", i+1)
		}
		all = append(all, regexp.MustCompile(wholeBegin+w+wholeEnd))
	}
	return all, nil
}

func timeZone(name string) (*time.Location, error) {
	loc, err := schedule.Location(name)
	if err != nil {
		return nil, errors.New("must be a time zone, such as Europe/Berlin or UTC")
	}
	return loc, nil
}
