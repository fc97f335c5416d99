// Package docstest reads the pages in docs for the tests that compare them with the
// code.
package docstest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Root returns the folder of the module, above the working directory of a test.
func Root() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, err = os.Stat(filepath.Join(dir, "go.mod")); !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			break
		}
		dir, err = filepath.Dir(dir), nil
	}
	return dir, err
}

// Page returns the text of a page, such as metrics.md.
func Page(t *testing.T, page string) string {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Rows returns the cells of the table of a page whose header begins with the given
// cells.
func Rows(t *testing.T, page string, header ...string) [][]string {
	t.Helper()
	_, table, ok := strings.Cut(Page(t, page), "\n| "+strings.Join(header, " | ")+" |")
	if !ok {
		t.Fatalf("%s has no table %v", page, header)
	}
	var found [][]string
	for i, line := range strings.Split(table, "\n") {
		if i < 2 { // the rest of the header, and the line below it
			continue
		}
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for j := range cells {
			cells[j] = strings.TrimSpace(cells[j])
		}
		found = append(found, cells)
	}
	return found
}

// Code returns the text between the backticks, which must enclose the whole cell.
func Code(t *testing.T, cell string) string {
	t.Helper()
	if len(cell) < 2 || cell[0] != '`' || cell[len(cell)-1] != '`' {
		t.Errorf("%q is not code", cell)
		return cell
	}
	return cell[1 : len(cell)-1]
}
