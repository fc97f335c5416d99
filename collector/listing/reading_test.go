package listing

import (
	"testing"

	"pgregory.net/rapid"
)

// testReaderWithoutIDs: a reading that no longer keeps the ids counts the rows of a
// list in order as one that does; out of order, it may count fewer, never more.
func testReaderWithoutIDs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		with, without := newReading(1000), newReading(0)
		type row struct {
			id   [16]byte
			here int64
			ok   bool
		}
		// A list with ties, whose pages overlap and may repeat rows that moved down.
		var list []row
		here := int64(1000)
		for id := range uint64(rapid.IntRange(1, 60).Draw(t, "rows")) {
			if rapid.IntRange(0, 2).Draw(t, "tie") == 0 {
				here--
			}
			list = append(list, row{[16]byte{byte(id)}, here, rapid.IntRange(0, 9).Draw(t, "place") > 0})
		}
		sorted := true
		places := true
		for at := 0; at < len(list); {
			with.turn()
			without.turn()
			n := rapid.IntRange(2, 12).Draw(t, "page")
			for _, r := range list[at:min(at+n, len(list))] {
				with.add(r.id, r.here, r.ok)
				without.add(r.id, r.here, r.ok)
				places = places && r.ok
			}
			at += n - 1
			if rapid.IntRange(0, 3).Draw(t, "move") == 0 {
				at = max(0, at-rapid.IntRange(1, 40).Draw(t, "by"))
				if rapid.IntRange(0, 20).Draw(t, "end") == 0 {
					at = len(list)
				}
			}
			if rapid.IntRange(0, 30).Draw(t, "shuffle") == 0 && at < len(list) {
				i := rapid.IntRange(at, len(list)-1).Draw(t, "i")
				list[at], list[i] = list[i], list[at]
				sorted = false
			}
		}
		switch {
		case without.distinct > with.distinct:
			t.Fatalf("counts %d rows of %d", without.distinct, with.distinct)
		case sorted && places && without.distinct != with.distinct:
			t.Fatalf("counts %d rows of %d in order", without.distinct, with.distinct)
		}
	})
}
