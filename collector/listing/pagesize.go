package listing

import (
	"cmp"
	"sync/atomic"

	"vbaws_exporter/vbaws"
)

// smallerPages are the page sizes that are tried, in turn, if the appliance refuses
// a larger one: no maximum of Limit is documented. 0 leaves the size to the appliance.
var smallerPages = []int{100, 20, 0}

// PageSize is the largest page size that the appliance accepted after it refused a
// larger one. The zero value knows none. It is safe for concurrent use.
type PageSize struct{ most atomic.Int64 }

// ownSize is the PageSize of an appliance that accepts none but its own.
const ownSize = -1

// Forget has larger pages tried again.
func (s *PageSize) Forget() { s.most.Store(0) }

// Clip returns the page size to ask for instead of limit. It leaves a request for
// a few rows as it is.
func (s *PageSize) Clip(limit int) int {
	most := int(s.most.Load())
	if most == 0 || limit < ShortPage || limit <= most {
		return limit
	}
	return max(0, most)
}

// Ask calls get with limit, and if the appliance refuses that with smaller ones, the
// first accepted of which is kept for later calls. If it accepts none, the size of
// the page is not what it refuses: the error is the first one.
func (s *PageSize) Ask(limit int, get func(limit int) error) error {
	limit = s.Clip(limit)
	err := get(limit)
	if limit < ShortPage || !Refused(err) {
		return err
	}
	for _, smaller := range smallerPages {
		if smaller >= limit {
			continue
		}
		again := get(smaller)
		if Refused(again) {
			continue
		}
		if again == nil {
			s.most.Store(int64(cmp.Or(smaller, ownSize)))
		}
		return again
	}
	return err
}

// Refused reports whether the appliance calls a request a bad one. A login can fail
// with the same status.
func Refused(err error) bool {
	return vbaws.HasStatus(err, 400) && vbaws.KindOf(err) == vbaws.KindHTTP
}
