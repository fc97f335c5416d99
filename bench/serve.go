package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"vbaws_exporter/bench/world"
	"vbaws_exporter/vbaws/vbawstest"
)

// daemon is a running `vbaws_exporter serve`.
type daemon struct {
	cmd  *exec.Cmd
	url  string
	log  string // path
	done chan error
}

// build builds the exporter as a user would, once.
func (b *bench) build(ctx context.Context) (string, error) {
	path := filepath.Join(b.work, "vbaws_exporter")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, ".")
	cmd.Dir = b.source
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the exporter: %w: %s", err, out)
	}
	return path, nil
}

// serve starts the exporter with a configuration, its state in a folder of that
// name. It must be stopped.
func (b *bench) serve(ctx context.Context, name, config string) (*daemon, error) {
	binary, err := b.build(ctx)
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.work, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	d := &daemon{url: "http://" + address, log: filepath.Join(dir, "log"), done: make(chan error, 1)}
	log, err := os.Create(d.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	d.cmd = exec.Command(binary, "serve", "--config.file="+file, "--storage.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--web.enable-pprof")
	d.cmd.Stderr = log
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the exporter: %w", err)
	}
	go func() { d.done <- d.cmd.Wait() }()
	return d, nil
}

// stop ends the exporter as a supervisor would.
func (d *daemon) stop() error {
	d.cmd.Process.Signal(syscall.SIGTERM) // fails where it has ended, which Wait tells
	if err := <-d.done; err != nil {
		log, _ := os.ReadFile(d.log)
		return fmt.Errorf("the exporter ended: %w: %s", err, lastLines(string(log), 5))
	}
	return nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// get reads the answer to a request and returns its length.
func (d *daemon) get(ctx context.Context, path, accept string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+path, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("Accept-Encoding", "gzip") // so the transport leaves it as it comes
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	return n, err
}

// save writes the answer to a request to a file.
func (d *daemon) save(ctx context.Context, path, dir, name string) (err error) {
	f, err := create(dir, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	_, err = io.Copy(f, resp.Body)
	return err
}

// profileCPU begins a profile of the exporter's CPU for some time, where dir isn't
// empty, and returns what waits for its end.
func (d *daemon) profileCPU(ctx context.Context, dir, name string, length time.Duration) (wait func() error, err error) {
	if dir == "" {
		return func() error { return nil }, nil
	}
	done := make(chan error, 1)
	go func() {
		done <- d.save(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(length.Seconds())), dir, name+".cpu.pprof")
	}()
	return func() error { return <-done }, nil
}

// listening waits until the exporter answers.
func (d *daemon) listening(ctx context.Context) error {
	return d.await(ctx, "/-/healthy", func() error { return nil })
}

// ready waits until every appliance has had its first pass, and calls tick
// meanwhile, every tenth of a second.
func (d *daemon) ready(ctx context.Context, tick func() error) error {
	return d.await(ctx, "/-/ready", tick)
}

func (d *daemon) await(ctx context.Context, path string, tick func() error) error {
	for {
		if _, err := d.get(ctx, path, ""); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-d.done:
			d.done <- err
			return fmt.Errorf("the exporter ended before %s was good", path)
		case <-time.After(100 * time.Millisecond):
		}
		if err := tick(); err != nil {
			return err
		}
	}
}

// accept is what Prometheus 3 asks for unless it is told otherwise.
const accept = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"

// resident is row 2: the most memory that the exporter takes while it meets an
// appliance with a long history, and once it has.
func resident(ctx context.Context, b *bench) (_ []result, err error) {
	n := b.scale(1_000_000, 50_000)
	w, err := world.Start(world.Spec{Policies: 1000, Now: time.Now().Truncate(time.Second)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	b.say("the simulated appliance makes %d sessions", n)
	if err := w.History(n); err != nil {
		return nil, err
	}
	alone, err := b.peak(ctx, w.URLs[0], "row2-alone", 0, time.Duration(b.scale(30, 5))*time.Second)
	if err != nil {
		return nil, err
	}
	results := []result{{
		Row: "2", What: fmt.Sprintf("peak of resident memory, first contact with %d sessions and after, no scrape", n),
		Value: mebibytes(alone.bytes), Limit: 64, Known: 160, Unit: "MiB", Detail: alone.String(),
	}}
	scraped, err := b.peak(ctx, w.URLs[0], "row2-scraped",
		time.Duration(b.scale(15, 2))*time.Second, time.Duration(b.scale(65, 10))*time.Second)
	if err != nil {
		return results, err
	}
	return append(results, result{
		Row: "2", What: fmt.Sprintf("the same, scraped every %d s", b.scale(15, 2)),
		Value: mebibytes(scraped.bytes), Limit: 192, Unit: "MiB", Detail: scraped.String(),
	}), nil
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }

// peak is the most memory that a process took, and where it came from.
type peak struct {
	bytes int64
	// own and files are what of it was the process's own, and what are pages of
	// files that it has mapped, when it grew last.
	own, files int64
	contact    time.Duration // until the first pass had ended
	scrapes    int
	scraped    int64 // bytes of the last scrape
}

func (p peak) String() string {
	s := fmt.Sprintf("%.0f MiB of its own, %.0f of files; first contact took %s", mebibytes(p.own), mebibytes(p.files), p.contact.Round(time.Second))
	if p.scrapes > 0 {
		s += fmt.Sprintf(", %d scrapes of %.1f MiB with gzip", p.scrapes, mebibytes(p.scraped))
	}
	return s
}

// peak lets the exporter meet an appliance, and watches it until some time after
// that. Where every isn't 0, it is scraped as often.
func (b *bench) peak(ctx context.Context, address, name string, every, after time.Duration) (p peak, err error) {
	d, err := b.serve(ctx, name, fmt.Sprintf(`
poll_interval: 5s
backfill: 91d
appliances:
- {name: bench, url: %q, username: %s, password: %q}
`, address, vbawstest.DefaultUsername, vbawstest.DefaultPassword))
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	began := time.Now()
	next := began.Add(every)
	profiled := int64(0) // the peak at which the heap was profiled last
	if err := d.listening(ctx); err != nil {
		return p, err
	}
	profile, err := d.profileCPU(ctx, b.profiles.cpu, name, after)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, profile()) }()
	tick := func() (err error) {
		was := p.bytes
		if p.bytes, err = memory(d.cmd.Process.Pid, "VmHWM"); err != nil {
			return err
		}
		if p.bytes > was {
			own, err := memory(d.cmd.Process.Pid, "RssAnon")
			if err != nil {
				return err
			}
			files, err := memory(d.cmd.Process.Pid, "RssFile")
			if err != nil {
				return err
			}
			p.own, p.files = own, files
		}
		if b.profiles.mem != "" && p.bytes > profiled+profiled/10 {
			profiled = p.bytes
			if err := d.save(ctx, "/debug/pprof/heap", b.profiles.mem, name+".mem.pprof"); err != nil {
				return err
			}
		}
		if every > 0 && !time.Now().Before(next) {
			next = next.Add(every)
			p.scrapes++
			p.scraped, err = d.get(ctx, "/metrics", accept)
		}
		return err
	}
	err = d.ready(ctx, tick)
	p.contact = time.Since(began)
	b.say("row 2, %s: first contact took %s, peak %.1f MiB", name, p.contact.Round(time.Second), mebibytes(p.bytes))
	for end := time.Now().Add(after); err == nil && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return p, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
		err = tick()
	}
	return p, err
}
