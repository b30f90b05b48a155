package filter

import (
	"fmt"
	"regexp"
	"slices"
)

// Type is the type of a field's values: it decides which operators the field has and what they take.
type Type int8

// The types. A time's values are strings by RFC 3339, a uuid's strings of 36 characters; JSON is a jsonb column.
const (
	Int Type = iota
	Float
	Bool
	Time
	String
	UUID
	JSON
)

var types = [...]struct {
	sql  string // the type that placeholders are cast to, so that Postgres infers it from nothing else
	noun string // as in "must be …" and "is not an operator of …"
}{
	Int:    {"bigint", "an integer"},
	Float:  {"float8", "a number"},
	Bool:   {"boolean", "a boolean"},
	Time:   {"timestamptz", "a time"},
	String: {"text", "a string"},
	UUID:   {"uuid", "a uuid"},
	JSON:   {"jsonb", "a JSON value"},
}

// Field is a field that clients may filter and sort by.
type Field struct {
	Name     string // what clients call it
	Column   string
	Type     Type
	Nullable bool // whether the column may be NULL: for readers of an Order, as Where is right either way
}

// Schema is the fields of an entity. It is immutable and safe for concurrent use.
type Schema struct {
	fields   []Field
	index    map[string]int // by name
	names    []string       // sorted
	sortable []string       // sorted: the names of all fields but the JSON ones
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)

// NewSchema returns a schema of the fields. It panics on a mistake in the declaration: a name or a column that is given
// twice or is not an identifier, an unknown type, no field "id".
func NewSchema(fields ...Field) *Schema {
	s := &Schema{fields: slices.Clone(fields), index: make(map[string]int, len(fields))}
	columns := map[string]bool{}
	for i, f := range s.fields {
		_, known := s.index[f.Name]
		switch {
		case !identifier.MatchString(f.Name) || !identifier.MatchString(f.Column):
			panic(fmt.Sprintf("filter: field %q, column %q: not an identifier", f.Name, f.Column))
		case known || columns[f.Column]:
			panic(fmt.Sprintf("filter: field %q, column %q: declared twice", f.Name, f.Column))
		case f.Type < 0 || int(f.Type) >= len(types):
			panic(fmt.Sprintf("filter: field %q: unknown type %d", f.Name, f.Type))
		}
		s.index[f.Name] = i
		columns[f.Column] = true
		s.names = append(s.names, f.Name)
		if f.Type != JSON {
			s.sortable = append(s.sortable, f.Name)
		}
	}
	if _, ok := s.index["id"]; !ok {
		panic(`filter: no field "id", without which no order is total`)
	}
	slices.Sort(s.names)
	slices.Sort(s.sortable)
	return s
}
