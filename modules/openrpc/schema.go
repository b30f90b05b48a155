package openrpc

import (
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Schema is a JSON Schema, draft 7. The zero Schema allows any value. Beside Ref, everything else is ignored by that draft.
type Schema struct {
	Ref                  string          `json:"$ref,omitzero"`
	Description          string          `json:"description,omitzero"`
	Type                 Types           `json:"type,omitempty"`
	Format               string          `json:"format,omitzero"`
	Const                any             `json:"const,omitzero"`
	Enum                 []any           `json:"enum,omitempty"`
	Default              any             `json:"default,omitzero"`
	Minimum              *float64        `json:"minimum,omitzero"`
	Maximum              *float64        `json:"maximum,omitzero"`
	ExclusiveMinimum     *float64        `json:"exclusiveMinimum,omitzero"`
	ExclusiveMaximum     *float64        `json:"exclusiveMaximum,omitzero"`
	MinLength            *int            `json:"minLength,omitzero"`
	MaxLength            *int            `json:"maxLength,omitzero"`
	Pattern              string          `json:"pattern,omitzero"`
	Items                *Schema         `json:"items,omitzero"`
	MinItems             *int            `json:"minItems,omitzero"`
	MaxItems             *int            `json:"maxItems,omitzero"`
	UniqueItems          bool            `json:"uniqueItems,omitzero"`
	Properties           Object[*Schema] `json:"properties,omitempty"`
	PatternProperties    Object[*Schema] `json:"patternProperties,omitempty"`
	PropertyNames        *Schema         `json:"propertyNames,omitzero"`
	AdditionalProperties *Schema         `json:"additionalProperties,omitzero"` // Nothing: no further members
	MinProperties        *int            `json:"minProperties,omitzero"`
	MaxProperties        *int            `json:"maxProperties,omitzero"`
	Required             []string        `json:"required,omitempty"`
	AnyOf                []*Schema       `json:"anyOf,omitempty"`
	Examples             []any           `json:"examples,omitempty"`
}

// Types are the JSON types that a value may have.
type Types []string

// Nothing is the schema that allows no value.
var Nothing = &Schema{}

// MarshalJSONTo implements [json.MarshalerTo].
func (s *Schema) MarshalJSONTo(e *jsontext.Encoder) error {
	if s == Nothing {
		return e.WriteToken(jsontext.False)
	}
	type plain Schema
	return json.MarshalEncode(e, (*plain)(s))
}

// MarshalJSONTo implements [json.MarshalerTo]: one type is a string.
func (t Types) MarshalJSONTo(e *jsontext.Encoder) error {
	if len(t) == 1 {
		return e.WriteToken(jsontext.String(t[0]))
	}
	return json.MarshalEncode(e, []string(t))
}

// Ref returns the schema that stands for the component with the name.
func Ref(name string) *Schema { return &Schema{Ref: refPrefix + name} }

const refPrefix = "#/components/schemas/"

// AnyOf returns the schema of values that one of the schemas allows.
func AnyOf(schemas ...*Schema) *Schema { return &Schema{AnyOf: schemas} }

// ArrayOf returns the schema of arrays.
func ArrayOf(items *Schema) *Schema { return &Schema{Type: Types{"array"}, Items: items} }

// Enum returns the schema of strings that are one of the values.
func Enum(values ...string) *Schema {
	s := &Schema{Type: Types{"string"}}
	for _, v := range values {
		s.Enum = append(s.Enum, v)
	}
	return s
}

// Closed returns the schema of objects with no other members than these, none of which is required.
func Closed(properties Object[*Schema]) *Schema {
	return &Schema{Type: Types{"object"}, Properties: properties, AdditionalProperties: Nothing}
}

// parts returns the schemas that s is made of.
func (s *Schema) parts() []*Schema {
	parts := slices.Concat([]*Schema{s.Items, s.PropertyNames, s.AdditionalProperties}, s.AnyOf)
	for _, p := range slices.Concat(s.Properties, s.PatternProperties) {
		parts = append(parts, p.Value)
	}
	return slices.DeleteFunc(parts, func(part *Schema) bool { return part == nil })
}

// Null is the schema of null.
var Null = &Schema{Type: Types{"null"}}

// Nullable returns the schema of what s allows, and null.
func Nullable(s *Schema) *Schema {
	if len(s.Type) == 0 {
		switch {
		case len(s.AnyOf) > 0:
			c := *s
			c.AnyOf = append(slices.Clone(s.AnyOf), Null)
			return &c
		case s.Ref != "":
			return AnyOf(s, Null)
		}
		return s // it has null already
	}
	c := *s
	if !slices.Contains(s.Type, "null") {
		c.Type = append(slices.Clone(s.Type), "null")
	}
	if len(s.Enum) > 0 {
		c.Enum = append(slices.Clone(s.Enum), nil)
	}
	return &c
}
