package app

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vbaws_exporter/internal/apptest"
	"vbaws_exporter/vbaws/vbawstest"
)

func TestDemo(t *testing.T) {
	t.Parallel()
	p := apptest.Start(t, "demo", "--web.telemetry-path=/m")
	_, body := p.Get("/m")
	if len(apptest.Lines(body, `vbaws_up{appliance="demo"} 1`)) != 1 || len(apptest.Lines(body, "vbaws_sessions_total{")) < 20 {
		t.Errorf("got %s", body)
	}
	showSameProblems(t, p)
	if left, err := os.ReadDir(p.Tmp); err != nil || len(left) != 1 {
		t.Errorf("temporary files while it runs: %v, %v", left, err)
	}
	// A second signal must not interrupt the cleanup.
	p.Signal(os.Interrupt)
	p.Stop(os.Interrupt)
	for _, word := range []string{"/m\n", "url: https://127.0.0.1:", vbawstest.DefaultUsername, vbawstest.DefaultPassword, "appliance.pem"} {
		if !strings.Contains(p.Stdout.String(), word) {
			t.Errorf("stdout lacks %q:\n%s", word, p.Stdout.String())
		}
	}
	if left, err := os.ReadDir(p.Tmp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// showSameProblems waits until the metrics, the status as JSON and the status page show the
// same problems, with the failing, the overdue and the stuck policy among them.
func showSameProblems(t *testing.T, p *apptest.Process) {
	t.Helper()
	want := []string{"Data lake importers snapshot stuck", "Legacy ERP backup failing", "Legacy ERP snapshot failing", "VPN gateways snapshot overdue"}
	var metrics, json, page []string
	p.Await("the problems", func() bool {
		metrics, json, page = nil, nil, nil
		_, body := p.Get("/m")
		problem := regexp.MustCompile(`^vbaws_policy_problem\{appliance="demo",kind="(.*)",policy="(.*)",problem="(.*)",workload=".*"\} 1$`)
		for _, line := range apptest.Lines(body, "vbaws_policy_problem{") {
			if m := problem.FindStringSubmatch(line); m != nil && m[3] != "disabled" {
				metrics = append(metrics, m[2]+" "+m[1]+" "+m[3])
			}
		}
		for _, is := range problemsOf(t, p) {
			json = append(json, is.Policy+" "+is.Kind+" "+is.State)
		}
		_, body = p.Get("/")
		_, body, _ = strings.Cut(body, "<h2>Problems</h2>")
		body, _, _ = strings.Cut(body, "</section>")
		row := regexp.MustCompile(`<th scope="row"><bdi class="name">(.*)</bdi> <span class="quiet">\S+ (\S+)</span></th>\s*<td.*><span class="result (\S+)">`)
		for _, m := range row.FindAllStringSubmatch(body, -1) {
			page = append(page, m[1]+" "+m[2]+" "+m[3])
		}
		inOrder := slices.Equal(json, page) // the same problems in the same order
		slices.Sort(metrics)
		slices.Sort(json)
		for _, w := range want {
			if !slices.Contains(metrics, w) {
				return false
			}
		}
		return inOrder && slices.Equal(metrics, json) // between two polls
	})
}

func TestSchemeOfWebConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "web.yml")
	for text, want := range map[string]string{
		"":                           "http",
		"basic_auth_users: {a: b}\n": "http",
		"tls_server_config: {cert_file: web.pem, key_file: web.key, min_version: TLS13}\n": "https",
		"tls_server_config: {cert: |-\n  PEM\n, key: PEM}\n":                               "http", // no YAML
		"tls_server_config:\n  cert: |-\n    PEM\n  key: |-\n    PEM\n":                    "https",
	} {
		apptest.Write(t, file, text)
		if got := scheme(file); got != want {
			t.Errorf("%s for\n%s", got, text)
		}
	}
	if got := scheme(""); got != "http" {
		t.Errorf("%s without a file", got)
	}
}
