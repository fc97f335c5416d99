package main

import (
	"fmt"
	"maps"
	"os"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v4"
)

// This file goes with boards_alerts.yml: the dashboards take expressions from there until they
// read the verdict itself.

// alerts are the rules by name.
type alerts struct {
	file struct {
		Groups []struct {
			Rules []struct{ Record, Alert, Expr string }
		}
	}
	records map[string]string
	exprs   map[string]string
}

func loadBoardsAlerts(path string) (*alerts, error) {
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

// cheaply returns the same alerts with another expression for what a record is, for boards:
// these are read more often than a rule is evaluated, and by several people at once.
func (a *alerts) cheaply(record, expr string) *alerts {
	a.record(record)
	b := &alerts{file: a.file, records: maps.Clone(a.records), exprs: a.exprs}
	b.records[record] = expr
	return b
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

// mustExpr is for boards, in whose code the name of the alert stands.
func (a *alerts) mustExpr(alert string) string {
	expr, err := a.expr(alert)
	if err != nil {
		panic(err)
	}
	return expr
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
