package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"text/template/parse"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v4"
)

// alertsFile is ../../prometheus/alerts.yml, as far as this program needs it.
type alertsFile struct {
	Groups []struct {
		Name  string
		Rules []alertRule
	}
}

type alertRule struct {
	Record        string
	Alert         string
	Expr          string
	For           string
	KeepFiringFor string `yaml:"keep_firing_for"`
	Labels        map[string]string
	Annotations   map[string]string
}

// alerts are the rules by name.
type alerts struct {
	file    alertsFile
	records map[string]string
	exprs   map[string]string
}

func loadAlerts(path string) (*alerts, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the alerts: %w", err)
	}
	a := &alerts{records: map[string]string{}, exprs: map[string]string{}}
	if err := yaml.Load(data, &a.file); err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	for _, g := range a.file.Groups {
		for _, r := range g.Rules {
			if r.Record != "" {
				a.records[r.Record] = r.Expr
			} else {
				a.exprs[r.Alert] = r.Expr
			}
		}
	}
	return a, nil
}

// record returns the expression of what the rules record under a name.
func (a *alerts) record(name string) string {
	expr, ok := a.records[name]
	if !ok {
		panic("alerts.yml records no " + name)
	}
	return "(" + expr + ")"
}

// expr returns the expression of an alert that stands on its own: what the rules record
// is written out, and whether an alert fires already isn't asked, since neither is
// known where Prometheus doesn't evaluate the rules.
func (a *alerts) expr(alert string) (string, error) {
	text, ok := a.exprs[alert]
	if !ok {
		return "", fmt.Errorf("alerts.yml has no alert %s", alert)
	}
	e, err := promQL.ParseExpr(text)
	if err != nil {
		return "", fmt.Errorf("parse the expression of %s: %w", alert, err)
	}
	e, err = a.standalone(e)
	if err != nil {
		return "", fmt.Errorf("write out the expression of %s: %w", alert, err)
	}
	return parser.Prettify(e), nil
}

// standalone replaces, bottom up, selectors of recorded series and of ALERTS.
func (a *alerts) standalone(e parser.Expr) (parser.Expr, error) {
	var err error
	each := func(children ...*parser.Expr) {
		for _, c := range children {
			if *c != nil && err == nil {
				*c, err = a.standalone(*c)
			}
		}
	}
	switch n := e.(type) {
	case *parser.VectorSelector:
		expr, recorded := a.records[n.Name]
		if !recorded {
			return n, nil
		}
		if len(n.LabelMatchers) > 1 || n.OriginalOffset != 0 {
			return nil, fmt.Errorf("%s is more than a name", n)
		}
		sub, err := promQL.ParseExpr(expr)
		if err != nil {
			return nil, err
		}
		if sub, err = a.standalone(sub); err != nil {
			return nil, err
		}
		return &parser.ParenExpr{Expr: sub}, nil
	case *parser.BinaryExpr:
		if n.Op == parser.LUNLESS && firing(n.RHS) {
			return a.standalone(n.LHS)
		}
		each(&n.LHS, &n.RHS)
	case *parser.AggregateExpr:
		each(&n.Expr, &n.Param)
	case *parser.Call:
		for i := range n.Args {
			each(&n.Args[i])
		}
	case *parser.ParenExpr:
		each(&n.Expr)
	case *parser.UnaryExpr:
		each(&n.Expr)
	case *parser.SubqueryExpr:
		each(&n.Expr)
	case *parser.StepInvariantExpr:
		return nil, fmt.Errorf("%s isn't provided for", n)
	}
	return e, err
}

// firing reports whether an expression asks which alerts fire.
func firing(e parser.Expr) bool {
	v, ok := e.(*parser.VectorSelector)
	return ok && v.Name == "ALERTS"
}

// The file format of Grafana's provisioning of alert rules. The SDK has the one of the
// API, whose names of fields are others.
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

const rulesHeader = `# Made from prometheus/alerts.yml by grafana/generate, not by hand.
#
# The alerts for Grafana's own alerting, for where Prometheus evaluates no rules; where it
# does, leave this file out, or everything is said twice. What differs:
#   - What alerts.yml records is written out in each expression.
#   - A run that may succeed after what failed or is overdue holds an alert off, here also one
#     that fires already: it ends some minutes into the run (keepFiringFor), and
#     comes again if the run fails.
#   - Annotations can't ask Prometheus, so that some say less.
#   - Silence of Grafana's is no alert: let something outside wait for VbawsWatchdog.
# To adapt: datasourceUid is that of provisioning/datasources, and runbook_url is relative to the
# repository.
`

// managed returns the alerts as a file that Grafana provisions its own from.
func (a *alerts) managed() ([]byte, error) {
	file := ruleFile{APIVersion: 1}
	for _, g := range a.file.Groups {
		group := ruleGroup{OrgID: 1, Name: g.Name, Folder: folder, Interval: "1m"}
		for _, r := range g.Rules {
			if r.Record != "" {
				continue
			}
			rule, err := a.managedRule(r)
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

func (a *alerts) managedRule(r alertRule) (managedRule, error) {
	expr, err := a.expr(r.Alert)
	if err != nil {
		return managedRule{}, err
	}
	rule := managedRule{
		UID: strings.ToLower(r.Alert), Title: r.Alert,
		Condition: "condition",
		// No series is no alert, as in Prometheus. That the exporter is gone is an
		// alert of its own.
		NoDataState: "OK", ExecErrState: "Error",
		For: r.For, KeepFiringFor: r.KeepFiringFor,
		Annotations: map[string]string{}, Labels: r.Labels,
		Data: []ruleQuery{
			{
				RefID: "query", DatasourceUID: dataSourceUID, RelativeTimeRange: timeRange{From: 600},
				Model: queryModel{
					Datasource: dataSource{"prometheus", dataSourceUID},
					EditorMode: "code", Expr: expr, Instant: true, RefID: "query",
				},
			},
			// In Prometheus each series is an alert, whatever its value is. Here it is
			// one that isn't 0.
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
		if rule.Annotations[name], err = managedTemplate(text); err != nil {
			return managedRule{}, fmt.Errorf("%s of %s: %w", name, r.Alert, err)
		}
	}
	return rule, nil
}

// rewordings are of sentences that are nothing without what they ask Prometheus.
var rewordings = []struct{ from, to string }{
	{" at least every .", " more often than it did."},
	{" may not read.", " lacks the right to read something: vbaws_exporter_endpoint_forbidden says what."},
	{",.", ", far longer than it takes on average."},
}

// managedTemplate turns an annotation's template into one for Grafana. There the query
// function finds nothing, $value is a text of all values, and a $ may be taken for a
// variable of the environment while the file is read.
func managedTemplate(text string) (string, error) {
	trees := map[string]*parse.Tree{}
	t := parse.New("annotation")
	t.Mode = parse.SkipFuncCheck
	if _, err := t.Parse("{{$labels := .}}{{$value := .}}"+text, "", "", trees); err != nil {
		return "", err
	}
	t.Root.Nodes = t.Root.Nodes[2:]
	list, err := withoutQueries(t.Root)
	if err != nil {
		return "", err
	}
	out := list.String()
	if m := nestedVariable.FindString(out); m != "" {
		return "", fmt.Errorf("%s is used where . is something else", m)
	}
	out = labelVariable.ReplaceAllString(out, ".Labels")
	out = valueVariable.ReplaceAllString(out, ".Values.query.Value")
	out = strings.Join(strings.Fields(out), " ")
	for _, r := range rewordings {
		out = strings.Replace(out, r.from, r.to, 1)
	}
	if strings.Contains(out, "$") || danglingText.MatchString(action.ReplaceAllString(out, "x")) {
		return "", fmt.Errorf("nothing good is left of it: %s", out)
	}
	return out, nil
}

var (
	labelVariable  = regexp.MustCompile(`\$labels\b`)
	valueVariable  = regexp.MustCompile(`\$value\b`)
	action         = regexp.MustCompile(`\{\{[^}]*\}\}`)
	danglingText   = regexp.MustCompile(`[ ,][.,;]`)
	nestedVariable = regexp.MustCompile(`\{\{(range|with) [^}]*\}\}[^{]*\{\{[^}]*\$(labels|value)\b`)
)

// withoutQueries leaves out what depends on an answer of Prometheus, with what is said
// where there is none: it would be said always.
func withoutQueries(list *parse.ListNode) (*parse.ListNode, error) {
	if list == nil {
		return nil, nil
	}
	kept := list.Nodes[:0]
	for _, n := range list.Nodes {
		var branch *parse.BranchNode
		switch n := n.(type) {
		case *parse.WithNode:
			branch = &n.BranchNode
		case *parse.RangeNode:
			branch = &n.BranchNode
		case *parse.IfNode:
			branch = &n.BranchNode
		case *parse.ActionNode:
			if asks(n.Pipe) {
				return nil, fmt.Errorf("%s asks Prometheus outside of with and range", n)
			}
		}
		if branch != nil {
			if asks(branch.Pipe) {
				continue
			}
			var err error
			if branch.List, err = withoutQueries(branch.List); err != nil {
				return nil, err
			}
			if branch.ElseList, err = withoutQueries(branch.ElseList); err != nil {
				return nil, err
			}
		}
		kept = append(kept, n)
	}
	list.Nodes = kept
	return list, nil
}

func asks(p *parse.PipeNode) bool {
	return slices.ContainsFunc(p.Cmds, func(c *parse.CommandNode) bool {
		id, ok := c.Args[0].(*parse.IdentifierNode)
		return ok && id.Ident == "query"
	})
}
