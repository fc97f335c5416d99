package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// exactImage matches the full name of an image, with a version down to the patch release.
var exactImage = regexp.MustCompile(`^[a-z0-9.-]+\.[a-z]+(/[a-z0-9_-]+){2}:v?\d+\.\d+\.\d+(@sha256:[0-9a-f]{64})?$`)

// TestCompose: compose.yml conforms to the Compose Specification, each file and folder that it
// mounts or builds from exists, and files that refer to others by path in a container find
// them mounted there.
func TestCompose(t *testing.T) {
	options, err := cli.NewProjectOptions([]string{"../../deploy/compose.yml"}, cli.WithResolvedPaths(true), cli.WithConsistency(true))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]string{}
	for name, s := range project.Services {
		if s.Build != nil {
			exists(t, filepath.Join(s.Build.Context, s.Build.Dockerfile))
		}
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeBind {
				exists(t, v.Source)
				if !v.ReadOnly {
					t.Errorf("%s can write to %s", name, v.Source)
				}
			}
			targets[name+":"+v.Target] = v.Source
		}
		for _, p := range s.Ports {
			if p.HostIP != "127.0.0.1" {
				t.Errorf("%s can be reached from elsewhere, at port %s", name, p.Published)
			}
		}
		if s.Build == nil && !exactImage.MatchString(s.Image) {
			t.Errorf("%s is no full name with an exact version", s.Image)
		}
	}
	for _, name := range []string{"exporter", "prometheus", "alertmanager", "grafana"} {
		if _, ok := project.Services[name]; !ok {
			t.Errorf("there is no %s", name)
		}
	}

	// References by path in a container.
	var provider struct {
		Providers []struct {
			Options struct{ Path string }
		}
	}
	load(t, "../provisioning/dashboards/vbaws.yml", &provider)
	for board := range committed(t) {
		if path := provider.Providers[0].Options.Path + "/" + board; targets["grafana:"+path] == "" {
			t.Errorf("nothing is mounted at %s", path)
		}
	}
	home := project.Services["grafana"].Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
	if home == nil || targets["grafana:"+*home] == "" {
		t.Errorf("the home dashboard %v isn't mounted", home)
	}
	source, err := os.ReadFile("../provisioning/datasources/vbaws.yml")
	if err != nil {
		t.Fatal(err)
	}
	os.Expand(string(source), func(name string) string {
		if strings.HasPrefix(name, "VBAWS_") && project.Services["grafana"].Environment[name] == nil {
			t.Errorf("Grafana's environment lacks %s", name)
		}
		return ""
	})
	var scrape struct {
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	load(t, targets["prometheus:/etc/prometheus/prometheus.yml"], &scrape)
	for _, name := range scrape.RuleFiles {
		if targets["prometheus:/etc/prometheus/"+name] == "" {
			t.Errorf("the rules %s aren't mounted", name)
		}
	}
	for _, target := range scrape.ScrapeConfigs[0].StaticConfigs[0].Targets {
		if host, _, _ := strings.Cut(target, ":"); len(project.Services[host].Ports) == 0 {
			t.Errorf("Prometheus scrapes %s, which has no port", host)
		}
	}
}

func exists(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}
