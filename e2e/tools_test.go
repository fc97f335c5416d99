// Package e2e runs the exporter as it is run by people: the built program polls
// simulated appliances over TLS, a real Prometheus scrapes it and evaluates the
// rules of ../prometheus, and a real Alertmanager routes to a receiver that the
// test runs.
//
// It is a module of its own, so that the exporter's doesn't depend on
// Prometheus. The first run builds Prometheus, promtool and Alertmanager, which
// takes some minutes; they are kept in the user's cache folder.
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

// alertmanagerModule is not in go.mod: as a dependency it could not be built,
// since what goes into its web interface isn't in the module.
const alertmanagerModule = "github.com/prometheus/alertmanager@v0.34.2"

// tools are the paths of what TestMain has built.
var tools struct {
	prometheus, promtool, alertmanager string
}

func TestMain(m *testing.M) {
	err := buildTools()
	if err == nil {
		err = apptest.Build() // now: tests compare times with the one at which they begin
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build what the tests run:", err)
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

	// Without service discovery of clouds, which is most of Prometheus.
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
	// What is built there is of another module.
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s in %s: %w\n%s", cmd, dir, err, out.Bytes())
	}
	return nil
}
