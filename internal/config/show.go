package config

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v4"
)

// Equal reports whether a and b have the same settings. Values that can't be compared,
// such as a time zone that was loaded from a newer file, can count as different. The
// content of files that they name is not compared.
func (a *Appliance) Equal(b *Appliance) bool { return reflect.DeepEqual(a, b) }

// YAML returns the configuration in use as a file, with all defaults and without
// secrets: it replaces passwords, keys, the accounts of proxies, and ca and cert if
// they contain more than certificates. File names are relative to the working
// directory.
func (c *Config) YAML() ([]byte, error) {
	out, err := yaml.Dump(c, yaml.WithV4Defaults())
	if err != nil {
		return nil, fmt.Errorf("write the configuration: %w", err)
	}
	return out, nil
}

// MarshalYAML returns the configuration as [Config.YAML] writes it.
func (c Config) MarshalYAML() (any, error) { return show(reflect.ValueOf(c)) }

// MarshalYAML returns the appliance as [Config.YAML] writes it.
func (a Appliance) MarshalYAML() (any, error) { return show(reflect.ValueOf(a)) }

// show returns the keys of a struct that have a value.
func show(v reflect.Value) (*yaml.Node, error) {
	m := &yaml.Node{Kind: yaml.MappingNode}
	for _, k := range keysOf(v.Type()) {
		field := v.FieldByIndex(k.index)
		x := k.show(field.Interface())
		if reflect.ValueOf(x).IsZero() {
			continue
		}
		n := new(yaml.Node)
		var err error
		if field.Kind() == reflect.Struct {
			n, err = show(field)
		} else {
			err = n.Dump(x)
		}
		if err != nil {
			return nil, err
		}
		if n.Kind == yaml.SequenceNode && k.typ != reflect.TypeFor[[]Appliance]() {
			n.Style |= yaml.FlowStyle
		}
		m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: k.name}, n)
	}
	return m, nil
}

// show returns a value of the key in the form of the file. The zero value of a type is
// not written. A commoncfg.Secret marshals as hidden.
func (k *key) show(x any) any {
	switch x := x.(type) {
	case time.Duration:
		if x > 0 && x%day == 0 {
			return fmt.Sprintf("%dd", x/day) // the unit of the documentation; String writes 5w
		}
		return model.Duration(x).String()
	case *time.Location:
		if x == nil {
			return ""
		}
		return x.String()
	case *url.URL:
		if x == nil {
			return ""
		}
		shown := *x
		if x.User != nil { // some proxies take a token as the user
			shown.User = url.User("xxxxx") // characters of hidden would be escaped
		}
		return shown.String()
	case []*regexp.Regexp:
		var words []string
		for _, r := range x {
			words = append(words, strings.TrimSuffix(strings.TrimPrefix(r.String(), wholeBegin), wholeEnd))
		}
		return words
	case string:
		if k.tag.Get("format") == "certificates" {
			return certificates(x)
		}
		return cmp.Or(x, k.tag.Get("default"))
	}
	return x
}

const day = 24 * time.Hour

// hidden replaces a secret.
const hidden = "<secret>"

// certificates returns the text if it contains nothing but certificates, else hidden: TLS
// ignores keys and notes beside them.
func certificates(text string) string {
	var all bytes.Buffer
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return hidden
		}
		all.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes}))
	}
	dense := func(s string) string { return strings.Join(strings.Fields(s), "") }
	if dense(text) != dense(all.String()) {
		return hidden
	}
	return text
}
