// Package filter is the query language of lists: JSON -> typed tree -> goqu expression.
//
//	{"project_id": 1000, "title": {"$contains": "BB"}}     a group: all of it must hold
//	[{"done": true}, {"$not": {"title": {"$in": ["a"]}}}]  an array of groups: one of them must hold
//
// A [Schema] declares the fields of an entity. [Parse] checks a filter against it: whatever it does not know is
// INVALID_PARAMS with the path, never ignored, because a typo must not widen a result. [Filter.Where] gives the SQL
// condition and [Filter.Args] the values for its placeholders. The text depends only on [Filter.Shape], so that callers
// can build each statement once and cache it. [ParseOrder] does the same for sort keys.
//
// # Meaning
//
// A condition either holds for a row or does not; there is no third value. A comparison with NULL does not hold, and
// each negative operator holds exactly where its positive one does not: of $contains and $notContains exactly one holds
// for each row, NULL or not. In SQL a negation is therefore written (…) IS NOT TRUE. What is not negated may be unknown
// instead of false, which AND, OR and WHERE do not tell apart.
//
// Strings are compared by the collation of their column, which the tables declare as "C"; the Ci operators compare
// lower() by the collation "und-x-icu" on both sides, so that É and é are equal on every machine.
//
// # Limits
//
// Depth 8: each group, and each array of groups, is one deeper than what it stands in; the outermost is depth 1.
// Operator objects and lists of values are not counted. 200 conditions: each operator is one, and so is an empty group
// or array. 1,000 values in a list. Past a limit, Parse stops with INVALID_PARAMS.
package filter

import (
	"encoding/binary"
	"strings"

	"github.com/doug-martin/goqu/v9"
	"github.com/doug-martin/goqu/v9/exp"
)

// Filter is a parsed filter. It is immutable and safe for concurrent use; the zero Filter holds for every row.
type Filter struct {
	schema *Schema
	nodes  []node // in preorder
	args   []any  // in the order of the nodes
}

// node is a group or a condition.
type node struct {
	form    form
	negated bool
	n       int // of a group: how many nodes are under it; of a condition: the index of its field
}

// Shape appends to dst what the text of Where depends on. Two filters of one Schema with the same shape have the same
// text. It is short, not printable, and no shape is the beginning of another, so that it may be one part of a key.
func (f *Filter) Shape(dst []byte) []byte {
	if len(f.nodes) == 0 {
		return append(dst, byte(allOf)<<1, 0)
	}
	for _, n := range f.nodes {
		b := byte(n.form) << 1
		if n.negated {
			b |= 1
		}
		dst = binary.AppendUvarint(append(dst, b), uint64(n.n))
	}
	return dst
}

// Args appends to dst the values for the placeholders of Where, in their order: int64, float64, bool, string, time.Time
// (in UTC), uuid.UUID, and slices of these, each for one placeholder that stands for a Postgres array. A JSON value is
// its text.
func (f *Filter) Args(dst []any) []any { return append(dst, f.args...) }

// Where returns the condition for a statement in prepared mode: it has one placeholder for each value of Args, and
// goqu's own arguments for them mean nothing. Columns are not qualified.
func (f *Filter) Where() exp.Expression {
	if len(f.nodes) == 0 {
		return goqu.L("TRUE")
	}
	e, _ := f.expression(0)
	return e
}

// expression returns the expression of node i and the index of the node after all that is under it.
func (f *Filter) expression(i int) (e exp.Expression, next int) {
	n := f.nodes[i]
	switch n.form {
	case allOf, anyOf:
		e, next = f.group(i)
	default:
		e, next = n.form.condition(&f.schema.fields[n.n]), i+1
	}
	if n.negated {
		e = goqu.L("(?) IS NOT TRUE", e)
	}
	return e, next
}

func (f *Filter) group(i int) (e exp.Expression, next int) {
	n := f.nodes[i]
	end := i + 1 + n.n
	var members []exp.Expression
	for i++; i < end; {
		e, i = f.expression(i)
		members = append(members, e)
	}
	switch {
	case n.form == allOf && len(members) == 0:
		return goqu.L("TRUE"), end
	case n.form == anyOf && len(members) == 0:
		return goqu.L("FALSE"), end
	case n.form == allOf:
		return goqu.And(members...), end
	default:
		return goqu.Or(members...), end
	}
}

// condition returns the form's template, filled in for a field. Both the column's name and the type's come from the
// declaration.
func (f form) condition(field *Field) exp.Expression {
	sql := strings.NewReplacer("{col}", `"`+field.Column+`"`, "{type}", types[field.Type].sql).Replace(templates[f])
	discarded := make([]any, strings.Count(sql, "?"))
	for i := range discarded {
		discarded[i] = 0
	}
	return goqu.L(sql, discarded...)
}
