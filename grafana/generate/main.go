// Command generate writes Grafana's dashboards, and the alert rules for Grafana's own
// alerting, from ../../prometheus/alerts.yml. Run it in this folder:
//
//	go run .
//	go run . -runbook-base https://git.example.com/vbaws_exporter/blob/main/
//
// The second command also puts that address before each runbook_url in prometheus/.
//
// It is a module of its own, so that the exporter depends neither on Grafana's SDK nor
// on Prometheus. It takes the metrics' names and labels from the exporter.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	base := flag.String("runbook-base", "", "address of the repository's files, with the slash at its end; empty: relative to the repository")
	flag.Parse()
	err := error(nil)
	if flag.CommandLine.NFlag() > 0 {
		err = setRunbookBase(filepath.Join("..", "..", "prometheus"), *base)
	}
	if err == nil {
		err = run("..")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// setRunbookBase rebases the alerts in a folder, and their unit tests, which contain whole
// annotations.
func setRunbookBase(dir, base string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "alerts*.yml"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, rebase(text, base), 0o644)
		}
		if err != nil {
			return fmt.Errorf("set the address of the runbook: %w", err)
		}
	}
	return nil
}

// run writes all files below dir, which is grafana/.
func run(dir string) error {
	files, err := generate(filepath.Join("..", "..", "prometheus", "alerts.yml"))
	if err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), content, 0o644); err != nil {
			return fmt.Errorf("write what was generated: %w", err)
		}
	}
	return nil
}

// boards are the dashboards. Each has a file of its own.
var boards = []func() (dashboard.Dashboard, error){overview, policy, instances, exporter}

// generate returns the files by their names in grafana/.
func generate(alertsPath string) (map[string][]byte, error) {
	a, err := loadAlerts(alertsPath)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, build := range boards {
		d, err := build()
		if err != nil {
			return nil, fmt.Errorf("build a dashboard: %w", err)
		}
		text, err := json.MarshalIndent(d, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("write %s as JSON: %w", *d.Uid, err)
		}
		files[*d.Uid+".json"] = append(text, '\n')
	}
	files["provisioning/alerting/vbaws-alerts.yml"], err = a.managed()
	return files, err
}
