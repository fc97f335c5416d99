package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vbaws_exporter/internal/apptest"
	"vbaws_exporter/vbaws/vbawstest"
)

// prometheus is the Accept header of Prometheus 3.
const prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"

// process is a running exporter, its state on disk.
type process struct {
	*apptest.Process
	b *testing.B
}

// serve starts an exporter that polls every 5 s. settings are more lines of its
// configuration.
func serve(b *testing.B, urls []string, settings ...string) process {
	b.Helper()
	dir := b.TempDir()
	config := filepath.Join(dir, "config.yml")
	var text strings.Builder
	fmt.Fprintf(&text, "poll_interval: 5s\nbackfill: 91d\n%s\nappliances:\n", strings.Join(settings, "\n"))
	for i, u := range urls {
		fmt.Fprintf(&text, "- {name: appliance-%03d, url: %q, username: %s, password: %q}\n", i, u, vbawstest.DefaultUsername, vbawstest.DefaultPassword)
	}
	apptest.Write(b, config, text.String())
	return process{apptest.Launch(b, apptest.Access{}, "--config.file="+config, "--storage.path="+filepath.Join(dir, "data"), "--web.enable-pprof"), b}
}

// await waits until done reports true. The limit only ends benchmarks that fail.
func (p process) await(what string, done func() bool) {
	p.b.Helper()
	for end := time.Now().Add(10 * time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			p.b.Fatalf("no %s; log:\n%s", what, p.Log())
		}
	}
}

func (p process) ready() bool {
	code, _ := p.Get("/-/ready")
	return code == http.StatusOK
}

// scrape scrapes as Prometheus does, and returns the bytes of the answer.
func (p process) scrape() int64 {
	p.b.Helper()
	req, err := http.NewRequestWithContext(p.b.Context(), http.MethodGet, p.URL+"/metrics", nil)
	if err != nil {
		p.b.Fatal(err)
	}
	req.Header.Set("Accept", prometheus)
	req.Header.Set("Accept-Encoding", "gzip")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.b.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		p.b.Fatalf("scrape: %s, %v", resp.Status, err)
	}
	return n
}

// cpu returns the CPU time that the process has used so far, user and system.
func (p process) cpu() time.Duration {
	p.b.Helper()
	const allOfProcess = 2 // CPUCLOCK_SCHED of the kernel: see clock_getcpuclockid(3)
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^p.Pid()<<3|allOfProcess), &t); err != nil {
		p.b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// peak returns the most memory that was resident so far, in MiB.
func (p process) peak() float64 {
	p.b.Helper()
	return float64(procField(p.b, fmt.Sprintf("/proc/%d/status", p.Pid()), "VmHWM")) / 1024
}

// anonymous returns the memory that is resident now, in MiB, without pages of files. The
// kernel can reclaim those, and its version decides how many pages of the state file it keeps.
func (p process) anonymous() float64 {
	p.b.Helper()
	return float64(procField(p.b, fmt.Sprintf("/proc/%d/status", p.Pid()), "RssAnon")) / 1024
}

// heap returns the size of the heap after a garbage collection, in MiB.
func (p process) heap() float64 {
	_, text := p.Get("/debug/pprof/heap?gc=1&debug=1")
	return float64(number(p.b, text, "# HeapAlloc = ")) / (1 << 20)
}

// polls returns how many polls have ended: of all appliances, and of the one with the
// fewest.
func (p process) polls() (sum, least int) {
	p.b.Helper()
	_, text := p.Get("/api/v1/status")
	var status struct{ Appliances []struct{ Polls int } }
	if err := json.Unmarshal([]byte(text), &status); err != nil || len(status.Appliances) == 0 {
		p.b.Fatalf("%v: %s", err, text)
	}
	least = status.Appliances[0].Polls
	for _, a := range status.Appliances {
		sum, least = sum+a.Polls, min(least, a.Polls)
	}
	return sum, least
}

// wrote returns the bytes that this process has written so far, to files and sockets.
func wrote(b *testing.B) int64 { return procField(b, "/proc/self/io", "wchar") }

// procField returns the number after a name in a file of /proc.
func procField(b *testing.B, path, name string) int64 {
	b.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	return number(b, string(text), name+":")
}

// number returns the number after prefix, which must begin one line of text.
func number(b *testing.B, text, prefix string) int64 {
	b.Helper()
	lines := apptest.Lines(text, prefix)
	if len(lines) != 1 {
		b.Fatalf("%d lines begin with %s", len(lines), prefix)
	}
	n, err := strconv.ParseInt(strings.Fields(lines[0][len(prefix):])[0], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkMemory measures the resident memory of the exporter, from the initial sync
// with an appliance until 10 s after it. The peak without pages of files is the highest of
// samples every 50 ms.
func BenchmarkMemory(b *testing.B) {
	sim := start(b, spec{Appliances: 1, Policies: policies, Sessions: *sessions})
	for _, scraped := range []bool{false, true} {
		b.Run(map[bool]string{false: "unscraped", true: "scraped"}[scraped], func(b *testing.B) {
			for b.Loop() {
				p := serve(b, sim.urls)
				anonymous := 0.0
				sample := func() { anonymous = max(anonymous, p.anonymous()) }
				p.await("initial sync", func() bool { sample(); return p.ready() })
				for i := range 200 {
					if scraped && i%20 == 0 {
						p.scrape()
					}
					sample()
					time.Sleep(50 * time.Millisecond)
				}
				b.ReportMetric(anonymous, "anonymous-MiB")
				b.ReportMetric(p.peak(), "peak-MiB")
				p.Stop(syscall.SIGTERM)
			}
		})
	}
}

// appliances is how many appliances the large exporter has.
var appliances = flag.Int("appliances", 100, "appliances of the exporter in Appliances")

// BenchmarkAppliances runs one exporter of many appliances and one of 10 beside it, and
// compares the CPU time of a poll. Both poll every 5 s, and 4 sessions of each appliance
// change meanwhile.
func BenchmarkAppliances(b *testing.B) {
	const few = 10
	many := *appliances
	sim := start(b, spec{Appliances: many, Policies: 50, Sessions: 450, Hourly: true})
	large, small := serve(b, sim.urls), serve(b, sim.urls[:few])
	for _, p := range []process{large, small} {
		// The inventory is read between the first poll and the second.
		p.await("second polls", func() bool { _, least := p.polls(); return least >= 2 })
	}
	polls, _ := large.polls()
	basePolls, _ := small.polls()
	own, base := large.cpu(), small.cpu()
	for b.Loop() {
		sim.change(4)
		time.Sleep(5 * time.Second)
	}
	own, base = large.cpu()-own, small.cpu()-base
	end, _ := large.polls()
	baseEnd, _ := small.polls()
	perPoll, basePerPoll := float64(own)/float64(end-polls), float64(base)/float64(baseEnd-basePolls)
	b.ReportMetric(perPoll, "own-cpu-ns")
	b.ReportMetric(basePerPoll, "base-cpu-ns")
	b.ReportMetric(perPoll/basePerPoll, "ratio")
	large.scrape()
	b.ReportMetric(large.heap()/float64(many), "heap-MiB/appliance")
	b.ReportMetric(large.peak()/float64(many), "peak-MiB/appliance")
	large.Stop(syscall.SIGTERM)
	small.Stop(syscall.SIGTERM)
}

// BenchmarkHostile polls an appliance with a hostile answer and a good appliance. It measures
// the peak of resident memory, and the scrape.
func BenchmarkHostile(b *testing.B) {
	good := start(b, spec{Appliances: 1, Policies: 10, Sessions: 100})
	for _, form := range []struct{ name, begin, row string }{
		{"endless_page", `{"totalCount":1,"results":[`, `{},`},
		{"endless_text", `{"totalCount":1,"results":[{"id":"`, strings.Repeat("x", 1000)},
		{"endless_names", `{"totalCount":1000000,"results":[`,
			`{"id":"%08d-0000-4000-8000-000000000000","usn":%[1]d,"type":"Type%[1]d","extendedSessionType":"Extended%[1]d","name":"policy %[1]d","status":"Status%[1]d",` +
				`"executionStartTime":"2026-01-01T00:00:00Z","executionStopTime":"2026-01-01T00:01:00Z"},`},
	} {
		b.Run(form.name, func(b *testing.B) {
			bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				switch {
				case r.URL.Path == "/api/v1/token":
					io.WriteString(w, `{"access_token":"a","refresh_token":"r","token_type":"bearer","expires_in":3600}`)
				case r.URL.Path == "/api/v1/sessions":
					io.WriteString(w, form.begin)
					for i := 1; ; i++ {
						row := form.row
						if strings.Contains(row, "%") {
							row = fmt.Sprintf(row, i)
						}
						if _, err := io.WriteString(w, row); err != nil {
							return // the exporter closed the connection
						}
					}
				default:
					http.NotFound(w, r)
				}
			}))
			defer bad.Close()
			for b.Loop() {
				p := serve(b, []string{good.urls[0], bad.URL})
				p.await("poll of the good one", func() bool { return p.Value(`vbaws_up{appliance="appliance-000"}`) == 1 })
				p.await("refusal of the bad answer", func() bool {
					return p.Value(`vbaws_exporter_polls_total{appliance="appliance-001",result="decode"}`) >= 1
				})
				_, text := p.Get("/metrics")
				b.ReportMetric(p.peak(), "peak-MiB")
				b.ReportMetric(float64(len(text))/1024, "scrape-KiB")
				b.ReportMetric(float64(len(p.Log()))/1024, "log-KiB")
				p.Stop(syscall.SIGTERM)
			}
		})
	}
}
