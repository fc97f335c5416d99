package vbawstest_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/vbaws/vbawstest"
)

// published are the API versions from 1.0-rev0 to 1.9-rev0.
var published = strings.Fields("1.0-rev0 1.1-rev0 1.1-rev1 1.2-rev0 1.3-rev0 1.4-rev0 1.5-rev0 1.5-rev1 1.6-rev0 1.7-rev0 1.7-rev1 1.8-rev0 1.9-rev0")

// accepted returns the API versions that accept a login.
func accepted(a *vbawstest.Appliance, among []string) (out []string) {
	for _, v := range among {
		if _, w := grant(a, v, password(vbawstest.DefaultUsername, vbawstest.DefaultPassword)); w.Code == http.StatusOK {
			out = append(out, v)
		}
	}
	return out
}

func TestVersion(t *testing.T) {
	t.Run("window of a product", testVersionWindowOfAProduct)
	t.Run("form of a rejection", testVersionFormOfARejection)
	t.Run("two versions", testVersionTwoVersions)
	t.Run("routes", testVersionRoutes)
	t.Run("missing route", testVersionMissingRoute)
	t.Run("fields", testVersionFields)
	t.Run("filters", testVersionFilters)
	t.Run("case of parameters", testVersionCaseOfParameters)
}

func testVersionWindowOfAProduct(t *testing.T) {
	among := append(slices.Clone(published), "1.0-rev1", "1.8-rev1", "1.10-rev0", "1.11-rev0", "2.0-rev0")
	for product, want := range map[int]string{
		0:  "1.6-rev0 1.7-rev0 1.7-rev1 1.8-rev0",
		2:  "1.0-rev0",
		3:  "1.0-rev0 1.1-rev0 1.1-rev1",
		4:  "1.0-rev0 1.1-rev0 1.1-rev1 1.2-rev0",
		5:  "1.1-rev0 1.1-rev1 1.2-rev0 1.3-rev0",
		6:  "1.2-rev0 1.3-rev0 1.4-rev0",
		7:  "1.3-rev0 1.4-rev0 1.5-rev0 1.5-rev1",
		8:  "1.4-rev0 1.5-rev0 1.5-rev1 1.6-rev0",
		9:  "1.5-rev0 1.5-rev1 1.6-rev0 1.7-rev0 1.7-rev1",
		10: "1.6-rev0 1.7-rev0 1.7-rev1 1.8-rev0",
		11: "1.7-rev0 1.7-rev1 1.8-rev0 1.9-rev0",
	} {
		a, _ := setup(vbawstest.Config{Product: product})
		if got := strings.Join(accepted(a, among), " "); got != want {
			t.Errorf("product %d accepts %s, want %s", product, got, want)
		}
	}
	a, _ := setup(vbawstest.Config{Product: 2, Revisions: []string{"1.7-rev1", "1.11-rev0"}})
	if got := accepted(a, among); !slices.Equal(got, []string{"1.7-rev1", "1.11-rev0"}) {
		t.Errorf("as configured: %q", got)
	}
}

// refusal is an answer, unchanged.
type refusal struct {
	Status    int
	Supported string
	Body      string
}

func asRefusal(w *httptest.ResponseRecorder) refusal {
	return refusal{w.Code, w.Header().Get("api-supported-versions"), w.Body.String()}
}

func testVersionFormOfARejection(t *testing.T) {
	const window = "1.4-rev0, 1.5-rev0, 1.5-rev1, 1.6-rev0"
	vendor := func(page, title, code, details string) string {
		body := `{"type":"http://example.com/api/v1/problems/` + page + `","title":"` + title + `","status":400,"errorCode":"` + code + `"`
		if details != "" {
			body += `,"details":"` + details + `"`
		}
		return body + "}"
	}
	framework := func(page, title, detail, code string) string {
		return `{"type":"https://docs.api-versioning.org/problems#` + page + `","title":"` + title + `","status":400,"detail":"` + detail + `","code":"` + code + `"}`
	}
	not := func(version string) string {
		return "The HTTP resource that matches the request URI 'http://example.com/api/v1/token' does not support the API version '" + version + "'."
	}
	unspecified := vendor("apiVersionUnspecified", "An API version is required, but was not specified.", "ApiVersionUnspecified", "")
	for _, tt := range []struct {
		cfg                               vbawstest.Config
		unsupported, unspecified, invalid refusal
	}{
		{
			vbawstest.Config{},
			refusal{400, "", vendor("unsupportedApiVersion", "The requested API version is not supported.", "UnsupportedApiVersion", `\"1.9-rev0\" is not one of `+window)},
			refusal{400, "", unspecified},
			refusal{400, "", vendor("invalidApiVersion", "The requested API version is malformed.", "InvalidApiVersion", `\"latest\"`)},
		},
		{
			vbawstest.Config{VersionCodeInTypeOnly: true},
			refusal{400, "", vendor("unsupportedApiVersion", "The requested API version is not supported.", "UnexpectedContent", `\"1.9-rev0\" is not one of `+window)},
			refusal{400, "", strings.Replace(unspecified, `"ApiVersionUnspecified"`, `"UnexpectedContent"`, 1)},
			refusal{400, "", vendor("invalidApiVersion", "The requested API version is malformed.", "UnexpectedContent", `\"latest\"`)},
		},
		{
			vbawstest.Config{Refusal: vbawstest.RefuseByCode},
			refusal{400, window, framework("unsupported", "Unsupported API version", not("1.9-rev0"), "UnsupportedApiVersion")},
			refusal{400, "", framework("unspecified", "Unspecified API version", "An API version is required, but was not specified.", "ApiVersionUnspecified")},
			refusal{400, "", framework("invalid", "Invalid API version", not("latest"), "InvalidApiVersion")},
		},
		{
			vbawstest.Config{Refusal: vbawstest.RefuseByNotFound},
			refusal{404, "", ""},
			refusal{400, "", unspecified},
			refusal{400, "", vendor("invalidApiVersion", "The requested API version is malformed.", "InvalidApiVersion", `\"latest\"`)},
		},
	} {
		tt.cfg.Product = 8
		a, _ := setup(tt.cfg)
		for version, want := range map[string]refusal{"1.9-rev0": tt.unsupported, "": tt.unspecified, "latest": tt.invalid} {
			_, w := grant(a, version, password(vbawstest.DefaultUsername, vbawstest.DefaultPassword))
			if diff := cmp.Diff(want, asRefusal(w)); diff != "" {
				t.Errorf("form %d, version %q: %s", tt.cfg.Refusal, version, diff)
			}
			if got := w.Header().Get("Content-Type"); strings.HasPrefix(got, "application/problem+json") != (w.Body.Len() > 0) {
				t.Errorf("form %d, version %q: content type %q", tt.cfg.Refusal, version, got)
			}
		}
		if s := loggedIn(t, a, "1.6-rev0"); tt.cfg.Refusal == vbawstest.RefuseByCode {
			if got := asRefusal(s.get(sessionsPath)); got.Status != 200 || got.Supported != window {
				t.Errorf("an accepted request: %+v", got)
			}
		}
	}
}

func testVersionTwoVersions(t *testing.T) {
	for form, want := range map[vbawstest.VersionRefusal]string{
		vbawstest.RefuseByErrorCode: `"errorCode":"AmbiguousApiVersion"`,
		vbawstest.RefuseByCode:      `"code":"AmbiguousApiVersion"`,
	} {
		a, _ := setup(vbawstest.Config{Refusal: form})
		req := httptest.NewRequest(http.MethodGet, "/api/v1/sessions", nil)
		req.Header["X-Api-Version"] = []string{"1.7-rev0", "1.8-rev0"}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, req)
		if w.Code != 400 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("form %d: %d %s", form, w.Code, w.Body)
		}
	}
}

// routesByVersion are the routes that not every API version has, and the minor
// versions that have them.
var routesByVersion = map[string][2]int{
	"/api/v1/policies":                      {0, 1},
	"/api/v1/vmRestorePoints":               {0, 1},
	"/api/v1/vpc/policy":                    {1, 9},
	"/api/v1/virtualMachines/policies":      {2, 9},
	"/api/v1/virtualMachines/restorePoints": {2, 9},
	"/api/v1/rds/policies":                  {2, 9},
	"/api/v1/efs/policies":                  {2, 9},
	"/api/v1/dynamoDb/policies":             {5, 9},
	"/api/v1/fsx/policies":                  {6, 9},
	"/api/v1/redshift/policies":             {6, 9},
	"/api/v1/redshiftServerless/policies":   {7, 9},
	"/api/v1/policy/ec2SlaBasedPolicies":    {8, 9},
}

func testVersionRoutes(t *testing.T) {
	a, _ := setup(vbawstest.Config{Revisions: published})
	a.PutPolicy(vbawstest.Policy{Workload: vbawstest.VPC})
	for _, version := range published {
		s := loggedIn(t, a, version)
		minor := int(version[2] - '0')
		for path, span := range routesByVersion {
			w := s.get(path)
			if minor < span[0] || minor > span[1] {
				checkProblem(t, w, 404, "NotFound", "resourceNotFound")
			} else if w.Code != http.StatusOK {
				t.Errorf("%s at %s: %d %s", path, version, w.Code, w.Body)
			}
		}
	}
}

func testVersionMissingRoute(t *testing.T) {
	get := func(cfg vbawstest.Config, version, path string) refusal {
		a, _ := setup(cfg)
		return asRefusal(loggedIn(t, a, version).get(path))
	}
	old, renamed := []string{"1.1-rev0", "1.1-rev1", "1.2-rev0"}, "/api/v1/policies"
	for _, tt := range []struct {
		name          string
		cfg           vbawstest.Config
		version, path string
		status        int
		supported     string
		contains      string
	}{
		{"by default", vbawstest.Config{}, "1.8-rev0", renamed, 404, "", `"errorCode":"NotFound"`},
		{"as a version", vbawstest.Config{RouteRefusesVersion: true}, "1.8-rev0", renamed, 400, "", `"errorCode":"UnsupportedApiVersion"`},
		{"by code", vbawstest.Config{Refusal: vbawstest.RefuseByCode, Revisions: old}, "1.2-rev0", renamed, 400, "1.1-rev0, 1.1-rev1", `"code":"UnsupportedApiVersion"`},
		{"by code, in no version", vbawstest.Config{Refusal: vbawstest.RefuseByCode}, "1.8-rev0", renamed, 404, "", ""},
		{"by 404", vbawstest.Config{Refusal: vbawstest.RefuseByNotFound, Revisions: old}, "1.2-rev0", renamed, 404, "", ""},
	} {
		got := get(tt.cfg, tt.version, tt.path)
		if got.Status != tt.status || got.Supported != tt.supported || !strings.Contains(got.Body, tt.contains) || (got.Body == "") != (tt.contains == "") {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
}

func testVersionFields(t *testing.T) {
	a, _ := setup(vbawstest.Config{Revisions: published})
	a.Start(vbawstest.Session{Type: "Policy", ExtendedType: "PolicyBackup", Name: "Nightly"})
	for _, version := range published {
		row := loggedIn(t, a, version).sessions(t, "").Results[0]
		if got, want := row.ExtendedType != nil, version >= "1.1"; got != want {
			t.Errorf("%s: extendedSessionType is there: %v", version, got)
		}
		if got, want := row.Name != nil, version >= "1.2"; got != want {
			t.Errorf("%s: name is there: %v", version, got)
		}
		if got, want := strings.HasSuffix(row.Start, "Z"), version >= "1.1"; got != want {
			t.Errorf("%s: start %s", version, row.Start)
		}
	}
}

func testVersionFilters(t *testing.T) {
	a, _ := setup(vbawstest.Config{Revisions: published})
	put(a, 1)
	child := a.Put(vbawstest.Session{Type: "Job", ParentID: vbawstest.ID(0)})
	for _, version := range published {
		s := loggedIn(t, a, version)
		for query, want := range map[string]bool{
			"Types=SelfBackupActivity":          version < "1.7",
			"Types=ConfigurationBackupActivity": version >= "1.1",
			"Types=FlrEfsTask":                  version >= "1.5",
			"Types=Policy":                      true,
		} {
			if got := s.get(sessionsPath + "?" + query).Code; got != map[bool]int{true: 200, false: 400}[want] {
				t.Errorf("%s at %s: %d", query, version, got)
			}
		}
		// An unknown parameter is ignored, and is a violation.
		want := 2
		if version >= "1.7" {
			want = 1
		}
		if page := s.sessions(t, "ParentSessionId="+vbawstest.ID(0)); len(page.Results) != want || want == 1 && page.Results[0].ID != child.ID {
			t.Errorf("children at %s: %q", version, page.ids())
		}
	}
	if got := len(a.Violations()); got != 9 {
		t.Errorf("%d violations: %q", got, a.Violations())
	}
}

func testVersionCaseOfParameters(t *testing.T) {
	a, _ := setup(vbawstest.Config{})
	put(a, 3)
	if got := loggedIn(t, a, "1.8-rev0").sessions(t, "sort=usnDesc&LIMIT=1").ids(); !slices.Equal(got, ids(2)) {
		t.Errorf("got %q", got)
	}
	if v := a.Violations(); len(v) > 0 {
		t.Errorf("noted %q", v)
	}
}
