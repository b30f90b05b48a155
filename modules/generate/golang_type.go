package generate

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// form is what Go makes of a schema.
type form int

const (
	nullable  form = 1 << iota // null is a value
	nilable                    // the Go type has nil: a slice, a map, any
	structure                  // the Go type is a struct
)

// shape returns the schema that a type is made of, which is s unless that is a choice, and its form.
func (g *golang) shape(s *schema, input bool) (*schema, form) {
	switch {
	case s.Ref != "":
		_, f := g.shape(g.doc.component(s), input)
		return s, f
	case s.Enum != nil:
		if slices.ContainsFunc(s.Enum, isNull) {
			return s, nullable
		}
		return s, 0
	case len(s.AllOf) > 0, s.isObject() && len(s.Properties)+len(s.PatternProperties) > 0:
		return s, structure
	case s.isObject(), s.is("array"), s.Items != nil:
		return s, nilable
	}
	all := s.alternatives()
	if len(all) == 0 {
		if len(s.Type) == 0 && s.Const == nil {
			return s, nilable
		}
		return s, 0
	}
	values := slices.DeleteFunc(all, func(one *schema) bool { return one.is("null") })
	one := g.choose(values, input)
	core, f := g.shape(one, input)
	if len(values) < len(all) {
		f |= nullable
	}
	return core, f
}

func isNull(v jsontext.Value) bool { return v.Kind() == 'n' }

// choose returns the one of several schemas that says most; the schema of anything if none can stand for all.
func (g *golang) choose(all []*schema, input bool) *schema {
	if len(all) == 1 {
		return all[0]
	}
	only := func(is func(*schema) bool) *schema {
		var found []*schema
		for _, s := range all {
			if is(s) {
				found = append(found, s)
			}
		}
		if len(found) == 1 {
			return found[0]
		}
		return nil
	}
	array := only(func(s *schema) bool { return s.Items != nil })
	if array != nil && input && len(all) == 2 && slices.ContainsFunc(all, func(s *schema) bool { return reflect.DeepEqual(s, array.Items) }) {
		return array
	}
	object := only(func(s *schema) bool {
		_, f := g.shape(s, input)
		return f&structure != 0
	})
	if object != nil && input {
		return object
	}
	if enum := only(func(s *schema) bool { return s.Enum != nil && s.is("string") }); enum != nil && len(all) == 2 &&
		!slices.ContainsFunc(all, func(s *schema) bool { return !s.is("string") }) {
		return enum // of which Go has constants, and its type takes other strings too
	}
	for _, names := range [][]string{{"string"}, {"integer", "number"}} {
		other := func(s *schema) bool {
			r := g.doc.resolve(s)
			return len(r.Type) != 1 || !slices.Contains(names, r.Type[0])
		}
		if !slices.ContainsFunc(all, other) {
			return &schema{Type: names[len(names)-1:]}
		}
	}
	return &schema{}
}

// typ returns the Go type of a schema's values, other than null. name is for a struct that must be declared.
func (g *golang) typ(s *schema, name string, input bool) string {
	s, f := g.shape(s, input)
	switch {
	case s.Ref != "":
		return typeName(strings.TrimPrefix(s.Ref, refPrefix))
	case f&structure != 0:
		return g.later(name, cmp.Or(s.Description, "is a part of what it is named after."), s, input)
	case s.isObject():
		if s.AdditionalProperties != nil && !s.AdditionalProperties.never {
			return "map[string]" + g.typ(s.AdditionalProperties, name+"Value", input)
		}
		return "map[string]any"
	case s.Items != nil:
		item := g.typ(s.Items, name+"Item", input)
		if _, f := g.shape(s.Items, input); f&nullable != 0 && f&nilable == 0 && !input {
			item = "*" + item
		}
		return "[]" + item
	case s.is("string") && s.Format == "date-time":
		return "time.Time"
	case s.is("string") && s.Format == "uuid":
		return "uuid.UUID"
	case s.is("string"), s.Const.Kind() == '"':
		return "string"
	case s.is("integer"):
		return "int64"
	case s.is("number"), s.Const.Kind() == '0':
		return "float64"
	case s.is("boolean"), s.Const.Kind() == 't', s.Const.Kind() == 'f':
		return "bool"
	case input:
		return "any"
	default:
		return "jsontext.Value"
	}
}
