package config

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	commoncfg "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"

	"vbaws_exporter/collector/poller"
	"vbaws_exporter/vbaws"
)

var update = flag.Bool("update", false, "rewrite testdata/*.txt")

// TestInvalid compares the errors about each file with the text beside it.
func TestInvalid(t *testing.T) {
	paths, err := filepath.Glob("testdata/invalid-*.yml")
	if err != nil || len(paths) == 0 {
		t.Fatal("no test data", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yml"), func(t *testing.T) {
			c, err := Load(path)
			if err == nil || c != nil {
				t.Fatalf("got %v, %v, want an error alone", c, err)
			}
			var all Errors
			if !errors.As(err, &all) {
				t.Fatalf("got a %T: %v", err, err)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("not one line: %q", err)
			}
			var got strings.Builder
			for _, e := range all {
				fmt.Fprintln(&got, e)
				if strings.Contains(e.Error(), "s3cr3t") {
					t.Errorf("repeats a secret: %v", e)
				}
			}
			golden := strings.TrimSuffix(path, ".yml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestErrorsAreOneLine(t *testing.T) {
	e := &Error{File: "a.yml", Line: 3, Column: 1, Key: "k", Message: "is wrong"}
	for n, want := range map[int]string{
		1: "a.yml:3:1: k: is wrong",
		2: "a.yml:3:1: k: is wrong (and 1 more error)",
		3: "a.yml:3:1: k: is wrong (and 2 more errors)",
	} {
		all := Errors(make([]*Error, n))
		for i := range all {
			all[i] = e
		}
		if got := all.Error(); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

const minimal = `
appliances:
  - name: prod
    url: https://vba.example.com:11005
    username: prometheus
    password: s3cr3t
`

func TestDefaults(t *testing.T) {
	c, err := Parse("config.yml", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	want := Settings{
		PollInterval:  time.Minute,
		PollTimeout:   2 * time.Minute,
		Backfill:      24 * time.Hour,
		Watermark:     string(poller.WatermarkAuto),
		NewSeriesHold: 2 * time.Minute,

		InventoryInterval: 5 * time.Minute,
		OverdueGrace:      time.Hour,
		PolicyRetention:   35 * 24 * time.Hour,
		MaxPolicies:       2000,
		MaxInstances:      5000,
	}
	if diff := cmp.Diff(want, c.Appliances[0].Settings, filters); diff != "" {
		t.Error(diff)
	}
	buckets := []float64{10, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 57600, 86400}
	if diff := cmp.Diff(buckets, c.DurationBuckets); diff != "" {
		t.Error(diff)
	}
	if got := c.Appliances[0].APIVersion; got != "" {
		t.Errorf("api version %q", got)
	}
	// A caller that changes one doesn't change the next.
	c.DurationBuckets[0] = -1
	if next := mustParse(t, minimal); next.DurationBuckets[0] == -1 {
		t.Error("the defaults were changed")
	}
}

// filters compares filters by their patterns.
var filters = cmp.Transformer("patterns", func(f Filter) [2]string {
	return [2]string{fmt.Sprint(f.Include), fmt.Sprint(f.Exclude)}
})

func TestFilters(t *testing.T) {
	c, err := Parse("config.yml", []byte(minimal+`
    policies: {include: ['prod-.*', 'a|b'], exclude: ['.*-test']}
`))
	if err != nil {
		t.Fatal(err)
	}
	f := c.Appliances[0].Policies
	for word, want := range map[string]bool{
		"prod-1": true, "prod-\n": true, "a": true, "b": true,
		"prod-test": false, "my prod-1": false, "ab": false, "": false,
	} {
		if got := f.Wants(word); got != want {
			t.Errorf("%q: %v, want %v", word, got, want)
		}
	}
	if all := c.Appliances[0].Types; !all.Wants("") || !all.Wants("Policy") {
		t.Error("a filter that isn't set must choose all")
	}
}

func TestFull(t *testing.T) {
	c, err := Load("testdata/full.yml")
	if err != nil {
		t.Fatal(err)
	}
	type seen struct {
		Settings
		Name, URL, Username, APIVersion string
	}
	var got []seen
	for _, a := range c.Appliances {
		got = append(got, seen{a.Settings, a.Name, a.URL.String(), a.Username, a.APIVersion})
	}
	want := []seen{{
		Settings{
			PollInterval: 30 * time.Second, PollTimeout: time.Minute, Backfill: 48 * time.Hour,
			Watermark: string(poller.WatermarkFromUTC), NewSeriesHold: 0,
			InventoryInterval: 10 * time.Minute, OverdueGrace: 3 * time.Hour, PolicyRetention: 400 * 24 * time.Hour, MaxPolicies: 5, Instances: true, MaxInstances: 100000,
			Types: Filter{Exclude: []*regexp.Regexp{regexp.MustCompile("^(?s:Task)$")}},
		},
		"prod-eu", "https://vba.example.com:11005", "prometheus", "",
	}, {
		Settings{
			PollInterval: 5 * time.Minute, PollTimeout: 10 * time.Second, Backfill: 0,
			Watermark: string(poller.WatermarkUSN), NewSeriesHold: 90 * time.Second,
			InventoryInterval: time.Hour, OverdueGrace: 3 * time.Hour, PolicyRetention: 400 * 24 * time.Hour, MaxPolicies: 100000, MaxInstances: 1,
			Types:    Filter{Include: []*regexp.Regexp{regexp.MustCompile("^(?s:Policy)$")}},
			Policies: Filter{Include: []*regexp.Regexp{regexp.MustCompile("^(?s:prod-.*)$"), regexp.MustCompile("^(?s:a|b)$")}},
		},
		"Prüfstand 2", "http://[::1]:80", "0123", "1.7-rev0",
	}}
	if diff := cmp.Diff(want, got, filters); diff != "" {
		t.Error(diff)
	}
	if first, second := c.Appliances[0].TimeZone, c.Appliances[1].TimeZone; first.String() != "Europe/Berlin" || second != nil {
		t.Errorf("time zones %v and %v", first, second)
	}
	if diff := cmp.Diff([]float64{0.5, 60, 3600}, c.DurationBuckets); diff != "" {
		t.Error(diff)
	}
	if got, want := c.Appliances[0].Login.File, "testdata/secrets/vba"; got != want {
		t.Errorf("password file %s, want %s", got, want)
	}
	if got, want := c.Appliances[0].Network.TLS.CAFile, "testdata/ca.pem"; got != want {
		t.Errorf("CA file %s, want %s", got, want)
	}
	if got, want := c.Appliances[1].Network.Proxy.String(), "socks5://u:p@proxy:1080"; got != want {
		t.Errorf("proxy %s, want %s", got, want)
	}
	if got, err := c.Appliances[1].Password(); got != "0123" || err != nil {
		t.Errorf("password %q, %v, want it as it is written", got, err)
	}
}

func TestExample(t *testing.T) {
	if _, err := Load("../../config.example.yml"); err != nil {
		t.Fatal(err)
	}
}

// TestNothingShowsSecrets prints and marshals a configuration with many secrets.
func TestNothingShowsSecrets(t *testing.T) {
	c, err := Parse("config.yml", []byte(minimal+`
    proxy_url: http://user:s3cr3t@proxy:3128
    tls_config: {cert: c, key: s3cr3t}
`))
	if err != nil {
		t.Fatal(err)
	}
	j, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	y, err := yaml.Dump(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c), string(j), string(y),
		fmt.Sprintf("%+v", c.Appliances[0]), fmt.Sprintf("%#v", &c.Appliances[0]),
	} {
		if strings.Contains(s, "s3cr3t") {
			t.Errorf("shows a secret: %s", s)
		}
	}
}

// TestPasswordInBlock: a block of YAML ends with a line break, like a file.
func TestPasswordInBlock(t *testing.T) {
	for _, test := range []struct{ value, want string }{
		{"|\n      #hunter2", "#hunter2"},
		{">\n      #hunter2", "#hunter2"},
		{"|-\n      #hunter2", "#hunter2"},
		{"|+\n      hunter2\n\n", "hunter2"},
		{`"hunter2\r\n"`, "hunter2"},
		{`" with spaces \n"`, " with spaces "},
		{`"two\nlines"`, "two\nlines"},
	} {
		c := mustParse(t, strings.Replace(minimal, "s3cr3t", test.value, 1))
		if got, err := c.Appliances[0].Password(); got != test.want || err != nil {
			t.Errorf("%q: got %q, %v", test.value, got, err)
		}
	}
}

func TestPasswordFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	c, err := Parse(filepath.Join(dir, "config.yml"), []byte(strings.Replace(minimal, "password: s3cr3t", "password_file: secret", 1)))
	if err != nil {
		t.Fatal(err)
	}
	a := &c.Appliances[0]
	if got, err := a.Password(); got != "" || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("no file: got %q, %v", got, err)
	}
	for _, test := range []struct{ content, want string }{
		{"hunter2\n", "hunter2"},
		{"hunter2", "hunter2"},
		{"hunter3\r\n", "hunter3"},
		{"\ufeffhunter4\r\n", "hunter4"}, // Notepad
		{"\ufeff", ""},
		{" with spaces \n", " with spaces "},
		{"", ""},
		{"\n", ""},
		{strings.Repeat("x", 1<<20), ""},
	} {
		if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := a.Password()
		if got != test.want {
			t.Errorf("%.20q: got %q, want %q", test.content, got, test.want)
		}
		if (err != nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), path) {
			t.Errorf("%.20q: error %v", test.content, err)
		}
	}
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big.yml")
	if err := os.WriteFile(big, make([]byte, maxSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "missing.yml"), dir, big} {
		if c, err := Load(path); c != nil || err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, %v", path, c, err)
		}
	}
}

// TestTransport sends requests to a server whose certificate only ca_file trusts, and changes
// the file.
func TestTransport(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	defer server.Close()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	load := func() *Appliance {
		c, err := Parse(filepath.Join(dir, "config.yml"), []byte(minimal+"    tls_config: {ca_file: ca.pem}\n"))
		if err != nil {
			t.Fatal(err)
		}
		return &c.Appliances[0]
	}
	get := func(rt http.RoundTripper) error {
		resp, err := (&http.Client{Transport: rt}).Get(server.URL)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	write := func(pem []byte) {
		if err := os.WriteFile(ca, pem, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := load()
	rt := a.Transport()
	blamed := func(what, want string) {
		t.Helper()
		for _, err := range []error{a.CheckTLS(), get(rt)} {
			if err == nil || vbaws.KindOf(err) != vbaws.KindConfig || !strings.Contains(err.Error(), "tls_config: ") ||
				!strings.Contains(err.Error(), "ca.pem") || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	blamed("without the file", "no such file")
	write([]byte("no certificate"))
	blamed("with a broken file", "unable to use")
	write(certificate(t, otherCertificate(t)))
	if err := get(rt); err == nil || vbaws.KindOf(err) == vbaws.KindConfig {
		t.Errorf("a certificate of another authority: %v", err)
	}
	write(certificate(t, server.Certificate()))
	if err := get(rt); err != nil {
		t.Errorf("after the file was changed: %v", err)
	}
	write([]byte("no certificate"))
	blamed("broken while a connection is kept", "unable to use")
	if err := os.Remove(ca); err != nil {
		t.Fatal(err)
	}
	blamed("removed while a connection is kept", "no such file")
	write(certificate(t, server.Certificate()))
	if err := get(rt); err != nil {
		t.Errorf("once it is there again: %v", err)
	}
}

// TestDeclarations reads every tag: a mistake in one shows here, not when an operator
// sets the key.
func TestDeclarations(t *testing.T) {
	formats := []string{"", "name", "url", "proxy_url", "password", "file", "api_version", "certificates"}
	for _, of := range []reflect.Type{reflect.TypeFor[file](), reflect.TypeFor[Appliance](), reflect.TypeFor[commoncfg.TLSConfig](), reflect.TypeFor[Filter]()} {
		for _, k := range keysOf(of) {
			if k.name == "" || !slices.Contains(formats, k.tag.Get("format")) {
				t.Errorf("%v: key %q has the format %q", of, k.name, k.tag.Get("format"))
			}
			switch k.typ {
			case reflect.TypeFor[time.Duration]():
				if lo, hi := limits(&k, model.ParseDuration); lo >= hi {
					t.Errorf("%s: from %v to %v", k.name, lo, hi)
				}
			case reflect.TypeFor[int]():
				if lo, hi := limits(&k, strconv.Atoi); lo >= hi {
					t.Errorf("%s: from %v to %v", k.name, lo, hi)
				}
			}
		}
	}
	for _, k := range keysOf(reflect.TypeFor[Settings]()) {
		want := fmt.Sprintln(poller.WatermarkAuto, poller.WatermarkUSN, poller.WatermarkFromUTC)
		if k.name == "watermark" && k.tag.Get("oneof") != strings.TrimSpace(want) {
			t.Errorf("watermark is one of %s, want %s", k.tag.Get("oneof"), want)
		}
	}
	p := &parser{}
	p.defaults(reflect.ValueOf(new(file)).Elem())
	p.defaults(reflect.ValueOf(new(Appliance)).Elem())
	for _, err := range p.errs {
		t.Error(err)
	}
}

func TestDistance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[ab]{0,6}`)
		a, b, c := word.Draw(t, "a"), word.Draw(t, "b"), word.Draw(t, "c")
		switch d := distance(a, b); {
		case (d == 0) != (a == b):
			t.Errorf("distance %d", d)
		case d != distance(b, a):
			t.Error("not symmetric")
		case d > max(len(a), len(b)):
			t.Errorf("distance %d is more than a rewrite", d)
		case distance(a, c) > d+distance(b, c):
			t.Error("a detour is shorter")
		}
	})
}

func FuzzParse(f *testing.F) {
	const secret = "$s3cr3t^of,mine$"
	paths, err := filepath.Glob("testdata/*.yml")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range append(paths, "../../config.example.yml") {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(strings.ReplaceAll(string(data), "s3cr3t", secret), "")
	}
	f.Add("appliances:\n- password: ", "\n  name: x")
	f.Add("appliances:\n- proxy_url: http://u:", "@[")
	f.Add("appliances:\n- password: *", "")
	f.Add("appliances:\n- password: !!", " x")
	f.Add("? ", "\n: x")
	f.Add("appliances: &a [*a, {tls_config: {key: &b {k: *b}, cert: ", "}}]")
	f.Fuzz(func(t *testing.T, before, after string) {
		c, err := Parse("config.yml", []byte(before+secret+after))
		if err != nil {
			var all Errors
			if c != nil || !errors.As(err, &all) {
				t.Fatalf("got %v and a %T", c, err)
			}
			for _, e := range all {
				if strings.Contains(e.Error(), secret) {
					t.Errorf("repeats a secret: %v", e)
				}
			}
			return
		}
		if strings.Contains(fmt.Sprintf("%+v", c.Appliances[0].Login), secret) {
			t.Error("shows a secret")
		}
		checkValid(t, c)
		out, err := c.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if c, err = Parse("config.yml", out); err != nil {
			t.Fatalf("what is shown is not valid: %v\n%s", err, out)
		}
		if again, err := c.YAML(); err != nil || string(again) != string(out) {
			t.Errorf("shown as\n%s\nand read from there as\n%s, %v", out, again, err)
		}
	})
}

// checkValid checks what must be true of every Config.
func checkValid(t *testing.T, c *Config) {
	if len(c.DurationBuckets) == 0 || len(c.Appliances) == 0 {
		t.Fatalf("incomplete: %+v", c)
	}
	last := 0.0
	for _, b := range c.DurationBuckets {
		if !(b > last && !math.IsInf(b, 1)) {
			t.Errorf("buckets %v", c.DurationBuckets)
		}
		last = b
	}
	names := map[string]bool{}
	for i := range c.Appliances {
		a := &c.Appliances[i]
		if a.Name == "" || names[a.Name] || a.Username == "" || a.URL.Host == "" || a.URL.User != nil || a.URL.Path != "" {
			t.Errorf("appliance %d: %+v", i, a)
		}
		names[a.Name] = true
		if a.PollInterval < 5*time.Second || a.PollTimeout <= 0 || a.Backfill < 0 || a.NewSeriesHold < 0 || a.Watermark == "" {
			t.Errorf("appliance %d: %+v", i, a.Settings)
		}
		if a.Login.File == "" && a.Login.Password == "" {
			t.Errorf("appliance %d has no password", i)
		}
	}
}
