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
// # References
//
// Through a to-one reference, {"project.name": …} and {"project": {"name": …}} mean the same: the condition, on the
// referenced row's field, which is NULL if there is no such row. Through a to-many reference, {"tasks": {"$some": {…}}} holds if a
// referenced row is chosen by the group, $every if none is not, $none if none is. Rows that the actor may not reach are
// not there.
//
// # JSON
//
// {"meta.color": …} asks the value at a path inside a JSON column, by the operators of the operand's type: {"$lt": 3} holds for
// numbers below 3 and for nothing else, {"$contains": "x"} for strings. A segment that is an integer is a position in an array, or a key of an
// object. What is not there and a JSON null are both null. $has holds for an object that has the key, and for an array
// that has the string.
//
// # Limits
//
// Depth 8: each group, and each array of groups, is one deeper than what it stands in; the outermost is depth 1.
// Operator objects and lists of values are not counted, references are, dotted ones too. 200 conditions: each operator is
// one, and so is an empty group or array, and each step through a reference. 1,000 values in a list. Past a limit, Parse
// stops with INVALID_PARAMS.
package filter

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"github.com/doug-martin/goqu/v9"
	"github.com/doug-martin/goqu/v9/exp"

	"rowcall/modules/auth"
)

// Filter is a parsed filter. It is immutable and safe for concurrent use; the zero Filter holds for every row.
type Filter struct {
	rights
	schema *Schema
	nodes  []node // in preorder
	args   []any  // in the order of the nodes
	marked bool   // whether there is a self in args
	search string // the words of a $search that all rows of the result match, to rank them by; "" for none
	probes []Probe
}

// Probe is a condition whose rows an index can find: see [Filter.Found].
type Probe struct {
	Schema   *Schema // of the rows
	Function string  // gives their ids for the argument, of the tenant that the connection is set to
	Argument any

	node, arg int
}

// Allowed returns nil if an actor of the role may know all that the filter asks about, else FORBIDDEN. The nil Filter asks about
// nothing.
func (f *Filter) Allowed(role auth.Role) error {
	if f == nil {
		return nil
	}
	return f.allowed(role)
}

// node is a group, a step through a reference, or a condition.
type node struct {
	form    form
	negated bool
	of      int // of a step: the index of its reference; of a condition: that of its field
	n       int // of a group or a step: how many nodes are under it
	args    int // how many arguments it has by itself
}

// self is, among arguments, the user's id of whoever is held to some rows of the entity. It is left out for others.
type self struct{ of *Entity }

// Shape appends to dst what the text of Where depends on, besides its parameter. Two filters of one Schema with the same shape
// have the same text. It is short, not printable, and no shape is the beginning of another, so that it may be one part of a
// key.
func (f *Filter) Shape(dst []byte) []byte {
	if len(f.nodes) == 0 {
		return append(dst, byte(allOf)<<1, 0)
	}
	for _, n := range f.nodes {
		b := byte(n.form) << 1
		if n.negated {
			b |= 1
		}
		dst = append(dst, b)
		switch n.form {
		case allOf, anyOf:
			dst = binary.AppendUvarint(dst, uint64(n.n))
		case exists:
			dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(n.of)), uint64(n.n))
		default:
			dst = binary.AppendUvarint(dst, uint64(n.of))
		}
	}
	return dst
}

// Args appends to dst the values for the placeholders of Where, in their order: int64, float64, bool, string, time.Time
// (in UTC), uuid.UUID, and slices of these, each for one placeholder that stands for a Postgres array. A JSON value is
// its text. own is as for Where, and user then is who is held to their own rows.
func (f *Filter) Args(dst []any, own bool, user int64) []any {
	if !f.marked {
		return append(dst, f.args...)
	}
	for _, arg := range f.args {
		dst = appendArg(dst, arg, own, user)
	}
	return dst
}

func appendArg(dst []any, arg any, own bool, user int64) []any {
	s, ok := arg.(self)
	switch {
	case !ok:
		return append(dst, arg)
	case s.of.Held(own):
		return append(dst, user)
	}
	return dst
}

// Root is the name that statements give the table whose rows they choose.
const Root = "r0"

// Where returns the condition for a statement in prepared mode, on the columns of [Root]: it has one placeholder for each
// value of Args, and goqu's own arguments for them mean nothing. own says whether referenced rows count only if they are
// the actor's own, where the entity has such a rule.
func (f *Filter) Where(own bool) exp.Expression {
	if len(f.nodes) == 0 {
		return goqu.L("TRUE")
	}
	e, _ := writer{f.nodes, own}.expression(0, f.schema, 0)
	return e
}

// writer writes a filter's nodes as SQL.
type writer struct {
	nodes []node
	own   bool
}

// expression returns the expression of node i, on the columns of the row at the depth, and the index of the node after all that
// is under it.
func (w writer) expression(i int, s *Schema, depth int) (e exp.Expression, next int) {
	n := w.nodes[i]
	switch n.form {
	case exists:
		return w.exists(i, s, depth)
	case allOf, anyOf:
		e, next = w.group(i, s, depth)
	default:
		e, next = n.form.condition(s, n.of, depth), i+1
	}
	if n.negated {
		e = goqu.L("(?) IS NOT TRUE", e)
	}
	return e, next
}

// exists asks for a referenced row of which the node under it holds.
func (w writer) exists(i int, s *Schema, depth int) (e exp.Expression, next int) {
	n := w.nodes[i]
	r := &s.refs[n.of]
	e, next = w.expression(i+1, r.To, depth+1)
	sql, args := "EXISTS (SELECT FROM "+r.from(depth, w.own)+" AND ?)", []any{e}
	if r.To.entity.Held(w.own) {
		args = []any{0, e}
	}
	if n.negated {
		sql = "NOT " + sql
	}
	return goqu.L(sql, args...), next
}

// from is the FROM and WHERE that lead through the reference, from the row at the depth to the one below. It has a placeholder for
// the user if users are held to some rows of the entity that it leads to.
func (r *Ref) from(depth int, own bool) string {
	here, there := alias(depth), alias(depth+1)
	sql := `"` + r.To.entity.Table + `" AS ` + there + ` WHERE ` + there + `."tenant_id" = ` + here + `."tenant_id" AND ` +
		there + `."` + r.Other + `" = ` + here + `."` + r.Column + `"`
	if r.To.entity.Held(own) {
		sql += ` AND ` + r.To.entity.Reached(there)
	}
	return sql
}

// alias is the name of the row at a depth: 0 is Root, and each step through a reference is one deeper.
func alias(depth int) string { return `"r` + strconv.Itoa(depth) + `"` }

func (w writer) group(i int, s *Schema, depth int) (e exp.Expression, next int) {
	n := w.nodes[i]
	end := i + 1 + n.n
	var members []exp.Expression
	for i++; i < end; {
		e, i = w.expression(i, s, depth)
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

// condition returns the form's template, filled in for a field. Every name in it comes from the declaration.
func (f form) condition(s *Schema, field, depth int) exp.Expression {
	id := ""
	if s.id >= 0 { // the result of an aggregation has none
		id = types[s.fields[s.id].Type].sql
	}
	sql := strings.NewReplacer(
		"{col}", alias(depth)+`."`+s.fields[field].Column+`"`,
		"{row}", alias(depth),
		"{id}", id,
		"{search}", alias(depth)+`."`+s.entity.Search+`"`,
		"{matches}", `"`+s.entity.Table+`_matches"`,
		"{path}", pathPlaceholder,
		"{type}", types[s.fields[field].Type].sql,
	).Replace(templates[f])
	discarded := make([]any, strings.Count(sql, "?"))
	for i := range discarded {
		discarded[i] = 0
	}
	return goqu.L(sql, discarded...)
}

// Probes are the conditions whose rows an index can find, in the filter's order. Under row-level security Postgres does not
// use an index for an operator that it does not know to be leakproof, as those of search and of JSON. A function that runs as the
// table's owner can, and gives the ids of the rows.
func (f *Filter) Probes() []Probe { return f.probes }

// Found returns the filter with the ids of the rows that each of its probes has found: a slice of int64 or of string, or nil
// where they are too many to be of use, or not known. It holds for the same rows, as each is asked again.
func (f *Filter) Found(ids []any) *Filter {
	found := *f
	found.probes = nil
	found.nodes, found.args = slices.Clone(f.nodes), slices.Clone(f.args)
	for i, p := range slices.Backward(f.probes) {
		if ids[i] == nil {
			continue
		}
		n := &found.nodes[p.node]
		n.form = map[form]form{search: searchFound, jsonContains: jsonFound}[n.form]
		found.args = slices.Insert(found.args, p.arg, ids[i])
	}
	return &found
}
