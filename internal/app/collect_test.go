package app

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"vbaws_exporter/internal/apptest"
	"vbaws_exporter/internal/docstest"
	"vbaws_exporter/vbaws/vbawstest"
)

func TestCollect(t *testing.T) {
	t.Parallel()
	site := apptest.NewSite(t)
	storage := t.TempDir()
	collect := func(args ...string) (int, string, string) {
		return apptest.Once(t, append([]string{"collect", "--config.file=" + site.Config}, args...)...)
	}
	status, stateless, stderr := collect()
	counted := apptest.Lines(stateless, "vbaws_sessions_total{")
	if status != 0 || stderr != "" || len(counted) == 0 || len(apptest.Lines(stateless, "go_")) > 0 {
		t.Errorf("status %d\n%s\n%s", status, stateless, stderr)
	}
	if !slices.ContainsFunc(counted, func(s string) bool { return !strings.HasSuffix(s, " 0") }) {
		t.Errorf("counters don't cover the backfill window: %v", counted)
	}

	// With a state directory, counters continue. A new one shows 0 for one run.
	if status, _, stderr = collect("--storage.path="+storage, "--log.level=info"); status != 0 || !strings.Contains(stderr, "level=info") {
		t.Errorf("status %d\n%s", status, stderr)
	}
	now := time.Now()
	site.Start(vbawstest.Session{ID: vbawstest.ID(1), Type: "Policy", ExtendedType: "PolicyBackup", Name: "web", Start: now})
	site.Finish(vbawstest.ID(1), "Odd", now)
	for _, want := range []string{" 0", " 1", " 1"} {
		_, out, stderr := collect("--storage.path="+storage, "--log.level=debug")
		odd := apptest.Lines(out, `vbaws_sessions_total{appliance="site",extended_type="PolicyBackup",policy="web",status="Odd"`)
		if len(odd) != 1 || !strings.HasSuffix(odd[0], want) {
			t.Errorf("got %v, want%s; log:\n%s", odd, want, stderr)
		}
	}

	site.Close()
	status, out, stderr := collect("--storage.path=" + storage)
	if status != 1 || len(apptest.Lines(out, "vbaws_sessions_total{")) == 0 || len(apptest.Lines(out, `vbaws_up{appliance="site"} 0`)) != 1 {
		t.Errorf("no answer: status %d\n%s\n%s", status, out, stderr)
	}
	if last := apptest.LastLine(stderr); !strings.HasPrefix(last, `vbaws_exporter: appliance "site": `) {
		t.Errorf("last line %s", last)
	}
}

// TestCollectByCron runs the recipe of docs/operations.md: the file has an appliance that
// can't be polled as down, and a run without metrics doesn't replace it.
func TestCollectByCron(t *testing.T) {
	t.Parallel()
	recipe := regexp.MustCompile(`(?m)^vbaws_exporter collect .+$`).FindString(docstest.Page(t, "operations.md"))
	if recipe == "" {
		t.Fatal("there is no recipe")
	}
	site := apptest.NewSite(t)
	folder := filepath.Dir(site.Config)
	script := `vbaws_exporter() { "$0" "$@"; }; ` + strings.Replace(recipe, "/var/lib/vbaws_collect", "state", 1)
	run := func() (text string, err error) {
		t.Helper()
		sh := exec.CommandContext(t.Context(), "sh", "-c", script, apptest.Binary(t))
		sh.Dir = folder
		out, err := sh.CombinedOutput()
		t.Logf("%s", out)
		written, readErr := os.ReadFile(filepath.Join(folder, "vbaws.prom"))
		if readErr != nil || len(apptest.Lines(string(written), "vbaws_sessions_total{")) == 0 {
			t.Fatalf("%v; there are no counters in\n%s", readErr, written)
		}
		return string(written), err
	}
	if text, err := run(); err != nil || len(apptest.Lines(text, `vbaws_up{appliance="site"} 1`)) != 1 {
		t.Errorf("%v\n%s", err, text)
	}
	site.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Status: 503, Count: -1})
	text, err := run()
	if err != nil || len(apptest.Lines(text, `vbaws_up{appliance="site"} 0`)) != 1 {
		t.Errorf("an appliance that fails: %v\n%s", err, text)
	}
	// A run that writes nothing keeps the file.
	apptest.Write(t, site.Config, "appliances: []\n")
	if after, err := run(); err == nil || after != text {
		t.Errorf("an empty configuration: %v\n%s", err, after)
	}
}
