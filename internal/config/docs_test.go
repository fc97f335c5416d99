package config

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/internal/docstest"
)

// pathKey is a key of the configuration file and its path, such as
// appliances[].tls_config.ca_file.
type pathKey struct {
	key
	path string
}

// allKeys returns every key of the configuration file.
func allKeys() []pathKey { return keysBelow("", reflect.TypeFor[file]()) }

// keysBelow returns the keys of a struct and of those in it.
func keysBelow(prefix string, t reflect.Type) []pathKey {
	var all []pathKey
	for _, k := range keysOf(t) {
		path := prefix + k.name
		all = append(all, pathKey{k, path})
		switch {
		case k.typ.Kind() == reflect.Struct:
			all = append(all, keysBelow(path+".", k.typ)...)
		case k.typ == reflect.TypeFor[[]Appliance]():
			all = append(all, keysBelow(path+"[].", k.typ.Elem())...)
		}
	}
	return all
}

// TestDocsHaveEveryKey compares the keys, their defaults and their ranges.
func TestDocsHaveEveryKey(t *testing.T) {
	rows := docstest.Rows(t, "configuration.md", "key", "default")
	var got, want []string
	for _, r := range rows {
		got = append(got, docstest.Code(t, r[0]))
	}
	for _, k := range allKeys() {
		want = append(want, k.path)
		i := slices.Index(got, k.path)
		if i < 0 || rows[i][1] == "the file's" {
			continue
		}
		value := k.tag.Get("default")
		isList := strings.HasPrefix(value, "[") // which is described, since it is long
		if value != "" && !isList && rows[i][1] != "`"+value+"`" {
			t.Errorf("%s: the default is %s, want %s", k.path, rows[i][1], value)
		}
		lo, hi, _ := strings.Cut(k.tag.Get("range"), ",")
		limits := regexp.MustCompile(`[Ff]rom (\w+)(?:,.*,)? to (\w+)`).FindStringSubmatch(rows[i][2])
		if hi != "" && (limits == nil || limits[1] != lo || limits[2] != hi) {
			t.Errorf("%s: it says %q, want from %s to %s", k.path, rows[i][2], lo, hi)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" { // nothing twice, too
		t.Error(diff)
	}
}
