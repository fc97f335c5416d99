package vbaws

import (
	"context"
	"net/url"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Summary has the counts of GET /api/v1/statistics/summary. A count is -1 if the answer
// lacks it.
type Summary struct {
	Alarms             int64 `json:"alarmsCount"`
	Instances          int64 `json:"instancesCount"`
	ProtectedInstances int64 `json:"protectedInstancesCount"`
	Policies           int64 `json:"policiesCount"`
	Repositories       int64 `json:"repositoriesCount"`
}

// License is the answer of GET /api/v1/licensing/license.
type License struct {
	// Type is Free, Subscription, Marketplace or Managed: an open set.
	Type string `json:"licenseType"`
	// Instances is how many instances the license covers, and Used how much of that is
	// used, in fractions of an instance; -1 if the answer lacks it.
	Instances int64   `json:"instances"`
	Used      float64 `json:"instancesUses"`
	// Expires is zero if the answer has no date, as for a license that does not expire.
	Expires time.Time `json:"licenseExpires"`
}

// Repository is one backup repository.
type Repository struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Encrypted bool   `json:"enableEncryption"`
	// Bucket and Region are empty if the answer doesn't embed them.
	Bucket string `json:"-"`
	Region string `json:"-"`
}

// RepositoriesPage is one answer of GET /api/v1/repositories. Its Items have ids.
type RepositoriesPage = Page[Repository]

// Summary returns the appliance's own counts. Every account is allowed to read them.
func (c *Client) Summary(ctx context.Context) (*Summary, error) {
	s, err := getOne(ctx, c, RouteSummary, Summary{-1, -1, -1, -1, -1}, "the document has no counts")
	return &s, err
}

// License returns the appliance's license. The error has status 403 if the
// account is not allowed to read it: as documented, only a Portal Administrator is.
func (c *Client) License(ctx context.Context) (*License, error) {
	l, err := getOne(ctx, c, RouteLicense, License{Instances: -1, Used: -1}, "the document is not a license")
	return &l, err
}

// Version returns the product's version, such as 8.0.0.1. It needs the same rights as
// License.
func (c *Client) Version(ctx context.Context) (string, error) {
	type document struct {
		Version string `json:"version"`
	}
	d, err := getOne(ctx, c, RouteVersion, document{}, `the document has no "version"`)
	return d.Version, err
}

// TimeZone returns the name of the time zone of the appliance's schedules, as the
// appliance writes it. Whether it is an IANA name or one of Windows is not documented. It
// needs the same rights as License.
func (c *Client) TimeZone(ctx context.Context) (string, error) {
	type document struct {
		Zone part[named] `json:"timezone"`
	}
	d, err := getOne(ctx, c, RouteDateTime, document{}, "the document has no time zone")
	return d.Zone.is.Name, err
}

// SystemTime returns the appliance's clock, in UTC. Every account is allowed to read it.
func (c *Client) SystemTime(ctx context.Context) (time.Time, error) {
	type document struct {
		Time time.Time `json:"utcDateTime"`
	}
	d, err := getOne(ctx, c, RouteTime, document{}, `the document has no "utcDateTime" that is a date`)
	return d.Time, err
}

// Repositories returns a page of the backup repositories. Limit 0 leaves the
// page's size to the appliance. The error has status 403 if the account is
// not allowed to list them: as documented, only a Portal Administrator and a Portal
// Operator are.
func (c *Client) Repositories(ctx context.Context, offset, limit int) (*RepositoriesPage, error) {
	return getPage(ctx, c, RouteRepositories, paging(offset, limit), limit, decodeRepositories)
}

// getOne gets a document that is one object. An object without any of the members of T is
// decoded as none: then the error is lacks.
func getOne[T comparable](ctx context.Context, c *Client, route string, none T, lacks string) (T, error) {
	return fetch(ctx, c, route, route, nil, func(b *body) (T, error) {
		got := none
		err := decode(b, &got)
		if err == nil && got == none {
			err = errShape(lacks)
		}
		return got, err
	})
}

// getPage gets a page of a list, of about limit elements.
func getPage[T any](ctx context.Context, c *Client, route string, q url.Values, limit int, decode func(*body) (*T, error)) (*T, error) {
	return fetch(ctx, c, route, route, q, func(b *body) (*T, error) {
		b.asked(limit)
		return decode(b)
	})
}

func decodeRepositories(b *body) (*RepositoriesPage, error) {
	return decodePage(b, func(v jsontext.Value) (Repository, bool) {
		type embedded struct {
			Bucket string `json:"bucket"`
			Region string `json:"region"`
		}
		var in struct {
			Repository
			Embedded part[embedded] `json:"_embedded"`
		}
		read(v, &in)
		in.Bucket, in.Region = in.Embedded.is.Bucket, in.Embedded.is.Region
		b.held += len(in.ID) + len(in.Name) + len(in.Bucket) + len(in.Region)
		return in.Repository, in.ID != ""
	})
}
