package jsonrpc

import (
	"encoding"
	"errors"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// appender appends an addressable value of one type as JSON. After an error what it returns is not to be used.
//
// Rows of entities are most of what is answered, and an appender that was made for their type writes them in less than
// half the library's time (BenchmarkMarshal). It writes what the library would: what a type means in JSON is decided there, and
// every type that is not plain is left to it.
type appender func(b []byte, v reflect.Value) ([]byte, error)

var appenders sync.Map // reflect.Type -> appender

// appenderOf returns the appender of a type, which is made when it is first asked for.
func appenderOf(t reflect.Type) appender {
	if a, ok := appenders.Load(t); ok {
		return a.(appender)
	}
	a, _ := appenders.LoadOrStore(t, planning{}.appender(t))
	return a.(appender)
}

// planning makes appenders. It holds the structs it is in the middle of: what contains itself is left to the library, which
// knows how to end at a value that does.
type planning map[reflect.Type]bool

var (
	textMarshalerType = reflect.TypeFor[encoding.TextMarshaler]()
	marshalerTypes    = []reflect.Type{
		reflect.TypeFor[json.Marshaler](), reflect.TypeFor[json.MarshalerTo](), reflect.TypeFor[encoding.TextAppender](),
	}
)

// implementsAny tells whether a type, or a pointer to it, has the methods of one of the interfaces.
func implementsAny(t reflect.Type, interfaces ...reflect.Type) bool {
	return slices.ContainsFunc(interfaces, reflect.PointerTo(t).Implements)
}

func (p planning) appender(t reflect.Type) appender {
	switch {
	case implementsAny(t, reflect.TypeFor[Appender]()):
		return func(b []byte, v reflect.Value) ([]byte, error) { return v.Addr().Interface().(Appender).AppendJSON(b) }
	case t == timeType:
		return func(b []byte, v reflect.Value) ([]byte, error) {
			return appendTime(b, *v.Addr().Interface().(*time.Time))
		}
	case t == valueType:
		return appendValue
	case implementsAny(t, marshalerTypes...):
		return appendByLibrary
	case implementsAny(t, textMarshalerType):
		if t.Kind() == reflect.Array { // a UUID and the like, which are never nil
			return appendMarshaledText
		}
		return appendByLibrary
	}
	switch t.Kind() {
	case reflect.Bool:
		return func(b []byte, v reflect.Value) ([]byte, error) { return strconv.AppendBool(b, v.Bool()), nil }
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if t == reflect.TypeFor[time.Duration]() { // the library refuses it: it has no unit in JSON
			return appendByLibrary
		}
		return func(b []byte, v reflect.Value) ([]byte, error) { return strconv.AppendInt(b, v.Int(), 10), nil }
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return func(b []byte, v reflect.Value) ([]byte, error) { return strconv.AppendUint(b, v.Uint(), 10), nil }
	case reflect.Float32, reflect.Float64:
		return appendFloat
	case reflect.String:
		return func(b []byte, v reflect.Value) ([]byte, error) { return appendString(b, v.String()) }
	case reflect.Pointer:
		return p.pointer(t)
	case reflect.Slice:
		return p.slice(t)
	case reflect.Struct:
		return p.object(t)
	default:
		return appendByLibrary
	}
}

func (p planning) pointer(t reflect.Type) appender {
	elem := p.appender(t.Elem())
	return func(b []byte, v reflect.Value) ([]byte, error) {
		if v.IsNil() {
			return append(b, "null"...), nil
		}
		return elem(b, v.Elem())
	}
}

func (p planning) slice(t reflect.Type) appender {
	if t.Elem().Kind() == reflect.Uint8 {
		return appendByLibrary
	}
	elem := p.appender(t.Elem())
	return func(b []byte, v reflect.Value) ([]byte, error) {
		b = append(b, '[')
		var err error
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = elem(b, v.Index(i)); err != nil {
				return b, err
			}
		}
		return append(b, ']'), nil
	}
}

// member is a field of a struct as it is written.
type member struct {
	index     []int
	name      string
	text      string // the name, quoted, with a comma before it and a colon after it
	append    appender
	omitZero  func(reflect.Value) bool // nil: never
	omitEmpty bool
}

func (p planning) object(t reflect.Type) appender {
	if p[t] {
		return appendByLibrary
	}
	p[t] = true
	defer delete(p, t)
	members, ok := p.members(nil, t, nil)
	if !ok || len(members) == 0 && t.NumField() > 0 {
		return appendByLibrary
	}
	return func(b []byte, v reflect.Value) ([]byte, error) {
		open := len(b)
		var err error
		for i := range members {
			m := &members[i]
			f := v
			for _, index := range m.index {
				f = f.Field(index)
			}
			if m.omitZero != nil && m.omitZero(f) {
				continue
			}
			start := len(b)
			b = append(b, m.text...)
			if b, err = m.append(b, f); err != nil {
				return b, err
			}
			if m.omitEmpty && isEmpty(b[start+len(m.text):]) {
				b = b[:start]
			}
		}
		if len(b) == open {
			return append(b, '{', '}'), nil
		}
		b[open] = '{' // instead of the first comma
		return append(b, '}'), nil
	}
}

// members returns the members of a struct after others, and false if it is not for us to say what they are.
func (p planning) members(members []member, t reflect.Type, index []int) ([]member, bool) {
	for sf := range t.Fields() {
		tag, tagged := sf.Tag.Lookup("json")
		name, options, _ := strings.Cut(tag, ",")
		at := append(slices.Clone(index), sf.Index[0])
		plain := sf.Type.Kind() == reflect.Struct &&
			!implementsAny(sf.Type, marshalerTypes...) && !implementsAny(sf.Type, textMarshalerType)
		switch {
		case tag == "-":
			continue
		case sf.Anonymous && !tagged && plain:
			var ok bool
			if members, ok = p.members(members, sf.Type, at); !ok {
				return nil, false
			}
			continue
		case sf.Anonymous, !sf.IsExported() && tagged, strings.ContainsAny(name, `'"\`),
			sf.Type.Kind() == reflect.Interface && sf.Type.NumMethod() > 0:
			return nil, false
		case !sf.IsExported():
			continue
		case name == "":
			name = sf.Name
		}
		if slices.ContainsFunc(members, func(m member) bool { return m.name == name }) {
			return nil, false
		}
		m := member{index: at, name: name}
		for option := range strings.SplitSeq(options, ",") {
			switch option {
			case "":
			case "omitzero":
				m.omitZero = zeroTest(sf.Type)
			case "omitempty":
				m.omitEmpty = true
			default:
				return nil, false
			}
		}
		quoted, err := jsontext.AppendQuote([]byte{','}, name)
		if err != nil {
			return nil, false
		}
		m.text = string(append(quoted, ':'))
		m.append = p.appender(sf.Type)
		members = append(members, m)
	}
	return members, true
}

// isZeroer is what a type has that says itself which of its values omitzero omits.
type isZeroer interface{ IsZero() bool }

func zeroTest(t reflect.Type) func(reflect.Value) bool {
	zeroer := reflect.TypeFor[isZeroer]()
	switch {
	case t.Kind() == reflect.Pointer && t.Implements(zeroer):
		return func(v reflect.Value) bool { return v.IsNil() || v.Interface().(isZeroer).IsZero() }
	case reflect.PointerTo(t).Implements(zeroer):
		return func(v reflect.Value) bool { return v.Addr().Interface().(isZeroer).IsZero() }
	}
	return reflect.Value.IsZero
}

// isEmpty tells whether a value is one that omitempty omits.
func isEmpty(text []byte) bool {
	switch string(text) {
	case "null", `""`, "{}", "[]":
		return true
	}
	return false
}

// appendString appends a quoted string; in most there is nothing to escape.
func appendString(b []byte, s string) ([]byte, error) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return jsontext.AppendQuote(b, s)
		}
	}
	b = append(append(b, '"'), s...)
	return append(b, '"'), nil
}

// appendValue appends a raw value without its white space, or an error if it is not JSON.
func appendValue(b []byte, v reflect.Value) ([]byte, error) {
	if v.IsNil() {
		return append(b, "null"...), nil
	}
	return jsontext.AppendFormat(b, jsontext.Value(v.Bytes()))
}

func appendFloat(b []byte, v reflect.Value) ([]byte, error) {
	f := v.Float()
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return b, errors.New("JSON has no " + strconv.FormatFloat(f, 'g', -1, 64))
	}
	return jsontext.AppendFloat(b, f, v.Type().Bits()), nil
}

func appendMarshaledText(b []byte, v reflect.Value) ([]byte, error) {
	text, err := v.Addr().Interface().(encoding.TextMarshaler).MarshalText()
	if err != nil {
		return b, err
	}
	return jsontext.AppendQuote(b, text)
}
