package poller

import "sync/atomic"

// smallerPages are the page sizes that are tried, in turn, if the appliance refuses
// a larger one: no maximum of Limit is documented. 0 leaves the size to the appliance.
var smallerPages = []int{100, 20, 0}

// pageSize is the largest page size that the appliance was seen to accept after it
// refused a larger one. It is safe for concurrent use.
type pageSize struct {
	limited atomic.Bool
	most    atomic.Int64 // 0: only the appliance's own
}

// forget has larger pages tried again.
func (s *pageSize) forget() { s.limited.Store(false) }

// clip returns the page size to ask for instead of limit. It leaves a question for
// a few rows as it is.
func (s *pageSize) clip(limit int) int {
	most := int(s.most.Load())
	if !s.limited.Load() || limit < walkLimit || most > 0 && limit <= most {
		return limit
	}
	return most
}

// ask calls get with limit, and if the appliance refuses that with smaller ones, the
// first accepted of which is kept for later calls. If it accepts none, the size of
// the page is not what it refuses: the error is the first one.
func (s *pageSize) ask(limit int, get func(limit int) error) error {
	limit = s.clip(limit)
	err := get(limit)
	if limit < walkLimit || !refused(err) {
		return err
	}
	for _, smaller := range smallerPages {
		if smaller >= limit {
			continue
		}
		again := get(smaller)
		if refused(again) {
			continue
		}
		if again == nil {
			s.most.Store(int64(smaller))
			s.limited.Store(true)
		}
		return again
	}
	return err
}
