package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	commoncfg "github.com/prometheus/common/config"
	"go.yaml.in/yaml/v4"
)

// key is one key of a mapping, as a field of a struct declares it.
type key struct {
	name  string
	tag   reflect.StructTag
	typ   reflect.Type
	index []int // for reflect.Value.FieldByIndex
}

// keysOf returns the keys of a mapping that is read into a struct of type t.
func keysOf(t reflect.Type) []key {
	var keys []key
	for f := range t.Fields() {
		name, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case option == "inline":
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			for _, k := range keysOf(inner) {
				k.index = slices.Concat(f.Index, k.index)
				keys = append(keys, k)
			}
		case strings.HasSuffix(name, "_ref"):
			// Of tls_config: a reference to a secret manager, which only Prometheus has.
		default:
			k := key{name, f.Tag, f.Type, f.Index}
			if t == reflect.TypeFor[commoncfg.TLSConfig]() {
				switch {
				case strings.HasSuffix(name, "_file"):
					k.tag = `format:"file"`
				case name == "ca", name == "cert":
					k.tag = `format:"certificates"`
				}
			}
			keys = append(keys, k)
		}
	}
	return keys
}

// entry is a key of a mapping of the file, and its value.
type entry struct{ key, value *yaml.Node }

// mapping reads the mapping n into a struct and returns its entries by key, or nil
// if n is not a mapping.
func (p *parser) mapping(path string, n *yaml.Node, into reflect.Value) map[string]entry {
	if n.Kind != yaml.MappingNode {
		p.fail(n, path, "must be a mapping: lines of the form key: value")
		return nil
	}
	keys := keysOf(into.Type())
	seen := map[string]entry{}
	for i := 0; i < len(n.Content); i += 2 {
		e := entry{n.Content[i], deref(n.Content[i+1])}
		j := slices.IndexFunc(keys, func(k key) bool { return e.key.Kind == yaml.ScalarNode && k.name == e.key.Value })
		if j < 0 {
			p.fail(e.key, path, unknownKey(e.key, keys))
			continue
		}
		k := &keys[j]
		at := strings.TrimPrefix(path+"."+k.name, ".")
		if before, ok := seen[k.name]; ok {
			p.fail(e.key, at, fmt.Sprintf("is already set on line %d: remove one of them", before.key.Line))
			continue
		}
		seen[k.name] = e
		if err := p.read(at, e.value, k, into.FieldByIndex(k.index)); err != nil {
			p.fail(n.Content[i+1], at, err.Error())
		}
	}
	return seen
}

// read reads v into a field. It returns an error about v as a whole, and adds errors
// about values inside v to p.errs.
func (p *parser) read(path string, v *yaml.Node, k *key, into reflect.Value) error {
	switch {
	case k.typ == reflect.TypeFor[[]Appliance]():
		return nil // read last: they inherit the settings
	case k.typ.Kind() == reflect.Struct:
		fresh := reflect.New(k.typ) // a filter of an appliance replaces that of the file
		if p.mapping(path, v, fresh.Elem()) == nil {
			return nil
		}
		into.Set(fresh.Elem())
		if t, ok := reflect.TypeAssert[*commoncfg.TLSConfig](fresh); ok {
			return checkTLS(t)
		}
		return nil
	}
	value, err := k.value(v, p.dir, into.Interface())
	into.Set(reflect.ValueOf(value).Convert(k.typ))
	return err
}

// defaults sets the fields that have the tag default. It panics if one is declared wrong.
func (p *parser) defaults(into reflect.Value) {
	for _, k := range keysOf(into.Type()) {
		text, ok := k.tag.Lookup("default")
		if !ok {
			continue
		}
		var doc yaml.Node
		err := yaml.Load([]byte(text), &doc)
		if err == nil {
			err = p.read(k.name, doc.Content[0], &k, into.FieldByIndex(k.index))
		}
		if err != nil {
			panic(fmt.Sprintf("config: default of %s: %v", k.name, err))
		}
	}
}

// plainKey matches keys that an error can quote. Anything else could be a secret.
var plainKey = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,39}$`)

func unknownKey(k *yaml.Node, keys []key) string {
	known := make([]string, len(keys))
	for i := range keys {
		known[i] = keys[i].name
	}
	if k.Value == "<<" {
		return "YAML merge keys (<<) are not supported: repeat the keys"
	}
	text := "unknown key"
	if k.Kind == yaml.ScalarNode && plainKey.MatchString(k.Value) {
		text += fmt.Sprintf(" %q", k.Value)
		best, least := "", 2+len(k.Value)/3
		for _, name := range known {
			if d := distance(strings.ToLower(k.Value), name); d < least {
				best, least = name, d
			}
		}
		if best != "" {
			return text + ": did you mean " + best + "?"
		}
	}
	return text + ": must be one of " + strings.Join(known, ", ")
}

// distance returns the Levenshtein distance between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
