package vbaws

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/vbaws/vbawstest"
)

func TestInstances(t *testing.T) {
	t.Run("rows", testInstancesRows)
	t.Run("by role", testInstancesByRole)
	t.Run("forms", testInstancesForms)
	t.Run("restore points out of order", testInstancesRestorePointsOutOfOrder)
}

// testInstancesRows reads instances, licensed workloads and restore points of appliances of
// all ages.
func testInstancesRows(t *testing.T) {
	now := time.Date(2026, time.March, 1, 22, 0, 0, 0, time.UTC)
	web, db, alone := vbawstest.ID(1), vbawstest.ID(2), vbawstest.ID(3)
	for product, unprotected := range map[int]Protection{
		2: Unprotected, 4: ProtectionUnknown, 9: ProtectionUnknown, 10: Unprotected, 11: Unprotected,
	} {
		a := vbawstest.New(vbawstest.Config{Now: func() time.Time { return now }, Product: product, Instances: []vbawstest.Instance{
			{ID: alone, Name: "alone", AWSID: "i-3", Region: "eu-west-1", Deleted: true}, {ID: web, Name: "web", AWSID: "i-1", Region: "eu-west-1"},
		}})
		a.PutPolicy(vbawstest.Policy{Name: "p", Items: []vbawstest.Item{{ID: web, Name: "web"}, {ID: db, Name: "db"}}})
		for i := range 3 {
			a.Put(vbawstest.Session{ID: vbawstest.ID(10 + i), Type: "Policy", ExtendedType: "PolicyBackup", Status: "Succeeded",
				PolicyID: vbawstest.ID(20 + i), Start: now.Add(time.Duration(i) * time.Hour)})
			a.SetItems(vbawstest.ID(10+i), vbawstest.Item{ID: web, Name: "web", Status: "Succeeded"})
		}
		c := applianceClient(t, a, vbawstest.DefaultUsername, nil)
		if _, err := c.Summary(t.Context()); err != nil { // logs in and settles the version
			t.Fatal(err)
		}
		protected := ProtectionUnknown
		if unprotected == Unprotected {
			protected = Protected
		}
		page, err := c.Instances(t.Context(), InstancesQuery{})
		want := []Instance{
			{ID: web, Name: "web", AWSID: "i-1", Region: "eu-west-1", Protection: protected},
			{ID: db, Name: "db", AWSID: a.Instances()[1].AWSID, Protection: protected},
			{ID: alone, Name: "alone", AWSID: "i-3", Region: "eu-west-1", Protection: unprotected, Deleted: true},
		}
		if product >= 4 { // the sample of the appliance has a zone of every region
			want[1].Region = "a"
		}
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&InstancesPage{TotalCount: 3, Rows: 3, Items: want}, page); diff != "" {
			t.Errorf("product %d: %s", product, diff)
		}
		if page, err = c.Instances(t.Context(), InstancesQuery{Offset: 1, Limit: 1}); err != nil || len(page.Items) != 1 || page.Items[0].Name != "db" {
			t.Errorf("product %d: the second page: %+v, %v", product, page, err)
		}
		if page, err = c.Instances(t.Context(), InstancesQuery{Unprotected: true}); err != nil || len(page.Items) != 1 || page.Items[0].Name != "alone" {
			t.Errorf("product %d: unprotected ones: %+v, %v", product, page, err)
		}
		licensed, err := c.LicensedWorkloads(t.Context(), 0, 10)
		if diff := cmp.Diff(&LicensedWorkloadsPage{TotalCount: 1, Rows: 1, Items: []LicensedWorkload{{web, now.Add(2 * time.Hour)}}}, licensed); err != nil || diff != "" {
			t.Errorf("product %d: licensed workloads: %v %s", product, err, diff)
		}
		for id, want := range map[string]time.Time{web: now.Add(2 * time.Hour), db: {}} {
			if got, err := c.NewestRestorePoint(t.Context(), id, 100); err != nil || !got.Equal(want) {
				t.Errorf("product %d: newest restore point of %s: %s, %v, want %s", product, id, got, err, want)
			}
		}
		if v := a.Violations(); len(v) > 0 {
			t.Error(v)
		}
	}
}

// A missing right is an error with status 403.
func testInstancesByRole(t *testing.T) {
	a := vbawstest.New(vbawstest.Config{Users: []vbawstest.User{
		{Name: "admin", Password: vbawstest.DefaultPassword, Role: vbawstest.RoleAdministrator},
		{Name: "operator", Password: vbawstest.DefaultPassword, Role: vbawstest.RoleOperator},
		{Name: "viewer", Password: vbawstest.DefaultPassword, Role: "Viewer"},
	}})
	for route, of := range map[string]struct {
		allowed []string
		get     func(context.Context, *Client) error
	}{
		RouteInstances: {[]string{"admin", "operator"}, func(ctx context.Context, c *Client) error {
			_, err := c.Instances(ctx, InstancesQuery{})
			return err
		}},
		RouteLicensed: {[]string{"admin"}, func(ctx context.Context, c *Client) error {
			_, err := c.LicensedWorkloads(ctx, 0, 0)
			return err
		}},
		RouteRestorePoints: {[]string{"admin", "operator", "viewer"}, func(ctx context.Context, c *Client) error {
			_, err := c.NewestRestorePoint(ctx, vbawstest.ID(1), 100)
			return err
		}},
	} {
		for _, user := range []string{"admin", "operator", "viewer"} {
			err := of.get(t.Context(), applianceClient(t, a, user, nil))
			if slices.Contains(of.allowed, user) {
				if err != nil {
					t.Errorf("%s: %v", user, err)
				}
			} else if !HasStatus(err, 403) || KindOf(err) != KindHTTP {
				t.Errorf("%s: GET %s: %v, want a 403", user, route, err)
			}
		}
	}
}

// testInstancesForms reads rows that are not as documented.
func testInstancesForms(t *testing.T) {
	page, err := decodeInstances(textBody(`{"results":[
		{"id":"1","name":7,"awsResourceId":null,"isDeleted":"yes","location":"eu","region":{"name":"r"},"protectionStatus":"Protected"},
		{"id":"2","location":{"name":"l"},"region":null,"protectionStatus":"Unprotected"},
		{"id":"3","policiesCount":0}, {"id":"4","policiesCount":"2"}, {"id":"5","policiesCount":-1},
		{"id":"6","policiesCount":3}, {"id":"7","protectionStatus":"Excluded"},
		{"name":"no id","policiesCount":1}, 7, null, {"id":8}]}`))
	want := &InstancesPage{TotalCount: -1, Rows: 11, Items: []Instance{
		{ID: "1", Region: "r", Protection: Protected}, {ID: "2", Region: "l", Protection: Unprotected},
		{ID: "3", Protection: Unprotected}, {ID: "4"}, {ID: "5"}, {ID: "6", Protection: Protected}, {ID: "7"},
	}}
	if diff := cmp.Diff(want, page); err != nil || diff != "" {
		t.Error(err, diff)
	}
	licensed, err := decodeLicensedWorkloads(textBody(`{"totalCount":4,"results":[{"id":"1","lastBackupTime":"soon"},{"lastBackupTime":"2026-03-01T22:00:00"},[],{"id":"2","lastBackupTime":"0001-01-01T00:00:00"}]}`))
	if diff := cmp.Diff(&LicensedWorkloadsPage{TotalCount: 4, Rows: 4, Items: []LicensedWorkload{{ID: "1"}, {ID: "2"}}}, licensed); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for _, document := range []string{`{}`, `[]`, `{"results":7}`, `{"results":{}}`} {
		if page, err := decodeInstances(textBody(document)); err == nil {
			t.Errorf("%s passes: %+v", document, page)
		}
		if page, err := decodeLicensedWorkloads(textBody(document)); err == nil {
			t.Errorf("%s passes: %+v", document, page)
		}
		if points, err := decodeRestorePoints(textBody(document)); err == nil {
			t.Errorf("%s passes: %+v", document, points)
		}
	}
}

// testInstancesRestorePointsOutOfOrder: an answer that can lack the newest restore point is
// an error, and not an old backup.
func testInstancesRestorePointsOutOfOrder(t *testing.T) {
	a := newAppliance()
	c := client(t, start(t, a))
	for document, want := range map[string]string{
		`{"totalCount":3,"results":[{"pointInTime":"2026-03-01T22:00:00"}]}`: "GET /api/v1/virtualMachines/restorePoints: 1 restore points of an instance came of 3",
		`{"totalCount":1,"results":[{"pointInTime":"soon"}]}`:                `no restore point has a "pointInTime" that is a date`,
		`{"totalCount":0,"results":null}`:                                    "",
		`{"results":[{"pointInTime":"2026-03-01T22:00:00"},{}]}`:             "",
	} {
		a.mu.Lock()
		a.routes[RouteRestorePoints] = answer(200, "Content-Type: application/json", document)
		a.mu.Unlock()
		_, err := c.NewestRestorePoint(t.Context(), "1", 100)
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasSuffix(err.Error(), want) || KindOf(err) != KindDecode) {
			t.Errorf("%s: %v, want %q", document, err, want)
		}
	}
}

// FuzzInstances checks that the decoders of instances, licensed workloads and restore points
// return only valid values.
func FuzzInstances(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"totalCount":2,"results":[{"id":"1","name":"a","awsResourceId":"i-1","region":{"name":"r"},"policiesCount":1},{}]}`,
		`{"results":[{"id":"1","protectionStatus":"Protected","location":{"name":"` + "\xff" + `"},"isDeleted":true}]}`,
		`{"results":[{"id":"1","lastBackupTime":"2026-03-01T22:00:00.1234567Z"},7]}`,
		`{"totalCount":9,"results":[{"pointInTime":"2026-03-01T22:00:00"},{"pointInTime":"0001-01-01T00:00:00"},null]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		instances, err := decodeInstances(textBody(string(document)))
		if (instances == nil) == (err == nil) {
			t.Errorf("page %v, error %v", instances, err)
		} else if err == nil {
			if len(instances.Items) > instances.Rows || instances.TotalCount < -1 {
				t.Errorf("%+v", instances)
			}
			for _, i := range instances.Items {
				if i.ID == "" || max(len(i.ID), len(i.Name), len(i.AWSID), len(i.Region)) > MaxText {
					t.Errorf("%+v", i)
				}
			}
		}
		licensed, err := decodeLicensedWorkloads(textBody(string(document)))
		if (licensed == nil) == (err == nil) {
			t.Errorf("page %v, error %v", licensed, err)
		} else if err == nil {
			for _, w := range licensed.Items {
				if w.ID == "" || len(w.ID) > MaxText || w.LastBackup.Location() != time.UTC {
					t.Errorf("%+v", w)
				}
			}
		}
		points, err := decodeRestorePoints(textBody(string(document)))
		if (points == nil) == (err == nil) {
			t.Errorf("page %v, error %v", points, err)
		} else if err == nil {
			for _, at := range points.Items {
				if at.IsZero() || at.Location() != time.UTC {
					t.Errorf("%+v", points)
				}
			}
		}
	})
}
