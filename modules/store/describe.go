package store

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/auth"
	"rowcall/modules/filter"
)

// Description is what an entity's declaration says, for documents and generated clients.
type Description struct {
	Entity string
	GoType reflect.Type // the struct
	Fields []FieldDescription
	Refs   []RefDescription
	Key    string     // the field that tells rows apart
	Unique [][]string // the sets of fields that upsert may name
	Search bool       // whether its filters have $search
}

// FieldDescription is a field that clients see.
type FieldDescription struct {
	Name     string
	Type     filter.Type
	Nullable bool
	Base     bool      // one of Base, which every entity has
	OnCreate bool      // clients may give it to create
	OnUpdate bool      // clients may give it to update
	Rules    []Rule    // that values keep to
	Read     auth.Role // below it, a reader does not get the field, nor filter or sort by it
	Example  jsontext.Value
}

// Rule is a rule of the validate tag: max and 200.
type Rule struct{ Name, Param string }

// Required tells whether a new row must be given the field.
func (f FieldDescription) Required() bool {
	return f.OnCreate && !f.Nullable && slices.Contains(f.Rules, Rule{Name: "required"})
}

// RefDescription is a reference to another entity's rows: one of them, which may be absent, or many.
type RefDescription struct {
	Name   string
	Entity string
	Many   bool
	Read   auth.Role // as of a field
}

// Describe returns what the declaration says. It panics at a reference to no entity, and at an example that is no value of its field.
func (r *Repo[E, K]) Describe() Description {
	r.plan.link()
	d := Description{
		Entity: r.plan.entity, GoType: r.plan.goType, Key: r.plan.key.name, Unique: r.plan.unique, Search: r.plan.schema.Entity().Search != "",
	}
	for _, ref := range r.plan.schema.Refs() {
		d.Refs = append(d.Refs, RefDescription{ref.Name, ref.To.Entity().Name, ref.Many, ref.Read})
	}
	for _, c := range r.plan.columns {
		if c.name == "" {
			continue
		}
		d.Fields = append(d.Fields, FieldDescription{
			Name: c.name, Type: c.kind.filter, Nullable: c.nullable, Base: slices.Contains(baseColumns, c.db),
			OnCreate: c.onCreate, OnUpdate: c.onUpdate, Rules: c.described(), Read: c.read, Example: c.example(r.plan.goType),
		})
	}
	return d
}

// described returns the rules of the validate tag.
func (c *column) described() []Rule {
	var described []Rule
	for rule := range strings.SplitSeq(c.rules, ",") {
		if name, param, _ := strings.Cut(rule, "="); name != "" {
			described = append(described, Rule{name, param})
		}
	}
	return described
}

// example returns the value in the field's example tag; nil for none. It panics if that is no value of the field.
func (c *column) example(entity reflect.Type) jsontext.Value {
	field := entity.FieldByIndex(c.index)
	text, ok := field.Tag.Lookup("example")
	if !ok {
		return nil
	}
	value := jsontext.Value(text)
	switch c.kind.filter {
	case filter.String, filter.Time, filter.UUID:
		value, _ = jsontext.AppendQuote(nil, text) // a tag is UTF-8
	default:
	}
	v, err := c.parse(value)
	if err == nil {
		if issue, breaks := c.breach(v); breaks {
			err = fmt.Errorf("%s %s", issue.Path, issue.Reason)
		}
	}
	if err != nil {
		panic(fmt.Sprintf("store: %s.%s: its example is no value of it: %v", entity, field.Name, err))
	}
	return value
}
