package generate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// document is an OpenRPC document (https://spec.open-rpc.org), as far as clients are made of it.
type document struct {
	Info struct {
		Title   string `json:"title"`
		Version string `json:"version"`
	} `json:"info"`
	Methods    []method `json:"methods"`
	Components struct {
		Schemas ordered[*schema] `json:"schemas"`
	} `json:"components"`
}

type method struct {
	Name        string    `json:"name"`
	Summary     string    `json:"summary"`
	Description string    `json:"description"`
	Params      []content `json:"params"`
	Result      content   `json:"result"`
	Safe        bool      `json:"x-safe"`       // it only reads, so it may be called again when its answer is lost
	Idempotent  bool      `json:"x-idempotent"` // a further call with the same params changes nothing more: likewise
}

// content is a content descriptor: a param or a result.
type content struct {
	Name        string  `json:"name"`
	Description string  `json:"description"`
	Required    bool    `json:"required"`
	Schema      *schema `json:"schema"`
}

// schema is a JSON Schema (draft 7). What only narrows the values of a type, such as maxLength, is left out.
type schema struct {
	Ref                  string           `json:"$ref"`
	Title                string           `json:"title"`
	Description          string           `json:"description"`
	Type                 typeNames        `json:"type"`
	Format               string           `json:"format"`
	Pattern              string           `json:"pattern"`
	Const                jsontext.Value   `json:"const"`
	Enum                 []jsontext.Value `json:"enum"`
	AnyOf                []*schema        `json:"anyOf"`
	OneOf                []*schema        `json:"oneOf"`
	AllOf                []*schema        `json:"allOf"`
	Properties           ordered[*schema] `json:"properties"`
	PatternProperties    ordered[*schema] `json:"patternProperties"`
	AdditionalProperties *schema          `json:"additionalProperties"`
	Required             []string         `json:"required"`
	Items                *schema          `json:"items"`

	never bool // the schema false, which nothing satisfies
}

// UnmarshalJSONFrom takes the schemas true and false too.
func (s *schema) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	switch d.PeekKind() {
	case 't':
		return d.SkipValue()
	case 'f':
		s.never = true
		return d.SkipValue()
	}
	type plain schema
	return json.UnmarshalDecode(d, (*plain)(s))
}

// typeNames is a type or several of them.
type typeNames []string

// UnmarshalJSONFrom takes a string or an array of strings.
func (t *typeNames) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() == '"' {
		*t = make(typeNames, 1)
		return json.UnmarshalDecode(d, &(*t)[0])
	}
	return json.UnmarshalDecode(d, (*[]string)(t))
}

// ordered is the members of a JSON object in the order of the text.
type ordered[T any] []member[T]

type member[T any] struct {
	name  string
	value T
}

// UnmarshalJSONFrom takes an object.
func (o *ordered[T]) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if kind := d.PeekKind(); kind != '{' {
		return fmt.Errorf("an object is wanted, and there is %v", kind)
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() != '}' {
		var m member[T]
		if err := json.UnmarshalDecode(d, &m.name); err != nil {
			return err
		}
		if err := json.UnmarshalDecode(d, &m.value); err != nil {
			return err
		}
		*o = append(*o, m)
	}
	_, err := d.ReadToken()
	return err
}

// parse reads a document.
func parse(text []byte) (*document, error) {
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("the OpenRPC document: %w", err)
	}
	if len(d.Methods) == 0 {
		return nil, fmt.Errorf("the OpenRPC document has no methods")
	}
	for i := range d.Methods {
		m := &d.Methods[i]
		for _, c := range append(slices.Clone(m.Params), m.Result) {
			if c.Schema == nil {
				return nil, fmt.Errorf("the OpenRPC document: %s: %q has no schema", m.Name, c.Name)
			}
		}
	}
	if err := d.checkRefs(); err != nil {
		return nil, err
	}
	d.walk((*schema).wholeRow)
	d.dropUnused()
	return &d, nil
}

// wholeRow makes the choice between X and XPart X. A part is a row of which the caller has chosen the fields, so what is in it
// does not depend on the method alone.
func (s *schema) wholeRow() {
	s.AnyOf = slices.DeleteFunc(slices.Clone(s.AnyOf), func(part *schema) bool {
		return slices.ContainsFunc(s.AnyOf, func(whole *schema) bool { return whole.Ref != "" && part.Ref == whole.Ref+"Part" })
	})
	if len(s.AnyOf) == 1 && s.AnyOf[0].Ref != "" {
		s.Ref, s.AnyOf = s.AnyOf[0].Ref, nil
	}
}

const refPrefix = "#/components/schemas/"

// checkRefs makes sure that every reference leads to a schema of the document.
func (d *document) checkRefs() error {
	var err error
	check := func(s *schema) {
		if s.Ref != "" && d.component(s) == nil {
			err = fmt.Errorf("the OpenRPC document: there is no %s", s.Ref)
		}
	}
	d.walk(check)
	return err
}

// dropUnused drops the components that no method leads to.
func (d *document) dropUnused() {
	used := map[*schema]bool{}
	var use func(*schema)
	use = func(s *schema) {
		if c := d.component(s); c != nil && !used[c] {
			used[c] = true
			c.walk(use)
		}
	}
	for i := range d.Methods {
		d.Methods[i].Result.Schema.walk(use)
		for _, p := range d.Methods[i].Params {
			p.Schema.walk(use)
		}
	}
	d.Components.Schemas = slices.DeleteFunc(d.Components.Schemas, func(c member[*schema]) bool { return !used[c.value] })
}

// walk calls visit for every schema of the document.
func (d *document) walk(visit func(*schema)) {
	for _, c := range d.Components.Schemas {
		c.value.walk(visit)
	}
	for i := range d.Methods {
		d.Methods[i].Result.Schema.walk(visit)
		for _, p := range d.Methods[i].Params {
			p.Schema.walk(visit)
		}
	}
}

// component returns the schema that s refers to; nil if there is none.
func (d *document) component(s *schema) *schema {
	name, ok := strings.CutPrefix(s.Ref, refPrefix)
	if !ok {
		return nil
	}
	for _, c := range d.Components.Schemas {
		if c.name == name {
			return c.value
		}
	}
	return nil
}

// resolve follows references.
func (d *document) resolve(s *schema) *schema {
	for s.Ref != "" {
		s = d.component(s)
	}
	return s
}

// walk calls visit for s and every schema in it, without following references.
func (s *schema) walk(visit func(*schema)) {
	visit(s)
	for _, in := range slices.Concat(s.AnyOf, s.OneOf, s.AllOf) {
		in.walk(visit)
	}
	for _, in := range slices.Concat(s.Properties, s.PatternProperties) {
		in.value.walk(visit)
	}
	for _, in := range []*schema{s.AdditionalProperties, s.Items} {
		if in != nil {
			in.walk(visit)
		}
	}
}

// alternatives returns the schemas of which a value satisfies one; nil if s is not such a choice. Several types are
// several alternatives.
func (s *schema) alternatives() []*schema {
	if len(s.Type) > 1 && s.Enum == nil {
		var all []*schema
		for _, name := range s.Type {
			one := *s
			one.Type, one.Description = typeNames{name}, ""
			all = append(all, &one)
		}
		return all
	}
	return slices.Concat(s.AnyOf, s.OneOf)
}

// is tells whether s is of the one type.
func (s *schema) is(name string) bool { return len(s.Type) == 1 && s.Type[0] == name }

// isObject tells whether s describes objects.
func (s *schema) isObject() bool {
	return s.is("object") || len(s.Type) == 0 && (s.Properties != nil || s.PatternProperties != nil || s.AdditionalProperties != nil)
}

// params returns the schema of a method's params, which are passed by name.
func (m *method) params() *schema {
	s := &schema{Type: typeNames{"object"}, AdditionalProperties: &schema{never: true}}
	for _, p := range m.Params {
		described := *p.Schema
		if p.Description != "" {
			described.Description = p.Description
		}
		s.Properties = append(s.Properties, member[*schema]{p.Name, &described})
		if p.Required {
			s.Required = append(s.Required, p.Name)
		}
	}
	return s
}

// once tells whether the method happens once however often it is called: it takes an id for that.
func (m *method) once() bool {
	return slices.ContainsFunc(m.Params, func(c content) bool { return c.Name == "mutation_id" })
}

// doc returns what a method is for.
func (m *method) doc() string {
	switch {
	case m.Summary == "" || strings.HasPrefix(m.Description, m.Summary):
		return m.Description
	case m.Description == "":
		return m.Summary
	default:
		return strings.TrimSuffix(m.Summary, ".") + ". " + m.Description
	}
}
