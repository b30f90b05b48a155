package rpc

import (
	"fmt"
	"strings"

	"rowcall/modules/filter"
	"rowcall/modules/openrpc"
	"rowcall/modules/store"
)

// conditions are the names of the schemas of what a filter asks of a field, by the field's type.
var conditions = [...]string{
	filter.Int:    "IntegerCondition",
	filter.Float:  "NumberCondition",
	filter.Bool:   "BooleanCondition",
	filter.Time:   "TimeCondition",
	filter.String: "StringCondition",
	filter.UUID:   "UuidCondition",
	filter.JSON:   "JsonCondition",
	filter.ID:     "IdCondition",
}

// defineConditions gives names to the schemas that the filters of all entities share.
func defineConditions(s *openrpc.Schemas) {
	for t, name := range conditions {
		s.Define(name, conditionSchema(filter.Type(t)))
	}
	s.Define("JsonPathCondition", &openrpc.Schema{
		Description: "What a filter asks of the value at a path into JSON, by the type of the operand.",
		AnyOf: []*openrpc.Schema{
			{Type: openrpc.Types{"string", "number", "boolean", "array", "null"}}, // an object is one of operators
			operatorsSchema(filter.PathOperators(), typeSchemas[filter.JSON]),
		},
	})
	s.Define("Condition", &openrpc.Schema{
		Description: "What a filter asks of a field: a value, null, or an object of operators.",
		AnyOf: []*openrpc.Schema{
			{Type: openrpc.Types{"string", "number", "boolean", "null"}},
			{Type: openrpc.Types{"object"}, PatternProperties: properties{member(`^\$`, &openrpc.Schema{})},
				AdditionalProperties: openrpc.Nothing},
		},
	})
}

// conditionSchema returns the schema of what a filter asks of a field of the type.
func conditionSchema(t filter.Type) *openrpc.Schema {
	value := typeSchemas[t]
	plain := openrpc.Nullable(value)
	if t == filter.JSON { // an object is one of operators
		plain = &openrpc.Schema{Type: openrpc.Types{"string", "number", "boolean", "null"}}
	}
	return openrpc.AnyOf(plain, operatorsSchema(t.Operators(), value))
}

func operatorsSchema(operators []filter.Operator, value *openrpc.Schema) *openrpc.Schema {
	s := openrpc.Closed(nil)
	for _, op := range operators {
		s.Properties = append(s.Properties, member(op.Name, operandSchema(op.Takes, value)))
	}
	return s
}

func operandSchema(takes filter.Operand, value *openrpc.Schema) *openrpc.Schema {
	text := &openrpc.Schema{Type: openrpc.Types{"string"}}
	switch takes {
	case filter.OneOrNull:
		return openrpc.Nullable(value)
	case filter.ManyOrNull:
		return listSchema(openrpc.Nullable(value))
	case filter.OneText:
		return text
	case filter.ManyTexts:
		return listSchema(text)
	case filter.Flag:
		return &openrpc.Schema{Type: openrpc.Types{"boolean"}}
	case filter.Ordered:
		return &openrpc.Schema{Type: openrpc.Types{"string", "number"}}
	default:
		return value
	}
}

func listSchema(items *openrpc.Schema) *openrpc.Schema {
	s := openrpc.ArrayOf(items)
	s.MaxItems = new(filter.MaxValues)
	return s
}

// filtersSchema returns the schema of filters, which are made of the groups.
func filtersSchema(group *openrpc.Schema) *openrpc.Schema {
	return &openrpc.Schema{
		Description: fmt.Sprintf("A group holds if all in it does, an array if one of its groups does; null holds for every row. "+
			"At most %d levels and %d conditions.", filter.MaxDepth, filter.MaxConditions),
		AnyOf: []*openrpc.Schema{group, openrpc.ArrayOf(group), openrpc.Null},
	}
}

// maxDotted is how many references away a field is described by its dotted name; what is further away is told by a pattern.
const maxDotted = 2

// toOneRefs visits the entities that to-one references lead to from d, up to maxDotted away, by the dotted names that lead there; beyond
// is given the names that lead further.
func (all entityDocs) toOneRefs(d *entityDoc, visit func(name string, d *entityDoc), beyond func(name string)) {
	var follow func(prefix string, d *entityDoc, hops int)
	follow = func(prefix string, d *entityDoc, hops int) {
		for _, ref := range d.Refs {
			switch {
			case ref.Many:
			case hops > maxDotted:
				beyond(prefix + ref.Name)
			default:
				target := all.target(d, ref)
				visit(prefix+ref.Name, target)
				follow(prefix+ref.Name+".", target, hops+1)
			}
		}
	}
	follow("", d, 1)
}

// filterGroupSchema returns the schema of a group.
func (all entityDocs) filterGroupSchema(d *entityDoc) *openrpc.Schema {
	group := openrpc.Closed(nil)
	all.addMembers(group, "", d)
	all.toOneRefs(d, func(name string, target *entityDoc) {
		all.addMembers(group, name+".", target)
	}, func(name string) {
		group.PatternProperties = append(group.PatternProperties, member(pattern(name), &openrpc.Schema{}))
	})
	if d.Search {
		group.Properties = append(group.Properties, member("$search",
			&openrpc.Schema{Type: openrpc.Types{"string"}, MaxLength: new(filter.MaxSearch), Description: "Words to search for, as in a search engine."}))
	}
	self := d.ref("FilterGroup")
	group.Properties = append(group.Properties,
		member("$and", openrpc.ArrayOf(self)), member("$or", openrpc.ArrayOf(self)), member("$not", self))
	return group
}

// addMembers adds to a group what can be asked of an entity's rows, under names with the prefix.
func (all entityDocs) addMembers(group *openrpc.Schema, prefix string, d *entityDoc) {
	for _, f := range d.Fields {
		group.Properties = append(group.Properties, member(prefix+f.Name, openrpc.Ref(conditions[f.Type])))
		if f.Type == filter.JSON {
			group.PatternProperties = append(group.PatternProperties, member(pattern(prefix+f.Name), openrpc.Ref("JsonPathCondition")))
		}
	}
	for _, ref := range d.Refs {
		of := all.target(d, ref).ref("FilterGroup")
		asked := openrpc.Nullable(of)
		if ref.Many {
			asked = openrpc.Closed(properties{member("$some", of), member("$every", of), member("$none", of)})
		}
		group.Properties = append(group.Properties, member(prefix+ref.Name, asked))
	}
}

// pattern returns the regular expression of what a dotted name leads to.
func pattern(name string) string { return `^` + strings.ReplaceAll(name, ".", `\.`) + `\.[^.]` }

// orderBySchema returns the schema of a key to sort by.
func (all entityDocs) orderBySchema(d *entityDoc) *openrpc.Schema {
	key := all.reachedSchema(d, "!", filter.Type.Sortable)
	key.Description = "A field to sort by, descending with ! before it. NULLs come last ascending, and first descending."
	return key
}

// reachedSchema returns the schema of the names of fields that a row leads to, of types of which something holds; each may also
// have the prefix. What is further away than maxDotted is told by a pattern.
func (all entityDocs) reachedSchema(d *entityDoc, prefix string, holds func(filter.Type) bool) *openrpc.Schema {
	var names, further []string
	add := func(path string, fields []store.FieldDescription) {
		for _, f := range fields {
			if holds(f.Type) {
				names = append(names, path+f.Name)
				if prefix != "" {
					names = append(names, prefix+path+f.Name)
				}
			}
		}
	}
	add("", d.Fields)
	all.toOneRefs(d, func(name string, target *entityDoc) {
		add(name+".", target.Fields)
	}, func(name string) {
		further = append(further, strings.ReplaceAll(name, ".", `\.`))
	})
	if len(further) == 0 {
		return openrpc.Enum(names...)
	}
	if prefix != "" {
		prefix += "?"
	}
	return openrpc.AnyOf(openrpc.Enum(names...),
		&openrpc.Schema{Type: openrpc.Types{"string"}, Pattern: `^` + prefix + `(` + strings.Join(further, "|") + `)\.[^.]`})
}

// orderBysSchema returns the schema of a key to sort by, or an array of them.
func orderBysSchema(key *openrpc.Schema) *openrpc.Schema {
	keys := openrpc.ArrayOf(key)
	keys.MaxItems, keys.UniqueItems = new(filter.MaxKeys), true
	return openrpc.AnyOf(key, keys)
}

// fieldsSchema returns the schema of the names of the fields that are asked for.
func fieldsSchema(d *entityDoc) *openrpc.Schema {
	names := openrpc.ArrayOf(d.ref("Field"))
	names.UniqueItems = true
	return names
}

// includeSchema returns the schema of the references to embed in rows: their names, or what of each.
func (all entityDocs) includeSchema(d *entityDoc) *openrpc.Schema {
	names := &openrpc.Schema{Type: openrpc.Types{"array"}, MaxItems: new(0)}
	options := openrpc.Closed(nil)
	if len(d.Refs) > 0 {
		names = openrpc.ArrayOf(openrpc.Enum())
		names.UniqueItems = true
	}
	for _, ref := range d.Refs {
		target := all.target(d, ref)
		of := openrpc.Closed(properties{
			member("fields", openrpc.Nullable(fieldsSchema(target))), member("include", openrpc.Nullable(target.ref("Include"))),
		})
		if ref.Many {
			of.Properties = append(of.Properties,
				member("filters", target.ref("Filters")),
				member("order_bys", openrpc.Nullable(orderBysSchema(target.ref("OrderBy")))),
				member("limit", limitSchema(filter.MaxIncludeLimit, filter.DefaultIncludeLimit)))
		}
		names.Items.Enum = append(names.Items.Enum, ref.Name)
		options.Properties = append(options.Properties, member(ref.Name, openrpc.Nullable(of)))
	}
	return openrpc.AnyOf(names, options)
}

func limitSchema(most, byDefault int) *openrpc.Schema {
	return &openrpc.Schema{Type: openrpc.Types{"integer"}, Format: "int64", Minimum: new(0.0), Maximum: new(float64(most)), Default: byDefault}
}

// listOptionsSchema returns the schema of a list's options, as they are decoded.
func (d *entityDoc) listOptionsSchema(s *openrpc.Schemas) *openrpc.Schema {
	options := s.Input(listOptionsType)
	refine(options, schemas{
		"limit":     openrpc.Nullable(limitSchema(store.MaxLimit, store.DefaultLimit)),
		"offset":    {Type: openrpc.Types{"integer", "null"}, Format: "int64", Minimum: new(0.0)},
		"order_bys": openrpc.Nullable(orderBysSchema(d.ref("OrderBy"))),
		"fields":    openrpc.Nullable(fieldsSchema(d)),
		"include":   openrpc.Nullable(d.ref("Include")),
	})
	return options
}
