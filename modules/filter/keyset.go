package filter

import (
	"strings"

	"github.com/doug-martin/goqu/v9"
	"github.com/doug-martin/goqu/v9/exp"
)

// Keyset is the condition that a row comes after another one in an order, of which the values of its keys are known. It is
// how a page begins where the one before it ended, at no cost of the rows between and whatever happens to them.
type Keyset struct {
	order  *Order
	values []any
}

// After returns the condition for the rows after the one with the values: one for each key, nil for NULL, else as [Filter.Args]
// has them.
func (o *Order) After(values []any) *Keyset { return &Keyset{o, values} }

// Shape appends to dst what the text of Where depends on, besides the order's.
func (k *Keyset) Shape(dst []byte) []byte {
	for _, v := range k.values {
		if v == nil {
			dst = append(dst, 'n')
		} else {
			dst = append(dst, 'v')
		}
	}
	return dst
}

// Where returns the condition. Where the first keys are all ascending, or all descending, and cannot be NULL, it begins with a comparison of
// them as a whole, which can be where an index scan begins:
//
//	(a, b, id) > (?, ?, ?)                  for a, b, id
//	a <= ? AND (a < ? OR a = ? AND (id > ?)) for !a, id
func (k *Keyset) Where(own bool) exp.Expression {
	sql := k.sql(own)
	args := make([]any, strings.Count(sql, "?"))
	for i := range args {
		args[i] = 0
	}
	return goqu.L(sql, args...)
}

// Args appends the values for the placeholders of Where to dst.
func (k *Keyset) Args(dst []any, own bool, user int64) []any {
	k.write(func(key *Key, value any) {
		if key != nil {
			dst = key.Args(dst, own, user)
		}
		if value != nil {
			dst = append(dst, value)
		}
	}, func(string) {})
	return dst
}

func (k *Keyset) sql(own bool) string {
	var b strings.Builder
	k.write(func(key *Key, _ any) {
		if key != nil {
			b.WriteString(key.sql(own))
		}
	}, func(s string) { b.WriteString(s) })
	return b.String()
}

// write writes the condition as keys, each with the value that follows it, and text between them.
func (k *Keyset) write(key func(k *Key, value any), text func(string)) {
	keys := k.order.Keys
	if n := k.alike(); n > 0 {
		strict := n == len(keys)
		text("(")
		k.compare(n, strict, key, text)
		if strict {
			text(")")
			return
		}
		text(" AND ")
	} else {
		text("(")
	}
	for i := range keys {
		this, value := &keys[i], k.values[i]
		text("(")
		switch {
		case value == nil && this.Desc: // NULLs are first
			key(this, nil)
			text(" IS NOT NULL")
		case value == nil:
			text("FALSE")
		default:
			key(this, value)
			text(this.operator() + " " + this.placeholder())
			if !this.Desc && this.nullable() {
				text(" OR ")
				key(this, nil)
				text(" IS NULL")
			}
		}
		if i == len(keys)-1 {
			break
		}
		text(" OR ")
		key(this, value)
		if value == nil {
			text(" IS NULL AND ")
		} else {
			text(" = " + this.placeholder() + " AND ")
		}
	}
	text(strings.Repeat(")", len(keys)+1))
}

// alike returns how many of the first keys have one direction and cannot be NULL.
func (k *Keyset) alike() int {
	keys := k.order.Keys
	for i := range keys {
		if keys[i].nullable() || !keys[i].Own() || keys[i].Desc != keys[0].Desc {
			return i
		}
	}
	return len(keys)
}

// compare writes the comparison of the first n keys as a whole: of what comes after the row, or, if it is not strict, is alike.
func (k *Keyset) compare(n int, strict bool, key func(k *Key, value any), text func(string)) {
	operator := k.order.Keys[0].operator()
	if !strict {
		operator += "="
	}
	// The keys here have no placeholders of their own, so all values can come after them.
	var names, values []string
	for i := range n {
		names, values = append(names, k.order.Keys[i].sql(false)), append(values, k.order.Keys[i].placeholder())
	}
	for i := range n {
		key(nil, k.values[i])
	}
	text("(" + strings.Join(names, ", ") + ")" + operator + " (" + strings.Join(values, ", ") + ")")
}

func (k *Key) operator() string {
	if k.Desc {
		return " <"
	}
	return " >"
}

func (k *Key) placeholder() string { return "?::" + types[k.Field.Type].sql }

// nullable tells whether the key can be NULL: a referenced row may not be there.
func (k *Key) nullable() bool { return k.Field.Nullable || len(k.path) > 0 }
