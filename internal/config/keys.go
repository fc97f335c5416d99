package config

import (
	"cmp"
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

const day = 24 * time.Hour

// defaults are in force where the file says nothing.
var defaults = Settings{
	PollInterval:  time.Minute,
	PollTimeout:   2 * time.Minute,
	Backfill:      day,
	Watermark:     WatermarkAuto,
	NewSeriesHold: 2 * time.Minute,

	InventoryInterval: 5 * time.Minute,
	PolicyRetention:   35 * day,
	MaxPolicies:       2000,
}

// defaultBuckets reach from retention, which takes seconds, over snapshots,
// which take minutes, to a backup that fills the day a daily policy has. The
// steps are finest, by two, where most backups end: from a quarter of an hour
// to eight hours.
var defaultBuckets = []float64{
	10, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 57600, 86400,
}

// maxBuckets keeps a mistake from multiplying the series.
const maxBuckets = 100

// maxBackfill: an appliance keeps sessions for 365 days at most by default.
const maxBackfill = 365 * day

// file is the top of the configuration file.
type file struct {
	Settings
	buckets    []float64
	appliances *yaml.Node
}

// account is an element of appliances.
type account struct {
	Appliance
	login   login
	tls     commoncfg.TLSConfig
	proxy   commoncfg.URL
	nameAt  *yaml.Node
	loginAt *yaml.Node
}

// key is one key of a mapping that is read into a T.
type key[T any] struct {
	name string
	// set takes over the value at v. What it returns is reported at v; what is
	// wrong deeper down it reports itself, below path.
	set func(p *parser, path string, v *yaml.Node, into *T) error
}

var fileKeys = slices.Concat(
	settingKeys(func(f *file) *Settings { return &f.Settings }),
	[]key[file]{
		{"duration_buckets", func(_ *parser, _ string, v *yaml.Node, f *file) (err error) {
			f.buckets, err = buckets(v)
			return err
		}},
		// Appliances are read last, since they begin with the settings.
		{"appliances", func(_ *parser, _ string, v *yaml.Node, f *file) error {
			f.appliances = v
			return nil
		}},
	},
)

var applianceKeys = slices.Concat(
	[]key[account]{
		{"name", func(_ *parser, _ string, v *yaml.Node, a *account) (err error) {
			a.nameAt = v
			a.Name, err = name(v)
			return err
		}},
		{"url", func(_ *parser, _ string, v *yaml.Node, a *account) (err error) {
			a.URL, err = applianceURL(v)
			return err
		}},
		{"username", func(_ *parser, _ string, v *yaml.Node, a *account) (err error) {
			a.Username, err = text(v)
			return err
		}},
		{"password", func(_ *parser, _ string, v *yaml.Node, a *account) error {
			s, err := text(v)
			if s = trimBreaks(s); err == nil && s == "" {
				err = errNoValue
			}
			a.login.password = commoncfg.Secret(s)
			return err
		}},
		{"password_file", func(p *parser, _ string, v *yaml.Node, a *account) error {
			a.loginAt = v
			s, err := fileName(v)
			a.login.file = commoncfg.JoinDir(p.dir, s)
			return err
		}},
		{"api_version", func(_ *parser, _ string, v *yaml.Node, a *account) (err error) {
			a.APIVersion, err = apiVersion(v)
			return err
		}},
		{"timezone", func(_ *parser, _ string, v *yaml.Node, a *account) (err error) {
			a.TimeZone, err = timeZone(v)
			return err
		}},
		{"tls_config", func(p *parser, path string, v *yaml.Node, a *account) error {
			if decode(p, path, v, &a.tls, tlsKeys) == nil {
				return nil
			}
			a.tls.SetDirectory(p.dir)
			if err := a.tls.Validate(); err != nil {
				return err
			}
			if lo, hi := a.tls.MinVersion, a.tls.MaxVersion; lo > 0 && hi > 0 && lo > hi {
				return errors.New("min_version is above max_version")
			}
			return nil
		}},
		{"proxy_url", func(_ *parser, _ string, v *yaml.Node, a *account) (err error) {
			a.proxy.URL, err = proxyURL(v)
			return err
		}},
	},
	settingKeys(func(a *account) *Settings { return &a.Settings }),
)

// tlsKeys are those of Prometheus' tls_config, without the ones that refer to
// a secret manager.
var tlsKeys = []key[commoncfg.TLSConfig]{
	tlsText("ca", func(t *commoncfg.TLSConfig) *string { return &t.CA }),
	tlsText("cert", func(t *commoncfg.TLSConfig) *string { return &t.Cert }),
	tlsText("key", func(t *commoncfg.TLSConfig) *string { return (*string)(&t.Key) }),
	tlsFile("ca_file", func(t *commoncfg.TLSConfig) *string { return &t.CAFile }),
	tlsFile("cert_file", func(t *commoncfg.TLSConfig) *string { return &t.CertFile }),
	tlsFile("key_file", func(t *commoncfg.TLSConfig) *string { return &t.KeyFile }),
	tlsText("server_name", func(t *commoncfg.TLSConfig) *string { return &t.ServerName }),
	{"insecure_skip_verify", func(_ *parser, _ string, v *yaml.Node, t *commoncfg.TLSConfig) error {
		if v.Load(&t.InsecureSkipVerify) != nil || isNull(v) {
			return errors.New("must be true or false")
		}
		return nil
	}},
	tlsVersion("min_version", func(t *commoncfg.TLSConfig) *commoncfg.TLSVersion { return &t.MinVersion }),
	tlsVersion("max_version", func(t *commoncfg.TLSConfig) *commoncfg.TLSVersion { return &t.MaxVersion }),
}

func tlsText(name string, field func(*commoncfg.TLSConfig) *string) key[commoncfg.TLSConfig] {
	return tlsKey(name, text, field)
}

func tlsFile(name string, field func(*commoncfg.TLSConfig) *string) key[commoncfg.TLSConfig] {
	return tlsKey(name, fileName, field)
}

func tlsKey(name string, read func(*yaml.Node) (string, error), field func(*commoncfg.TLSConfig) *string) key[commoncfg.TLSConfig] {
	return key[commoncfg.TLSConfig]{name, func(_ *parser, _ string, v *yaml.Node, t *commoncfg.TLSConfig) (err error) {
		*field(t), err = read(v)
		return err
	}}
}

func tlsVersion(name string, field func(*commoncfg.TLSConfig) *commoncfg.TLSVersion) key[commoncfg.TLSConfig] {
	return key[commoncfg.TLSConfig]{name, func(_ *parser, _ string, v *yaml.Node, t *commoncfg.TLSConfig) error {
		if v.Load(field(t)) != nil || isNull(v) {
			return errors.New("must be TLS10, TLS11, TLS12 or TLS13")
		}
		return nil
	}}
}

func settingKeys[T any](of func(*T) *Settings) []key[T] {
	dur := func(name string, lo, hi time.Duration, field func(*Settings) *time.Duration) key[T] {
		return key[T]{name, func(_ *parser, _ string, v *yaml.Node, t *T) (err error) {
			*field(of(t)), err = duration(v, lo, hi)
			return err
		}}
	}
	return []key[T]{
		// A pass is a few requests. More often than every five seconds they would
		// burden the appliance, and no scrape would see the difference.
		dur("poll_interval", 5*time.Second, day, func(s *Settings) *time.Duration { return &s.PollInterval }),
		dur("poll_timeout", time.Second, time.Hour, func(s *Settings) *time.Duration { return &s.PollTimeout }),
		dur("backfill", 0, maxBackfill, func(s *Settings) *time.Duration { return &s.Backfill }),
		{"watermark", func(_ *parser, _ string, v *yaml.Node, t *T) (err error) {
			of(t).Watermark, err = watermark(v)
			return err
		}},
		dur("new_series_hold", 0, day, func(s *Settings) *time.Duration { return &s.NewSeriesHold }),
		dur("inventory_interval", time.Minute, day, func(s *Settings) *time.Duration { return &s.InventoryInterval }),
		// Shorter than a month, it would take policies that run once a month for gone.
		dur("policy_retention", 7*day, 400*day, func(s *Settings) *time.Duration { return &s.PolicyRetention }),
		{"max_policies", func(_ *parser, _ string, v *yaml.Node, t *T) error {
			n := &of(t).MaxPolicies
			if v.Load(n) != nil || isNull(v) || *n < 1 || *n > maxMaxPolicies {
				return fmt.Errorf("must be a number from 1 to %d", maxMaxPolicies)
			}
			return nil
		}},
		filter("policies", func(t *T) *Filter { return &of(t).Policies }),
		filter("types", func(t *T) *Filter { return &of(t).Types }),
	}
}

// maxMaxPolicies is more than an appliance has, and less than Prometheus minds.
const maxMaxPolicies = 100000

// filterKeys are those of a filter.
var filterKeys = []key[Filter]{
	{"include", func(_ *parser, _ string, v *yaml.Node, f *Filter) (err error) {
		f.include, err = patterns(v)
		return err
	}},
	{"exclude", func(_ *parser, _ string, v *yaml.Node, f *Filter) (err error) {
		f.exclude, err = patterns(v)
		return err
	}},
}

func filter[T any](name string, field func(*T) *Filter) key[T] {
	return key[T]{name, func(p *parser, path string, v *yaml.Node, t *T) error {
		var f Filter // of this place alone: an appliance's replaces the file's
		if decode(p, path, v, &f, filterKeys) != nil {
			*field(t) = f
		}
		return nil
	}}
}

// patterns reads a list of regular expressions, each for the whole of a word.
func patterns(v *yaml.Node) ([]*regexp.Regexp, error) {
	var words []string
	if isNull(v) || v.Kind != yaml.SequenceNode || v.Load(&words) != nil {
		return nil, errors.New("must be a list of regular expressions, each in quotes")
	}
	var all []*regexp.Regexp // nil without any, as where the key is missing
	for i, w := range words {
		if _, err := regexp.Compile(w); err != nil {
			return nil, fmt.Errorf("number %d is not a regular expression in RE2 syntax", i+1)
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

// Keys lists every key that a file may have: poll_interval,
// appliances[].tls_config.ca_file, …
func Keys() []string {
	names := keyNames("", fileKeys)
	names = append(names, keyNames("appliances[].", applianceKeys)...)
	names = append(names, keyNames("appliances[].tls_config.", tlsKeys)...)
	for _, of := range []string{"policies.", "types.", "appliances[].policies.", "appliances[].types."} {
		names = append(names, keyNames(of, filterKeys)...)
	}
	return names
}

func keyNames[T any](prefix string, keys []key[T]) []string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = prefix + k.name
	}
	return names
}

type parser struct {
	file, dir string
	errs      Errors
}

func (p *parser) fail(n *yaml.Node, path, message string) {
	p.errs = append(p.errs, &Error{p.file, n.Line, n.Column, path, message})
}

func (e Errors) sorted() Errors {
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return e
}

// parse returns a Config that is only good if there are no errors.
func (p *parser) parse(data []byte) *Config {
	root := p.document(data)
	if root == nil {
		return nil
	}
	f := file{Settings: defaults, buckets: slices.Clone(defaultBuckets)}
	if decode(p, "", root, &f, fileKeys) == nil {
		return nil
	}
	if f.appliances == nil {
		p.fail(root, "appliances", "is missing: list at least one, with name, url, username and password_file")
		return nil
	}
	return &Config{DurationBuckets: f.buckets, Appliances: p.appliances(f.appliances, f.Settings)}
}

// document returns the top of the only document in data, or nil.
func (p *parser) document(data []byte) *yaml.Node {
	if at := invalidUTF8(data); at >= 0 {
		line := 1 + strings.Count(string(data[:at]), "\n")
		p.fail(&yaml.Node{Line: line}, "", "is not UTF-8: save the file in that encoding")
		return nil
	}
	var docs []yaml.Node
	if err := yaml.Load(data, &docs, yaml.WithAllDocuments()); err != nil {
		p.fail(syntaxError(err))
		return nil
	}
	if len(docs) > 1 {
		p.fail(&docs[1], "", "a second document begins: the file must have only one, so remove the line ---")
		return nil
	}
	if len(docs) == 0 || len(docs[0].Content) == 0 || isNull(docs[0].Content[0]) {
		p.fail(&yaml.Node{}, "", "is empty: it needs the key appliances at least")
		return nil
	}
	return docs[0].Content[0]
}

func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// syntaxError returns where a file stops to be YAML, and why. It leaves out
// the messages that quote the file.
func syntaxError(err error) (at *yaml.Node, path, message string) {
	at = &yaml.Node{}
	var le *yaml.LoadError
	if !errors.As(err, &le) {
		return at, "", "is not YAML"
	}
	at.Line, at.Column = le.Mark.Line, le.Mark.Column
	switch le.Stage {
	case yaml.ReaderStage, yaml.ScannerStage, yaml.ParserStage:
		message = "is not YAML: " + le.Message
		if le.ContextMsg != "" {
			message += " " + le.ContextMsg
		}
	case yaml.ComposerStage:
		message = "is not YAML: a value that begins with * refers to an anchor, and there is none of that name: put it in quotes"
	default:
		message = "is not YAML"
	}
	return at, "", message
}

func (p *parser) appliances(list *yaml.Node, inherited Settings) []Appliance {
	const path = "appliances"
	switch {
	case isNull(list) || list.Kind == yaml.SequenceNode && len(list.Content) == 0:
		p.fail(list, path, "is empty: list at least one, with name, url, username and password_file")
		return nil
	case list.Kind != yaml.SequenceNode:
		p.fail(list, path, "must be a list: begin each appliance with a dash")
		return nil
	}
	var all []Appliance
	lines := map[string]int{} // by name
	for i, n := range list.Content {
		a := account{Appliance: Appliance{Settings: inherited}}
		path := fmt.Sprintf("%s[%d]", path, i)
		seen := decode(p, path+".", deref(n), &a, applianceKeys)
		if seen == nil {
			continue
		}
		for _, k := range []string{"name", "url", "username"} {
			if !seen[k] {
				p.fail(n, path+"."+k, "is missing")
			}
		}
		switch {
		case !seen["password"] && !seen["password_file"]:
			p.fail(n, path+".password_file", "is missing: name a file that holds the password (or give it as password)")
		case seen["password"] && seen["password_file"]:
			p.fail(a.loginAt, path+".password_file", "stands beside password: only one can be right, so remove the other")
		}
		if a.Name != "" {
			if line, ok := lines[a.Name]; ok {
				p.fail(a.nameAt, path+".name", fmt.Sprintf("is the name of the appliance on line %d already: each needs one of its own", line))
			} else {
				lines[a.Name] = a.nameAt.Line
			}
		}
		a.Appliance.login = &a.login
		a.http = &commoncfg.HTTPClientConfig{
			TLSConfig:   a.tls,
			ProxyConfig: commoncfg.ProxyConfig{ProxyURL: a.proxy},
			// One request at a time gains nothing by HTTP/2, and its one connection
			// would be kept after it stopped to answer.
			EnableHTTP2: false,
		}
		all = append(all, a.Appliance)
	}
	return all
}

// decode reads the mapping n into a T and returns the keys that it has, or nil
// if it isn't a mapping.
func decode[T any](p *parser, path string, n *yaml.Node, into *T, keys []key[T]) map[string]bool {
	if n.Kind != yaml.MappingNode {
		p.fail(n, strings.TrimSuffix(path, "."), "must be a mapping: lines of the form key: value")
		return nil
	}
	seen := map[string]bool{}
	lines := map[string]int{}
	for i := 0; i < len(n.Content); i += 2 {
		k, v := n.Content[i], deref(n.Content[i+1])
		j := slices.IndexFunc(keys, func(c key[T]) bool { return k.Kind == yaml.ScalarNode && c.name == k.Value })
		if j < 0 {
			p.fail(k, strings.TrimSuffix(path, "."), unknownKey(k, keyNames("", keys)))
			continue
		}
		name := keys[j].name
		if seen[name] {
			p.fail(k, path+name, fmt.Sprintf("is set on line %d already: remove one of the two", lines[name]))
			continue
		}
		seen[name], lines[name] = true, k.Line
		next := path + name
		if v.Kind == yaml.MappingNode {
			next += "."
		}
		if err := keys[j].set(p, next, v, into); err != nil {
			p.fail(n.Content[i+1], path+name, err.Error())
		}
	}
	return seen
}

// deref returns the node that an alias stands for.
func deref(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// plainKey is what a key looks like. What looks otherwise isn't repeated.
var plainKey = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,39}$`)

func unknownKey(k *yaml.Node, known []string) string {
	switch {
	case k.Kind != yaml.ScalarNode || !plainKey.MatchString(k.Value):
		if k.Value == "<<" {
			return "merging with << isn't supported: repeat the keys"
		}
		return "unknown key: known are " + strings.Join(known, ", ")
	}
	best, least := "", 1+len(k.Value)/3
	for _, name := range known {
		if d := distance(strings.ToLower(k.Value), name); d <= least && (best == "" || d < least) {
			best, least = name, d
		}
	}
	if best != "" {
		return fmt.Sprintf("unknown key %q: did you mean %s?", k.Value, best)
	}
	return fmt.Sprintf("unknown key %q: known are %s", k.Value, strings.Join(known, ", "))
}

// distance is the least number of letters to change, add or leave out to make
// b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// text returns the value as it is written: a password 0123 is no number.
func text(v *yaml.Node) (string, error) {
	if v.Kind != yaml.ScalarNode {
		return "", errors.New("must be a single text")
	}
	tagged := v.Style&yaml.TaggedStyle != 0 && v.ShortTag() != "!!str"
	if isNull(v) || v.Value == "" || tagged {
		return "", errNoValue
	}
	return v.Value, nil
}

// fileName returns the name of a file. It is in the error if that can't be read, so
// it must not be the content: a key, or a password in a block of YAML.
func fileName(v *yaml.Node) (string, error) {
	s, err := text(v)
	switch {
	case err != nil:
		return "", err
	case len(s) > maxFileName || strings.ContainsFunc(s, unicode.IsControl):
		return s, errors.New("is not the name of a file: it has a line break or is too long; what belongs in a file can't be written here")
	}
	return s, nil
}

func duration(v *yaml.Node, lo, hi time.Duration) (time.Duration, error) {
	s, err := text(v)
	if err != nil {
		return 0, err
	}
	if n, err := strconv.Atoi(s); err == nil && n > 0 {
		return 0, errors.New("has no unit: write 30s, 1m, 1h30m or 1d")
	}
	d, err := model.ParseDuration(s)
	if err != nil {
		return 0, errors.New("is no duration: write 30s, 1m, 1h30m or 1d")
	}
	if got := time.Duration(d); got < lo || got > hi {
		return 0, fmt.Errorf("%v is out of range: it must be from %v to %v", d, model.Duration(lo), model.Duration(hi))
	}
	return time.Duration(d), nil
}

func watermark(v *yaml.Node) (Watermark, error) {
	s, err := text(v)
	if err != nil {
		return "", err
	}
	switch w := Watermark(s); w {
	case WatermarkAuto, WatermarkUSN, WatermarkFromUTC:
		return w, nil
	}
	return "", errors.New("must be auto, usn or from_utc")
}

var revision = regexp.MustCompile(`^[0-9]{1,3}\.[0-9]{1,3}-rev[0-9]{1,3}$`)

// apiVersion returns an empty revision for auto.
func apiVersion(v *yaml.Node) (string, error) {
	s, err := text(v)
	switch {
	case err != nil:
		return "", err
	case s == "auto":
		return "", nil
	case !revision.MatchString(s):
		return "", errors.New("must be auto or a revision such as 1.7-rev0")
	}
	return s, nil
}

func buckets(v *yaml.Node) ([]float64, error) {
	const want = "a list of seconds such as [60, 300, 3600]"
	if v.Kind != yaml.SequenceNode {
		return nil, errors.New("must be " + want)
	}
	if n := len(v.Content); n == 0 || n > maxBuckets {
		return nil, fmt.Errorf("has %d elements: it must have from 1 to %d", n, maxBuckets)
	}
	bounds := make([]float64, len(v.Content))
	for i, n := range v.Content {
		n = deref(n)
		if n.Kind != yaml.ScalarNode || isNull(n) || n.Load(&bounds[i]) != nil {
			return nil, fmt.Errorf("element %d is not a number: it must be %s", i+1, want)
		}
		switch b := bounds[i]; {
		case math.IsInf(b, 1):
			return nil, fmt.Errorf("element %d is infinite: leave it out, there always is such a bucket", i+1)
		case math.IsNaN(b) || b <= 0:
			return nil, fmt.Errorf("element %d is not above 0: it must be %s", i+1, want)
		case i > 0 && b <= bounds[i-1]:
			return nil, fmt.Errorf("element %d is not above the one before: sort them, and have each once", i+1)
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
		return "", errors.New("begins or ends with a space: remove it")
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }):
		return "", errors.New("has a control character: use letters, digits, punctuation and spaces")
	}
	return s, nil
}

func applianceURL(v *yaml.Node) (*url.URL, error) {
	const want = "write https://host:11005"
	u, err := parseURL(v, want)
	if err != nil {
		return nil, err
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("has a scheme other than https and http: " + want)
	case u.User != nil:
		return nil, errors.New("contains an account: put it under username and password_file")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("goes on after the host: leave out path and query, " + want)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

func proxyURL(v *yaml.Node) (*url.URL, error) {
	const want = "write http://host:3128"
	u, err := parseURL(v, want)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
		return u, nil
	}
	return nil, errors.New("has a scheme other than http, https, socks5 and socks5h: " + want)
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
		return nil, errors.New("is not a URL: " + want)
	case !strings.Contains(s, "://"):
		return nil, errors.New("has no scheme: " + want)
	case u.Hostname() == "":
		return nil, errors.New("has no host: " + want)
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > math.MaxUint16 {
			return nil, errors.New("has a port that is none: it must be from 1 to 65535")
		}
	}
	return u, nil
}
