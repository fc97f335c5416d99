package app

import (
	"bufio"
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vbaws_exporter/internal/apptest"
	"vbaws_exporter/vbaws/vbawstest"
)

// What one hostile appliance is allowed to cost, in addition to that of any appliance.
const (
	maxScrape  = 5 << 20 // bytes of /metrics, and of the status page and its JSON
	maxLogLine = 1 << 10 // bytes
	maxLog     = 1 << 20 // bytes, of all polls of one form
	// maxLookups bounds the requests for single sessions and instances of a poll: 50
	// look-ups, 10 logs, 20 policies of sessions, and 20 instances.
	maxLookups = 100
	// runaway is the memory, in bytes, at which a test kills an exporter.
	runaway = 1 << 30
)

// TestHostileAppliance runs, for each form of a broken or hostile appliance, an exporter
// that polls it and a good one. It limits the costs (memory, scrape, log and requests), and
// the good appliance must be counted right.
func TestHostileAppliance(t *testing.T) {
	t.Parallel()
	baseline := runHostile(t, hostile{}, 0, 0)
	t.Logf("without a hostile one: %v", baseline)
	for _, form := range hostileForms() {
		t.Run(form.name, func(t *testing.T) {
			t.Parallel()
			cost := runHostile(t, form, baseline.scrape, baseline.page)
			t.Logf("%v, against %v", cost, baseline)
		})
	}
}

// cost is the cost of a hostile appliance, in bytes and in requests to it.
type cost struct {
	peak, scrape, page, log, line int
	requests, lookups, polls      int
}

func (c cost) String() string {
	return fmt.Sprintf("memory %d MiB, scrape %d kB, page %d kB, log %d kB, longest line %d B, %d requests (%d look-ups) in %d polls",
		c.peak>>20, c.scrape/1000, c.page/1000, c.log/1000, c.line, c.requests, c.lookups, c.polls)
}

// runHostile runs an exporter until it has polled the hostile appliance form.polls times.
// scrape and page are the sizes without a hostile appliance; 0 if they are not known.
func runHostile(t *testing.T, form hostile, scrape, page int) cost {
	good := vbawstest.NewHTTPServer(vbawstest.New(vbawstest.Config{}))
	defer good.Close()
	finish := func(status string) {
		now := good.Now()
		good.Put(vbawstest.Session{Type: "Policy", ExtendedType: "PolicyBackup", Name: "web", Status: status, Start: now.Add(-time.Minute), Stop: now})
	}
	finish("Succeeded")
	finish("Failed")
	finish("Failed")
	bad := &hostileServer{form: form}
	server := httptest.NewServer(bad)
	defer server.Close()

	interval := "1d" // one poll, however long the test takes
	if form.polls > 1 {
		interval = "5s"
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	apptest.Write(t, config, fmt.Sprintf(`
poll_interval: %s
%s
appliances:
  - {name: good, url: %q, username: %s, password: %q}
  - {name: bad, url: %q, username: u, password: "s3cr3t and more"}
`, interval, form.settings, good.URL, vbawstest.DefaultUsername, vbawstest.DefaultPassword, server.URL))
	p := apptest.Launch(t, apptest.Access{}, "--config.file="+config, "--storage.path="+filepath.Join(dir, "data"))
	var watcher sync.WaitGroup
	defer watcher.Wait()
	stopped := make(chan bool)
	defer close(stopped)
	watcher.Go(func() {
		for {
			select {
			case <-stopped:
				return
			case <-time.After(50 * time.Millisecond):
			}
			if n := peak(p.Pid()); n > runaway {
				t.Errorf("it was killed with %d MiB in use", n>>20)
				p.Kill()
				return
			}
		}
	})

	var c cost
	var before int64
	polled := func() int { return int(total(p.Series(`vbaws_exporter_polls_total{appliance="bad"`))) }
	// The counts are published after the poll is.
	counts := func(n float64) func() bool {
		return func() bool { return total(p.Series(`vbaws_sessions_total{appliance="good"`)) >= n }
	}
	p.Await("the first poll", func() bool { return polled() >= 1 })
	p.Await("the count of the good one", counts(3))
	if form.polls > 1 {
		bad.later.Store(true)
		finish("Failed")
		p.Await("more polls", func() bool { return polled() >= form.polls })
		p.Await("the next count of the good one", counts(4))
	}
	// After a poll is counted, the exporter logs its events and reads the inventory.
	quiet := 0
	p.Await("the end of the poll", func() bool {
		quiet++
		if asked := bad.requests.Load(); asked != before || bad.answering.Load() > 0 {
			before, quiet = asked, 0
		}
		return quiet > 20
	})
	_, metrics := p.Get("/metrics")
	_, html := p.Get("/")
	_, json := p.Get("/api/v1/status")
	c.scrape, c.page = len(metrics), max(len(html), len(json))
	c.requests, c.lookups, c.polls = int(bad.requests.Load()), int(bad.lookups.Load()), polled()
	c.peak = peak(p.Pid())
	p.Stop(syscall.SIGTERM)
	log := p.Log()
	c.log = len(log)
	for line := range strings.Lines(log) {
		if len(line) > c.line {
			c.line = len(line)
		}
		if len(line) >= maxLogLine {
			t.Errorf("a log line has %d bytes: %.200q", len(line), line)
			break
		}
	}

	want := map[string]float64{"Succeeded": 1, "Failed": 2}
	if form.polls > 1 {
		want["Failed"]++
	}
	for status, n := range want {
		if got := total(apptest.Lines(metrics, `vbaws_sessions_total{appliance="good",extended_type="PolicyBackup",policy="web",status="`+status+`"`)); got != n {
			t.Errorf("the good appliance has %v sessions of status %s, not %v:\n%s", got, status, n, strings.Join(apptest.Lines(metrics, `vbaws_sessions_total{appliance="good"`), "\n"))
		}
	}
	if up := apptest.Lines(metrics, `vbaws_up{appliance="good"}`); !slices.Equal(up, []string{`vbaws_up{appliance="good"} 1`}) {
		t.Errorf("the good appliance: %q", up)
	}
	if c.peak > maxPeak {
		t.Errorf("%d MiB of memory were in use", c.peak>>20)
	}
	if scrape > 0 && c.scrape > scrape+cmp.Or(form.scrape, maxScrape) {
		t.Errorf("the scrape has %d bytes, and %d without a hostile appliance", c.scrape, scrape)
	}
	if page > 0 && c.page > page+maxScrape {
		t.Errorf("the status page or its JSON has %d bytes, and %d without a hostile appliance", c.page, page)
	}
	if c.log > maxLog {
		t.Errorf("the log has %d bytes", c.log)
	}
	if c.lookups > maxLookups*c.polls {
		t.Errorf("%d look-ups in %d polls", c.lookups, c.polls)
	}
	if most := form.pages + 50*c.polls; c.requests-c.lookups > most {
		t.Errorf("%d requests without look-ups in %d polls, more than %d", c.requests-c.lookups, c.polls, most)
	}
	if leak := "s3cr3t"; strings.Contains(log+metrics+html+json, leak) {
		t.Error("the password is shown")
	}
	return c
}

// total is the sum of the values of samples.
func total(samples []string) float64 {
	sum := 0.0
	for _, s := range samples {
		v, err := strconv.ParseFloat(s[strings.LastIndex(s, " ")+1:], 64)
		if err != nil {
			panic(err)
		}
		sum += v
	}
	return sum
}

// peak returns the most memory that a process had in use, in bytes; 0 if it is not known.
func peak(pid int) int {
	if runtime.GOOS != "linux" {
		return 0
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for _, line := range apptest.Lines(string(status), "VmHWM:") {
		n, err := strconv.Atoi(strings.Fields(line)[1])
		if err == nil {
			return n << 10
		}
	}
	return 0
}

// hostile is a form of a broken or hostile appliance. The zero value has no sessions.
type hostile struct {
	name string
	// polls is how many polls are waited for; 0 is 1.
	polls int
	// pages is how many requests for pages of long lists are allowed, in all polls.
	pages int
	// sessions, policies, repositories and instances are how many the appliance lists. If
	// vanish is set, later lists have one at most.
	sessions, policies, repositories, instances int

	vanish bool
	// session returns members of the i-th session that replace the default ones.
	session func(i int) map[string]any
	// names returns the names of policies, repositories and instances; nil: short ones.
	names func(i int) string
	// settings are more lines of the configuration, and scrape is the limit of the scrape
	// with them; 0 is maxScrape.
	settings string
	scrape   int
	// answers are handlers by the end of the path. They replace the default answers.
	answers map[string]http.HandlerFunc
}

// hostileServer is a hostile appliance. It accepts any API version.
type hostileServer struct {
	form              hostile
	later             atomic.Bool
	requests, lookups atomic.Int64
	answering         atomic.Int64 // requests that are being answered
}

func (s *hostileServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	s.answering.Add(1)
	defer s.answering.Add(-1)
	path := r.URL.Path
	if q := r.URL.Query(); strings.HasPrefix(path, "/api/v1/sessions/") || q.Has("PolicyId") || q.Has("VirtualMachineId") {
		s.lookups.Add(1)
	}
	for end, answer := range s.form.answers {
		if strings.HasSuffix(path, end) {
			answer(w, r)
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	switch path {
	case "/api/v1/token":
		io.WriteString(w, `{"access_token":"a","refresh_token":"r","token_type":"bearer","expires_in":3600}`)
	case "/api/v1/sessions":
		s.list(w, r, s.form.sessions, s.session)
	case "/api/v1/virtualMachines/policies":
		s.list(w, r, s.form.policies, func(i int) map[string]any {
			return map[string]any{"id": id(1, i), "name": s.name("policy", i), "isEnabled": true, "priority": i}
		})
	case "/api/v1/repositories":
		s.list(w, r, s.form.repositories, func(i int) map[string]any {
			return map[string]any{"id": id(3, i), "name": s.name("repository", i), "amazonStorageFolder": s.name("folder", i)}
		})
	case "/api/v1/virtualMachines":
		s.list(w, r, s.form.instances, func(i int) map[string]any {
			return map[string]any{"id": id(4, i), "name": s.name("vm", i), "awsResourceId": s.name("i", i), "policiesCount": 1,
				"region": region(s.name("region", i))}
		})
	case "/api/v1/virtualMachines/restorePoints":
		io.WriteString(w, `{"totalCount":0,"results":[]}`)
	default:
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"errorCode":"NotFound","title":"Not Found"}`)
	}
}

func (s *hostileServer) name(of string, i int) string {
	if s.form.names != nil {
		return s.form.names(i)
	}
	return fmt.Sprint(of, " ", i)
}

func id(kind, i int) string { return fmt.Sprintf("%08d-0000-4000-8000-%012d", kind, i) }

// session returns the i-th session by USN.
func (s *hostileServer) session(i int) map[string]any {
	at := time.Now().UTC().Truncate(time.Second)
	row := map[string]any{
		"id": id(2, i), "usn": i + 1, "type": "Policy", "extendedSessionType": "PolicyBackup", "name": "web", "status": "Succeeded",
		"executionStartTime": at.Add(-2 * time.Minute), "executionStopTime": at.Add(-time.Minute), "executionDuration": 60000,
	}
	if s.form.session != nil {
		maps.Copy(row, s.form.session(i))
	}
	return row
}

// list answers with the page of n rows that the query selects.
func (s *hostileServer) list(w http.ResponseWriter, r *http.Request, n int, row func(int) map[string]any) {
	if s.form.vanish && s.later.Load() {
		n = min(n, 1) // with the lowest USN, so that the next poll is a resync
	}
	q := r.URL.Query()
	offset, _ := strconv.Atoi(q.Get("Offset"))
	limit, err := strconv.Atoi(q.Get("Limit"))
	if err != nil {
		limit = 100
	}
	var rows []string
	for at := offset; at < n && len(rows) < limit; at++ {
		i := at
		if strings.EqualFold(q.Get("Sort"), "usnDesc") {
			i = n - 1 - at
		}
		one := row(i)
		if status := q["Status"]; len(status) > 0 && !slices.Contains(status, fmt.Sprint(one["status"])) {
			continue
		}
		rows = append(rows, object(one))
	}
	fmt.Fprintf(w, `{"totalCount":%d,"results":[%s]}`, n, strings.Join(rows, ","))
}

// region is a JSON object with that name.
type region string

func (r region) String() string { return `{"name":"` + string(r) + `"}` }

// null is the JSON value.
var null fmt.Stringer = jsonNull{}

type jsonNull struct{}

func (jsonNull) String() string { return "null" }

// object returns a JSON object with these members.
func object(members map[string]any) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value := fmt.Sprint(members[name])
		switch v := members[name].(type) {
		case string:
			value = `"` + v + `"`
		case time.Time:
			value = `"` + v.Format(time.RFC3339) + `"`
		}
		fmt.Fprintf(&b, `,%q:%s`, name, value)
	}
	return "{" + strings.TrimPrefix(b.String(), ",") + "}"
}

// filled answers with begin, about n bytes of the same element, and end.
func filled(begin, element, end string, n int) http.HandlerFunc {
	block := []byte(strings.Repeat(element, 1<<16/len(element)))
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, begin)
		for left := n; left > 0; left -= len(block) {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
		io.WriteString(w, strings.TrimSuffix(element, ",")+end)
	}
}

// numbered is filled with elements that differ: %d in element is a number.
func numbered(begin, element, end string, n int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		b := bufio.NewWriterSize(w, 1<<16)
		b.WriteString(begin)
		for i, left := 0, n; left > 0; i++ {
			one := strings.ReplaceAll(element, "%d", strconv.Itoa(i))
			left -= len(one)
			if _, err := b.WriteString(one); err != nil {
				return
			}
		}
		b.WriteString(strings.TrimSuffix(strings.ReplaceAll(element, "%d", "last"), ",") + end)
		b.Flush()
	}
}

// endless answers each request with a page of 1000 new items.
func endless() http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		b := bufio.NewWriter(w)
		b.WriteString(`{"totalCount":5,"results":[`)
		for i := range 1000 {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(b, `{"id":"%d","name":"vm","policiesCount":1}`, n.Add(1))
		}
		b.WriteString("]}")
		b.Flush()
	}
}

// raw answers with bytes that need not be HTTP.
func raw(answer func(w io.Writer)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		var b bytes.Buffer
		answer(&b)
		conn.Write(b.Bytes()) // it fails if the client closes the connection early
	}
}

// hostility scales the hostile appliances. 25 is enough to exceed all limits.
var hostility = flag.Int("hostile", 25, "percent of the size of the answers in TestHostileAppliance")

func scaled(n int) int { return n * *hostility / 100 }

func hostileForms() []hostile {
	const (
		mb       = 1_000_000
		listed   = `{"totalCount":1,"results":[`
		sessions = "/api/v1/sessions"
		log      = "/log"
		logged   = `{"sessionId":"x","log":[`
		watched  = "instances: true"
	)
	list := func(path, element string) map[string]http.HandlerFunc {
		return map[string]http.HandlerFunc{path: filled(listed, element, "]}", scaled(30*mb))}
	}
	page := func(path string) map[string]http.HandlerFunc {
		return map[string]http.HandlerFunc{path: numbered(`{"results":[`, `{"id":"%d","name":"%d"},`, "]}", scaled(30*mb))}
	}
	long := strings.Repeat("x", mb)
	failed := func(int) map[string]any { return map[string]any{"status": "Failed"} }
	big := strings.Repeat("h", 5*mb)
	secret := url.QueryEscape("s3cr3t and more")
	return []hostile{
		{name: "sessions of {}", answers: list(sessions, "{},")},
		{name: "sessions of 0", answers: list(sessions, "0,")},
		{name: "policies of {}", answers: list("/policies", "{},")},
		{name: "policies of 0", answers: list("/policies", "0,")},
		{name: "30 MB of policies", answers: page("/policies")},
		{name: "30 MB of repositories", answers: page("/repositories")},
		{name: "40,000 repositories", repositories: scaled(40_000), pages: 200},
		{name: "an endless list of policies", pages: 5000, answers: map[string]http.HandlerFunc{"/policies": endless()}},
		{name: "an endless list of repositories", pages: 5000, answers: map[string]http.HandlerFunc{"/repositories": endless()}},
		{name: "instances of {}", settings: watched, answers: list("/virtualMachines", "{},")},
		{name: "30 MB of instances", settings: watched, answers: page("/virtualMachines")},
		// Three series of about 130 bytes each for each of 5,000.
		{name: "40,000 instances", settings: watched, instances: scaled(40_000), pages: 500},
		{name: "an endless list of instances", settings: watched, pages: 5000, answers: map[string]http.HandlerFunc{"/virtualMachines": endless()}},
		{name: "30 MB of licensed workloads", settings: watched, instances: 5, answers: page("/licensedWorkloads")},
		{name: "30 MB of restore points", settings: watched, instances: 5, answers: map[string]http.HandlerFunc{
			"/restorePoints": filled(listed, `{"pointInTime":"2026-01-01T00:00:00Z"},`, "]}", scaled(30*mb)),
		}},
		{name: "instances with names of 1 MB", settings: watched, instances: 5, names: func(i int) string { return long + strconv.Itoa(i) }},
		{name: "login of 30 MB", answers: map[string]http.HandlerFunc{"/token": filled(`{"access_token":"`, "x", `"}`, scaled(30*mb))}},
		{name: "40,000 statuses", sessions: scaled(40_000), pages: 400, session: func(i int) map[string]any {
			return map[string]any{"status": fmt.Sprint("Status", i)}
		}},
		{name: "40,000 types and extended types", sessions: scaled(40_000), pages: 400, session: func(i int) map[string]any {
			return map[string]any{"type": fmt.Sprint("Type", i), "extendedSessionType": fmt.Sprint("Extended", i)}
		}},
		// Every other name is that of a policy that is not listed.
		{name: "40,000 policies", sessions: scaled(40_000), policies: scaled(40_000), pages: 400, settings: "max_policies: 1000", session: func(i int) map[string]any {
			return map[string]any{"name": fmt.Sprint("policy ", 2*i)}
		}},
		// The limit is 1000 counters and 40 for each policy, each about 3 kB with its histogram.
		{name: "20,000 series", sessions: scaled(20_000), policies: 100, pages: 400, settings: "max_policies: 100", scrape: 5000 * 3000, session: func(i int) map[string]any {
			return map[string]any{
				"name": fmt.Sprint("policy ", i%100), "type": fmt.Sprint("Type", i/100%20), "extendedSessionType": fmt.Sprint("Extended", i/2000),
			}
		}},
		{name: "names of 1 MB", sessions: 5, policies: 5, repositories: 5, names: func(i int) string { return long + strconv.Itoa(i) }, session: func(i int) map[string]any {
			return map[string]any{"name": long + strconv.Itoa(i), "status": long + "s", "type": long + "t", "extendedSessionType": long + "e"}
		}},
		{name: "20,000 rows that can't be understood", sessions: scaled(20_000), pages: 200, session: func(i int) map[string]any {
			return map[string]any{"executionStartTime": "yesterday " + strings.Repeat("x", 2000), "status": i}
		}},
		{name: "a session log of 64 MB of {}", sessions: 2, session: failed, answers: map[string]http.HandlerFunc{log: filled(logged, "{},", "]}", scaled(63*mb))}},
		{name: "a session log of 64 MB of errors", sessions: 2, session: failed, answers: map[string]http.HandlerFunc{
			log: filled(logged, `{"status":"Error","message":"`+strings.Repeat("e", 4000)+`"},`, "]}", scaled(63*mb)),
		}},
		{name: "a bad Location", answers: map[string]http.HandlerFunc{sessions: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://%zz"+secret+big)
			w.WriteHeader(http.StatusFound)
		}}},
		{name: "a bad header line", answers: map[string]http.HandlerFunc{sessions: raw(func(w io.Writer) {
			fmt.Fprintf(w, "HTTP/1.1 200 OK\r\n%s s3cr3t and more\r\n\r\n", big)
		})}},
		{name: "a bad Transfer-Encoding", answers: map[string]http.HandlerFunc{sessions: raw(func(w io.Writer) {
			fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: %s s3cr3t and more\r\n\r\n", big)
		})}},
		{name: "an error of 5 MB", answers: map[string]http.HandlerFunc{sessions: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"errorCode":"E","title":"s3cr3t and more %s","details":"%[1]s"}`, big)
		}}},
		{name: "1,500 sessions that vanish", polls: 2, sessions: scaled(1500), pages: 100, vanish: true, session: func(int) map[string]any {
			return map[string]any{"status": "Running", "executionStopTime": null}
		}},
	}
}
