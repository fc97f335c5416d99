package docs

import (
	"go/scanner"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// avoided are words and phrases that the project's texts do not use, with the words to use
// instead.
var avoided = []struct{ pattern, instead string }{
	// The vocabulary of backup monitoring.
	{`first contact`, "initial sync"},
	{`good pass(es)?|passes? (is|are|was|over the appliance)|next pass|last pass|same pass|each pass`, "poll, successful poll"},
	{`(daily |wide )?sweeps?|swept`, "resync, daily resync"},
	{`turned away|turns? away`, "over the limit"},
	{`before_line`, "before_cutoff"},
	{`api revisions?`, "API version"},
	{`needs? a look|needs? looking at`, "has problems"},
	{`(goes|went|going|ended|ends|ending) well|made good|makes good`, "succeeded, finished"},
	{`appliances? (is|are) (un)?read`, "the appliance is polled"},
	// Software that talks, hears and meets.
	{`tells?|is told|are told|be told`, "reports, shows, exposes, returns"},
	{`heard of|hears? of|(is|are|was|were) met`, "seen"},
	{`lets? go of|letting go of`, "releases, hands over"},
	{`strangers?`, "unknown"},
	{`comes? to life|came to life`, "new"},
	// English that must be read twice.
	{`anew`, "again"},
	{`nobody|no one`, "no user, not"},
	{`may not`, "is not allowed to, might not"},
	{`stops? to|ends? to|stopped to`, "stops doing"},
	{`is no (duration|number|url|name|list|mapping|valid)`, "is not a valid …"},
	{`that is none|which is none|where there is none`, "invalid, absent"},
	{`save for|but for|by turns|all the same|graver|such a one`, "except, alternately, anyway, more severe"},
	{`what it said|what was said|says? so too`, "the last values"},
	{`of late|as if nothing had been|well or badly|for good and all`, "recently, without interruption, successfully or not"},
	{`stands? (beside|in for|for itself)|stood beside`, "is next to, replaces"},
}

// notRead has the files that the test leaves out, with the reason.
var notRead = map[string]string{
	"docs/words_test.go":                    "it has the list",
	"CHANGELOG.md":                          "it names what was renamed",
	"collector/store/record/payload.go":     "it reads the reason that 0.1.0 stored",
	"collector/store/record/record_test.go": "it has state of 0.1.0",
}

// TestWords looks for words to avoid in comments and strings of Go files and in all
// other text files.
func TestWords(t *testing.T) {
	type rule struct {
		expr    *regexp.Regexp
		instead string
	}
	var rules []rule
	for _, a := range avoided {
		rules = append(rules, rule{regexp.MustCompile(`(?i)\b(` + a.pattern + `)\b`), a.instead})
	}
	check := func(path string, line int, text string) {
		for _, r := range rules {
			for _, at := range r.expr.FindAllStringIndex(text, -1) {
				t.Errorf("%s:%d: %q: write: %s", path, line+strings.Count(text[:at[0]], "\n"), text[at[0]:at[1]], r.instead)
			}
		}
	}
	files := 0
	walk(t, func(path, name string) {
		if notRead[name] != "" || slices.Contains(strings.Split(name, "/"), "testdata") {
			return
		}
		switch filepath.Ext(path) {
		case ".go", ".md", ".yml", ".yaml", ".html", ".tmpl", ".gotmpl", ".tpl", ".txt", ".service", ".libsonnet", ".jsx":
		default:
			return
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files++
		if filepath.Ext(path) != ".go" {
			check(name, 1, string(text))
			return
		}
		for line, part := range goTexts(text) {
			check(name, line, part)
		}
	})
	if files < 200 {
		t.Fatalf("read %d files", files)
	}
}

// goTexts returns the comments and strings of a Go file, by line. Adjacent line
// comments are one text, since phrases wrap.
func goTexts(source []byte) func(yield func(line int, text string) bool) {
	return func(yield func(int, string) bool) {
		set := token.NewFileSet()
		file := set.AddFile("", -1, len(source))
		var s scanner.Scanner
		s.Init(file, source, nil, scanner.ScanComments)
		first, last, comment := 0, 0, ""
		for {
			pos, tok, text := s.Scan()
			line := set.Position(pos).Line
			if tok == token.COMMENT && strings.HasPrefix(text, "//") && (comment == "" || line == last+1) {
				if comment == "" {
					first = line
				}
				comment, last = comment+text[2:]+"\n", line
				continue
			}
			if tok == token.SEMICOLON && text == "\n" {
				continue
			}
			if comment != "" && !yield(first, comment) {
				return
			}
			comment = ""
			switch {
			case tok == token.EOF:
				return
			case tok == token.COMMENT && strings.HasPrefix(text, "//"):
				first, last, comment = line, line, text[2:]+"\n"
			case tok == token.COMMENT || tok == token.STRING:
				if !yield(line, text) {
					return
				}
			}
		}
	}
}
