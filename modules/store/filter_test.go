package store_test

import (
	"bytes"
	"cmp"
	"database/sql"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"rowcall/modules/apperr"
	"rowcall/modules/filter"
	"rowcall/modules/store"
)

// The filters' laws, against a real Postgres: a filter finds the rows that meaning, a plain evaluation of the contract's
// words, finds; and a filter and its negation share the rows out between them.

func TestFiltersFindWhatTheyMean(t *testing.T) {
	w := newFilterWorld(t)
	rapid.Check(t, func(rt *rapid.T) {
		f := drawFilter(rt)
		found := w.find(rt, f)
		if want := w.meaning.find(w.rows, f); !slices.Equal(found, want) {
			rt.Fatalf("%s finds %v, but means %v", encode(f), w.show(found), w.show(want))
		}
		w.shareOut(rt, found, w.find(rt, map[string]any{"$not": map[string]any{"$or": groups(f)}}))
	})
}

func TestEachOperatorAndItsNegation(t *testing.T) {
	w := newFilterWorld(t)
	for field := range kinds {
		operators := w.operators(field)
		for _, op := range operators {
			negation := negationOf(op)
			if negation != "" && !slices.Contains(operators, negation) {
				t.Errorf("%s: %s has no negation", field, op)
			}
			operands := rapid.Custom(func(rt *rapid.T) any { return drawOperand(rt, kinds[field], op) })
			for seed := range 12 {
				operand := operands.Example(seed)
				f := map[string]any{field: map[string]any{op: operand}}
				found := w.find(t, f)
				if want := w.meaning.find(w.rows, f); !slices.Equal(found, want) {
					t.Errorf("%s finds %v, but means %v", encode(f), w.show(found), w.show(want))
				}
				if negation != "" {
					w.shareOut(t, found, w.find(t, map[string]any{field: map[string]any{negation: operand}}))
				}
			}
		}
	}
}

func TestOrdersSortNullsLastAscendingAndFirstDescending(t *testing.T) {
	w := newFilterWorld(t)
	for _, name := range []string{"n", "f", "b", "s", "t", "u"} {
		for _, prefix := range []string{"", "!"} {
			order, err := filter.ParseOrder([]byte(`"`+prefix+name+`"`), things.Schema(), "")
			if err != nil {
				t.Fatal(err)
			}
			page, err := things.List(w.tx, store.ListOptions{Order: order})
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Rows) != len(w.rows) || !slices.IsSortedFunc(page.Rows, func(a, b thing) int {
				c := compareNullsLast(valueOf(a, name), valueOf(b, name))
				if prefix == "!" {
					c = -c
				}
				return cmp.Or(c, cmp.Compare(a.ID, b.ID))
			}) {
				t.Errorf("%q: %d rows, not in order", prefix+name, len(page.Rows))
			}
		}
	}
}

func compareNullsLast(a, b any) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return compare(a, b)
}

// filterWorld is rows of one tenant, beside the same rows of another.
type filterWorld struct {
	tx      *store.Tx
	rows    []thing // by id
	meaning meaning
}

func newFilterWorld(t *testing.T) *filterWorld {
	db := newDB(t)
	rows := rapid.Custom(drawThing)
	var made []thing
	for i := range 150 {
		r := rows.Example(i)
		r.Label = fmt.Sprint(i)
		made = append(made, r)
	}
	if _, err := things.CreateAll(session(t, db, tenantB), made); err != nil {
		t.Fatal(err)
	}
	w := &filterWorld{tx: session(t, db, tenantA), meaning: meaning{t, db.Owner(t), map[string]string{}}}
	var err error
	if w.rows, err = things.CreateAll(w.tx, made); err != nil {
		t.Fatal(err)
	}
	return w
}

// find returns the ids of the rows that the store finds, ascending.
func (w *filterWorld) find(t rapid.TB, f any) []int64 {
	parsed, err := filter.Parse(encode(f), things.Schema(), "params.filters")
	if err != nil {
		t.Fatalf("%s: %v", encode(f), err)
	}
	page, err := things.List(w.tx, store.ListOptions{Filter: parsed})
	if err != nil {
		t.Fatalf("%s: %v", encode(f), err)
	}
	return ids(page.Rows)
}

func (w *filterWorld) shareOut(t rapid.TB, a, b []int64) {
	if both := slices.Sorted(slices.Values(slices.Concat(a, b))); !slices.Equal(both, ids(w.rows)) {
		t.Fatalf("%d and %d of %d rows: not each row once", len(a), len(b), len(w.rows))
	}
}

// operators returns the operators of a field, as a mistake tells them.
func (*filterWorld) operators(field string) []string {
	_, err := filter.Parse(fmt.Appendf(nil, `{%q: {"$?": 0}}`, field), things.Schema(), "")
	return apperr.From(err).Issues()[0].Allowed
}

func (w *filterWorld) show(found []int64) []string {
	out := []string{}
	for _, r := range w.rows {
		if slices.Contains(found, r.ID) {
			row, _ := json.Marshal(r)
			out = append(out, string(row))
		}
	}
	return out
}

func ids(rows []thing) []int64 {
	out := []int64{}
	for _, r := range rows {
		out = append(out, r.ID)
	}
	return out
}

func encode(f any) jsontext.Value {
	raw, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return raw
}

// groups returns a filter as the groups of which one must hold.
func groups(f any) []any {
	if list, ok := f.([]any); ok {
		return list
	}
	return []any{f}
}

// meaning evaluates filters by the contract's words, knowing nothing of SQL but what lower() does.
type meaning struct {
	t       *testing.T
	owner   *sql.DB
	lowered map[string]string
}

func (m meaning) find(rows []thing, f any) []int64 {
	return ids(slices.DeleteFunc(slices.Clone(rows), func(r thing) bool {
		return !slices.ContainsFunc(groups(f), func(g any) bool { return m.group(r, g) })
	}))
}

func (m meaning) group(r thing, g any) bool {
	for name, v := range g.(map[string]any) {
		var holds bool
		switch name {
		case "$and":
			holds = !slices.ContainsFunc(v.([]any), func(g any) bool { return !m.group(r, g) })
		case "$or":
			holds = slices.ContainsFunc(v.([]any), func(g any) bool { return m.group(r, g) })
		case "$not":
			holds = !m.group(r, v)
		default:
			holds = m.field(valueOf(r, name), v)
		}
		if !holds {
			return false
		}
	}
	return true
}

func (m meaning) field(value, condition any) bool {
	operators, ok := condition.(map[string]any)
	if !ok {
		return m.holds(value, "$eq", condition)
	}
	for op, operand := range operators {
		if !m.holds(value, op, operand) {
			return false
		}
	}
	return true
}

// holds tells whether a condition holds for a value, which is nil for NULL.
func (m meaning) holds(value any, op string, operand any) bool {
	if op == "$not" {
		return !m.holds(value, "$eq", operand)
	}
	if verb, ok := strings.CutPrefix(op, "$not"); ok {
		return !m.holds(value, "$"+strings.ToLower(verb[:1])+verb[1:], operand)
	}
	switch op {
	case "$null":
		return (value == nil) == operand.(bool)
	case "$empty":
		return (value == nil || value == "") == operand.(bool)
	case "$eq":
		return value == nil && operand == nil || value != nil && operand != nil && compare(value, operand) == 0
	case "$in":
		return slices.ContainsFunc(operand.([]any), func(o any) bool { return m.holds(value, "$eq", o) })
	case "$ilike":
		op = "$containsCi"
	}
	if value == nil {
		return false
	}
	switch op {
	case "$has":
		var v any
		if json.Unmarshal(value.(jsontext.Value), &v) != nil {
			panic("not JSON")
		}
		switch v := v.(type) {
		case map[string]any:
			_, ok := v[operand.(string)]
			return ok
		case []any:
			return slices.Contains(v, operand)
		}
		return v == operand
	case "$lt":
		return compare(value, operand) < 0
	case "$lte":
		return compare(value, operand) <= 0
	case "$gt":
		return compare(value, operand) > 0
	case "$gte":
		return compare(value, operand) >= 0
	}
	fold := func(s string) string { return s }
	if verb, ok := strings.CutSuffix(op, "Ci"); ok {
		op, fold = verb, m.lower
	}
	is := func(o any) bool {
		s, part := fold(value.(string)), fold(o.(string))
		switch {
		case strings.HasPrefix(op, "$contains"):
			return strings.Contains(s, part)
		case strings.HasPrefix(op, "$startsWith"):
			return strings.HasPrefix(s, part)
		default:
			return strings.HasSuffix(s, part)
		}
	}
	switch list, _ := operand.([]any); {
	case strings.HasSuffix(op, "Any"):
		return slices.ContainsFunc(list, is)
	case strings.HasSuffix(op, "All"):
		return !slices.ContainsFunc(list, func(o any) bool { return !is(o) })
	default:
		return is(operand)
	}
}

func (m meaning) lower(s string) string {
	l, ok := m.lowered[s]
	if !ok {
		if err := m.owner.QueryRowContext(m.t.Context(), `SELECT lower($1::text COLLATE "und-x-icu")`, s).Scan(&l); err != nil {
			m.t.Fatal(err)
		}
		m.lowered[s] = l
	}
	return l
}

// compare compares a row's value with an operand, or with another row's value.
func compare(value, operand any) int {
	switch v := value.(type) {
	case int64:
		return cmp.Compare(v, operand.(int64))
	case float64:
		return cmp.Compare(v, operand.(float64))
	case bool:
		return cmp.Compare(fmt.Sprint(v), fmt.Sprint(operand))
	case string:
		return strings.Compare(v, operand.(string))
	case time.Time:
		if o, ok := operand.(time.Time); ok {
			return v.Compare(o)
		}
		o, err := time.Parse(time.RFC3339, operand.(string))
		if err != nil {
			panic(err)
		}
		return v.Compare(o)
	case uuid.UUID:
		o := uuid.MustParse(fmt.Sprint(operand))
		return bytes.Compare(v[:], o[:])
	case jsontext.Value:
		var a, b any
		if json.Unmarshal(v, &a) != nil || json.Unmarshal(operand.(json.RawMessage), &b) != nil {
			panic("not JSON")
		}
		if reflect.DeepEqual(a, b) {
			return 0
		}
		return 1
	}
	panic(fmt.Sprintf("%T", value))
}

func valueOf(r thing, name string) any {
	switch name {
	case "id":
		return r.ID
	case "n":
		return orNil(r.N)
	case "f":
		return orNil(r.F)
	case "b":
		return orNil(r.B)
	case "s":
		return orNil(r.S)
	case "t":
		return orNil(r.T)
	case "u":
		return orNil(r.U)
	case "j":
		if r.J == nil {
			return nil
		}
		return r.J
	}
	panic(name)
}

func orNil[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}
