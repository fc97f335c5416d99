package poller

import (
	"context"
	"errors"
	"time"

	"vbaws_exporter/vbaws"
)

// This file keeps how the endpoints answer that no poll depends on: a right that the
// account lacks, a route that the appliance doesn't have, an error.

// endpoints is what is known of them, by route.
type endpoints struct {
	// forbidden is false for an endpoint that was allowed.
	forbidden map[string]bool
	// absent is when the appliance answered that it doesn't offer a route.
	absent map[string]time.Time
	// errs are what endpoints failed with last.
	errs map[string]string
}

// askAgain is after how long a route that was absent is requested again: the answer may
// have been that of a proxy.
const askAgain = 24 * time.Hour

// forget drops what another API version can change: it can have other routes, and those
// that it lacks are not requested any more.
func (e *endpoints) forget() {
	clear(e.forbidden)
	clear(e.absent)
	clear(e.errs)
}

// isAbsent reports whether the appliance is known not to offer a route.
func (p *poll) isAbsent(path string) bool {
	at, ok := p.known.endpoints.absent[path]
	return ok && p.start.Sub(at) < askAgain
}

// endpointAnswered records how an endpoint answered. A change is noted.
func (p *poll) endpointAnswered(endpoint string, err error) {
	e := &p.known.endpoints
	switch {
	case err == nil:
		e.forbidden[endpoint] = false
		delete(e.errs, endpoint)
	case vbaws.HasStatus(err, 403):
		if !e.forbidden[endpoint] {
			p.note("the account lacks a right", "endpoint", endpoint)
		}
		e.forbidden[endpoint] = true
		delete(e.errs, endpoint)
	case vbaws.NotOffered(err):
		e.absent[endpoint] = p.start
		delete(e.forbidden, endpoint)
		delete(e.errs, endpoint)
	default:
		p.endpointFailed(endpoint, err)
	}
}

// endpointFailed records an endpoint error, unless the request was cut off. The first in
// a row is noted.
func (p *poll) endpointFailed(endpoint string, err error) {
	e := &p.known.endpoints
	if errors.Is(err, context.Canceled) {
		return
	}
	if e.errs[endpoint] == "" {
		p.note("endpoint failed, keeping last value", "endpoint", endpoint, "err", err)
	}
	e.errs[endpoint] = err.Error()
}
