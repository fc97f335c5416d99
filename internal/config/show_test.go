package config

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// everything has every key.
const everything = `
duration_buckets: [1, 2.5]
poll_interval: 30s
poll_timeout: 1m
backfill: 2d
watermark: from_utc
new_series_hold: 0s
inventory_interval: 10m
overdue_grace: 3h
policy_retention: 400d
max_policies: 5
instances: true
max_instances: 100
policies: {include: [a.*, "b|c"], exclude: ['x: y']}
types: {include: [Policy], exclude: [Task]}
appliances:
- name: prod
  url: https://vba.example.com:11005
  username: prometheus
  password_file: s/vba
  api_version: 1.7-rev0
  timezone: Europe/Berlin
  proxy_url: http://t0ken@proxy:3128
  tls_config:
    ca_file: ca.pem
    cert_file: cert.pem
    key_file: key.pem
    server_name: vba
    insecure_skip_verify: true
    min_version: TLS12
    max_version: TLS13
- name: other
  url: https://vba2.example.com:11005
  username: prometheus
  password: s3cr3t
  tls_config: {ca: c, cert: c, key: s3cr3t}
  poll_interval: 5m
  poll_timeout: 10s
  backfill: 1d
  watermark: usn
  new_series_hold: 1m30s
  inventory_interval: 1h
  overdue_grace: 10m
  policy_retention: 7d
  max_policies: 100000
  instances: false
  max_instances: 100000
  policies: {include: [d], exclude: [e]}
  types: {include: [f], exclude: [g]}
`

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("config.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestYAMLHasEveryKey checks that the output has every key and no secret.
func TestYAMLHasEveryKey(t *testing.T) {
	out, err := mustParse(t, everything).YAML()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"s3cr3t", "t0ken"} {
		if strings.Contains(string(out), secret) {
			t.Errorf("shows a secret:\n%s", out)
		}
	}
	var file map[string]any
	if err := yaml.Load(out, &file); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{"duration_buckets": file["duration_buckets"] != nil, "appliances": true}
	for _, a := range file["appliances"].([]any) {
		addKeys(got, "appliances[].", a)
	}
	for _, k := range allKeys() {
		// What is set for all appliances is shown with each.
		if !got[k.path] && !got["appliances[]."+k.path] {
			t.Errorf("lacks %s", k.path)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}

func addKeys(to map[string]bool, prefix string, v any) {
	for k, v := range v.(map[string]any) {
		to[prefix+k] = true
		if _, ok := v.(map[string]any); ok {
			addKeys(to, prefix+k+".", v)
		}
	}
}

// TestYAMLIsTheConfiguration parses the output: the configuration is the same, except for the
// secrets.
func TestYAMLIsTheConfiguration(t *testing.T) {
	texts := []string{everything, minimal}
	for _, path := range []string{"testdata/full.yml", "../../config.example.yml"} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(data))
	}
	for _, text := range texts {
		want := mustParse(t, text)
		out, err := want.YAML()
		if err != nil {
			t.Fatal(err)
		}
		got := mustParse(t, string(out))
		if !slices.Equal(got.DurationBuckets, want.DurationBuckets) || len(got.Appliances) != len(want.Appliances) {
			t.Fatalf("another configuration:\n%s", out)
		}
		for i := range want.Appliances {
			a, b := &got.Appliances[i], &want.Appliances[i]
			if b.Login.Password != "" {
				b.Login.Password = hidden
			}
			if t := &b.Network.TLS; t.Key != "" { // its CA and certificate are no certificates either
				t.CA, t.Cert, t.Key = hidden, hidden, hidden
			}
			if u := b.Network.Proxy; u != nil && u.User != nil {
				u.User = a.Network.Proxy.User
			}
			if !a.Equal(b) {
				t.Errorf("%s: not the same:\n%s", b.Name, out)
			}
		}
	}
}

// TestYAMLShowsCertificatesAlone: a key can be next to a certificate or in its
// place, and notes can contain anything.
func TestYAMLShowsCertificatesAlone(t *testing.T) {
	der := otherCertificate(t).Raw
	block := func(kind, note string, data []byte) string {
		b := &pem.Block{Type: kind, Bytes: data}
		if note != "" {
			b.Headers = map[string]string{"Note": note}
		}
		return string(pem.EncodeToMemory(b))
	}
	cert, key := block("CERTIFICATE", "", der), block("PRIVATE KEY", "", []byte("s3cr3t"))
	const begin, end = "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n"
	for name, test := range map[string]struct {
		text  string
		shown bool
	}{
		"one":              {cert, true},
		"several":          {"\n" + cert + " \r\n\n" + strings.TrimSpace(cert), true},
		"in long lines":    {begin + base64.StdEncoding.EncodeToString(der) + "\n" + end, true},
		"key behind":       {cert + key, false},
		"key before":       {key + cert, false},
		"key alone":        {key, false},
		"key in a header":  {block("CERTIFICATE", "s3cr3t", der), false},
		"key by that name": {block("CERTIFICATE", "", []byte("s3cr3t")), false},
		"key within":       {block("CERTIFICATE", "", append(slices.Clone(der), "s3cr3t"...)), false},
		"note before":      {"s3cr3t\n" + cert, false},
		"note between":     {cert + "# s3cr3t\n" + cert, false},
		"note behind":      {cert + "s3cr3t", false},
		"broken key":       {cert + strings.ReplaceAll(key, "-----END", "----END"), false},
		"no block":         {"s3cr3t", false},
	} {
		t.Run(name, func(t *testing.T) {
			c := mustParse(t, minimal+fmt.Sprintf("    tls_config: {ca: %q, cert: %[1]q, key: k}\n", test.text))
			out, err := c.YAML()
			if err != nil {
				t.Fatal(err)
			}
			want := hidden
			if test.shown {
				want = test.text
			}
			if got := mustParse(t, string(out)).Appliances[0].Network.TLS; got.CA != want || got.Cert != want {
				t.Errorf("want %q, and it shows\n%s", want, out)
			}
		})
	}
}

// TestEqual changes one value at a time.
func TestEqual(t *testing.T) {
	whole := mustParse(t, everything)
	same := mustParse(t, everything)
	for i := range whole.Appliances {
		if !whole.Appliances[i].Equal(&same.Appliances[i]) {
			t.Errorf("%s differs from itself", whole.Appliances[i].Name)
		}
	}
	for _, change := range [][2]string{
		{"vba.example.com", "vba3.example.com"},
		{"username: prometheus", "username: other"},
		{"s/vba", "s/vba2"},
		{"password: s3cr3t", "password: s3cr4t"},
		{"1.7-rev0", "auto"},
		{"Europe/Berlin", "Europe/Paris"},
		{"t0ken", "token"},
		{"proxy:3128", "proxy:3129"},
		{"ca.pem", "ca2.pem"},
		{"key: s3cr3t", "key: s3cr4t"},
		{"server_name: vba", "server_name: vbb"},
		{"insecure_skip_verify: true", "insecure_skip_verify: false"},
		{"min_version: TLS12", "min_version: TLS13"},
		{"poll_interval: 30s", "poll_interval: 31s"},
		{"poll_timeout: 1m", "poll_timeout: 2m"},
		{"backfill: 2d", "backfill: 3d"},
		{"watermark: from_utc", "watermark: auto"},
		{"new_series_hold: 0s", "new_series_hold: 1s"},
		{"inventory_interval: 10m", "inventory_interval: 11m"},
		{"overdue_grace: 3h", "overdue_grace: 4h"},
		{"policy_retention: 400d", "policy_retention: 399d"},
		{"max_policies: 5\n", "max_policies: 6\n"},
		{"instances: true", "instances: false"},
		{"max_instances: 100\n", "max_instances: 101\n"},
		{"include: [a.*", "include: [a+"},
		{"x: y", "x: z"},
		{"include: [Policy]", "include: [Job]"},
		{"exclude: [g]", "exclude: [h]"},
	} {
		if strings.Count(everything, change[0]) == 0 {
			t.Fatalf("nothing to change: %s", change[0])
		}
		other := mustParse(t, strings.Replace(everything, change[0], change[1], 1))
		differ := 0
		for i := range whole.Appliances {
			if !whole.Appliances[i].Equal(&other.Appliances[i]) {
				differ++
			}
		}
		if differ != 1 {
			t.Errorf("%s: %d appliances differ, want 1", change[1], differ)
		}
	}
}

// TestChangedFileIsNoChange: a changed file doesn't change the configuration, since files are
// read at each use.
func TestChangedFileIsNoChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	text := strings.Replace(minimal, "password: s3cr3t", "password_file: "+path, 1)
	before := mustParse(t, text)
	if err := os.WriteFile(path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if after := mustParse(t, text); !before.Appliances[0].Equal(&after.Appliances[0]) {
		t.Error("differs")
	}
}
