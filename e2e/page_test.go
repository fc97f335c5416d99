package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"vbaws_exporter/internal/apptest"
	"vbaws_exporter/vbaws/vbawstest"
)

// hostile are names of policies that a page could take for markup or a template, or that
// could break its layout.
var hostile = map[string]string{
	"script":        `<script>window.pwned = 1</script>`,
	"attribute":     `" onmouseover="window.pwned = 1" x="`,
	"image":         `'><img src=x onerror="window.pwned = 1">`,
	"template":      `{{.Version}} ${1+1} &lt;b&gt;`,
	"right to left": "\u202enight\u202c \u05d2\u05d9\u05d1\u05d5\u05d9 \u0646\u0633\u062e",
	"long":          strings.Repeat("very-long-name-without-a-break", 130), // 4 kB
}

// axe returns the script of axe-core, which npm installs.
func axe(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("npm", "install", "--prefix", dir, "--no-audit", "--no-fund", "--no-package-lock", "axe-core@4.14.1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm install axe-core: %v\n%s", err, out)
	}
	script, err := os.ReadFile(filepath.Join(dir, "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	return string(script)
}

// newBrowser starts a headless Chromium that makes no requests of its own.
func newBrowser(t *testing.T) context.Context {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.WSURLReadTimeout(apptest.Patience),
	)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	return ctx
}

// TestPage opens the status page in a browser: at the width of a desktop and of a
// phone, light and dark, with hostile names of policies.
func TestPage(t *testing.T) {
	good := newSite(t, "good", vbawstest.Config{})
	bad := newSite(t, "bad", vbawstest.Config{Users: []vbawstest.User{{Name: "someone", Password: "else"}}})
	for _, name := range hostile {
		p := good.PutPolicy(vbawstest.Policy{Name: name, Workload: vbawstest.EC2, Enabled: true, Schedule: &vbawstest.ScheduleSettings{
			DailyEnabled: true,
			Daily:        &vbawstest.DailySchedule{Kind: "WeekDays", RunsPerHour: 1, Snapshot: vbawstest.Hours(vbawstest.Retention{Count: 7}, 1, 2, 5)},
		}})
		now := good.Now()
		for i := range 20 { // the retries of the first have ended: the policy is failing
			end := now.Add(time.Duration(i-20) * time.Minute)
			id := good.Put(vbawstest.Session{
				Type: "Policy", ExtendedType: "PolicyBackup", Name: name, PolicyID: p.ID,
				Start: end.Add(-time.Second), Stop: end, Status: vbawstest.StatusFailed,
			}).ID
			good.SetLog(id, vbawstest.LogItem{Status: "Error", Message: "because of " + name})
		}
		good.session(p, "PolicySnapshot")
	}
	config := exporterConfig(t, "new_series_hold: 0\n", good, bad)
	exporter := apptest.Start(t, "--config.file="+config, "--storage.path="+filepath.Join(t.TempDir(), "data"))
	apptest.Write(t, config, "appliances: [{name: "+strings.Repeat("long", 200)+", other: x}]\n")
	exporter.Signal(syscall.SIGHUP)
	apptest.Await(t, "the errors of all failed sessions", func() (bool, any) {
		_, body := exporter.Get("/api/v1/status")
		var status struct {
			Problems []struct {
				State  string
				Errors []string
			}
		}
		if err := json.Unmarshal([]byte(body), &status); err != nil {
			t.Fatal(err)
		}
		for _, p := range status.Problems {
			if p.Errors == nil {
				return false, status
			}
		}
		return len(status.Problems) == 2+len(hostile), status
	})
	script := axe(t)
	browser := newBrowser(t)

	shots := os.Getenv("VBAWS_EXPORTER_SCREENSHOTS") // a folder to keep them in
	for _, width := range []int64{1920, 1280, 400} {
		for _, scheme := range []string{"light", "dark"} {
			t.Run(fmt.Sprintf("%s, %d pixels", scheme, width), func(t *testing.T) {
				err := chromedp.Do(browser,
					chromedp.EmulateViewport(width, 900),
					chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
						_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
							Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
						})
						return err
					}),
					chromedp.Navigate(exporter.URL+"/?refresh=off"),
					chromedp.Reload(),
				)
				if err != nil {
					t.Fatal(err)
				}
				// Unfold everything, so that all of it is checked.
				js[any](t, browser, `document.querySelectorAll("details").forEach(d => d.open = true); null`)
				if shot, err := chromedp.Run(browser, chromedp.FullScreenshot(100)); err != nil {
					t.Fatal(err)
				} else if shots != "" {
					apptest.Write(t, filepath.Join(shots, fmt.Sprintf("page-%s-%d.png", scheme, width)), string(shot))
				}
				text := js[string](t, browser, `document.body.textContent`)
				for kind, name := range hostile {
					if !strings.Contains(text, name) {
						t.Errorf("the page lacks the %s name, or changes it", kind)
					}
				}
				if js[bool](t, browser, `window.pwned === 1 || document.querySelector("script, img[src=x]") !== null`) {
					t.Error("the page has markup from a name")
				}
				if n := js[int](t, browser, `document.querySelectorAll("section.problems tbody tr").length`); n != 1+len(hostile) {
					t.Errorf("%d problems", n)
				}
				if n := js[int](t, browser, `document.querySelectorAll("section.problems ol.strip li[title]").length`); n != 20*len(hostile) {
					t.Errorf("%d marks of sessions", n)
				}
				if !strings.Contains(text, "The configuration file was rejected") {
					t.Error("the page does not show the rejected configuration")
				}
				// Only names and messages wrap.
				if broken := js[[]string](t, browser, `[...document.querySelectorAll("td.brief time, ol.strip, thead th")]
					.filter(e => e.getClientRects().length > 1 || e.offsetHeight > 40).map(e => e.textContent)`); len(broken) > 0 {
					t.Errorf("wrapped: %q", broken)
				}
				if wide := js[int](t, browser, `document.documentElement.scrollWidth`); int64(wide) > width {
					t.Errorf("the page is %d pixels wide", wide)
				}
				js[any](t, browser, script+`; null`)
				violations := js[[]any](t, browser,
					`axe.run().then(r => r.violations.map(v => [v.id, v.help, v.nodes.map(n => n.html.slice(0, 200))]))`)
				for _, v := range violations {
					t.Errorf("axe-core: %v", v)
				}
			})
		}
	}

	t.Run("it refreshes itself", func(t *testing.T) {
		if err := chromedp.Do(browser, chromedp.Navigate(exporter.URL+"/")); err != nil {
			t.Fatal(err)
		}
		made := `document.querySelector("footer").textContent`
		first := js[string](t, browser, made)
		apptest.Await(t, "a newer page", func() (bool, any) {
			then, err := chromedp.Run(browser, chromedp.Evaluate[string](made))
			return err == nil && then != first, then // between two pages there is an error
		})
	})
}

// js runs a script in the page and returns its value. It waits for a promise.
func js[T any](t *testing.T, browser context.Context, script string) T {
	t.Helper()
	v, err := chromedp.Run(browser, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	return v
}
