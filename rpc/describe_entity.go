package rpc

import (
	"fmt"
	"strconv"
	"strings"

	"rowcall/modules/auth"
	"rowcall/modules/filter"
	"rowcall/modules/openrpc"
	"rowcall/modules/store"
)

// entityDocs are the entities that a document describes, by name.
type entityDocs map[string]*entityDoc

// target returns the entity that a reference leads to.
func (all entityDocs) target(d *entityDoc, ref store.RefDescription) *entityDoc {
	target := all[ref.Entity]
	if target == nil {
		panic(fmt.Sprintf("rpc: %s refers to %s, which has no methods and no description", d.Entity, ref.Entity))
	}
	return target
}

// define gives names to all schemas that methods of an entity may need.
func (all entityDocs) define(s *openrpc.Schemas, d *entityDoc) {
	define := func(suffix string, schema *openrpc.Schema) { s.Define(d.pascal+suffix, schema) }
	row := all.rowSchema(d)
	part := *row
	part.Required = nil
	part.Description = "The fields of " + article(d.words()) + " that were asked for."
	define("", row)
	define("Part", &part)
	s.Represent(d.GoType, d.pascal)
	created := d.dataSchema(func(f store.FieldDescription) bool { return f.OnCreate })
	for _, f := range d.Fields {
		if f.Required() {
			created.Required = append(created.Required, f.Name)
		}
	}
	define("Create", created)
	define("Update", d.dataSchema(func(f store.FieldDescription) bool { return f.OnUpdate }))
	define("Field", d.fieldNames(func(store.FieldDescription) bool { return true }))
	define("OrderBy", all.orderBySchema(d))
	define("Filters", filtersSchema(d.ref("FilterGroup")))
	define("FilterGroup", all.filterGroupSchema(d))
	define("Include", all.includeSchema(d))
	define("ListOptions", d.listOptionsSchema(s))
	define("GroupBy", all.groupBySchema(d))
	define("Aggregates", all.aggregatesSchema(d))
}

// rowSchema returns the schema of a row. What not everybody sees, and what is there only if it was asked for, is not required.
func (all entityDocs) rowSchema(d *entityDoc) *openrpc.Schema {
	row := &openrpc.Schema{Type: openrpc.Types{"object"}}
	for _, f := range d.Fields {
		schema := d.fieldSchema(f)
		if f.Read > auth.Member {
			schema.Description = fmt.Sprintf("For %ss and above; absent for others.", f.Read)
		} else {
			row.Required = append(row.Required, f.Name)
		}
		row.Properties = append(row.Properties, member(f.Name, schema))
	}
	for _, ref := range d.Refs {
		schema := all.target(d, ref).part()
		if ref.Many {
			schema = openrpc.ArrayOf(schema)
		} else {
			schema = openrpc.Nullable(schema)
		}
		schema.Description = "There if it was included."
		row.Properties = append(row.Properties, member(ref.Name, schema))
	}
	return row
}

// dataSchema returns the schema of data with the fields that may be in it.
func (d *entityDoc) dataSchema(may func(store.FieldDescription) bool) *openrpc.Schema {
	data := openrpc.Closed(nil)
	for _, f := range d.Fields {
		if may(f) {
			data.Properties = append(data.Properties, member(f.Name, d.fieldSchema(f)))
		}
	}
	return data
}

func (d *entityDoc) fieldSchema(f store.FieldDescription) *openrpc.Schema {
	if schema := d.fields[f.Name]; schema != nil {
		return schema
	}
	return fieldSchema(f)
}

// baseWords says what the fields are that every entity has.
var baseWords = map[string]string{
	"version": "1 at first, and one more with each update.",
	"cid":     "The user who created it.",
	"ctime":   "When it was created.",
	"mid":     "The user who changed it last.",
	"mtime":   "When it was changed last.",
}

// fieldSchema returns the schema of a field's values.
func fieldSchema(f store.FieldDescription) *openrpc.Schema {
	schema := *typeSchemas[f.Type]
	if f.Base {
		schema.Description = baseWords[f.Name]
	}
	for _, rule := range f.Rules {
		applyRule(&schema, f.Type, rule)
	}
	if f.Example != nil {
		schema.Examples = []any{f.Example}
	}
	if f.Nullable {
		return openrpc.Nullable(&schema)
	}
	return &schema
}

// typeSchemas are the schemas of the types' values.
var typeSchemas = [...]*openrpc.Schema{
	filter.Int:    {Type: openrpc.Types{"integer"}, Format: "int64"},
	filter.Float:  {Type: openrpc.Types{"number"}, Format: "double"},
	filter.Bool:   {Type: openrpc.Types{"boolean"}},
	filter.Time:   {Type: openrpc.Types{"string"}, Format: "date-time"},
	filter.String: {Type: openrpc.Types{"string"}},
	filter.UUID:   {Type: openrpc.Types{"string"}, Format: "uuid"},
	filter.JSON:   {},
	filter.ID:     {Type: openrpc.Types{"integer", "string"}, Format: "int64"},
}

// applyRule puts a rule into a schema. Rules that JSON Schema has no words for are left to the server.
func applyRule(s *openrpc.Schema, t filter.Type, rule store.Rule) {
	n, err := strconv.ParseFloat(rule.Param, 64)
	numeric := t == filter.Int || t == filter.Float
	whole := int(n)
	switch name := rule.Name; {
	case name == "required" && t == filter.String:
		s.MinLength = new(1)
	case name == "object":
		s.Type = openrpc.Types{"object"}
	case name == "email":
		s.Format = "email"
	case name == "url":
		s.Format = "uri"
	case name == "oneof":
		for value := range strings.FieldsSeq(rule.Param) {
			if v, err := strconv.ParseInt(value, 10, 64); numeric && err == nil {
				s.Enum = append(s.Enum, v)
			} else {
				s.Enum = append(s.Enum, value)
			}
		}
	case err != nil:
	case t == filter.JSON && (name == "max" || name == "lte"):
		s.Description = fmt.Sprintf("At most %d bytes of JSON.", whole)
	case numeric && (name == "min" || name == "gte"):
		s.Minimum = &n
	case numeric && (name == "max" || name == "lte"):
		s.Maximum = &n
	case numeric && name == "gt":
		s.ExclusiveMinimum = &n
	case numeric && name == "lt":
		s.ExclusiveMaximum = &n
	case t != filter.String:
	case name == "min" || name == "gte":
		s.MinLength = &whole
	case name == "max" || name == "lte":
		s.MaxLength = &whole
	case name == "len":
		s.MinLength, s.MaxLength = &whole, &whole
	}
}

// fieldNames returns the schema of the names of fields.
func (d *entityDoc) fieldNames(which func(store.FieldDescription) bool) *openrpc.Schema {
	var names []string
	for _, f := range d.Fields {
		if which(f) {
			names = append(names, f.Name)
		}
	}
	return openrpc.Enum(names...)
}
