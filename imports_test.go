package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestImports compares which packages of the module import which with the table in
// CONTRIBUTING.md.
func TestImports(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	table := regexp.MustCompile("(?s)```\n(vbaws\n.*?)```").FindSubmatch(text)
	if table == nil {
		t.Fatal("CONTRIBUTING.md has no table of imports")
	}
	want := make(map[string][]string)
	for line := range strings.Lines(string(table[1])) {
		fields := strings.Fields(line)
		want[fields[0]] = append([]string{}, fields[1:]...)
	}

	const module = "vbaws_exporter/"
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Stderr = t.Output()
	list, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string][]string)
	for d := json.NewDecoder(bytes.NewReader(list)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name, ok := strings.CutPrefix(p.ImportPath, module)
		if !ok {
			continue // main
		}
		got[name] = []string{}
		for _, i := range p.Imports {
			if i, ok := strings.CutPrefix(i, module); ok {
				got[name] = append(got[name], i)
			}
		}
		slices.Sort(got[name])
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("imports, -CONTRIBUTING.md +code:\n%s", d)
	}
}
