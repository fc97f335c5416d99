package check

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/internal/config"
	"vbaws_exporter/vbaws/vbawstest"
)

// The password is easy to find in any output.
const password = "s3cr3t&<never>/shown"

var epoch = time.Date(2026, 6, 10, 12, 0, 0, 0, time.UTC)

// bench is an appliance and its entry in a configuration.
type bench struct {
	t *testing.T
	*vbawstest.Appliance
	// more has further keys of the appliance's entry in the configuration.
	more map[string]any

	mu      sync.Mutex
	secrets []string
}

// newBench makes an appliance with sessions 1 to n. The last one is running.
func newBench(t *testing.T, n int, change func(*vbawstest.Config)) *bench {
	cfg := vbawstest.Config{Product: 10, Now: func() time.Time { return epoch }, Users: []vbawstest.User{
		{Name: "prometheus", Password: password, Role: vbawstest.RoleAdministrator},
	}}
	if change != nil {
		change(&cfg)
	}
	b := &bench{t: t, Appliance: vbawstest.New(cfg), more: map[string]any{}, secrets: []string{password, url.QueryEscape(password)}}
	b.PutPolicy(vbawstest.Policy{Name: "Nightly", Enabled: true})
	for i := 1; i <= n; i++ {
		s := vbawstest.Session{ID: vbawstest.ID(i), Type: "Policy", Name: "Nightly", Status: vbawstest.StatusRunning,
			Start: epoch.Add(time.Duration(i-n-1) * time.Hour)}
		if i < n {
			s.Status, s.Stop = vbawstest.StatusSucceeded, s.Start.Add(time.Minute)
		}
		b.Put(s)
	}
	b.OnRequest(func(r *http.Request) {
		if _, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.secrets = append(b.secrets, token)
		}
	})
	return b
}

// serve serves the appliance with a trusted certificate.
func (b *bench) serve() string {
	b.t.Helper()
	s := vbawstest.NewServer(b.Appliance)
	b.t.Cleanup(s.Close)
	b.trust(s.CertPEM())
	return s.URL
}

func (b *bench) trust(cert []byte) { b.tls()["ca"] = string(cert) }

func (b *bench) tls() map[string]any {
	m, ok := b.more["tls_config"].(map[string]any)
	if !ok {
		m = map[string]any{}
		b.more["tls_config"] = m
	}
	return m
}

// entry returns the appliance's entry of a configuration. JSON is YAML.
func (b *bench) entry(name, url string) map[string]any {
	e := map[string]any{"name": name, "url": url, "username": "prometheus", "password": password}
	maps.Copy(e, b.more)
	if _, ok := e["password_file"]; ok {
		delete(e, "password")
	}
	return e
}

func parse(t *testing.T, entries ...map[string]any) *config.Config {
	t.Helper()
	text, err := json.Marshal(map[string]any{"appliances": entries})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("config.yml", text)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// check checks the appliance at the URL. It asserts what must be true of any findings.
func (b *bench) check(url string) []Finding {
	b.t.Helper()
	findings, err := Appliances(b.t.Context(), parse(b.t, b.entry("prod", url)), func() time.Time { return epoch })
	if err != nil {
		b.t.Fatal(err)
	}
	var table, doc bytes.Buffer
	if err := errors.Join(Table(&table, findings, true), JSON(&doc, findings)); err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, secret := range b.secrets {
		if strings.Contains(table.String(), secret) || strings.Contains(doc.String(), secret) {
			b.t.Errorf("a secret is shown:\n%s", &table)
		}
	}
	if v := b.Violations(); len(v) > 0 {
		b.t.Errorf("requests that a monitor must not send: %q", v)
	}
	if got, want := strings.Count(table.String(), "\n"), len(findings)+1; got != want {
		b.t.Errorf("%d findings in %d lines:\n%s", len(findings), got, &table)
	}
	var back []Finding
	if err := json.Unmarshal(doc.Bytes(), &back); err != nil || !slices.Equal(back, findings) {
		b.t.Errorf("JSON gives back %v, %v", back, err)
	}
	for _, f := range findings {
		if f.Appliance != "prod" {
			b.t.Errorf("no appliance: %+v", f)
		}
	}
	b.t.Logf("\n%s", &table)
	return findings
}

// expect checks that there is a finding of that check and level whose message and remedy
// contain all the words, and none that is worse.
func expect(t *testing.T, findings []Finding, what string, level Level, words ...string) {
	t.Helper()
	rank := map[Level]int{OK: 0, Warn: 1, Fail: 2}
	met := false
	for _, f := range findings {
		if rank[f.Level] > rank[level] {
			t.Errorf("worse than %s: %+v", level, f)
		}
		all := f.Check == what && f.Level == level
		for _, w := range words {
			all = all && strings.Contains(f.Message+" | "+f.Remedy, w)
		}
		met = met || all
	}
	if !met {
		t.Errorf("no finding %s, %s with %q", what, level, words)
	}
}

// TestStates checks appliances and configurations in many states.
func TestStates(t *testing.T) {
	user := func(role string, mfa bool) func(*vbawstest.Config) {
		return func(c *vbawstest.Config) {
			c.Users = []vbawstest.User{{Name: "prometheus", Password: password, Role: role, MFA: mfa}}
		}
	}
	with := func(key string, value any) func(*bench) { return func(b *bench) { b.more[key] = value } }
	someInstances := func(c *vbawstest.Config) {
		for i := range 3 {
			c.Instances = append(c.Instances, vbawstest.Instance{ID: vbawstest.ID(100 + i), Name: "vm"})
		}
	}
	backedUp := func(b *bench) {
		b.more["instances"] = true
		b.SetItems(vbawstest.ID(1), vbawstest.Item{ID: vbawstest.ID(100), Name: "vm", Status: "Succeeded"})
	}
	inject := func(f vbawstest.Fault) func(*bench) { return func(b *bench) { b.Inject(f) } }
	for name, test := range map[string]struct {
		empty  bool
		config func(*vbawstest.Config)
		setup  func(*bench)
		what   string
		level  Level
		words  []string
	}{
		"well":     {what: Login, level: OK, words: []string{`"prometheus"`}},
		"empty":    {empty: true, what: Sessions, level: Warn, words: []string{"there are none yet", "run a policy"}},
		"mfa":      {config: user(vbawstest.RoleAdministrator, true), what: Login, level: Fail, words: []string{"multi-factor", "create an account"}},
		"password": {setup: with("password", "wrong"), what: Login, level: Fail, words: []string{"rejects", "401", "correct username and password"}},
		"refused":  {config: func(c *vbawstest.Config) { c.LoginRefusedStatus = 400 }, setup: with("password", "wrong"), what: Login, level: Fail, words: []string{"400"}},
		"no file":  {setup: with("password_file", "/nowhere/at/all"), what: Login, level: Fail, words: []string{"cannot read the password", "/nowhere/at/all"}},
		"tokens":   {setup: inject(vbawstest.Fault{Route: "/api/v1/system/time", Skip: 1, Count: -1, Kind: vbawstest.FaultStatus, Status: 401}), what: Login, level: Fail, words: []string{"rejects the token"}},
		"no login": {setup: inject(vbawstest.Fault{Route: "/api/v1/token", Count: -1, Kind: vbawstest.FaultStatus, Status: 404, ErrorCode: "NotFound"}), what: Login, level: Fail, words: []string{"another API", "11005"}},
		"portal":   {setup: inject(vbawstest.Fault{Route: "/api/v1/token", Count: -1, Kind: vbawstest.FaultStartPage}), what: Login, level: Fail, words: []string{"cannot log in"}},
		"page":     {setup: inject(vbawstest.Fault{Count: -1, Kind: vbawstest.FaultStartPage}), what: Connection, level: Fail, words: []string{"web page", "11005"}},
		"ill":      {setup: inject(vbawstest.Fault{Count: -1, Kind: vbawstest.FaultStatus, Status: 503}), what: Connection, level: Fail, words: []string{"503"}},
		"reset":    {setup: inject(vbawstest.Fault{Count: -1, Kind: vbawstest.FaultReset}), what: Connection, level: Fail, words: []string{"fails"}},
		"versions": {config: func(c *vbawstest.Config) { c.Revisions = []string{"1.99-rev0"} }, what: APIVersion, level: Fail, words: []string{"no API version in common; tried: 1.9-rev0, 1.8-rev0, 1.7-rev1, 1.7-rev0", "1.0-rev0, 1.10-rev0, ", "1.14-rev0: HTTP status 400", "newer version of this exporter"}},
		"version by type": {config: func(c *vbawstest.Config) { c.Revisions, c.VersionCodeInTypeOnly = []string{"1.99-rev0"}, true }, what: APIVersion, level: Fail,
			words: []string{"tried"}},
		"newer version": {config: func(c *vbawstest.Config) { c.Revisions = []string{"1.11-rev0"} }, what: APIVersion, level: Warn,
			words: []string{"1.11-rev0, after the appliance refused 1.9-rev0, ", "newer than the versions this exporter knows, up to 1.9-rev0", "newer version of this exporter"}},
		"fixed":    {setup: with("api_version", "1.0-rev0"), what: APIVersion, level: Fail, words: []string{"tried: 1.0-rev0:", "api_version to auto"}},
		"settled":  {config: func(c *vbawstest.Config) { c.Product = 8 }, what: APIVersion, level: OK, words: []string{"1.6-rev0, after the appliance refused 1.9-rev0, 1.8-rev0, 1.7-rev1, 1.7-rev0"}},
		"old":      {config: func(c *vbawstest.Config) { c.Product = 2 }, what: APIVersion, level: OK, words: []string{"1.0-rev0", "have no name"}},
		"role":     {config: user("Reader", false), what: Rights, level: Warn, words: []string{"/api/v1/licensing/license is forbidden", "missing: the license"}},
		"zone":     {config: user("Reader", false), what: Rights, level: Warn, words: []string{"/api/v1/settings/dateTime is forbidden", "set timezone"}},
		"own zone": {config: user("Reader", false), setup: with("timezone", "Europe/Berlin"), what: Rights, level: Warn, words: []string{"/api/v1/repositories is forbidden"}},
		"odd zone": {config: func(c *vbawstest.Config) { c.ZoneName = "Middle Earth" }, what: Rights, level: Warn, words: []string{`"Middle Earth" is unknown`, "set timezone"}},
		"policies": {config: func(c *vbawstest.Config) { c.Product = 2 },
			setup: inject(vbawstest.Fault{Route: "/api/v1/policies", Count: -1, Kind: vbawstest.FaultStatus, Status: 403}), what: Rights, level: Warn, words: []string{"/api/v1/policies is forbidden", "names of policies on all sessions"}},
		"one session": {setup: inject(vbawstest.Fault{Route: "/api/v1/sessions/{id}", Count: -1, Kind: vbawstest.FaultStatus, Status: 403}), what: Rights, level: Warn,
			words: []string{"/api/v1/sessions/{id} is forbidden", "missing: the end of a running session", "vbaws_sessions_running"}},
		"policies hidden": {config: func(c *vbawstest.Config) { c.Product = 2 },
			setup: inject(vbawstest.Fault{Route: "/api/v1/policies", Count: -1, Status: 404, HTML: true}), what: Rights, level: Fail, words: []string{"cannot read /api/v1/policies", "404", "API version 1.0-rev0 has that route"}},
		"policies lacking": {config: func(c *vbawstest.Config) { c.Product = 2 },
			setup: inject(vbawstest.Fault{Route: "/api/v1/policies", Count: -1, Status: 404, ErrorCode: "NotFound"}), what: Rights, level: Fail, words: []string{"cannot read /api/v1/policies"}},
		"policies broken": {config: func(c *vbawstest.Config) { c.Product = 3 },
			setup: inject(vbawstest.Fault{Route: "/api/v1/policies", Count: -1, Kind: vbawstest.FaultGarbage}), what: Rights, level: Fail, words: []string{"cannot read /api/v1/policies", "polls that need it fail"}},
		"one session hidden": {setup: inject(vbawstest.Fault{Route: "/api/v1/sessions/{id}", Count: -1, Status: 404, HTML: true}), what: Rights, level: Fail,
			words: []string{"cannot read /api/v1/sessions/{id}", "404", "proxy"}},
		"one session gone": {setup: inject(vbawstest.Fault{Route: "/api/v1/sessions/{id}", Count: -1, Status: 404, ErrorCode: "NotFound"}), what: Rights, level: OK,
			words: []string{"can read sessions, sessions/{id}, statistics/summary, "}},
		"workload hidden": {setup: inject(vbawstest.Fault{Route: "/api/v1/fsx/policies", Count: -1, Status: 404, HTML: true}), what: Rights, level: OK,
			words: []string{"not offered in API version", "fsx/policies"}},
		"no sessions": {setup: inject(vbawstest.Fault{Route: "/api/v1/sessions", Count: -1, Kind: vbawstest.FaultStatus, Status: 403}), what: Rights, level: Fail, words: []string{"/api/v1/sessions is forbidden", "nothing to count"}},
		"broken":      {setup: inject(vbawstest.Fault{Route: "/api/v1/sessions", Count: -1, Kind: vbawstest.FaultGarbage}), what: Rights, level: Fail, words: []string{"cannot read /api/v1/sessions"}},
		"absent":      {config: func(c *vbawstest.Config) { c.Product = 4 }, what: Rights, level: OK, words: []string{"system/version (4.0.0.1), virtualMachines/policies, rds/policies, efs/policies, vpc/policy"}},
		"log":         {what: Rights, level: OK, words: []string{"can read sessions, sessions/{id}, sessions/{id}/log, ", "system/version (10.0.0.1)"}},
		"absent by version": {setup: func(b *bench) {
			b.more["api_version"] = "1.7-rev0"
			for _, route := range []string{"/api/v1/fsx/policies", "/api/v1/licensing/license"} {
				b.Inject(vbawstest.Fault{Route: route, Count: -1, Status: 400, ErrorCode: "UnsupportedApiVersion"})
			}
		}, what: Rights, level: OK, words: []string{"API version 1.7-rev0: licensing/license, ", "fsx/policies"}},
		"instances": {setup: with("instances", true), config: someInstances, what: Rights, level: OK,
			words: []string{"virtualMachines, licensing/licensedWorkloads, virtualMachines/restorePoints"}},
		"instance ids": {setup: backedUp, config: someInstances, what: Rights, level: OK,
			words: []string{"3 EC2 instances; the licensed workloads have the ids of 1"}},
		"other ids": {setup: backedUp, config: func(c *vbawstest.Config) { someInstances(c); c.LicenseIDs = vbawstest.LicenseIDsOther }, what: Rights, level: OK,
			words: []string{"3 EC2 instances; the licensed workloads have other ids"}},
		"many instances": {setup: func(b *bench) { b.more["instances"], b.more["max_instances"] = true, 2 }, config: someInstances, what: Rights, level: Warn,
			words: []string{"3 EC2 instances", "only 2 are shown", "raise max_instances"}},
		"instances hidden": {setup: with("instances", true), config: user("Reader", false), what: Rights, level: Warn,
			words: []string{"/api/v1/virtualMachines is forbidden", "the role Portal Operator", "instances to false"}},
		"instances without licenses": {setup: with("instances", true), config: user(vbawstest.RoleOperator, false), what: Rights, level: Warn,
			words: []string{"/api/v1/licensing/licensedWorkloads is forbidden", "instance by instance"}},
		"instances absent": {setup: func(b *bench) {
			b.more["instances"] = true
			b.Inject(vbawstest.Fault{Route: "/api/v1/virtualMachines", Count: -1, Status: 404, ErrorCode: "NotFound"})
		}, what: Rights, level: Warn, words: []string{"cannot read /api/v1/virtualMachines", "instances is true"}},
		"restore points hidden": {setup: func(b *bench) {
			b.more["instances"] = true
			b.Inject(vbawstest.Fault{Route: "/api/v1/virtualMachines/restorePoints", Count: -1, Status: 403, ErrorCode: "AccessDenied"})
		}, config: someInstances, what: Rights, level: Warn, words: []string{"/api/v1/virtualMachines/restorePoints is forbidden", "not in the list of licensed workloads"}},
		"no time": {setup: func(b *bench) {
			b.more["api_version"] = "1.7-rev0"
			b.Inject(vbawstest.Fault{Route: "/api/v1/system/time", Count: -1, Status: 400, ErrorCode: "UnsupportedApiVersion"})
		}, what: Clock, level: OK, words: []string{"in sync (Date header)", "/system/time cannot be read: GET /api/v1/system/time: HTTP status 400"}},
		"clock":    {what: Clock, level: OK, words: []string{"in sync (Date header), in sync (/system/time)"}},
		"59 s off": {config: func(c *vbawstest.Config) { c.Offset = 59 * time.Second }, what: Clock, level: OK, words: []string{"59s ahead"}},
		"60 s off": {config: func(c *vbawstest.Config) { c.Offset = time.Minute }, what: Clock, level: Warn, words: []string{"1m0s ahead (Date header)", "1m0s ahead (/system/time)", "NTP"}},
		"behind":   {config: func(c *vbawstest.Config) { c.Offset = -2 * time.Hour }, what: Clock, level: Warn, words: []string{"2h0m0s behind", "NTP"}},
		"equal":    {what: USN, level: OK, words: []string{"only that USN"}},
		"greater":  {config: func(c *vbawstest.Config) { c.UsnFilter = vbawstest.UsnGreater }, what: USN, level: OK, words: []string{"selects higher USNs"}},
		"ignored":  {config: func(c *vbawstest.Config) { c.UsnFilter = vbawstest.UsnIgnored }, what: USN, level: OK, words: []string{"Usn is ignored"}},
		"ignored, by pages": {config: func(c *vbawstest.Config) {
			c.UsnFilter, c.MaxPageSize, c.DefaultOrder = vbawstest.UsnIgnored, 3, vbawstest.OrderStartAsc
		}, what: USN, level: OK,
			words: []string{"Usn is ignored"}},
		"ignored, unsorted": {config: func(c *vbawstest.Config) { c.UsnFilter, c.RefuseUsnDesc = vbawstest.UsnIgnored, true }, what: USN, level: OK,
			words: []string{"Usn is ignored"}},
		"in order":   {what: USN, level: OK, words: []string{"usnDesc is supported and in order"}},
		"no usnDesc": {config: func(c *vbawstest.Config) { c.RefuseUsnDesc = true }, what: USN, level: OK, words: []string{"refuses Sort=usnDesc", "by time instead"}},
		"must usn": {config: func(c *vbawstest.Config) { c.RefuseUsnDesc = true }, setup: with("watermark", "usn"), what: USN, level: Fail,
			words: []string{"watermark is usn", "auto or from_utc"}},
		"shared": {config: func(c *vbawstest.Config) { c.USNPerSession = true }, what: USN, level: OK, words: []string{"sessions share a USN", "by time instead"}},
		"cap":    {config: func(c *vbawstest.Config) { c.MaxPageSize = 4 }, what: Paging, level: OK, words: []string{"Limit=1000 returns 4 sessions of 9: the page size is limited"}},
		"long page refused": {config: func(c *vbawstest.Config) { c.MaxPageSize, c.RefuseLimit = 4, true }, what: Paging, level: OK,
			words: []string{"Limit=1000 is refused, and a smaller one returns 4 sessions of 9"}},
		"no cap": {what: Paging, level: OK, words: []string{"Limit=1000 returns 9 sessions of 9: no limit"}},
		"stingy": {config: func(c *vbawstest.Config) { c.MaxPageSize = 1 }, what: Paging, level: Warn, words: []string{"Limit=2 returns 1 session"}},
		"filter": {what: Paging, level: OK, words: []string{"counts the filtered list: 1 running of 9"}},
		"whole":  {config: func(c *vbawstest.Config) { c.TotalIsWhole = true }, what: Paging, level: OK, words: []string{"counts the whole list"}},
		"from":   {what: Times, level: OK, words: []string{"FromUtc is supported"}},
		"always": {config: func(c *vbawstest.Config) { c.FromUtc = vbawstest.FromIgnored }, what: Times, level: Warn, words: []string{"FromUtc is ignored"}},
		"zoned":  {what: Times, level: OK, words: []string{"have a zone", "Z"}},
		"naive":  {config: func(c *vbawstest.Config) { c.Times = vbawstest.TimesNaive }, what: Times, level: OK, words: []string{"have no zone", "2026-06-10T03:00:00.000000"}},
		"future": {setup: func(b *bench) {
			b.Put(vbawstest.Session{Type: "Policy", Status: vbawstest.StatusRunning, Start: epoch.Add(2 * time.Hour)})
		}, what: Times, level: Warn, words: []string{"2h0m0s in the future", "not UTC"}},
		"nonsense": {setup: func(b *bench) { b.PutRaw("x", 500, epoch.Add(-time.Minute), []byte(`{"id":"x","type":7}`)) }, what: Sessions, level: Warn,
			words: []string{"1 of 10 are not understood"}},
		"bad ca": {setup: func(b *bench) { delete(b.tls(), "ca"); b.tls()["ca_file"] = "/nowhere/ca.pem" }, what: Certificate, level: Fail, words: []string{"/nowhere/ca.pem", "tls_config"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := 9
			if test.empty {
				n = 0
			}
			b := newBench(t, n, test.config)
			url := b.serve()
			if test.setup != nil {
				test.setup(b)
			}
			expect(t, b.check(url), test.what, test.level, test.words...)
		})
	}
}

// TestHighestUSN has a row that is not understood before the others.
func TestHighestUSN(t *testing.T) {
	b := newBench(t, 9, nil)
	url := b.serve()
	b.PutRaw("x", 500, epoch.Add(-time.Minute), []byte(`{"id":"x","type":7}`))
	for _, f := range b.check(url) {
		if _, highest, found := strings.Cut(f.Message, "the highest is "); found && highest == "0" {
			t.Errorf("%+v", f)
		}
	}
}

// TestClockOfNoVersion has an appliance that refuses every API version for its clock alone.
func TestClockOfNoVersion(t *testing.T) {
	b := newBench(t, 9, nil)
	url := b.serve()
	b.Inject(vbawstest.Fault{Route: "/api/v1/system/time", Count: -1, Status: 400, ErrorCode: "UnsupportedApiVersion"})
	findings := b.check(url)
	expect(t, findings, Clock, OK, "in sync (Date header)", "/system/time cannot be read: GET /api/v1/system/time: HTTP status 400")
	for _, f := range findings {
		if f.Check == APIVersion && f.Message != "1.8-rev0, after the appliance refused 1.9-rev0" {
			t.Errorf("version %s", f.Message)
		}
	}
}

// issue returns a certificate that parent has signed. If parent is nil, it is self-signed.
func issue(t *testing.T, c *x509.Certificate, parent *tls.Certificate) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(1)
	if c.NotBefore.IsZero() {
		c.NotBefore = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	above, aboveKey := c, any(key)
	if parent != nil {
		above, aboveKey = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, c, above, &key.PublicKey, aboveKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func inPEM(c *tls.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Leaf.Raw})
}

// serveTLS serves a handler with a configuration.
func serveTLS(t *testing.T, h http.Handler, cfg *tls.Config) string {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = cfg
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

func TestCertificates(t *testing.T) {
	loopback := []net.IP{net.IPv4(127, 0, 0, 1)}
	ca := issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "Example CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
	for name, test := range map[string]struct {
		cert  x509.Certificate
		by    *tls.Certificate
		setup func(b *bench, own []byte)
		level Level
		words []string
	}{
		"self-signed": {
			cert: x509.Certificate{Subject: pkix.Name{CommonName: "vba"}, IPAddresses: loopback}, level: Fail,
			words: []string{"self-signed", "SHA-256 ", "subject CN=vba", "issuer CN=vba", "valid from 2000-01-01 to 2200-01-01", "names: 127.0.0.1", "openssl s_client -connect 127.0.0.1:", "set tls_config.ca_file"},
		},
		"pinned": {
			cert:  x509.Certificate{Subject: pkix.Name{CommonName: "vba"}, IPAddresses: loopback},
			setup: func(b *bench, own []byte) { b.trust(own) }, level: OK, words: []string{"trusted; SHA-256"},
		},
		"unknown authority": {
			cert: x509.Certificate{IPAddresses: loopback}, by: ca, level: Fail,
			words: []string{`signed by "CN=Example CA", which is not trusted`, "certificate of that authority"},
		},
		"known authority": {
			cert: x509.Certificate{IPAddresses: loopback}, by: ca,
			setup: func(b *bench, _ []byte) { b.trust(inPEM(ca)) }, level: OK, words: []string{"issuer CN=Example CA"},
		},
		"expired": {
			cert: x509.Certificate{IPAddresses: loopback, NotAfter: time.Date(2020, 2, 3, 0, 0, 0, 0, time.UTC)}, by: ca,
			setup: func(b *bench, _ []byte) { b.trust(inPEM(ca)) }, level: Fail, words: []string{"expired on 2020-02-03", "renew it"},
		},
		"not yet": {
			cert: x509.Certificate{IPAddresses: loopback, NotBefore: time.Date(2190, 2, 3, 0, 0, 0, 0, time.UTC)}, by: ca,
			setup: func(b *bench, _ []byte) { b.trust(inPEM(ca)) }, level: Fail, words: []string{"not valid before 2190-02-03", "set the clock"},
		},
		"wrong name": {
			cert: x509.Certificate{DNSNames: []string{"vba.example.com"}}, by: ca,
			setup: func(b *bench, _ []byte) { b.trust(inPEM(ca)) }, level: Fail, words: []string{`not valid for "127.0.0.1"`, `set tls_config.server_name`, `"vba.example.com"`},
		},
		"wrong name, self-signed": {
			cert: x509.Certificate{DNSNames: []string{"vba.example.com"}}, level: Fail,
			words: []string{`not valid for "127.0.0.1"`, "server_name", "ca_file"},
		},
		"common name": {
			cert: x509.Certificate{Subject: pkix.Name{CommonName: "127.0.0.1"}}, by: ca,
			setup: func(b *bench, _ []byte) { b.trust(inPEM(ca)) }, level: Fail, words: []string{"not valid for", "no longer supported", "last resort"},
		},
		"server_name": {
			cert: x509.Certificate{DNSNames: []string{"vba.example.com"}}, by: ca,
			setup: func(b *bench, _ []byte) { b.trust(inPEM(ca)); b.tls()["server_name"] = "vba.example.com" }, level: OK, words: []string{"names: vba.example.com"},
		},
		"unchecked": {
			setup: func(b *bench, _ []byte) { b.tls()["insecure_skip_verify"] = true }, level: Warn, words: []string{"not verified", "remove tls_config.insecure_skip_verify"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, 3, nil)
			cert := issue(t, &test.cert, test.by)
			if test.setup != nil {
				test.setup(b, inPEM(cert))
			}
			findings := b.check(serveTLS(t, b, &tls.Config{Certificates: []tls.Certificate{*cert}}))
			expect(t, findings, Certificate, test.level, test.words...)
			expect(t, findings, Certificate, test.level, fingerprint(cert.Leaf))
			if n := len(b.Requests()); test.level == Fail && n > 0 {
				t.Errorf("%d requests over an untrusted connection", n)
			}
		})
	}
}

func TestCertificateEnds(t *testing.T) {
	leaf := &x509.Certificate{NotBefore: epoch.Add(-time.Hour), NotAfter: epoch.Add(29 * 24 * time.Hour)}
	s := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf}}}
	u := &url.URL{Scheme: "https", Host: "vba:11005"}
	expect(t, []Finding{trusted(u, s, epoch)}, Certificate, Warn, "expires in 29 days", "renew")
	expect(t, []Finding{trusted(u, s, epoch.Add(-2*24*time.Hour))}, Certificate, OK)
	expect(t, []Finding{trusted(u, s, leaf.NotAfter.Add(time.Second))}, Certificate, Warn, "has expired")
}

// banner accepts connections and writes text to each.
func banner(t *testing.T, text string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer c.Close()
				io.WriteString(c, text)
				io.Copy(io.Discard, c) // until the client disconnects
			})
		}
	})
	t.Cleanup(func() { l.Close(); served.Wait() })
	return l.Addr().String()
}

// closed returns an address that refuses connections.
func closed(t *testing.T) string {
	t.Helper()
	address, release, err := vbawstest.Refusing()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return address
}

// proxy serves a proxy that connects, or answers CONNECT with a status other than 200.
func proxy(t *testing.T, status int) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status != http.StatusOK {
			w.WriteHeader(status)
			return
		}
		to, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer to.Close()
		w.WriteHeader(http.StatusOK)
		from, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer from.Close()
		var copies sync.WaitGroup
		copies.Go(func() { io.Copy(to, buffered); to.Close() })
		io.Copy(from, to)
		from.Close()
		copies.Wait()
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestConnections(t *testing.T) {
	for name, test := range map[string]struct {
		url   func(t *testing.T, b *bench) string
		what  string
		level Level
		words []string
	}{
		"closed": {func(t *testing.T, _ *bench) string { return "https://" + closed(t) }, Connection, Fail, []string{"refuses the connection", "11005"}},
		"ssh":    {func(t *testing.T, _ *bench) string { return "https://" + banner(t, "SSH-2.0-OpenSSH_9.6\r\n") }, Connection, Fail, []string{"is an SSH server", "11005"}},
		"other":  {func(t *testing.T, _ *bench) string { return "https://" + banner(t, "220 mail ESMTP\r\n") }, Connection, Fail, []string{"does not use TLS"}},
		"silent": {func(t *testing.T, b *bench) string { b.more["poll_timeout"] = "1s"; return "https://" + banner(t, "") }, Connection, Fail, []string{"respon"}}, // TestSilentServer has the whole text
		"http":   {func(t *testing.T, b *bench) string { return "https://" + strings.TrimPrefix(plain(t, b), "http://") }, Connection, Fail, []string{"uses HTTP without TLS"}},
		"https":  {func(t *testing.T, b *bench) string { return "http://" + strings.TrimPrefix(b.serve(), "https://") }, Connection, Fail, []string{"expects TLS, and url has http://", "write https://"}},
		"clear":  {func(t *testing.T, b *bench) string { return plain(t, b) }, Certificate, Warn, []string{"in clear text", "write https://"}},
		"redirect": {func(t *testing.T, b *bench) string {
			return plain(t, http.RedirectHandler("https://portal.example.com/login?next=1", http.StatusFound))
		}, Connection, Fail, []string{"redirects to portal.example.com"}},
		"text":       {func(t *testing.T, b *bench) string { return plain(t, http.NotFoundHandler()) }, Connection, Fail, []string{"this is not the REST API"}},
		"not http":   {func(t *testing.T, b *bench) string { return "http://" + banner(t, "SSH-2.0-OpenSSH_9.6\r\n") }, Connection, Fail, []string{"does not use HTTP"}},
		"name":       {func(*testing.T, *bench) string { return "https://no-such-host.invalid:11005" }, Connection, Fail, []string{"no-such-host.invalid"}},
		"proxy":      {func(t *testing.T, b *bench) string { b.more["proxy_url"] = proxy(t, 200); return b.serve() }, Certificate, OK, []string{"trusted; SHA-256"}},
		"proxy down": {func(t *testing.T, b *bench) string { b.more["proxy_url"] = "http://" + closed(t); return b.serve() }, Connection, Fail, []string{"cannot connect to the proxy", "proxy_url"}},
		"proxy forbids": {func(t *testing.T, b *bench) string { b.more["proxy_url"] = proxy(t, 403); return b.serve() }, Connection, Fail,
			[]string{"the proxy refuses to connect to 127.0.0.1:", "Forbidden"}},
		"proxy, untrusted": {func(t *testing.T, b *bench) string {
			b.more["proxy_url"] = proxy(t, 200)
			url := b.serve()
			delete(b.tls(), "ca")
			return url
		}, Certificate, Fail, []string{"self-signed", "SHA-256"}},
		"client certificate": {func(t *testing.T, b *bench) string {
			cert := issue(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, nil)
			b.trust(inPEM(cert))
			return serveTLS(t, b, &tls.Config{Certificates: []tls.Certificate{*cert}, ClientAuth: tls.RequireAndVerifyClientCert})
		}, Certificate, Fail, []string{"requires a client certificate", "tls_config.cert_file"}},
		"old tls": {func(t *testing.T, b *bench) string {
			cert := issue(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, nil)
			b.trust(inPEM(cert))
			return serveTLS(t, b, &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
		}, Certificate, Fail, []string{"no TLS version in common", "min_version"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, 3, nil)
			expect(t, b.check(test.url(t, b)), test.what, test.level, test.words...)
			if slices.ContainsFunc(b.Requests(), func(r vbawstest.Request) bool { return r.Method == http.MethodPost }) && test.level == Fail {
				t.Error("it logged in anyway")
			}
		})
	}
}

// endable is a context whose deadline passes when done is closed.
type endable struct {
	context.Context
	done chan struct{}
}

func (c endable) Done() <-chan struct{} { return c.done }

func (c endable) Err() error {
	select {
	case <-c.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// TestSilentServer checks a server that accepts the connection and does not respond. The
// timeout ends after the client has connected, however long that takes.
func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx := endable{t.Context(), make(chan struct{})}
	var served sync.WaitGroup
	served.Go(func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		c.Read(make([]byte, 1)) // the client is connected
		close(ctx.done)
		io.Copy(io.Discard, c) // until the client disconnects
	})
	a := &parse(t, map[string]any{"name": "prod", "url": "https://" + l.Addr().String(), "username": "prometheus", "password": password}).Appliances[0]
	transport := a.Transport()
	p := &prober{a: a, now: time.Now, wire: &wire{next: transport}}
	expect(t, p.connection(ctx), Connection, Fail, "accepts the connection and does not respond", "11005")
	(&http.Client{Transport: transport}).CloseIdleConnections() // ends the handshake
	served.Wait()
}

func plain(t *testing.T, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// TestUnconnected has failures that a test can't cause.
func TestUnconnected(t *testing.T) {
	u := &url.URL{Scheme: "https", Host: "vba"}
	for _, test := range []struct {
		err       error
		connected bool
		words     []string
	}{
		{&net.DNSError{Name: "vba", Err: "no such host", IsNotFound: true}, false, []string{`no such host: "vba"`, "correct the host in url"}},
		{&net.DNSError{Name: "vba", Err: "server misbehaving", IsTemporary: true}, false, []string{"cannot resolve the host", "DNS servers"}},
		{context.DeadlineExceeded, false, []string{"no response from vba:443, probably because of a firewall", "security group"}},
		{context.DeadlineExceeded, true, []string{"accepts the connection", "add a port to url", "11005"}},
		{&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}, false, []string{"no route to vba:443", "routes"}},
		{&net.OpError{Op: "socks connect", Net: "tcp", Err: io.EOF}, true, []string{"cannot connect to the proxy"}},
	} {
		expect(t, []Finding{unconnected(u, test.err, test.connected)}, Connection, Fail, test.words...)
	}
}

// TestLimitRefused: lists that the exporter reads in smaller pages are not reported as
// unreadable.
func TestLimitRefused(t *testing.T) {
	b := newBench(t, 9, func(c *vbawstest.Config) {
		c.MaxPageSize, c.RefuseLimit = 100, true
		for i := range 120 {
			c.Instances = append(c.Instances, vbawstest.Instance{ID: vbawstest.ID(1000 + i), Name: "vm"})
		}
	})
	b.more["instances"] = true
	url := b.serve()
	for i := range 120 {
		b.PutPolicy(vbawstest.Policy{Name: fmt.Sprint("Database ", i), Workload: vbawstest.RDS, Enabled: true})
	}
	findings := b.check(url)
	for _, f := range findings {
		if f.Level != OK {
			t.Errorf("%+v", f)
		}
	}
	expect(t, findings, Schedules, OK, "121 policies")
	expect(t, findings, Rights, OK, "120 EC2 instances")
}

// TestOffsetIgnored checks an appliance that ignores Offset.
func TestOffsetIgnored(t *testing.T) {
	for limit, level := range map[int]Level{0: Warn, 3: Fail} {
		b := newBench(t, 9, func(c *vbawstest.Config) { c.MaxPageSize = limit })
		url := plain(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			q := r.URL.Query()
			q.Del("Offset")
			r.URL.RawQuery = q.Encode()
			b.ServeHTTP(w, r)
		}))
		expect(t, b.check(url), Paging, level, "Offset is ignored")
	}
}

// TestProxyAccount: the account of the proxy is not shown.
func TestProxyAccount(t *testing.T) {
	for name, url := range map[string]string{"down": "http://" + closed(t), "forbids": proxy(t, http.StatusProxyAuthRequired), "socks": "socks5://" + closed(t)} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 1, nil)
			b.secrets = append(b.secrets, "pr0xy-s3cret")
			b.more["proxy_url"] = strings.Replace(url, "://", "://someone:pr0xy-s3cret@", 1)
			expect(t, b.check(b.serve()), Connection, Fail, "the proxy")
		})
	}
}

// TestAllAtOnce: the first appliance doesn't answer before the last one has a request.
func TestAllAtOnce(t *testing.T) {
	asked := make(chan struct{})
	var once sync.Once
	first, last := newBench(t, 1, nil), newBench(t, 1, nil)
	first.OnRequest(func(*http.Request) { <-asked })
	last.OnRequest(func(*http.Request) { once.Do(func() { close(asked) }) })
	firstURL, lastURL := first.serve(), last.serve() // serve adds the certificate to the entry
	cfg := parse(t, first.entry("b", firstURL), last.entry("a", lastURL))
	findings, err := Appliances(t.Context(), cfg, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, f := range findings {
		order = append(order, f.Appliance)
	}
	if order = slices.Compact(order); !slices.Equal(order, []string{"b", "a"}) {
		t.Errorf("findings of %q", order)
	}
}

func TestPortAdvice(t *testing.T) {
	for address, want := range map[string]string{
		"https://vba":       "add a port to url: the default port of the REST API is 11005; port 443 is the web UI",
		"https://vba:443":   "correct host and port in url: the default port of the REST API is 11005; port 443 is the web UI",
		"https://vba:11005": "correct host and port in url: the default port of the REST API is 11005",
		"http://vba":        "add a port to url: the default port of the REST API is 11005",
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := portAdvice(u); got != want {
			t.Errorf("%s: %s", address, got)
		}
	}
}

// TestOtherServers checks servers that answer an API version, or everything, like .NET 6
// answers an unknown path, and the web UI.
func TestOtherServers(t *testing.T) {
	empty404 := func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }
	for name, test := range map[string]struct {
		server func(appliance http.Handler) http.HandlerFunc
		what   string
		level  Level
		words  []string
		logins int
	}{
		"version": {func(appliance http.Handler) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("x-api-version") != "1.7-rev0" {
					empty404(w)
					return
				}
				appliance.ServeHTTP(w, r)
			}
		}, APIVersion, OK, []string{"1.7-rev0, after the appliance refused 1.9-rev0, 1.8-rev0, 1.7-rev1"}, 1},
		"list": {func(appliance http.Handler) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("api-supported-versions", "2.5-rev0, 2.6-rev0")
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(http.StatusBadRequest)
				io.WriteString(w, `{"type":"https://docs.api-versioning.org/problems#unsupported","code":"UnsupportedApiVersion"}`)
			}
		}, APIVersion, Fail, []string{"no API version in common; tried: 1.9-rev0, 2.6-rev0, 2.5-rev0, 1.8-rev0, ", "the appliance lists 2.6-rev0, 2.5-rev0: HTTP status 400", "newer version of this exporter"}, 0},
		"wrong path": {func(http.Handler) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { empty404(w) }
		},
			Connection, Fail, []string{"wrong port or path, or no API version in common: 127.0.0.1:", "tried: 1.9-rev0, ", "correct host and port in url: the default port of the REST API is 11005"}, 0},
		"web UI, private API": {func(http.Handler) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/api/oauth2/token" {
					w.WriteHeader(http.StatusUnsupportedMediaType)
					return
				}
				empty404(w)
			}
		}, Connection, Fail, []string{"is the appliance's web UI, not the REST API", "/api/oauth2/token", "11005"}, 0},
		"web UI, pages": {func(http.Handler) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				io.WriteString(w, "<!DOCTYPE html><title>Veeam Backup for AWS</title>")
			}
		}, Connection, Fail, []string{"answers with a web page (HTTP status 200): this is not the REST API", "11005"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 9, nil)
			logins := 0
			s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if bytes.Contains(body, []byte("username=")) {
					logins++
				}
				r.Body = io.NopCloser(bytes.NewReader(body))
				test.server(b.Appliance)(w, r)
			}))
			t.Cleanup(s.Close)
			b.trust(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
			expect(t, b.check(s.URL), test.what, test.level, test.words...)
			if logins != test.logins {
				t.Errorf("the password was sent %d times", logins)
			}
		})
	}
}

func TestInterrupted(t *testing.T) {
	b := newBench(t, 1, nil)
	ctx, cancel := context.WithCancel(t.Context())
	b.OnRequest(func(*http.Request) { cancel() })
	if f, err := Appliances(ctx, parse(t, b.entry("prod", b.serve())), time.Now); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v", f, err)
	}
}

// TestLogout: check revokes its only token.
func TestLogout(t *testing.T) {
	b := newBench(t, 3, nil)
	b.check(b.serve())
	all := b.Requests()
	if last := all[len(all)-1]; last.Method != http.MethodDelete || last.Status != http.StatusNoContent {
		t.Errorf("the last request is %+v", last)
	}
	logins := 0
	for _, r := range all {
		if r.Method == http.MethodPost && r.Status == http.StatusOK {
			logins++
		}
	}
	if logins != 1 {
		t.Errorf("%d logins", logins)
	}
}

// TestWrongPasswordOnce: accounts lock, so a wrong password is sent once.
func TestWrongPasswordOnce(t *testing.T) {
	b := newBench(t, 3, nil)
	b.more["password"] = "wrong"
	b.check(b.serve())
	tries := 0
	for _, r := range b.Requests() {
		if r.Status == http.StatusUnauthorized && r.Method == http.MethodPost {
			tries++
		}
	}
	if tries != 1 {
		t.Errorf("the account was tried %d times", tries)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, findings := File(path)
	expect(t, findings, Configuration, Fail, path, "--config.file")
	if cfg != nil {
		t.Error("a configuration of nothing")
	}
	expect(t, []Finding{unreadable(&fs.PathError{Op: "open", Path: path, Err: syscall.EACCES})}, Configuration, Fail, path, "permission denied", "allow the user")
	write("appliances: [{name: a, url: ftp://x, username: u, password: p}, {name: a, url: https://x, username: u}]\n")
	if _, findings = File(path); len(findings) != 3 {
		t.Errorf("three mistakes, and %+v", findings)
	}
	expect(t, findings, Configuration, Fail, path+":1:", "appliances[0].url")
	write("appliances: [{name: a, url: https://x, username: u, password_file: /nowhere}]\n")
	cfg, findings = File(path)
	expect(t, findings, Configuration, OK, "1 appliance")
	if cfg == nil {
		t.Error("no configuration")
	}
}

func TestFailed(t *testing.T) {
	got := Failed([]Finding{{Appliance: "a", Level: Fail}, {Appliance: "a", Level: Fail}, {Appliance: "b", Level: Warn}, {Appliance: "c", Level: Fail}})
	if diff := cmp.Diff([]string{"a", "c"}, got); diff != "" {
		t.Error(diff)
	}
}

var (
	anyPort  = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	anyPrint = regexp.MustCompile(`([0-9A-F]{2}:){31}[0-9A-F]{2}`)
)

// TestTables compares whole tables.
func TestTables(t *testing.T) {
	for name, setup := range map[string]func(b *bench) string{
		"well":      func(b *bench) string { return b.serve() },
		"untrusted": func(b *bench) string { url := b.serve(); delete(b.tls(), "ca"); return url },
		"reader": func(b *bench) string {
			b.Reconfigure(func(c *vbawstest.Config) { c.Users[0].Role, c.Product, c.Offset = "Reader", 5, time.Hour })
			return b.serve()
		},
		"locked out": func(b *bench) string { b.more["password"] = "wrong"; return b.serve() },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 9, nil)
			var table bytes.Buffer
			findings := b.check(setup(b))
			if err := Table(&table, findings, false); err != nil {
				t.Fatal(err)
			}
			table.WriteString("\nWith --verbose:\n")
			if err := Table(&table, findings, true); err != nil {
				t.Fatal(err)
			}
			got := anyPrint.ReplaceAllString(anyPort.ReplaceAllString(table.String(), "127.0.0.1:11005"), "<fingerprint>")
			file := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".txt")
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzTable: with any text of an appliance, a finding is one line and can't control the
// terminal.
func FuzzTable(f *testing.F) {
	f.Add("prod", "subject CN=a\tb\nc", "\x1b[2J")
	f.Add("", "\u202e\xff", "")
	f.Fuzz(func(t *testing.T, name, text, do string) {
		var b strings.Builder
		if err := Table(&b, []Finding{{name, Sessions, OK, text, do}}, false); err != nil {
			t.Fatal(err)
		}
		if strings.Count(b.String(), "\n") != 2 || strings.ContainsFunc(b.String(), func(r rune) bool { return r != '\n' && r < ' ' || r == '\u202e' }) {
			t.Errorf("%q", b.String())
		}
	})
}

func FuzzWrittenTimes(f *testing.F) {
	f.Add([]byte(`{"results":[{"executionStartTime":"2026-06-10T11:00:00"},{"executionStartTime" : null},{"executionStartTime":"20`))
	f.Add([]byte(`{"reason":"\"executionStartTime\":\"x\""}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		p := &prober{wire: &wire{body: body}}
		for _, s := range p.writtenTimes() {
			if s == "" {
				t.Error("an empty time")
			}
		}
	})
}

func TestWrittenTimes(t *testing.T) {
	w := &wire{body: []byte(`{"results":[{"executionStartTime": "2026-06-10T11:00:00","reason":"\"executionStartTime\":\"x\""},{"executionStartTime":null},{"executionStartTime":"20`)}
	if diff := cmp.Diff([]string{"2026-06-10T11:00:00"}, (&prober{wire: w}).writtenTimes()); diff != "" {
		t.Error(diff)
	}
}
