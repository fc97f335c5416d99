package vbaws

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vbaws_exporter/vbaws/vbawstest"
)

// applianceClient returns a client of a simulated appliance, without a network.
// observe can be nil.
func applianceClient(t *testing.T, a *vbawstest.Appliance, username string, observe func(Request)) *Client {
	t.Helper()
	s := vbawstest.NewPipeServer(a)
	t.Cleanup(s.Close)
	cfg := config(s.URL)
	cfg.Username = username
	cfg.Password = func() (string, error) { return vbawstest.DefaultPassword, nil }
	cfg.Transport = s.Transport()
	cfg.Observe = observe
	return client(t, cfg)
}

// inventory has the methods that return one document of an appliance.
var inventory = []struct {
	endpoint string
	roles    []string // that may see it; nil: all
	get      func(context.Context, *Client) (any, error)
}{
	{"/api/v1/statistics/summary", nil, func(ctx context.Context, c *Client) (any, error) { return c.Summary(ctx) }},
	{"/api/v1/system/time", nil, func(ctx context.Context, c *Client) (any, error) { return c.SystemTime(ctx) }},
	{"/api/v1/system/version", []string{"admin"}, func(ctx context.Context, c *Client) (any, error) { return c.Version(ctx) }},
	{"/api/v1/settings/dateTime", []string{"admin"}, func(ctx context.Context, c *Client) (any, error) { return c.TimeZone(ctx) }},
	{"/api/v1/licensing/license", []string{"admin"}, func(ctx context.Context, c *Client) (any, error) { return c.License(ctx) }},
	{"/api/v1/repositories", []string{"admin", "operator"}, func(ctx context.Context, c *Client) (any, error) { return c.Repositories(ctx, 0, 0) }},
}

func TestInventory(t *testing.T) {
	t.Run("values", testInventoryValues)
	t.Run("by role", testInventoryByRole)
	t.Run("not an inventory", testInventoryNotAnInventory)
	t.Run("in part", testInventoryInPart)
}

func testInventoryValues(t *testing.T) {
	now := time.Date(2026, time.March, 1, 22, 0, 0, 250e6, time.UTC)
	expires := time.Date(2027, time.March, 1, 0, 0, 0, 0, time.UTC)
	repositories := []vbawstest.Repository{
		{ID: vbawstest.ID(1), Name: "a", Folder: "veeam", Encrypted: true, Bucket: "b", Region: "eu-central-1"},
		{ID: vbawstest.ID(2), Name: "c"},
	}
	for _, product := range []int{2, 10} {
		a := vbawstest.New(vbawstest.Config{
			Now: func() time.Time { return now }, Offset: time.Minute, Product: product, Version: "8.1.0.7",
			License:      &vbawstest.License{Type: "Subscription", Instances: 50, Used: 12.5, LicensedTo: "x", Expires: expires},
			Summary:      vbawstest.Summary{Alarms: 0, Instances: 7, ProtectedInstances: 5},
			Repositories: repositories, ZoneName: "W. Europe Standard Time",
		})
		a.PutPolicy(vbawstest.Policy{Name: "p"})
		var seen []Request
		c := applianceClient(t, a, vbawstest.DefaultUsername, func(r Request) { seen = append(seen, r) })
		if _, err := c.Summary(t.Context()); err != nil { // logs in and settles the revision
			t.Fatal(err)
		}
		for i, want := range []any{
			&Summary{Alarms: 0, Instances: 7, ProtectedInstances: 5, Policies: 1, Repositories: 2},
			now.Add(time.Minute),
			"8.1.0.7",
			"W. Europe Standard Time",
			&License{Type: "Subscription", Instances: 50, Used: 12.5, Expires: expires},
			&RepositoriesPage{TotalCount: 2, Rows: 2, Items: []Repository{
				{ID: vbawstest.ID(1), Name: "a", Encrypted: true, Bucket: "b", Region: "eu-central-1"},
				{ID: vbawstest.ID(2), Name: "c"},
			}},
		} {
			seen = nil
			got, err := inventory[i].get(t.Context(), c)
			if err != nil {
				t.Errorf("product %d: %v", product, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("product %d: %s: %s", product, inventory[i].endpoint, diff)
			}
			want := []Request{{Endpoint: inventory[i].endpoint, Code: 200}}
			if diff := cmp.Diff(want, seen, cmpopts.IgnoreFields(Request{}, "Duration")); diff != "" {
				t.Errorf("product %d: %s", product, diff)
			}
		}
		page, err := c.Repositories(t.Context(), 1, 5)
		if err != nil || page.TotalCount != 2 || len(page.Items) != 1 || page.Items[0].Name != "c" {
			t.Errorf("product %d: the second page: %+v, %v", product, page, err)
		}
		if v := a.Violations(); len(v) > 0 {
			t.Error(v)
		}
	}
}

// A missing right is an error with status 403.
func testInventoryByRole(t *testing.T) {
	a := vbawstest.New(vbawstest.Config{Users: []vbawstest.User{
		{Name: "admin", Password: vbawstest.DefaultPassword, Role: vbawstest.RoleAdministrator},
		{Name: "operator", Password: vbawstest.DefaultPassword, Role: vbawstest.RoleOperator},
		{Name: "viewer", Password: vbawstest.DefaultPassword, Role: "Viewer"},
	}})
	for _, user := range []string{"admin", "operator", "viewer"} {
		c := applianceClient(t, a, user, nil)
		for _, one := range inventory {
			_, err := one.get(t.Context(), c)
			if one.roles == nil || slices.Contains(one.roles, user) {
				if err != nil {
					t.Errorf("%s: %v", user, err)
				}
			} else if !HasStatus(err, 403) || KindOf(err) != KindHTTP {
				t.Errorf("%s: GET %s: %v, want a 403", user, one.endpoint, err)
			}
		}
	}
}

// An object without any of the requested members is an error, and not an answer of zeros.
func testInventoryNotAnInventory(t *testing.T) {
	a := newAppliance()
	c := client(t, start(t, a))
	for _, one := range inventory {
		for _, document := range []string{
			`{}`, `[]`, `{"unknown":1}`, `{"alarmsCount":"3","utcDateTime":"noon","version":7,"timezone":"UTC","instances":"5","results":7}`,
			`{"timezone":{"name":null},"version":"","utcDateTime":"0001-01-01T00:00:00","licenseType":null,"alarmsCount":-4}`,
		} {
			a.mu.Lock()
			a.routes[one.endpoint] = answer(200, "Content-Type: application/json", document)
			a.mu.Unlock()
			if got, err := one.get(t.Context(), c); KindOf(err) != KindDecode {
				t.Errorf("%s: %s passes: %v, %v", one.endpoint, document, got, err)
			}
		}
	}
}

func testInventoryInPart(t *testing.T) {
	a := newAppliance()
	c := client(t, start(t, a))
	a.routes[RouteSummary] = answer(200, "", `{"alarmsCount":0,"instancesCount":"7","protectedInstancesCount":1.5,"policiesCount":null}`)
	summary, err := c.Summary(t.Context())
	if diff := cmp.Diff(&Summary{Alarms: 0, Instances: -1, ProtectedInstances: -1, Policies: -1, Repositories: -1}, summary); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for document, want := range map[string]License{
		`{"licenseType":"Free"}`: {Type: "Free", Instances: -1, Used: -1},
		`{"licenseType":7,"instances":-1,"instancesUses":0,"licenseExpires":"soon"}`:    {Instances: -1, Used: 0},
		`{"instances":10,"instancesUses":"1","licenseExpires":null}`:                    {Instances: 10, Used: -1},
		`{"instances":10,"instancesUses":1e999}`:                                        {Instances: 10, Used: -1},
		`{"instancesUses":-0.5,"licenseExpires":"2027-03-01T00:00:00","instances":1e1}`: {Instances: 10, Used: -1, Expires: time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)},
	} {
		a.mu.Lock()
		a.routes[RouteLicense] = answer(200, "", document)
		a.mu.Unlock()
		license, err := c.License(t.Context())
		if diff := cmp.Diff(&want, license); err != nil || diff != "" {
			t.Errorf("%s: %v %s", document, err, diff)
		}
	}
	a.mu.Lock()
	a.routes[RouteDateTime] = answer(200, "", `{"useCustomSettings":true,"timezone":{"displayName":[],"name":"UTC","id":7}}`)
	a.mu.Unlock()
	if got, err := c.TimeZone(t.Context()); err != nil || got != "UTC" {
		t.Errorf("%q, %v", got, err)
	}
	page, err := decodeRepositories(textBody(`{"results":[
		{"id":"1","_embedded":{"bucket":7,"region":"r","bucketLink":{}},"enableEncryption":"yes","name":"a"},
		{"name":"no id"}, 7, {"_embedded":[],"id":"2"}]}`))
	want := &RepositoriesPage{TotalCount: -1, Rows: 4, Items: []Repository{{ID: "1", Name: "a", Region: "r"}, {ID: "2"}}}
	if diff := cmp.Diff(want, page); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// FuzzInventory checks that the decoders of documents without sessions return either an error
// or valid values.
func FuzzInventory(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"alarmsCount":1,"instancesCount":-1,"policiesCount":99999999999999999999}`,
		`{"licenseType":"Free","instances":10,"instancesUses":1e308,"licenseExpires":"2027-03-01T00:00:00+14:00"}`,
		`{"version":"8.0.0.1","about":"x"}`, `{"timezone":{"name":"UTC","displayName":"` + "\xff" + `"},"timezone":null}`,
		`{"utcDateTime":"2026-03-01T22:00:00.1234567Z"}`,
		`{"results":[{"id":"1","_embedded":{"bucket":"b","region":"r"}},{"_embedded":null},7],"totalCount":3}`,
		`{"results":[{"id":"1","name":"gold","isEnabled":"?","usn":"7","backupType":{},"scheduleSettings":null},{}]}`,
		`{"sessionId":"a","log":[{"logTime":"?","status":"Error","message":"m"},{"status":"Warning","message":"\u00fc"},7]}`,
		`{"access_token":"a","refresh_token":7,"expires_in":"60","mfa_token":null}`, `{"access_token":"a","expires_in":99999999999999}`,
	} {
		f.Add([]byte(s))
	}
	a := newAppliance()
	cfg := config("https://appliance")
	cfg.Transport = direct{a}
	c := client(f, cfg)
	f.Fuzz(func(t *testing.T, document []byte) {
		if page, err := decodeRepositories(textBody(string(document))); (page == nil) == (err == nil) {
			t.Errorf("page %v, error %v", page, err)
		} else if err == nil && len(page.Items) > page.Rows {
			t.Errorf("%+v", page)
		}
		if page, err := decodePolicies(textBody(string(document)), Workload{Name: "ec2"}); (page == nil) == (err == nil) {
			t.Errorf("page %v, error %v", page, err)
		} else if err == nil && (len(page.Items) > page.Rows || len(page.Items) < page.Rows && page.Err == nil) {
			t.Errorf("%+v", page)
		}
		if log, err := decodeLog(textBody(string(document))); err == nil {
			for _, item := range log {
				if item.Status != LogError && item.Status != LogWarning || item.Message == "" || len(item.Message) > MaxText {
					t.Errorf("%+v", item)
				}
			}
		}
		var l login
		if err := decode(textBody(string(document)), &l); err != nil {
			return
		}
		sent := time.Unix(1e9, 0)
		if token, err := l.token("login", sent); (token == nil) == (err == nil) || token != nil && !token.expires.IsZero() && token.expires.Before(sent) {
			t.Errorf("%+v, %v", token, err)
		}
		for _, one := range inventory {
			a.mu.Lock()
			a.routes[one.endpoint] = answer(200, "", string(document))
			a.mu.Unlock()
			got, err := one.get(t.Context(), c)
			if err != nil {
				if KindOf(err) != KindDecode {
					t.Error(err)
				}
				continue
			}
			switch got := got.(type) {
			case *Summary:
				if min(got.Alarms, got.Instances, got.ProtectedInstances, got.Policies, got.Repositories) < -1 {
					t.Errorf("%+v", got)
				}
			case *License:
				if got.Instances < -1 || !(got.Used >= 0 || got.Used == -1) {
					t.Errorf("%+v", got)
				}
			case time.Time:
				if got.IsZero() || got.Location() != time.UTC {
					t.Errorf("%s is not in UTC", got)
				}
			case string:
				if got == "" {
					t.Error("an empty text")
				}
			}
		}
	})
}
