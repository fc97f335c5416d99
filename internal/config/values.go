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

// value reads v as a value of the key, of the type of zero. It can return a value
// together with an error: the key then counts as set. Relative file names are
// relative to dir.
func (k *key) value(v *yaml.Node, dir string, zero any) (any, error) {
	switch k.tag.Get("format") {
	case "name":
		return name(v)
	case "url":
		return applianceURL(v)
	case "proxy_url":
		return proxyURL(v)
	case "password":
		return password(v)
	case "api_version":
		return apiVersion(v)
	case "file":
		s, err := fileName(v)
		return commoncfg.JoinDir(dir, s), err
	}
	switch zero.(type) {
	case time.Duration:
		return duration(v, k)
	case int:
		return number(v, k)
	case bool:
		return boolean(v)
	case *time.Location:
		return timeZone(v)
	case []*regexp.Regexp:
		return patterns(v)
	case []float64:
		return buckets(v)
	case commoncfg.TLSVersion:
		return tlsVersion(v)
	}
	if k.tag.Get("oneof") != "" {
		return oneOf(v, k)
	}
	return text(v)
}

var errNoValue = errors.New("has no value (quote a value that starts with # & * or !)")

// text returns the value as it is written: a password 0123 stays a string.
func text(v *yaml.Node) (string, error) {
	if v.Kind != yaml.ScalarNode {
		return "", errors.New("must be a string")
	}
	tagged := v.Style&yaml.TaggedStyle != 0 && v.ShortTag() != "!!str"
	if isNull(v) || v.Value == "" || tagged {
		return "", errNoValue
	}
	return v.Value, nil
}

// fileName returns the name of a file. An error about an unreadable file quotes the
// name, so it must not be the content: a key, or a password in a block of YAML.
func fileName(v *yaml.Node) (string, error) {
	s, err := text(v)
	switch {
	case err != nil:
		return "", err
	case len(s) > maxFileName || strings.ContainsFunc(s, unicode.IsControl):
		return s, errors.New("is not a file name: it contains a line break or is too long; it must not be the content of the file")
	}
	return s, nil
}

func duration(v *yaml.Node, k *key) (time.Duration, error) {
	s, err := text(v)
	if err != nil {
		return 0, err
	}
	if n, err := strconv.Atoi(s); err == nil && n > 0 {
		return 0, errors.New("has no unit: use 30s, 1m, 1h30m or 1d")
	}
	d, err := model.ParseDuration(s)
	if err != nil {
		return 0, errors.New("is not a valid duration: use 30s, 1m, 1h30m or 1d")
	}
	lo, hi, err := limits(k, model.ParseDuration)
	if err != nil {
		return 0, err
	}
	if d < lo || d > hi {
		return 0, fmt.Errorf("%v is out of range: must be from %v to %v", d, lo, hi)
	}
	return time.Duration(d), nil
}

func number(v *yaml.Node, k *key) (n int, err error) {
	lo, hi, err := limits(k, strconv.Atoi)
	if err != nil {
		return 0, err
	}
	if v.Load(&n) != nil || isNull(v) || n < lo || n > hi {
		return 0, fmt.Errorf("must be a number from %d to %d", lo, hi)
	}
	return n, nil
}

// limits returns the parsed limits of a key. An error is a mistake in the declaration.
func limits[T any](k *key, parse func(string) (T, error)) (lo, hi T, err error) {
	least, greatest := k.limits()
	if lo, err = parse(least); err == nil {
		hi, err = parse(greatest)
	}
	if err != nil {
		err = fmt.Errorf("is declared with an invalid range: %w", err)
	}
	return lo, hi, err
}

// oneOf reads one of the words of the tag oneof.
func oneOf(v *yaml.Node, k *key) (string, error) {
	s, err := text(v)
	if err != nil {
		return "", err
	}
	words := strings.Fields(k.tag.Get("oneof"))
	if slices.Contains(words, s) {
		return s, nil
	}
	last := len(words) - 1
	return "", errors.New("must be " + strings.Join(words[:last], ", ") + " or " + words[last])
}

func boolean(v *yaml.Node) (is bool, err error) {
	if v.Load(&is) != nil || isNull(v) {
		return false, errors.New("must be true or false")
	}
	return is, nil
}

func tlsVersion(v *yaml.Node) (version commoncfg.TLSVersion, err error) {
	if v.Load(&version) != nil || isNull(v) {
		return 0, errors.New("must be TLS10, TLS11, TLS12 or TLS13")
	}
	return version, nil
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
func password(v *yaml.Node) (string, error) {
	s, err := text(v)
	if s = trimBreaks(s); err == nil && s == "" {
		err = errNoValue
	}
	return s, err
}

var revision = regexp.MustCompile(`^[0-9]{1,3}\.[0-9]{1,3}-rev[0-9]{1,3}$`)

// apiVersion returns an empty string for auto.
func apiVersion(v *yaml.Node) (string, error) {
	s, err := text(v)
	switch {
	case err != nil:
		return "", err
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

// maxFileName is in bytes, as systems limit it.
const maxFileName = 4096

// maxName is in characters. The name is in every series.
const maxName = 200

func name(v *yaml.Node) (string, error) {
	s, err := text(v)
	switch {
	case err != nil:
		return "", err
	case utf8.RuneCountInString(s) > maxName:
		return "", fmt.Errorf("has more than %d characters", maxName)
	case strings.TrimSpace(s) != s:
		return "", errors.New("starts or ends with a space: remove it")
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }):
		return "", errors.New("contains a control character: use letters, digits, punctuation and spaces")
	}
	return s, nil
}

func applianceURL(v *yaml.Node) (*url.URL, error) {
	const want = "use https://host:11005"
	u, err := parseURL(v, want)
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

func proxyURL(v *yaml.Node) (*url.URL, error) {
	const want = "use http://host:3128"
	u, err := parseURL(v, want)
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
func parseURL(v *yaml.Node, want string) (*url.URL, error) {
	s, err := text(v)
	if err != nil {
		return nil, err
	}
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
	if isNull(v) || v.Kind != yaml.SequenceNode || v.Load(&words) != nil {
		return nil, errors.New("must be a list of regular expressions, each in quotes")
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

func timeZone(v *yaml.Node) (*time.Location, error) {
	name, err := text(v)
	if err != nil {
		return nil, err
	}
	loc, err := schedule.Location(name)
	if err != nil {
		return nil, errors.New("must be a time zone, such as Europe/Berlin or UTC")
	}
	return loc, nil
}
