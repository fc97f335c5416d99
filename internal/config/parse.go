package config

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// file is the top of the configuration file.
type file struct {
	Settings `yaml:",inline"`
	Config   `yaml:",inline"`
}

type parser struct {
	file, dir string
	errs      Errors
}

func (p *parser) fail(n *yaml.Node, path, message string) {
	p.errs = append(p.errs, &Error{p.file, n.Line, n.Column, path, message})
}

// parse returns a Config, which is valid only if p.errs is empty.
func (p *parser) parse(data []byte) *Config {
	root := p.document(data)
	if root == nil {
		return nil
	}
	var f file
	p.defaults(reflect.ValueOf(&f).Elem())
	seen := p.mapping("", root, reflect.ValueOf(&f).Elem())
	if seen == nil {
		return nil
	}
	list := seen["appliances"].value
	if list == nil {
		p.fail(root, "appliances", "is missing: "+oneAppliance)
		return nil
	}
	f.Appliances = p.appliances(list, f.Settings)
	return &f.Config
}

// document returns the top of the only document in data, or nil.
func (p *parser) document(data []byte) *yaml.Node {
	line := 0
	for text := range bytes.Lines(data) {
		if line++; !utf8.Valid(text) {
			p.fail(&yaml.Node{Line: line}, "", "is not valid UTF-8: save the file as UTF-8")
			return nil
		}
	}
	var docs []yaml.Node
	if err := yaml.Load(data, &docs, yaml.WithAllDocuments()); err != nil {
		p.fail(syntaxError(err))
		return nil
	}
	if len(docs) > 1 {
		p.fail(&docs[1], "", "the file has a second YAML document: remove the line ---")
		return nil
	}
	if len(docs) == 0 || len(docs[0].Content) == 0 || isNull(docs[0].Content[0]) {
		p.fail(&yaml.Node{}, "", "is empty: at least the key appliances is required")
		return nil
	}
	return docs[0].Content[0]
}

// syntaxError returns the position and the reason of a syntax error. It omits
// messages that quote the file.
func syntaxError(err error) (at *yaml.Node, path, message string) {
	at, message = &yaml.Node{}, "is not valid YAML"
	if le, is := errors.AsType[*yaml.LoadError](err); is {
		at.Line, at.Column = le.Mark.Line, le.Mark.Column
		switch le.Stage {
		case yaml.ReaderStage, yaml.ScannerStage, yaml.ParserStage:
			message += ": " + strings.TrimSuffix(le.Message+" "+le.ContextMsg, " ")
		case yaml.ComposerStage:
			message += ": unknown anchor; quote a value that starts with *"
		}
	}
	return at, "", message
}

const oneAppliance = "at least one appliance is required, with name, url, username and password_file"

func (p *parser) appliances(list *yaml.Node, inherited Settings) []Appliance {
	const path = "appliances"
	switch {
	case isNull(list) || list.Kind == yaml.SequenceNode && len(list.Content) == 0:
		p.fail(list, path, "is empty: "+oneAppliance)
		return nil
	case list.Kind != yaml.SequenceNode:
		p.fail(list, path, "must be a list: start each appliance with a dash")
		return nil
	}
	var all []Appliance
	lines := map[string]int{} // by name
	for i, n := range list.Content {
		a := Appliance{Login: new(login), Network: new(network)}
		p.defaults(reflect.ValueOf(&a).Elem())
		a.Settings = inherited
		path := fmt.Sprintf("%s[%d]", path, i)
		seen := p.mapping(path, deref(n), reflect.ValueOf(&a).Elem())
		if seen == nil {
			continue
		}
		for _, k := range keysOf(reflect.TypeFor[Appliance]()) {
			if k.tag.Get("required") != "" && seen[k.name].value == nil {
				p.fail(n, path+"."+k.name, "is missing")
			}
		}
		switch password, file := seen["password"].value, seen["password_file"].value; {
		case password == nil && file == nil:
			p.fail(n, path+".password_file", "is missing: set password_file or password")
		case password != nil && file != nil:
			p.fail(file, path+".password_file", "is mutually exclusive with password: remove one of them")
		}
		if at := seen["name"].value; a.Name != "" {
			if line, ok := lines[a.Name]; ok {
				p.fail(at, path+".name", fmt.Sprintf("is already used by the appliance on line %d: names must be unique", line))
			} else {
				lines[a.Name] = at.Line
			}
		}
		all = append(all, a)
	}
	return all
}

// deref returns the node that an alias stands for.
func deref(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}
