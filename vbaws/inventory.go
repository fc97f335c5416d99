package vbaws

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Summary is what GET /api/v1/statistics/summary counts. A count is -1 where the
// answer has none.
type Summary struct {
	Alarms, Instances, ProtectedInstances, Policies, Repositories int64
}

// License is the answer of GET /api/v1/licensing/license.
type License struct {
	// Type is Free, Subscription, Marketplace or Managed: an open set.
	Type string
	// Instances is how many instances may be protected, and Used how much of that
	// is taken, in fractions of an instance; -1 where the answer has none.
	Instances int64
	Used      float64
	// Expires is zero where the answer has no date: such a license may not expire.
	Expires time.Time
}

// TimeZone is the time zone that the appliance's schedules are in.
type TimeZone struct {
	// Name is the zone's, in the appliance's own words. Whether it is a name of the
	// IANA's or of Windows is not documented.
	Name        string
	DisplayName string
}

// Repository is one backup repository.
type Repository struct {
	ID, Name  string
	Folder    string
	Encrypted bool
	// Bucket and Region are empty where the answer doesn't embed them.
	Bucket, Region string
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
	s := &Summary{}
	err := c.getOne(ctx, "/api/v1/statistics/summary", func(v jsontext.Value) error {
		*s = decodeSummary(v)
		if *s == noSummary {
			return errShape("the document has none of the counts")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// License returns the appliance's license. HasStatus of the error says 403 where
// the account may not see it: as documented, all but a Portal Administrator.
func (c *Client) License(ctx context.Context) (*License, error) {
	l := &License{}
	err := c.getOne(ctx, "/api/v1/licensing/license", func(v jsontext.Value) error {
		*l = decodeLicense(v)
		if *l == noLicense {
			return errShape("the document is not a license")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Version returns the product's version, such as 8.0.0.1. Who may see it is as
// for License.
func (c *Client) Version(ctx context.Context) (string, error) {
	var version string
	err := c.getOne(ctx, "/api/v1/system/version", func(v jsontext.Value) error {
		version = decodeVersion(v)
		if version == "" {
			return errShape(`the document has no "version"`)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return version, nil
}

// TimeZone returns the time zone that the appliance's schedules are in. Who may
// see it is as for License.
func (c *Client) TimeZone(ctx context.Context) (TimeZone, error) {
	var z TimeZone
	err := c.getOne(ctx, "/api/v1/settings/dateTime", func(v jsontext.Value) error {
		z = decodeTimeZone(v)
		if z.Name == "" {
			return errShape("the document names no time zone")
		}
		return nil
	})
	if err != nil {
		return TimeZone{}, err
	}
	return z, nil
}

// SystemTime returns the appliance's clock, in UTC. Every account may ask for it.
func (c *Client) SystemTime(ctx context.Context) (time.Time, error) {
	var t time.Time
	err := c.getOne(ctx, "/api/v1/system/time", func(v jsontext.Value) error {
		t = decodeSystemTime(v)
		if t.IsZero() {
			return errShape(`the document has no "utcDateTime" that is a date`)
		}
		return nil
	})
	if err != nil {
		return time.Time{}, err
	}
	return t, nil
}

// Repositories returns a page of the backup repositories. Limit 0 leaves the
// page's size to the appliance. HasStatus of the error says 403 where the account
// may not list them: as documented, all but a Portal Administrator and a Portal
// Operator.
func (c *Client) Repositories(ctx context.Context, offset, limit int) (*RepositoriesPage, error) {
	const path = "/api/v1/repositories"
	var page *RepositoriesPage
	err := c.get(ctx, path, path, paging(offset, limit), func(_ http.Header, b *body) (err error) {
		page, err = decodeRepositories(b)
		return err
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

// getOne gets a document that is one object.
func (c *Client) getOne(ctx context.Context, path string, read func(jsontext.Value) error) error {
	return c.getLimited(ctx, path, path, nil, maxValue, func(_ http.Header, b *body) error {
		v, err := decodeOne(b)
		if err != nil {
			return err
		}
		return read(v)
	})
}

// What is decoded of an object that has nothing to decode.
var (
	noSummary = Summary{-1, -1, -1, -1, -1}
	noLicense = License{Instances: -1, Used: -1}
)

// The decoders below take what they know. A member of another type than documented
// is a member that is not there.

func decodeSummary(v jsontext.Value) Summary {
	s := noSummary
	o := newObjects()
	_ = o.each(v, func(name []byte, v jsontext.Value) {
		switch string(name) {
		case "alarmsCount":
			s.Alarms = o.count(v, "alarmsCount")
		case "instancesCount":
			s.Instances = o.count(v, "instancesCount")
		case "protectedInstancesCount":
			s.ProtectedInstances = o.count(v, "protectedInstancesCount")
		case "policiesCount":
			s.Policies = o.count(v, "policiesCount")
		case "repositoriesCount":
			s.Repositories = o.count(v, "repositoriesCount")
		}
	})
	return s
}

func decodeLicense(v jsontext.Value) License {
	l := noLicense
	o := newObjects()
	_ = o.each(v, func(name []byte, v jsontext.Value) {
		switch string(name) {
		case "licenseType":
			l.Type = o.name(v, "licenseType")
		case "instances":
			l.Instances = o.count(v, "instances")
		case "instancesUses":
			l.Used = o.amount(v, "instancesUses")
		case "licenseExpires":
			l.Expires = o.date(v, "licenseExpires")
		}
	})
	return l
}

func decodeVersion(v jsontext.Value) (version string) {
	o := newObjects()
	_ = o.each(v, func(name []byte, v jsontext.Value) {
		if string(name) == "version" {
			version = o.name(v, "version")
		}
	})
	return version
}

func decodeTimeZone(v jsontext.Value) (z TimeZone) {
	o := newObjects()
	_ = o.each(v, func(name []byte, v jsontext.Value) {
		if string(name) != "timezone" {
			return
		}
		z = TimeZone{}
		o.object(v, "timezone", func(in *objects, name []byte, v jsontext.Value) {
			switch string(name) {
			case "name":
				z.Name = in.text(v, "name")
			case "displayName":
				z.DisplayName = in.text(v, "displayName")
			}
		})
	})
	return z
}

func decodeSystemTime(v jsontext.Value) (t time.Time) {
	o := newObjects()
	_ = o.each(v, func(name []byte, v jsontext.Value) {
		if string(name) == "utcDateTime" {
			t = o.date(v, "utcDateTime")
		}
	})
	return t
}

func decodeRepositories(b *body) (*RepositoriesPage, error) {
	var page RepositoriesPage
	o := newObjects()
	total, err := decodeList(b, "results",
		func() { page = RepositoriesPage{} },
		func(v jsontext.Value) {
			page.Rows++
			if r := o.repository(v); r.ID != "" {
				page.Repositories = append(page.Repositories, r)
			}
		})
	if err != nil {
		return nil, err
	}
	page.TotalCount = total
	return &page, nil
}

func (o *objects) repository(v jsontext.Value) (r Repository) {
	_ = o.each(v, func(name []byte, v jsontext.Value) {
		switch string(name) {
		case "id":
			r.ID = o.name(v, "id")
		case "name":
			r.Name = o.name(v, "name")
		case "amazonStorageFolder":
			r.Folder = o.name(v, "amazonStorageFolder")
		case "enableEncryption":
			r.Encrypted = o.boolean(v, "enableEncryption")
		case "_embedded":
			r.Bucket, r.Region = "", ""
			o.object(v, "_embedded", func(in *objects, name []byte, v jsontext.Value) {
				switch string(name) {
				case "bucket":
					r.Bucket = in.word(v, "bucket")
				case "region":
					r.Region = in.word(v, "region")
				}
			})
		}
	})
	return r
}

// object reads an object within an object.
func (o *objects) object(v jsontext.Value, name string, member func(in *objects, name []byte, v jsontext.Value)) {
	if !o.is(v, jsontext.KindBeginObject, name, "an object") {
		return
	}
	in := newObjects()
	if err := in.each(v, func(name []byte, v jsontext.Value) { member(in, name, v) }); err != nil && o.first == nil {
		o.first = err
	}
}

// count reads an integer that is -1 where there is none, or one below zero.
func (o *objects) count(v jsontext.Value, name string) int64 {
	n, ok := o.integer(v, name)
	if !ok || n < 0 {
		return -1
	}
	return n
}

// amount reads a number that is -1 where there is none, or one below zero.
func (o *objects) amount(v jsontext.Value, name string) float64 {
	if !o.is(v, jsontext.KindNumber, name, "a number") {
		return -1
	}
	n, err := strconv.ParseFloat(string(v), 64)
	if err != nil {
		o.complain(name, v, "a number of a sane range")
		return -1
	}
	if !(n >= 0) {
		return -1
	}
	return n
}
