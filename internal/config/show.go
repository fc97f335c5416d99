package config

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"time"

	commoncfg "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v4"
)

// Equal reports whether a and b say the same. Of what doesn't compare, such as a
// time zone that was loaded from a newer file, it may say that it differs. A
// change inside of a file that they name is none.
func (a *Appliance) Equal(b *Appliance) bool { return reflect.DeepEqual(a, b) }

// hidden stands for a secret.
const hidden = "<secret>"

// YAML returns the configuration as a file that has every setting in force, the
// defaults included, and no secret: passwords, keys, and the accounts of proxies
// are replaced, and so are ca and cert where they are more than certificates.
// Names of files are relative to the working directory.
func (c *Config) YAML() ([]byte, error) {
	s := shownConfig{Buckets: c.DurationBuckets}
	for i := range c.Appliances {
		s.Appliances = append(s.Appliances, c.Appliances[i].shown())
	}
	var out bytes.Buffer
	d, err := yaml.NewDumper(&out, yaml.WithV4Defaults())
	if err != nil {
		return nil, fmt.Errorf("write the configuration: %w", err)
	}
	if err := d.Dump(s); err != nil {
		return nil, fmt.Errorf("write the configuration: %w", err)
	}
	if err := d.Close(); err != nil {
		return nil, fmt.Errorf("write the configuration: %w", err)
	}
	return out.Bytes(), nil
}

// shownConfig and those below have the keys of the file. What is empty there
// isn't written.
type shownConfig struct {
	Buckets    []float64        `yaml:"duration_buckets,flow"`
	Appliances []shownAppliance `yaml:"appliances"`
}

type shownAppliance struct {
	Name         string    `yaml:"name"`
	URL          string    `yaml:"url"`
	Username     string    `yaml:"username"`
	Password     string    `yaml:"password,omitempty"`
	PasswordFile string    `yaml:"password_file,omitempty"`
	APIVersion   string    `yaml:"api_version"`
	TimeZone     string    `yaml:"timezone,omitempty"`
	TLS          *shownTLS `yaml:"tls_config,omitempty"`
	Proxy        string    `yaml:"proxy_url,omitempty"`

	PollInterval      string       `yaml:"poll_interval"`
	PollTimeout       string       `yaml:"poll_timeout"`
	Backfill          string       `yaml:"backfill"`
	Watermark         Watermark    `yaml:"watermark"`
	NewSeriesHold     string       `yaml:"new_series_hold"`
	InventoryInterval string       `yaml:"inventory_interval"`
	PolicyRetention   string       `yaml:"policy_retention"`
	MaxPolicies       int          `yaml:"max_policies"`
	Policies          *shownFilter `yaml:"policies,omitempty"`
	Types             *shownFilter `yaml:"types,omitempty"`
}

type shownFilter struct {
	Include []string `yaml:"include,flow,omitempty"`
	Exclude []string `yaml:"exclude,flow,omitempty"`
}

type shownTLS struct {
	CA                 string `yaml:"ca,omitempty"`
	Cert               string `yaml:"cert,omitempty"`
	Key                string `yaml:"key,omitempty"`
	CAFile             string `yaml:"ca_file,omitempty"`
	CertFile           string `yaml:"cert_file,omitempty"`
	KeyFile            string `yaml:"key_file,omitempty"`
	ServerName         string `yaml:"server_name,omitempty"`
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify,omitempty"`
	MinVersion         string `yaml:"min_version,omitempty"`
	MaxVersion         string `yaml:"max_version,omitempty"`
}

func (a *Appliance) shown() shownAppliance {
	s := shownAppliance{
		Name:         a.Name,
		URL:          a.URL.String(),
		Username:     a.Username,
		Password:     redacted(a.login.password),
		PasswordFile: a.login.file,
		APIVersion:   a.APIVersion,
		TLS:          showTLS(&a.http.TLSConfig),
		Proxy:        showProxy(a.http.ProxyURL.URL),

		PollInterval:      showDuration(a.PollInterval),
		PollTimeout:       showDuration(a.PollTimeout),
		Backfill:          showDuration(a.Backfill),
		Watermark:         a.Watermark,
		NewSeriesHold:     showDuration(a.NewSeriesHold),
		InventoryInterval: showDuration(a.InventoryInterval),
		PolicyRetention:   showDuration(a.PolicyRetention),
		MaxPolicies:       a.MaxPolicies,
		Policies:          showFilter(&a.Policies),
		Types:             showFilter(&a.Types),
	}
	if s.APIVersion == "" {
		s.APIVersion = "auto"
	}
	if a.TimeZone != nil {
		s.TimeZone = a.TimeZone.String()
	}
	return s
}

func showDuration(d time.Duration) string { return model.Duration(d).String() }

func redacted(s commoncfg.Secret) string {
	if s == "" {
		return ""
	}
	return hidden
}

func showTLS(t *commoncfg.TLSConfig) *shownTLS {
	s := shownTLS{
		CA: certificates(t.CA), Cert: certificates(t.Cert), Key: redacted(t.Key),
		CAFile: t.CAFile, CertFile: t.CertFile, KeyFile: t.KeyFile,
		ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify,
		MinVersion: showVersion(t.MinVersion), MaxVersion: showVersion(t.MaxVersion),
	}
	if s == (shownTLS{}) {
		return nil
	}
	return &s
}

// certificates returns the text if there is nothing but certificates in it: TLS
// reads past keys and notes beside them.
func certificates(text string) string {
	var all bytes.Buffer
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return hidden
		}
		all.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes}))
	}
	dense := func(s string) string { return strings.Join(strings.Fields(s), "") }
	if dense(text) != dense(all.String()) {
		return hidden
	}
	return text
}

func showVersion(v commoncfg.TLSVersion) string {
	for name, known := range commoncfg.TLSVersions {
		if v == known {
			return name
		}
	}
	return ""
}

// showProxy leaves out user and password: some proxies take a token as the user.
func showProxy(u *url.URL) string {
	if u == nil {
		return ""
	}
	shown := *u
	if u.User != nil {
		shown.User = url.User("xxxxx") // characters of hidden would be escaped
	}
	return shown.String()
}

func showFilter(f *Filter) *shownFilter {
	if f.include == nil && f.exclude == nil {
		return nil
	}
	return &shownFilter{showPatterns(f.include), showPatterns(f.exclude)}
}

// wholeBegin and wholeEnd around a pattern make it one for the whole of a word.
const wholeBegin, wholeEnd = "^(?s:", ")$"

func showPatterns(all []*regexp.Regexp) []string {
	var words []string
	for _, r := range all {
		words = append(words, strings.TrimSuffix(strings.TrimPrefix(r.String(), wholeBegin), wholeEnd))
	}
	return words
}
