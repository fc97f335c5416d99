package poller

import (
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/listing"
)

// This file has the state that outlives a poll: what the process learns of an appliance.
// None of it is stored. Each part has its one owner in the file that is named.

// known is what the process knows of an appliance.
type known struct {
	// opened is when the process began to poll it.
	opened time.Time
	// apiVersion is the one that the last poll began with.
	apiVersion string
	pageSize   listing.PageSize
	// clockOffset is the appliance's clock minus ours.
	clockOffset time.Duration
	mode        readMode        // incremental.go
	lookback    lookback        // cutoff.go
	names       policyNames     // policies.go
	lookUps     failedLookUps   // lookup.go
	unfinished  unfinished      // unfinished.go
	unreadable  knownUnreadable // unreadable.go
	endpoints   endpoints       // endpoints.go
	inventoryAt time.Time       // inventory.go: when it was refreshed last
	instances   instances       // instances.go
	verdicts    verdicts        // verdict.go
	failures    *ledger.View    // failures.go: the last one that was complete
}

// setAPIVersion drops what holds for one API version alone, if that has changed.
func (k *known) setAPIVersion(v string) {
	if v == k.apiVersion {
		return
	}
	if k.apiVersion != "" {
		k.endpoints.forget()
		k.pageSize.Forget()
		k.names.startsUnordered = false
		k.inventoryAt = time.Time{}
	}
	k.apiVersion = v
}

// applianceTime returns what the appliance's clock shows at now.
func (k *known) applianceTime(now time.Time) time.Time { return now.Add(k.clockOffset).UTC() }
