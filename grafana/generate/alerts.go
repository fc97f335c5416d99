package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

// alertsFile has the parts of ../../prometheus/alerts.yml that this program needs.
type alertsFile struct {
	Groups []struct {
		Name  string
		Rules []alertRule
	}
}

type alertRule struct {
	Alert         string
	Expr          string
	For           string
	KeepFiringFor string `yaml:"keep_firing_for"`
	Labels        map[string]string
	Annotations   map[string]string
}

// loadAlerts reads the alerts.
func loadAlerts(path string) (*alertsFile, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the alerts: %w", err)
	}
	a := &alertsFile{}
	if err := yaml.Load(data, a); err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	return a, nil
}

// runbookURL matches the annotation. The second group is the path in the repository.
var runbookURL = regexp.MustCompile(`(?m)^(\s*runbook_url: ).*(docs/runbook\.md#\w+)$`)

// rebase replaces what is before the path of every runbook in the text of rules or of
// their tests. An empty base makes the paths relative to the repository.
func rebase(text []byte, base string) []byte {
	return runbookURL.ReplaceAll(text, []byte("${1}"+strings.ReplaceAll(base, "$", "$$")+"${2}"))
}

// The file format of Grafana's provisioning of alert rules. The SDK has only the format of
// the API, which has other field names.
type (
	ruleFile struct {
		APIVersion int         `yaml:"apiVersion"`
		Groups     []ruleGroup `yaml:"groups"`
	}
	ruleGroup struct {
		OrgID    int           `yaml:"orgId"`
		Name     string        `yaml:"name"`
		Folder   string        `yaml:"folder"`
		Interval string        `yaml:"interval"`
		Rules    []managedRule `yaml:"rules"`
	}
	managedRule struct {
		UID           string            `yaml:"uid"`
		Title         string            `yaml:"title"`
		Condition     string            `yaml:"condition"`
		Data          []ruleQuery       `yaml:"data"`
		NoDataState   string            `yaml:"noDataState"`
		ExecErrState  string            `yaml:"execErrState"`
		For           string            `yaml:"for"`
		KeepFiringFor string            `yaml:"keepFiringFor,omitempty"`
		Annotations   map[string]string `yaml:"annotations"`
		Labels        map[string]string `yaml:"labels"`
		IsPaused      bool              `yaml:"isPaused"`
	}
	ruleQuery struct {
		RefID             string    `yaml:"refId"`
		RelativeTimeRange timeRange `yaml:"relativeTimeRange"`
		DatasourceUID     string    `yaml:"datasourceUid"`
		Model             any       `yaml:"model"`
	}
	timeRange struct {
		From int `yaml:"from"`
		To   int `yaml:"to"`
	}
	dataSource struct {
		Type string `yaml:"type"`
		UID  string `yaml:"uid"`
	}
	queryModel struct {
		Datasource dataSource `yaml:"datasource"`
		EditorMode string     `yaml:"editorMode"`
		Expr       string     `yaml:"expr"`
		Instant    bool       `yaml:"instant"`
		Range      bool       `yaml:"range"`
		RefID      string     `yaml:"refId"`
	}
	mathModel struct {
		Datasource dataSource `yaml:"datasource"`
		Type       string     `yaml:"type"`
		Expression string     `yaml:"expression"`
		RefID      string     `yaml:"refId"`
	}
)

const (
	// dataSourceUID is that of provisioning/datasources.
	dataSourceUID = "vbaws-prometheus"
	expressionUID = "__expr__"
	folder        = "Veeam Backup for AWS"
)

const rulesHeader = `# Generated from prometheus/alerts.yml by grafana/generate: do not edit.
#
# The alerts for Grafana's own alerting, if Prometheus evaluates no rules. If it does, leave this file
# out, or every alert arrives twice. No alert of Grafana replaces a service outside that waits for
# VbawsWatchdog. To adapt: datasourceUid is that of provisioning/datasources.
`

// managed returns the alerts as a provisioning file for Grafana-managed alerting.
func (a *alertsFile) managed() ([]byte, error) {
	file := ruleFile{APIVersion: 1}
	for _, g := range a.Groups {
		group := ruleGroup{OrgID: 1, Name: g.Name, Folder: folder, Interval: "1m"}
		for _, r := range g.Rules {
			rule, err := r.managed()
			if err != nil {
				return nil, err
			}
			group.Rules = append(group.Rules, rule)
		}
		file.Groups = append(file.Groups, group)
	}
	var out bytes.Buffer
	out.WriteString(rulesHeader)
	enc, err := yaml.NewDumper(&out, yaml.WithIndent(2), yaml.WithLineWidth(-1))
	if err != nil {
		return nil, err
	}
	if err := enc.Dump(file); err != nil {
		return nil, fmt.Errorf("write the alerts: %w", err)
	}
	return out.Bytes(), enc.Close()
}

func (r *alertRule) managed() (managedRule, error) {
	rule := managedRule{
		UID: strings.ToLower(r.Alert), Title: r.Alert,
		Condition: "condition",
		// Without series no alert fires, as in Prometheus. VbawsExporterGone fires if the
		// exporter is down.
		NoDataState: "OK", ExecErrState: "Error",
		For: r.For, KeepFiringFor: r.KeepFiringFor,
		Annotations: map[string]string{}, Labels: r.Labels,
		Data: []ruleQuery{
			{
				RefID: "query", DatasourceUID: dataSourceUID, RelativeTimeRange: timeRange{From: 600},
				Model: queryModel{
					Datasource: dataSource{"prometheus", dataSourceUID},
					EditorMode: "code", Expr: strings.TrimSpace(r.Expr), Instant: true, RefID: "query",
				},
			},
			// In Prometheus each series is an alert, whatever its value. Grafana alerts on
			// values other than 0.
			{
				RefID: "condition", DatasourceUID: expressionUID,
				Model: mathModel{
					Datasource: dataSource{expressionUID, expressionUID},
					Type:       "math", Expression: "is_number($query) || is_nan($query) || is_inf($query)", RefID: "condition",
				},
			},
		},
	}
	for name, text := range r.Annotations {
		var err error
		if rule.Annotations[name], err = managedTemplate(text); err != nil {
			return managedRule{}, fmt.Errorf("%s of %s: %w", name, r.Alert, err)
		}
	}
	return rule, nil
}

// managedTemplate converts an annotation's template for Grafana. There $value is a text of
// all values, and Grafana can replace a $ by a variable of the environment.
func managedTemplate(text string) (string, error) {
	if m := nestedVariable.FindString(text); m != "" {
		return "", fmt.Errorf("%s is used inside of with or range, which change the dot", m)
	}
	text = labelVariable.ReplaceAllString(text, ".Labels")
	text = valueVariable.ReplaceAllString(text, ".Values.query.Value")
	if strings.Contains(text, "$") || asks.MatchString(text) {
		return "", fmt.Errorf("Grafana can't expand it: %s", text)
	}
	return strings.Join(strings.Fields(text), " "), nil
}

var (
	labelVariable  = regexp.MustCompile(`\$labels\b`)
	valueVariable  = regexp.MustCompile(`\$value\b`)
	asks           = regexp.MustCompile(`\{\{[^}]*\bquery\s`)
	nestedVariable = regexp.MustCompile(`\{\{(-? ?)(range|with) [^}]*\}\}[^{]*\{\{[^}]*\$(labels|value)\b`)
)
