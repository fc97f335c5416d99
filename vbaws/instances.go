package vbaws

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Instance is one EC2 instance.
type Instance struct {
	// ID is the appliance's own id of the instance.
	ID   string
	Name string
	// AWSID is that of AWS, such as i-0123456789abcdef0; empty if the answer has none.
	AWSID  string
	Region string
	// Protection is whether a policy protects the instance.
	Protection Protection
	// Deleted means that the instance no longer exists in AWS. The appliance lists such
	// an instance as long as it has restore points.
	Deleted bool
}

// Protection is whether a policy protects an instance.
type Protection int

const (
	// ProtectionUnknown means that the row lacks it, as between API versions 1.2 and 1.7.
	// InstancesQuery.Unprotected then selects the unprotected instances.
	ProtectionUnknown Protection = iota
	// Unprotected means that no policy has the instance.
	Unprotected
	// Protected means that a policy has the instance.
	Protected
)

// InstancesPage is one answer of GET /api/v1/virtualMachines. Its Items have ids.
type InstancesPage = Page[Instance]

// InstancesQuery selects EC2 instances. The zero value selects all of them.
type InstancesQuery struct {
	// Offset and Limit choose a page. Limit 0 leaves its size to the appliance.
	Offset, Limit int
	// Unprotected selects the instances that no policy protects.
	Unprotected bool
}

// Instances returns a page of the EC2 instances that the appliance knows. The error has
// status 403 if the account is not allowed to list them: as documented for 1.0, all but a
// Portal Administrator and a Portal Operator.
//
// At 1.0 and 1.1 a row has protectionStatus and location, and the filter is
// ProtectionStatus (vendor's description of 1.0-rev0). From 1.2 on a row has region, and
// the filter is ProtectedByPolicy (VeeamHub/grafana, veeam_aws.sh); at 1.8 a row also has
// policiesCount, and location is the availability zone
// (lcp-llp/terraform-provider-veeambackup). Both forms are read at every version.
func (c *Client) Instances(ctx context.Context, q InstancesQuery) (*InstancesPage, error) {
	values := paging(q.Offset, q.Limit)
	if q.Unprotected {
		name := "ProtectedByPolicy"
		if c.before12() {
			name = "ProtectionStatus"
		}
		values.Set(name, wordUnprotected)
	}
	return getPage(ctx, c, RouteInstances, values, q.Limit, decodeInstances)
}

// The words of protectionStatus, and of the filters.
const (
	wordProtected   = "Protected"
	wordUnprotected = "Unprotected"
)

func decodeInstances(b *body) (*InstancesPage, error) {
	return decodePage(b, func(v jsontext.Value) (Instance, bool) {
		in := struct {
			ID       string      `json:"id"`
			Name     string      `json:"name"`
			AWSID    string      `json:"awsResourceId"`
			Deleted  bool        `json:"isDeleted"`
			Location part[named] `json:"location"`
			Region   part[named] `json:"region"`
			Status   string      `json:"protectionStatus"`
			Policies int64       `json:"policiesCount"`
		}{Policies: -1}
		read(v, &in)
		i := Instance{
			ID: in.ID, Name: in.Name, AWSID: in.AWSID, Deleted: in.Deleted,
			Region: cmp.Or(in.Region.is.Name, in.Location.is.Name),
		}
		switch {
		case in.Status == wordProtected, in.Policies > 0:
			i.Protection = Protected
		case in.Status == wordUnprotected, in.Policies == 0:
			i.Protection = Unprotected
		}
		b.held += len(i.ID) + len(i.Name) + len(i.AWSID) + len(i.Region)
		return i, i.ID != ""
	})
}

// LicensedWorkload is one protected workload that takes a license.
type LicensedWorkload struct {
	// ID is likely that of Instance.ID if the workload is an EC2 instance: that is not
	// documented.
	ID string `json:"id"`
	// LastBackup is zero if the answer has no date.
	LastBackup time.Time `json:"lastBackupTime"`
}

// LicensedWorkloadsPage is one answer of GET /api/v1/licensing/licensedWorkloads. Its
// Items have ids.
type LicensedWorkloadsPage = Page[LicensedWorkload]

// LicensedWorkloads returns a page of the workloads that take a license, of all kinds. It
// needs the same rights as License.
func (c *Client) LicensedWorkloads(ctx context.Context, offset, limit int) (*LicensedWorkloadsPage, error) {
	return getPage(ctx, c, RouteLicensed, paging(offset, limit), limit, decodeLicensedWorkloads)
}

func decodeLicensedWorkloads(b *body) (*LicensedWorkloadsPage, error) {
	return decodePage(b, func(v jsontext.Value) (w LicensedWorkload, ok bool) {
		read(v, &w)
		b.held += len(w.ID)
		return w, w.ID != ""
	})
}

// RestorePointsRoute returns the route that lists the restore points of EC2 instances in
// the API version in use: vendor's changelog of 1.2-rev0.
func (c *Client) RestorePointsRoute() string {
	if c.before12() {
		return RouteRestorePointsOld
	}
	return RouteRestorePoints
}

// before12 reports whether the API version in use is 1.0 or 1.1.
func (c *Client) before12() bool {
	v := c.APIVersion()
	return v != "" && !since(v, 1, 2)
}

// NewestRestorePoint returns the time of the newest restore point of an EC2 instance: a
// policy's snapshot, replica or backup, or a manual snapshot. It is zero if there is none.
// Every account is allowed to read it.
//
// From 1.2 on OnlyLatest=true is sent (VeeamHub/grafana, veeam_aws.sh has it with False),
// which selects the newest restore point of each backup; before, Sort=pointInTimeDesc
// (vendor's description of 1.0-rev0), and a limit of 1 is enough. With OnlyLatest, more
// restore points than limit are an error, since their order is not known. Limit 0 leaves the
// size of the page to the appliance.
func (c *Client) NewestRestorePoint(ctx context.Context, instanceID string, limit int) (time.Time, error) {
	route := c.RestorePointsRoute()
	sorted := route == RouteRestorePointsOld
	values := paging(0, limit)
	if sorted {
		values.Set("Sort", "pointInTimeDesc")
	} else {
		values.Set("OnlyLatest", "true")
	}
	values.Set("VirtualMachineId", instanceID)
	points, err := getPage(ctx, c, route, values, limit, decodeRestorePoints)
	switch {
	case err != nil:
		return time.Time{}, err
	case !sorted && points.TotalCount > points.Rows:
		return time.Time{}, &Error{KindDecode, "GET " + route, fmt.Errorf("%d restore points of an instance came of %d", points.Rows, points.TotalCount)}
	case len(points.Items) == 0:
		return time.Time{}, nil
	}
	return slices.MaxFunc(points.Items, time.Time.Compare), nil
}

// decodeRestorePoints returns the times of restore points.
func decodeRestorePoints(b *body) (*Page[time.Time], error) {
	p, err := decodePage(b, func(v jsontext.Value) (time.Time, bool) {
		var in struct {
			At time.Time `json:"pointInTime"`
		}
		read(v, &in)
		return in.At, !in.At.IsZero()
	})
	if err == nil && p.Rows > 0 && len(p.Items) == 0 {
		return nil, errShape(`no restore point has a "pointInTime" that is a date`)
	}
	return p, err
}
