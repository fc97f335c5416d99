package main

import (
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
	"vbaws_exporter/internal/paired"
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
	text.WriteString("poll_interval: 5s\nbackfill: 91d\n")
	for _, s := range settings {
		text.WriteString(s + "\n")
	}
	text.WriteString("appliances:\n")
	for i, u := range urls {
		fmt.Fprintf(&text, "- {name: appliance-%03d, url: %q, username: %s, password: %q}\n", i, u, vbawstest.DefaultUsername, vbawstest.DefaultPassword)
	}
	apptest.Write(b, config, text.String())
	return process{apptest.Launch(b, apptest.Access{}, "--config.file="+config, "--storage.path="+filepath.Join(dir, "data")), b}
}

// await waits until done reports true, at most some minutes.
func (p process) await(what string, done func() bool) {
	p.b.Helper()
	for end := time.Now().Add(5 * time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
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

// cpu returns the CPU time that it has used so far, user and system.
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

// wrote returns the bytes that this process has written so far, to files and sockets.
func wrote(b *testing.B) int64 { return procField(b, "/proc/self/io", "wchar") }

// procField reads the number after a name from a file of /proc.
func procField(b *testing.B, path, name string) int64 {
	b.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	lines := apptest.Lines(string(text), name+":")
	if len(lines) != 1 {
		b.Fatalf("%s has %d lines of %s", path, len(lines), name)
	}
	n, err := strconv.ParseInt(strings.Fields(lines[0])[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkMemory measures the resident memory of the exporter, from the initial sync
// with an appliance until 10 s after it.
func BenchmarkMemory(b *testing.B) {
	sim := start(b, spec{Appliances: 1, Policies: policies, Sessions: *sessions})
	for _, scraped := range []bool{false, true} {
		b.Run(map[bool]string{false: "unscraped", true: "scraped"}[scraped], func(b *testing.B) {
			var peaks []float64
			for b.Loop() {
				p := serve(b, sim.urls)
				p.await("initial sync", p.ready)
				for range 10 {
					if scraped {
						p.scrape()
					}
					time.Sleep(time.Second)
				}
				peaks = append(peaks, p.peak())
				p.Stop(syscall.SIGTERM)
			}
			b.ReportMetric(paired.Median(peaks), "peak-MiB")
		})
	}
}

// appliances is how many one exporter has.
var appliances = flag.Int("appliances", 100, "appliances of the exporter in Appliances")

// BenchmarkAppliances runs one exporter of many appliances and one of 10 beside it, and
// compares the CPU time that an appliance takes in a poll. Both poll every 5 s, and 4
// sessions of each appliance change meanwhile.
func BenchmarkAppliances(b *testing.B) {
	const few = 10
	many := *appliances
	sim := start(b, spec{Appliances: many, Policies: 50, Sessions: 450, Hourly: true})
	large, small := serve(b, sim.urls), serve(b, sim.urls[:few])
	large.await("initial sync of the large one", large.ready)
	small.await("initial sync of the small one", small.ready)
	// spent lets both poll all appliances once, and returns the CPU time an appliance.
	spent := func() (own, base time.Duration) {
		own, base = large.cpu(), small.cpu()
		sim.change(4)
		time.Sleep(5 * time.Second)
		return (large.cpu() - own) / time.Duration(many), (small.cpu() - base) / few
	}
	// The inventory, with the schedules, follows the initial sync, and takes longer.
	for own, _ := spent(); ; {
		next, _ := spent()
		if next > own*9/10 {
			break
		}
		own = next
	}
	var owns, bases time.Duration
	n := 0
	for b.Loop() {
		own, base := spent()
		owns, bases, n = owns+own, bases+base, n+1
	}
	b.ReportMetric(large.peak()/float64(many), "peak-MiB/appliance")
	b.ReportMetric(float64(owns)/float64(n), "own-cpu-ns")
	b.ReportMetric(float64(bases)/float64(n), "base-cpu-ns")
	b.ReportMetric(float64(owns)/float64(bases), "ratio") // of sums, since no round has exactly one poll of each
	large.Stop(syscall.SIGTERM)
	small.Stop(syscall.SIGTERM)
}

// BenchmarkHostile polls one appliance with a hostile answer beside a good one. It
// measures the resident memory after that, and the scrape.
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
							return // the exporter has had enough
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
