package filter

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/doug-martin/goqu/v9"
	"github.com/doug-martin/goqu/v9/exp"
	"github.com/go-json-experiment/json/jsontext"
)

// Order is the sort keys of a list, the most significant one first. An Order from ParseOrder is total: its last key is
// the id.
type Order []Key

// Key is a field to sort by. NULLs come last in ascending order and first in descending order.
type Key struct {
	Field Field
	Desc  bool

	index int
}

// ParseOrder returns the order that raw describes: a field's name, "!name" for descending, or an array of these; null
// or no bytes for none. The id, ascending, is added as the last key unless it is given; keys after the id say nothing
// more and are left out. A fault is INVALID_PARAMS with a path that begins with the one given.
func ParseOrder(raw jsontext.Value, s *Schema, path string) (Order, error) {
	o := orderParser{seen: make([]bool, len(s.fields))}
	if len(raw) > 0 {
		o.parser = newParser(raw, s, path)
		defer o.release()
		if err := o.keys(); err != nil {
			return nil, err
		}
	}
	id := s.index["id"]
	if !o.seen[id] {
		o.order = append(o.order, Key{Field: s.fields[id], index: id})
	}
	return o.order, nil
}

type orderParser struct {
	*parser
	order Order
	seen  []bool // by index of field
}

func (o *orderParser) keys() (err error) {
	switch o.dec.PeekKind() {
	case jsontext.KindNull:
		_, err = o.token()
	case jsontext.KindBeginArray:
		err = o.each(o.key)
	case jsontext.KindString:
		err = o.key()
	default:
		if _, err = o.token(); err == nil {
			err = o.fail("must be a name or an array of names")
		}
	}
	if err != nil {
		return err
	}
	return o.end()
}

func (o *orderParser) key() error {
	name, err := o.string()
	if err != nil {
		return err
	}
	name, desc := strings.CutPrefix(name, "!")
	i, ok := o.schema.index[name]
	switch {
	case !ok:
		return o.unknown("is not a field", name, o.schema.sortable)
	case o.schema.fields[i].Type == JSON:
		return o.fail("has no order", slices.Clone(o.schema.sortable)...)
	case o.seen[i]:
		return o.fail("is given twice")
	}
	if !o.seen[o.schema.index["id"]] {
		o.order = append(o.order, Key{Field: o.schema.fields[i], Desc: desc, index: i})
	}
	o.seen[i] = true
	return nil
}

// Shape appends to dst what the text of Expressions depends on, as Filter.Shape does. It ends with the id's key, so no
// shape is the beginning of another.
func (o Order) Shape(dst []byte) []byte {
	for _, k := range o {
		n := uint64(k.index) << 1
		if k.Desc {
			n |= 1
		}
		dst = binary.AppendUvarint(dst, n)
	}
	return dst
}

// Expressions returns the keys for ORDER BY. Where NULLs come is Postgres's default and is not written, so that an
// index serves.
func (o Order) Expressions() []exp.OrderedExpression {
	expressions := make([]exp.OrderedExpression, len(o))
	for i, k := range o {
		c := goqu.C(k.Field.Column)
		if k.Desc {
			expressions[i] = c.Desc()
		} else {
			expressions[i] = c.Asc()
		}
	}
	return expressions
}
