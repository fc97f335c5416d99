package killtest

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"vbaws_exporter/vbaws/vbawstest"
)

func TestInitialSync(t *testing.T) {
	t.Parallel()
	t.Run("late commit", testInitialSyncLateCommit)
	t.Run("old row raised", testInitialSyncOldRowRaised)
}

// testInitialSyncLateCommit: a session that ended before the initial sync,
// and is committed late, is counted wherever in the reading it appears.
func testInitialSyncLateCommit(t *testing.T) {
	t.Parallel()
	for page := range 8 {
		t.Run(strconv.Itoa(page), func(t *testing.T) {
			t.Parallel()
			f, server := newPlainFleet(t, 9)
			at := f.a.Now()
			s := f.a.Put(vbawstest.Session{
				Type: "Policy", ExtendedType: "PolicyBackup", Name: "finance", PolicyID: f.policy[3].ID,
				Status: "Failed", Start: at.Add(-20 * time.Minute), Stop: at.Add(-10 * time.Minute),
			}, vbawstest.Hidden())
			f.mu.Lock()
			f.owners[s.ID] = "finance"
			f.start(at) // whose USN is higher
			f.mu.Unlock()
			pages := 0
			f.a.AfterPage(func(*http.Request) {
				if pages == page {
					f.a.Reveal()
				}
				pages++
			})
			p := start(t, f, server, setup{})
			defer p.close()
			f.advance(time.Second)
			p.poll()
			f.a.AfterPage(nil)
			p.settle(f)
			p.mustEqualTheTruth(f)
		})
	}
}

// testInitialSyncOldRowRaised: a session of before the window is not
// counted for being touched while the initial sync is made.
func testInitialSyncOldRowRaised(t *testing.T) {
	t.Parallel()
	for page := range 8 {
		t.Run(strconv.Itoa(page), func(t *testing.T) {
			t.Parallel()
			f, server := newPlainFleet(t, 10)
			pages := 0
			f.a.AfterPage(func(*http.Request) {
				if pages == page {
					f.a.Update(f.dispensable[0], func(s *vbawstest.Session) { s.Reason += "." })
				}
				pages++
			})
			p := start(t, f, server, setup{})
			defer p.close()
			p.poll()
			f.a.AfterPage(nil)
			p.settle(f)
			p.mustEqualTheTruth(f)
		})
	}
}
