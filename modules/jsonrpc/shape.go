package jsonrpc

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// shape is what reflection finds in a type that params are decoded into, once.
type shape struct {
	form   form
	words  string // for a message: "must be …"
	goType reflect.Type
	elem   *shape        // of a list's or map's values
	null   bool          // a pointer, or a raw value: null is a value of it
	takes  jsontext.Kind // of an opaque value: the only kind it can have; 0 if it is not known

	fields   map[string]*field
	names    []string // of the fields, in the order of the struct
	required uint64   // the bits of the fields that must be there
}

// field is a member of an object.
type field struct {
	*shape
	name string
	bit  uint64 // 0: it may be absent or null
}

// form is how values of a shape are checked.
type form int8

const (
	raw      form = iota // anything
	boolean              // true or false
	signed               // an integer of the Go type's size
	unsigned             // the same from 0 on
	text                 // a string
	opaque               // what the library decodes into the type: numbers with fractions, and types with methods for it
	list                 // an array of elem
	dict                 // an object with elem under any names
	object               // an object with the fields
)

// newShape returns the shape of a struct, or an error if JSON cannot be decoded into it by the rules of [Handle].
func newShape(t reflect.Type) (*shape, error) {
	if t.Kind() != reflect.Struct || ownForm(t) {
		return nil, fmt.Errorf("params are a struct, and %s is none", t)
	}
	s, err := planner{}.shape(t)
	if err != nil {
		return nil, err
	}
	// The library has rules of its own, and checks a type when it first meets it.
	if t.NumField() > 0 {
		if err := json.Unmarshal([]byte("{}"), reflect.New(t).Interface(), decoding); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// planner makes shapes. It holds those of structs, which may contain themselves.
type planner map[reflect.Type]*shape

var (
	timeType            = reflect.TypeFor[time.Time]()
	valueType           = reflect.TypeFor[jsontext.Value]()
	textUnmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
	unmarshalerTypes    = []reflect.Type{
		textUnmarshalerType, reflect.TypeFor[json.Unmarshaler](), reflect.TypeFor[json.UnmarshalerFrom](),
	}
)

// ownForm tells whether a type says itself how it is decoded.
func ownForm(t reflect.Type) bool {
	return slices.ContainsFunc(unmarshalerTypes, reflect.PointerTo(t).Implements)
}

func (p planner) shape(t reflect.Type) (*shape, error) {
	switch {
	case t == valueType, t.Kind() == reflect.Interface && t.NumMethod() == 0:
		return &shape{form: raw, goType: t, null: t == valueType}, nil
	case t == timeType:
		return &shape{form: opaque, goType: t, words: "a time as in RFC 3339", takes: jsontext.KindString}, nil
	case ownForm(t):
		s := &shape{form: opaque, goType: t, words: "a valid " + t.Name()}
		if reflect.PointerTo(t).Implements(textUnmarshalerType) {
			s.takes = jsontext.KindString
		}
		return s, nil
	}
	switch t.Kind() {
	case reflect.Bool:
		return &shape{form: boolean, goType: t, words: "a boolean"}, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return &shape{form: signed, goType: t, words: "an integer"}, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &shape{form: unsigned, goType: t, words: "an integer of at least 0"}, nil
	case reflect.Float32, reflect.Float64:
		return &shape{form: opaque, goType: t, words: "a number", takes: jsontext.KindNumber}, nil
	case reflect.String:
		return &shape{form: text, goType: t, words: "a string"}, nil
	case reflect.Pointer:
		return p.pointer(t)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return &shape{form: opaque, goType: t, words: "a string of base64", takes: jsontext.KindString}, nil
		}
		elem, err := p.shape(t.Elem())
		return &shape{form: list, goType: t, words: "an array", elem: elem}, err
	case reflect.Map:
		if t.Key().Kind() != reflect.String || ownForm(t.Key()) {
			return nil, fmt.Errorf("%s has keys that are not strings", t)
		}
		elem, err := p.shape(t.Elem())
		return &shape{form: dict, goType: t, words: "an object", elem: elem}, err
	case reflect.Struct:
		return p.object(t)
	}
	return nil, fmt.Errorf("%s cannot be decoded", t)
}

// pointer returns the shape of what a pointer points to, with null.
func (p planner) pointer(t reflect.Type) (*shape, error) {
	if t.Elem().Kind() == reflect.Pointer || t.Elem() == valueType {
		return nil, fmt.Errorf("%s has two kinds of null", t)
	}
	s, err := p.shape(t.Elem())
	if err != nil {
		return nil, err
	}
	if s.form == object { // its fields may not be known yet
		return &shape{form: object, goType: t, words: s.words, elem: s, null: true}, nil
	}
	nullable := *s
	nullable.null = true
	return &nullable, nil
}

func (p planner) object(t reflect.Type) (*shape, error) {
	if s := p[t]; s != nil {
		return s, nil
	}
	s := &shape{form: object, goType: t, words: "an object", fields: map[string]*field{}}
	s.elem = s
	p[t] = s
	return s, p.addFields(s, t)
}

// addFields adds the fields of a struct to s, and those of structs embedded in it.
func (p planner) addFields(s *shape, t reflect.Type) error {
	for sf := range t.Fields() {
		tag, tagged := sf.Tag.Lookup("json")
		name, options, _ := strings.Cut(tag, ",")
		switch {
		case tag == "-", !sf.IsExported() && !sf.Anonymous:
			continue
		case sf.Anonymous && !tagged && sf.Type.Kind() == reflect.Struct && !ownForm(sf.Type):
			if err := p.addFields(s, sf.Type); err != nil {
				return err
			}
			continue
		}
		if err := p.addField(s, sf.Type, name, options); err != nil {
			return fmt.Errorf("%s.%s: %w", t, sf.Name, err)
		}
	}
	return nil
}

func (p planner) addField(s *shape, t reflect.Type, name, options string) error {
	if name == "" || strings.ContainsAny(name, `'"\`) {
		return errors.New("its json tag must begin with a plain name")
	}
	if s.fields[name] != nil {
		return fmt.Errorf("there is another %s", name)
	}
	f := &field{name: name}
	optional := false
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "":
		case "omitzero", "omitempty":
			optional = true
		default:
			return fmt.Errorf("params cannot have the tag option %s", option)
		}
	}
	if !optional {
		if f.bit = s.required + 1; f.bit == 0 { // required is a run of ones from the lowest bit on
			return errors.New("a struct can have at most 64 required fields")
		}
		s.required |= f.bit
	}
	var err error
	f.shape, err = p.shape(t)
	s.fields[name] = f
	s.names = append(s.names, name)
	return err
}
