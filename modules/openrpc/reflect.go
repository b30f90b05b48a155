package openrpc

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// Schemas are the schemas of a document: those that have a name, and the ones that are made of Go types. The zero Schemas
// has none.
type Schemas struct {
	named Object[*Schema]
	types map[reflect.Type]string
}

// Define gives a schema a name under which [Ref] stands for it. It panics if the name is taken.
func (s *Schemas) Define(name string, schema *Schema) {
	if s.named.Get(name) != nil {
		panic(fmt.Sprintf("openrpc: there are two schemas with the name %s", name))
	}
	s.named = append(s.named, Member[*Schema]{name, schema})
}

// Represent makes the schema with the name the one of a Go type.
func (s *Schemas) Represent(t reflect.Type, name string) {
	if s.types == nil {
		s.types = map[reflect.Type]string{}
	}
	s.types[t] = name
}

// Used returns the defined schemas that the given ones refer to, and those that these do, in the order of their names. It
// panics at a name that has no schema.
func (s *Schemas) Used(by ...*Schema) Object[*Schema] {
	var used Object[*Schema]
	var use func(*Schema)
	use = func(schema *Schema) {
		if name, ok := strings.CutPrefix(schema.Ref, refPrefix); ok && used.Get(name) == nil {
			named := s.named.Get(name)
			if named == nil {
				panic(fmt.Sprintf("openrpc: there is no schema with the name %s", name))
			}
			used = append(used, Member[*Schema]{name, named})
			use(named)
		}
		for _, part := range schema.parts() {
			use(part)
		}
	}
	for _, schema := range by {
		use(schema)
	}
	slices.SortFunc(used, func(a, b Member[*Schema]) int { return strings.Compare(a.Name, b.Name) })
	return used
}

// Output returns the schema of what a Go value is encoded as. A field whose tag says omitzero or omitempty is not required; a
// pointer without it can be null. Objects may have further members: a client is not to mind them.
func (s *Schemas) Output(t reflect.Type) *Schema { return maker{s, false, nil}.schema(t) }

// Input returns the schema of what is decoded into a Go value by the rules of jsonrpc.Handle: a field whose tag says
// omitzero or omitempty may be absent or null, and there are no members that are not fields.
func (s *Schemas) Input(t reflect.Type) *Schema { return maker{s, true, nil}.schema(t) }

// maker makes one schema.
type maker struct {
	*Schemas
	input bool
	in    []reflect.Type // the structs that the type is in
}

var (
	timeType          = reflect.TypeFor[time.Time]()
	uuidType          = reflect.TypeFor[uuid.UUID]()
	valueType         = reflect.TypeFor[jsontext.Value]()
	textMarshalerType = reflect.TypeFor[encoding.TextMarshaler]()
	appenderType      = reflect.TypeFor[interface{ AppendJSON([]byte) ([]byte, error) }]()
)

func (m maker) schema(t reflect.Type) *Schema {
	if name := m.types[t]; name != "" {
		return Ref(name)
	}
	switch {
	case t == valueType, t.Kind() == reflect.Interface, t.Implements(appenderType): // only they know
		return &Schema{}
	case t == timeType:
		return &Schema{Type: Types{"string"}, Format: "date-time"}
	case t == uuidType:
		return &Schema{Type: Types{"string"}, Format: "uuid"}
	case t.Kind() == reflect.Pointer:
		return Nullable(m.schema(t.Elem()))
	case t.Implements(textMarshalerType):
		return &Schema{Type: Types{"string"}}
	}
	switch t.Kind() {
	case reflect.Bool:
		return &Schema{Type: Types{"boolean"}}
	case reflect.String:
		return &Schema{Type: Types{"string"}}
	case reflect.Int, reflect.Int64:
		return &Schema{Type: Types{"integer"}, Format: "int64"}
	case reflect.Int8, reflect.Int16, reflect.Int32:
		return &Schema{Type: Types{"integer"}, Format: "int32"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &Schema{Type: Types{"integer"}, Minimum: new(0.0)}
	case reflect.Float32, reflect.Float64:
		return &Schema{Type: Types{"number"}, Format: "double"}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return &Schema{Type: Types{"string"}, Format: "byte"}
		}
		return ArrayOf(m.schema(t.Elem()))
	case reflect.Map:
		return &Schema{Type: Types{"object"}, AdditionalProperties: m.schema(t.Elem())}
	case reflect.Struct:
		return m.object(t)
	default:
		panic(fmt.Sprintf("openrpc: JSON has nothing for the type %s", t))
	}
}

func (m maker) object(t reflect.Type) *Schema {
	if slices.Contains(m.in, t) {
		panic(fmt.Sprintf("openrpc: %s contains itself: give its schema a name", t))
	}
	m.in = append(slices.Clone(m.in), t)
	s := &Schema{Type: Types{"object"}}
	if m.input {
		s.AdditionalProperties = Nothing
	}
	m.addFields(s, t)
	return s
}

// addFields adds the fields of a struct to s, and those of structs embedded in it.
func (m maker) addFields(s *Schema, t reflect.Type) {
	for f := range t.Fields() {
		tag, tagged := f.Tag.Lookup("json")
		name, options, _ := strings.Cut(tag, ",")
		switch {
		case tag == "-", !f.IsExported() && !f.Anonymous:
			continue
		case f.Anonymous && !tagged:
			m.embed(s, f.Type)
			continue
		}
		optional := strings.Contains(options, "omit")
		fieldType := f.Type
		if !m.input && optional && fieldType.Kind() == reflect.Pointer {
			fieldType = fieldType.Elem() // a nil one is left out
		}
		schema := m.schema(fieldType)
		if m.input && optional {
			schema = Nullable(schema)
		}
		s.Properties = append(s.Properties, Member[*Schema]{name, schema})
		if !optional {
			s.Required = append(s.Required, name)
		}
	}
}

// embed adds what an embedded struct has, as its schema with a name says if there is one.
func (m maker) embed(s *Schema, t reflect.Type) {
	named := m.named.Get(m.types[t])
	if named == nil {
		m.addFields(s, t)
		return
	}
	s.Properties = append(s.Properties, named.Properties...)
	s.Required = append(s.Required, named.Required...)
}
