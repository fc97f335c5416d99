// Package e2e tests the exporter together with Prometheus and Alertmanager. The built
// exporter polls simulated appliances over TLS, Prometheus scrapes it and evaluates the
// rules of ../prometheus, and Alertmanager sends notifications to a receiver in the test.
//
// It is a module of its own, so that the exporter's module does not depend on Prometheus.
// The first run builds Prometheus, promtool and Alertmanager, which takes some minutes,
// and keeps them in the user's cache folder.
package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"vbaws_exporter/internal/apptest"
)

// alertmanagerModule is not in go.mod, because it does not build as a dependency: the
// module lacks the files of its web interface.
const alertmanagerModule = "github.com/prometheus/alertmanager@v0.34.2"

// tools are the paths of the programs that TestMain builds.
var tools struct {
	prometheus, promtool, alertmanager string
}

func TestMain(m *testing.M) {
	err := buildTools()
	if err == nil {
		err = apptest.Build() // before the first test, since tests compare times with their begin
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build the tested programs:", err)
		os.Exit(1)
	}
	apptest.Main(m)
}

func buildTools() error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	dir := filepath.Join(cache, "vbaws_exporter-e2e")
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	tools.prometheus = filepath.Join(bin, "prometheus")
	tools.promtool = filepath.Join(bin, "promtool")
	tools.alertmanager = filepath.Join(bin, "alertmanager")

	// Without the service discovery of clouds, which is most of Prometheus.
	if err := run(".", "go", "build", "-tags=remove_all_sd", "-o", bin,
		"github.com/prometheus/prometheus/cmd/prometheus", "github.com/prometheus/prometheus/cmd/promtool"); err != nil {
		return err
	}
	return buildAlertmanager(dir)
}

// buildAlertmanager builds Alertmanager from a copy of its module, with a page in
// place of the web interface.
func buildAlertmanager(dir string) error {
	src := filepath.Join(dir, filepath.Base(alertmanagerModule))
	if _, err := os.Stat(src); err != nil {
		out, err := exec.Command("go", "mod", "download", "-json", alertmanagerModule).Output()
		if err != nil {
			return fmt.Errorf("download %s: %w", alertmanagerModule, err)
		}
		var module struct{ Dir string }
		if err := json.Unmarshal(out, &module); err != nil {
			return fmt.Errorf("download %s: %w", alertmanagerModule, err)
		}
		tmp, err := os.MkdirTemp(dir, "alertmanager-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		if err := os.CopyFS(filepath.Join(tmp, "src"), os.DirFS(module.Dir)); err != nil {
			return err
		}
		page := filepath.Join(tmp, "src", "ui", "app", "dist", "index.html")
		if err := os.MkdirAll(filepath.Dir(page), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(page, []byte("<!DOCTYPE html>\n"), 0o644); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(tmp, "src"), src); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return run(src, "go", "build", "-o", tools.alertmanager, "./cmd/alertmanager")
}

func run(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	// The folder has another module.
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s in %s: %w\n%s", cmd, dir, err, out.Bytes())
	}
	return nil
}
