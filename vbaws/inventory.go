package vbaws

import (
	"context"
	"net/url"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Summary is what GET /api/v1/statistics/summary counts. A count is -1 where the
// answer has none.
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
	// Instances is how many instances may be protected, and Used how much of that
	// is taken, in fractions of an instance; -1 where the answer has none.
	Instances int64   `json:"instances"`
	Used      float64 `json:"instancesUses"`
	// Expires is zero if the answer has no date, as for a license that does not expire.
	Expires time.Time `json:"licenseExpires"`
}

// TimeZone is the time zone that the appliance's schedules are in.
type TimeZone struct {
	// Name is the zone's, in the appliance's own words. Whether it is a name of the
	// IANA's or of Windows is not documented.
	Name        string `json:"name"`
	DisplayName string `json:"displayName"`
}

// Repository is one backup repository.
type Repository struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Folder    string `json:"amazonStorageFolder"`
	Encrypted bool   `json:"enableEncryption"`
	// Bucket and Region are empty where the answer doesn't embed them.
	Bucket string `json:"-"`
	Region string `json:"-"`
}

// RepositoriesPage is one answer of GET /api/v1/repositories.
type RepositoriesPage struct {
	// TotalCount is the appliance's totalCount, -1 where the answer has none.
	TotalCount   int
	Repositories []Repository
	// Rows counts the elements of the answer, those that could not be understood
	// included: it is what Offset counts.
	Rows int
}

// Summary returns the appliance's own counts. Every account may ask for them.
func (c *Client) Summary(ctx context.Context) (*Summary, error) {
	s, err := getOne(ctx, c, RouteSummary, noSummary, decodeSummary, "the document has no counts")
	return &s, err
}

// License returns the appliance's license. The error has status 403 if the
// account is not allowed to read it: as documented, only a Portal Administrator is.
func (c *Client) License(ctx context.Context) (*License, error) {
	l, err := getOne(ctx, c, RouteLicense, noLicense, decodeLicense, "the document is not a license")
	return &l, err
}

// Version returns the product's version, such as 8.0.0.1. Who may see it is as
// for License.
func (c *Client) Version(ctx context.Context) (string, error) {
	return getOne(ctx, c, RouteVersion, "", decodeVersion, `the document has no "version"`)
}

// TimeZone returns the time zone that the appliance's schedules are in. Who may
// see it is as for License.
func (c *Client) TimeZone(ctx context.Context) (TimeZone, error) {
	return getOne(ctx, c, RouteDateTime, TimeZone{}, decodeTimeZone, "the document has no time zone")
}

// SystemTime returns the appliance's clock, in UTC. Every account may ask for it.
func (c *Client) SystemTime(ctx context.Context) (time.Time, error) {
	return getOne(ctx, c, RouteTime, time.Time{}, decodeSystemTime, `the document has no "utcDateTime" that is a date`)
}

// Repositories returns a page of the backup repositories. Limit 0 leaves the
// page's size to the appliance. The error has status 403 if the account is
// not allowed to list them: as documented, only a Portal Administrator and a Portal
// Operator are.
func (c *Client) Repositories(ctx context.Context, offset, limit int) (*RepositoriesPage, error) {
	return getPage(ctx, c, RouteRepositories, paging(offset, limit), limit, decodeRepositories)
}

// getOne gets a document that is one object. What decode returns of an object that has
// nothing to decode is none; then the error says what the document lacks.
func getOne[T comparable](ctx context.Context, c *Client, route string, none T, decode func(jsontext.Value) T, lacks string) (T, error) {
	got := none
	err := c.get(ctx, route, route, nil, func(b *body) error {
		v, err := decodeOne(b)
		if err != nil {
			return err
		}
		if got = decode(v); got == none {
			return errShape(lacks)
		}
		return nil
	})
	if err != nil {
		return none, err
	}
	return got, nil
}

// getPage gets a page of a list, of about limit elements.
func getPage[T any](ctx context.Context, c *Client, route string, q url.Values, limit int, decode func(*body) (*T, error)) (*T, error) {
	var page *T
	err := c.get(ctx, route, route, q, func(b *body) (err error) {
		b.asked(limit)
		page, err = decode(b)
		return err
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

// What is decoded of an object that has nothing to decode.
var (
	noSummary = Summary{-1, -1, -1, -1, -1}
	noLicense = License{Instances: -1, Used: -1}
)

func decodeSummary(v jsontext.Value) Summary {
	s := noSummary
	read(v, &s)
	return s
}

func decodeLicense(v jsontext.Value) License {
	l := noLicense
	read(v, &l)
	return l
}

func decodeVersion(v jsontext.Value) string {
	var in struct {
		Version string `json:"version"`
	}
	read(v, &in)
	return in.Version
}

// decodeTimeZone returns the zero TimeZone for one without a name.
func decodeTimeZone(v jsontext.Value) TimeZone {
	var in struct {
		Zone jsontext.Value `json:"timezone"`
	}
	var z TimeZone
	read(v, &in)
	read(in.Zone, &z)
	if z.Name == "" {
		return TimeZone{}
	}
	return z
}

func decodeSystemTime(v jsontext.Value) time.Time {
	var in struct {
		Time time.Time `json:"utcDateTime"`
	}
	read(v, &in)
	return in.Time
}

func decodeRepositories(b *body) (*RepositoriesPage, error) {
	var p RepositoriesPage
	total, err := decodeList(b, "results",
		func() { p = RepositoriesPage{} },
		func(v jsontext.Value) {
			p.Rows++
			var r Repository
			var more struct {
				Embedded jsontext.Value `json:"_embedded"`
			}
			var embedded struct {
				Bucket string `json:"bucket"`
				Region string `json:"region"`
			}
			read(v, &r)
			read(v, &more)
			read(more.Embedded, &embedded)
			if r.Bucket, r.Region = embedded.Bucket, embedded.Region; r.ID != "" {
				b.held += len(r.ID) + len(r.Name) + len(r.Folder) + len(r.Bucket) + len(r.Region)
				p.Repositories = append(p.Repositories, r)
			}
		})
	if err != nil {
		return nil, err
	}
	p.TotalCount = total
	return &p, nil
}
