// Package docs compares the documentation with the code.
package docs

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"vbaws_exporter/collector"
	"vbaws_exporter/internal/config"
	"vbaws_exporter/internal/docstest"
	"vbaws_exporter/vbaws"
)

func TestDocsHaveEveryMetric(t *testing.T) {
	var want, got []string
	for _, m := range collector.Metrics() {
		want = append(want, fmt.Sprintf("%s %s %s", m.Name, m.Type, strings.Join(m.Labels, ", ")))
	}
	for _, r := range docstest.Rows(t, "metrics.md", "metric", "type", "labels") {
		got = append(got, fmt.Sprintf("%s %s %s", docstest.Code(t, r[0]), r[1], r[2]))
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// promtool checks rules. It skips the test if promtool is not installed.
func promtool(t *testing.T, rules string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed")
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(path, "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s\n%s", err, out, rules)
	}
}

// knownMetrics checks that an expression uses only metrics of the exporter.
func knownMetrics(t *testing.T, expr string) {
	t.Helper()
	known := map[string]bool{}
	for _, m := range collector.Metrics() {
		known[m.Name] = true
		if m.Type == "histogram" {
			known[m.Name+"_sum"], known[m.Name+"_count"], known[m.Name+"_bucket"] = true, true, true
		}
	}
	for _, name := range regexp.MustCompile(`\bvbaws_\w+`).FindAllString(expr, -1) {
		if !known[name] {
			t.Errorf("there is no metric %s: %s", name, expr)
		}
	}
}

// maxReadme limits the lines of README.md, which leads to the pages.
const maxReadme = 160

// TestReadme: README.md is short, has the commands to begin with, and lists the API versions
// that the client knows.
func TestReadme(t *testing.T) {
	text := docstest.Page(t, "../README.md")
	if n := strings.Count(text, "\n"); n > maxReadme {
		t.Errorf("README.md has %d lines, want at most %d: reference belongs in docs", n, maxReadme)
	}
	for _, command := range []string{"go run . demo", "go test ./..."} {
		if !strings.Contains(text, "\n"+command+"\n") {
			t.Errorf("README.md has no command %s", command)
		}
	}
	var got, want []string
	for _, row := range docstest.Rows(t, "../README.md", "Veeam Backup for AWS", "REST API") {
		got = append(got, row[1])
	}
	for _, version := range vbaws.KnownAPIVersions() {
		minor, _, _ := strings.Cut(version, "-")
		want = append(want, minor)
	}
	if diff := cmp.Diff(slices.Compact(want), got); diff != "" {
		t.Errorf("API versions, -client +README: %s", diff)
	}
}

// blocks returns the code blocks of a language in README.md and in the pages.
func blocks(t *testing.T, language string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, path := range append(paths, "../README.md") {
		text := docstest.Page(t, path)
		for _, m := range regexp.MustCompile("(?ms)^( *)```"+language+"\n(.*?)^ *```$").FindAllStringSubmatchIndex(text, -1) {
			indent, block := text[m[2]:m[3]], text[m[4]:m[5]]
			line := strings.Count(text[:m[4]], "\n")
			found[fmt.Sprintf("%s:%d", path, line)] = strings.ReplaceAll("\n"+block, "\n"+indent, "\n")[1:]
		}
	}
	return found
}

// TestExamples: rules and configurations in the documentation are valid.
func TestExamples(t *testing.T) {
	rules, configs := 0, 0
	for at, text := range blocks(t, "yaml") {
		switch {
		case strings.HasPrefix(text, "groups:"):
			rules++
			knownMetrics(t, text)
			promtool(t, text)
		case strings.HasPrefix(text, "appliances:"):
			configs++
			if _, err := config.Parse(at, []byte(text)); err != nil {
				t.Errorf("%s: %v", at, err)
			}
		}
	}
	if rules < 2 || configs < 2 {
		t.Errorf("found %d rules and %d configurations", rules, configs)
	}
}

// TestDashboards: the installed promtool, such as the old one of a distribution, accepts the
// queries of all panels. grafana/generate has the other tests of dashboards.
func TestDashboards(t *testing.T) {
	paths, err := filepath.Glob("../grafana/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatal("no dashboards", err)
	}
	// Values for the variables of Grafana.
	variables := strings.NewReplacer("$__rate_interval", "4m", "$__interval", "5m", "$__range_s", "86400", "$__range", "1d", "$", "")
	type rule struct {
		Record string
		Expr   string
	}
	var rules []rule
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var d struct {
			Panels []struct {
				ID      int
				Targets []struct{ Expr, RefID string }
			}
		}
		if err := json.Unmarshal(data, &d); err != nil {
			t.Fatal(err)
		}
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				expr := variables.Replace(target.Expr)
				knownMetrics(t, expr)
				rules = append(rules, rule{fmt.Sprintf("panel_%d:%s", p.ID, target.RefID), expr})
			}
		}
	}
	if len(rules) < 50 {
		t.Errorf("%d queries", len(rules))
	}
	text, err := yaml.Dump(map[string]any{"groups": []any{map[string]any{"name": "panels", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	promtool(t, string(text))
}

// walk calls f for each file of the repository, except those that targets of make build, with
// its path and its path from the root.
func walk(t *testing.T, f func(path, name string)) {
	t.Helper()
	root, err := docstest.Root()
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if d.IsDir() {
			ignored := slices.Contains([]string{"build", "dist", "data"}, name) || d.Name() == "node_modules" ||
				name != "." && name != ".github" && strings.HasPrefix(d.Name(), ".")
			if ignored {
				return fs.SkipDir
			}
		} else if d.Type().IsRegular() {
			f(path, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestLinks follows the links of all documents to files and to headings.
func TestLinks(t *testing.T) {
	var pages []string
	walk(t, func(path, _ string) {
		if filepath.Ext(path) == ".md" {
			pages = append(pages, path)
		}
	})
	if len(pages) < 10 {
		t.Fatalf("%d pages", len(pages))
	}
	headings := make(map[string][]string) // of each page, as anchors
	links := make(map[string][]string)
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		prose := regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(string(text), "")
		for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(prose, -1) {
			anchor := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
			headings[page] = append(headings[page], strings.ReplaceAll(anchor, " ", "-"))
		}
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(prose, -1) {
			links[page] = append(links[page], m[1])
		}
	}
	for page, targets := range links {
		for _, link := range targets {
			file, anchor, _ := strings.Cut(link, "#")
			if strings.Contains(file, ":") {
				continue // a URL
			}
			target := page
			if file != "" {
				target = filepath.Join(filepath.Dir(page), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s: %v", page, link, err)
			} else if anchor != "" && !slices.Contains(headings[target], anchor) {
				t.Errorf("%s: %s: no such heading", page, link)
			}
		}
	}
}
