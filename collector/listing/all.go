package listing

import (
	"fmt"

	"vbaws_exporter/vbaws"
)

// maxBytes is how much a list read by All takes at most.
const maxBytes = 32 << 20

// All reads a short list of items with ids, in pages, and again if it moved meanwhile,
// until as many have come as totalCount. measure returns the id of an
// item, and how many bytes it takes; a list of more than 32 MiB is an error. path is that
// of the request, for the error.
func All[T any](
	size *PageSize, path string, get func(offset, limit int) (*vbaws.Page[T], error), measure func(*T) (id string, bytes int),
) ([]T, error) {
	var came, total int
	for range Rereads {
		var all []T
		seen := make(map[string]bool)
		offset, lost, moved, held := 0, 0, false, 0
		for news := true; news; {
			var page *vbaws.Page[T]
			err := size.Ask(PageLimit, func(limit int) (err error) {
				page, err = get(offset, limit)
				return err
			})
			if err != nil {
				return nil, err
			}
			// What was removed from the pages before has moved others there.
			moved = moved || offset > 0 && page.TotalCount != total
			total, offset, lost = page.TotalCount, offset+page.Rows, lost+page.Rows-len(page.Items)
			news = false
			for i := range page.Items {
				if id, bytes := measure(&page.Items[i]); !seen[id] {
					seen[id], news = true, true
					all = append(all, page.Items[i])
					held += bytes
				}
			}
			if held > maxBytes {
				return nil, decodeError(path, "the list takes more than %d MiB", maxBytes>>20)
			}
		}
		if came = len(all) + lost; came >= total && !moved {
			return all, nil
		}
	}
	return nil, decodeError(path, "received %d of %d items (the list changed while it was read)", came, total)
}

func decodeError(path, format string, args ...any) error {
	return &vbaws.Error{Kind: vbaws.KindDecode, Op: "GET " + path, Err: fmt.Errorf(format, args...)}
}
