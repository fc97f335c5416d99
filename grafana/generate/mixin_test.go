package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-jsonnet"
	"go.yaml.in/yaml/v4"
)

// TestMixin renders the mixin as the tools for mixins do. It equals the plain files, except for the
// address of the runbook.
func TestMixin(t *testing.T) {
	const base = "https://git.example.com/vbaws_exporter/blob/main/"
	vm := jsonnet.MakeVM()
	out, err := vm.EvaluateAnonymousSnippet("mixin_test.jsonnet", `
		local mixin = (import '../../mixin/mixin.libsonnet') + { _config+:: { runbookBaseURL: '`+base+`' } };
		{ 'alerts.yml': mixin.prometheusAlerts, 'rules.yml': mixin.prometheusRules } + mixin.grafanaDashboards`)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}

	want := map[string]any{}
	for _, name := range []string{"alerts.yml", "rules.yml"} {
		data, err := os.ReadFile(filepath.Join("../../prometheus", name))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(data), "runbook_url: docs/", "runbook_url: "+base+"docs/")
		if name == "alerts.yml" && text == string(data) {
			t.Error("alerts.yml has no relative runbook_url")
		}
		want[name] = throughJSON(t, func(into *any) error { return yaml.Unmarshal([]byte(text), into) })
	}
	paths, err := filepath.Glob("../*.json")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want[filepath.Base(path)] = throughJSON(t, func(into *any) error { return json.Unmarshal(data, into) })
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// throughJSON returns what decode reads, converted to the types of JSON.
func throughJSON(t *testing.T, decode func(*any) error) any {
	t.Helper()
	var value, decoded any
	if err := decode(&value); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}
