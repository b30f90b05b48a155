package jsonrpc

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Marshal returns v as JSON, as results are encoded: with nil slices and maps as empty ones, the keys of maps in order,
// and each time.Time as RFC 3339 in UTC with six digits of a second, the rest cut off. It fails for what JSON cannot hold:
// text that is not UTF-8, raw values that are not JSON, infinite numbers, years past 9999, functions.
//
// Give it a pointer where there is one: a value is copied first.
func Marshal(v any) ([]byte, error) {
	out := newBuffer()
	defer releaseBuffer(out)
	if err := marshal(out, v); err != nil {
		return nil, err
	}
	return bytes.Clone(out.Bytes()), nil
}

// Appender is a value that writes itself: AppendJSON appends one JSON value to b. It is asked where it is a result or the field of
// a struct or an element of a slice in one; what the library encodes does not know of it.
type Appender interface {
	AppendJSON(b []byte) ([]byte, error)
}

// AppendJSON appends what Marshal returns to b. v is a pointer to the value.
func AppendJSON(b []byte, v any) ([]byte, error) {
	rv := reflect.ValueOf(v).Elem()
	return appenderOf(rv.Type())(b, rv)
}

// Members are some of the members of a struct type.
type Members struct{ members []member }

// MembersOf returns the members of a struct that have the names, in the order of the struct. It panics if t is not a struct whose
// members Marshal knows, or if it does not have one of the names.
func MembersOf(t reflect.Type, names []string) Members {
	all, ok := planning{}.members(nil, t, nil)
	if !ok {
		panic("jsonrpc: " + t.String() + " is not a plain struct")
	}
	var m Members
	for _, member := range all {
		if slices.Contains(names, member.name) {
			m.members = append(m.members, member)
		}
	}
	if len(m.members) != len(names) {
		panic(fmt.Sprintf("jsonrpc: %s does not have all the members %q", t, names))
	}
	return m
}

// Append appends the members of a struct, a comma after each: `"id":1,"name":"x",`.
func (m Members) Append(b []byte, of reflect.Value) ([]byte, error) {
	var err error
	for i := range m.members {
		member := &m.members[i]
		b = append(b, member.text[1:]...) // without its comma
		if b, err = member.append(b, of.FieldByIndex(member.index)); err != nil {
			return b, err
		}
		b = append(b, ',')
	}
	return b, nil
}

// marshal is Marshal to the end of a buffer. After an error nothing is added.
func marshal(out *bytes.Buffer, v any) error {
	rv := reflect.ValueOf(v)
	switch {
	case rv.Kind() != reflect.Pointer:
		if !rv.IsValid() {
			out.WriteString("null")
			return nil
		}
		addressable := reflect.New(rv.Type())
		addressable.Elem().Set(rv)
		rv = addressable
	case rv.IsNil():
		out.WriteString("null")
		return nil
	}
	text, err := appenderOf(rv.Type().Elem())(out.AvailableBuffer(), rv.Elem())
	if err != nil {
		return err
	}
	out.Write(text)
	return nil
}

// byLibrary are the options with which the library encodes as Marshal does.
var byLibrary = json.JoinOptions(
	json.Deterministic(true),
	json.WithMarshalers(json.MarshalToFunc(func(e *jsontext.Encoder, t time.Time) error {
		text, err := appendTime(e.AvailableBuffer(), t)
		if err != nil {
			return err
		}
		return e.WriteValue(text)
	})),
)

// appendByLibrary is the appender of what has no plan.
func appendByLibrary(b []byte, v reflect.Value) ([]byte, error) {
	out := bytes.NewBuffer(b)
	err := json.MarshalWrite(out, v.Addr().Interface(), byLibrary)
	return out.Bytes(), err
}

// appendTime appends a time as the wire has it, quoted. RFC 3339 has four digits for the year. It is written out because
// a list may hold a hundred times, and Time.AppendFormat is several times slower.
func appendTime(b []byte, t time.Time) ([]byte, error) {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return b, fmt.Errorf("the year %d cannot be written", year)
	}
	hour, minute, second := t.Clock()
	micro := t.Nanosecond() / 1000
	const zero = `"0000-00-00T00:00:00.000000Z"`
	b = append(b, zero...)
	text := b[len(b)-len(zero):]
	addPair(text[1:], year/100)
	addPair(text[3:], year%100)
	addPair(text[6:], int(month))
	addPair(text[9:], day)
	addPair(text[12:], hour)
	addPair(text[15:], minute)
	addPair(text[18:], second)
	addPair(text[21:], micro/10000)
	addPair(text[23:], micro/100%100)
	addPair(text[25:], micro%100)
	return b, nil
}

// addPair makes the two digits "00" that text begins with those of n.
func addPair(text []byte, n int) {
	text[0] += uint8(n) / 10
	text[1] += uint8(n) % 10
}
