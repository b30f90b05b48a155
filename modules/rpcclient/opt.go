package rpcclient

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Opt is a member that may be absent, null or a value. The zero Opt is absent.
type Opt[T any] struct {
	value *T
	null  bool
}

// Value returns a member that is v.
func Value[T any](v T) Opt[T] { return Opt[T]{value: &v} }

// Null returns a member that is null.
func Null[T any]() Opt[T] { return Opt[T]{null: true} }

// Get returns the value, and whether there is one.
func (o Opt[T]) Get() (v T, ok bool) {
	if o.value == nil {
		return v, false
	}
	return *o.value, true
}

// IsZero tells whether the member is absent.
func (o Opt[T]) IsZero() bool { return o.value == nil && !o.null }

// MarshalJSONTo writes the value, or null.
func (o Opt[T]) MarshalJSONTo(e *jsontext.Encoder) error { return json.MarshalEncode(e, o.value) }

// UnmarshalJSONFrom reads a value or null.
func (o *Opt[T]) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	o.null = d.PeekKind() == 'n'
	return json.UnmarshalDecode(d, &o.value)
}
