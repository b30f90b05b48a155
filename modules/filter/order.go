package filter

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/doug-martin/goqu/v9"
	"github.com/doug-martin/goqu/v9/exp"
	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/auth"
)

// Order is the sort keys of a list, the most significant one first. It is total: its last key is the id. It is immutable
// and safe for concurrent use.
type Order struct {
	rights
	Keys []Key
}

// Key is a value to sort by. NULLs come last in ascending order and first in descending order.
type Key struct {
	Field Field // of the row itself, or of the row that references lead to
	Desc  bool

	index int
	refs  []int  // the to-one references that lead to the row with the field, by index
	path  []*Ref // the same
	words string // of a key that is the rank of a search
	table string // likewise
}

// Own tells whether the key is a field of the row itself.
func (k *Key) Own() bool { return len(k.path) == 0 && k.table == "" }

// ByID is the order of rows that no other order is asked for: by what tells them apart, the id.
func (s *Schema) ByID() *Order {
	o := &Order{}
	for _, i := range s.last {
		o.Keys = append(o.Keys, Key{Field: s.fields[i], index: i})
	}
	return o
}

// ByRank is the order of the rows that the filter chooses by a $search of its outermost group, the best match first; nil if it
// has none.
func (f *Filter) ByRank() *Order {
	if f == nil || f.search == "" {
		return nil
	}
	o := f.schema.ByID()
	rank := Key{Field: Field{Column: f.schema.entity.Search, Type: Float}, Desc: true, words: f.search, table: f.schema.entity.Table}
	o.Keys = slices.Insert(o.Keys, 0, rank)
	return o
}

// maxKeys is how many keys a client can give.
const maxKeys = 20

// ParseOrder returns the order that raw describes: a field's name, "!name" for descending, or an array of these; null
// or no bytes for none, which is nil. A name may lead through to-one references: "project.name". The id, ascending, is added as the last
// key unless it is given; keys after the id say nothing more and are left out. A fault is INVALID_PARAMS with a path that
// begins with the one given.
func ParseOrder(raw jsontext.Value, s *Schema, path string) (*Order, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	o := orderParser{parser: newParser(raw, s, path), seen: map[string]bool{}}
	defer o.release()
	if err := o.keys(); err != nil {
		return nil, err
	}
	if len(o.seen) == 0 {
		return nil, nil
	}
	for _, k := range s.ByID().Keys {
		if !o.seen[k.Field.Name] {
			o.order = append(o.order, k)
		}
	}
	return &Order{rights: o.rights, Keys: o.order}, nil
}

// total tells whether the keys so far tell all rows apart.
func (o *orderParser) total() bool {
	for _, i := range o.schema.last {
		if !o.seen[o.schema.fields[i].Name] {
			return false
		}
	}
	return true
}

// Allowed is as for filters.
func (o *Order) Allowed(role auth.Role) error { return o.allowed(role) }

type orderParser struct {
	*parser
	order []Key
	seen  map[string]bool // by name
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
	k, err := o.find(name)
	switch {
	case err != nil:
		return err
	case o.seen[name]:
		return o.fail("is given twice")
	case len(o.seen) == maxKeys:
		return o.fail("is past the 20 keys that an order may have")
	}
	if !o.total() {
		k.Desc = desc
		o.order = append(o.order, k)
	}
	o.seen[name] = true
	return nil
}

// find returns the key of a name.
func (p *parser) find(name string) (k Key, err error) {
	var s *Schema
	k.refs, k.path, s, name, err = p.follow(name)
	if err != nil {
		return k, err
	}
	i, ok := s.index[name]
	switch {
	case !ok:
		return k, p.unknown("is not a field", name, s.sortable)
	case s.fields[i].Type == JSON:
		return k, p.fail("has no order", slices.Clone(s.sortable)...)
	}
	p.rights.need(s.fields[i].Read, p.here)
	k.Field, k.index = s.fields[i], i
	return k, nil
}

// follow goes along the to-one references that a name begins with, and returns them, where they lead, and the rest.
func (p *parser) follow(name string) (refs []int, path []*Ref, s *Schema, rest string, err error) {
	s = p.schema
	for {
		first, after, dotted := strings.Cut(name, ".")
		i, ok := s.refIndex[first]
		switch {
		case !dotted || !ok:
			return refs, path, s, name, nil
		case s.refs[i].Many:
			return nil, nil, nil, "", p.fail("goes through a list")
		case len(refs)+1 == maxDepth:
			return nil, nil, nil, "", p.fail("is nested deeper than 8 levels")
		case len(path) == maxDepth:
			return nil, nil, nil, "", p.fail("leads through more than 8 references")
		}
		r := &s.refs[i]
		p.rights.need(r.Read, p.here)
		p.rights.need(r.To.entity.reader(), p.here)
		refs, path, s, name = append(refs, i), append(path, r), r.To, after
	}
}

// Shape appends to dst what the text of Expressions depends on, as Filter.Shape does. It ends with the id's key, so no
// shape is the beginning of another.
func (o *Order) Shape(dst []byte) []byte {
	for i := range o.Keys {
		dst = o.Keys[i].shape(dst)
	}
	return dst
}

func (k *Key) shape(dst []byte) []byte {
	n := uint64(len(k.refs)) << 2
	if k.table != "" {
		n |= 2
	}
	if k.Desc {
		n |= 1
	}
	dst = binary.AppendUvarint(dst, n)
	for _, r := range k.refs {
		dst = binary.AppendUvarint(dst, uint64(r))
	}
	return binary.AppendUvarint(dst, uint64(k.index))
}

// Expressions returns the keys for ORDER BY. Where NULLs come is Postgres's default and is not written, so that an
// index serves.
func (o *Order) Expressions(own bool) []exp.OrderedExpression {
	expressions := make([]exp.OrderedExpression, len(o.Keys))
	for i := range o.Keys {
		k := &o.Keys[i]
		c := k.Expression(own)
		if k.Desc {
			expressions[i] = c.Desc()
		} else {
			expressions[i] = c.Asc()
		}
	}
	return expressions
}

// Args appends the values for the placeholders of Expressions to dst.
func (o *Order) Args(dst []any, own bool, user int64) []any {
	for i := range o.Keys {
		dst = o.Keys[i].Args(dst, own, user)
	}
	return dst
}

// Expression returns what the key sorts by.
func (k *Key) Expression(own bool) exp.LiteralExpression {
	sql, args := k.sql(own), make([]any, 0, 1)
	for range strings.Count(sql, "?") {
		args = append(args, 0)
	}
	return goqu.L(sql, args...)
}

// sql is the key's value, of the row [Root].
func (k *Key) sql(own bool) string {
	if k.table != "" {
		return `"` + k.table + `_rank"(` + alias(0) + `."` + k.Field.Column + `", ?::text)`
	}
	sql := alias(len(k.path)) + `."` + k.Field.Column + `"`
	for depth := len(k.path) - 1; depth >= 0; depth-- {
		sql = "(SELECT " + sql + " FROM " + k.path[depth].from(depth, own) + ")"
	}
	return sql
}

// Args appends the values for the placeholders of Expression to dst.
func (k *Key) Args(dst []any, own bool, user int64) []any {
	if k.table != "" {
		return append(dst, k.words)
	}
	for _, r := range slices.Backward(k.path) { // as the text nests them
		if r.To.entity.Held(own) {
			dst = append(dst, user)
		}
	}
	return dst
}
