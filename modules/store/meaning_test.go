package store_test

import (
	"bytes"
	"cmp"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// meaning evaluates filters by the contract's words, knowing nothing of SQL but what lower() does.
type meaning struct {
	t       *testing.T
	owner   *sql.DB
	lowered map[string]string
	rows    map[string][]*record // by entity: those that the actor reaches
}

// record is a row as clients see it. The nil record is none: all that is asked of it is null.
type record struct {
	entity string
	values map[string]any
}

func (r *record) get(name string) any {
	if r == nil {
		return nil
	}
	v, known := r.values[name]
	if !known {
		panic(r.entity + " has no field " + name)
	}
	return v
}

func (r *record) id() int64 { return r.values["id"].(int64) }

// recordsOf returns rows of an entity as records.
func recordsOf[E any](entity string, rows []E) []*record {
	var records []*record
	for _, row := range rows {
		r := &record{entity, map[string]any{}}
		v := reflect.ValueOf(row)
		for _, f := range reflect.VisibleFields(v.Type()) {
			if name := f.Tag.Get("json"); name != "" && name != "-" {
				value := v.FieldByIndex(f.Index)
				switch {
				case value.Kind() == reflect.Pointer && value.IsNil(), value.Kind() == reflect.Slice && value.IsNil():
					r.values[name] = nil
				case value.Kind() == reflect.Pointer:
					r.values[name] = value.Elem().Interface()
				default:
					r.values[name] = value.Interface()
				}
			}
		}
		records = append(records, r)
	}
	return records
}

// relation is a reference: its rows are those of the entity to whose field other is what the field here is.
type relation struct {
	to, here, other string
	many            bool
}

var relations = map[string]map[string]relation{
	"thing": {
		"boss": {"thing", "boss_id", "id", false}, "team": {"thing", "id", "boss_id", true},
		"card": {"card", "card_id", "id", false}, "cards": {"card", "id", "thing_id", true},
	},
	"card": {"thing": {"thing", "thing_id", "id", false}, "things": {"thing", "id", "card_id", true}},
}

// follow returns the rows that a reference leads to.
func (m meaning) follow(r *record, rel relation) []*record {
	var found []*record
	if key := r.get(rel.here); key != nil {
		for _, other := range m.rows[rel.to] {
			if other.get(rel.other) == key {
				found = append(found, other)
			}
		}
	}
	return found
}

func (m meaning) one(r *record, rel relation) *record {
	if found := m.follow(r, rel); len(found) > 0 {
		return found[0]
	}
	return nil
}

// find returns the ids of an entity's rows that the filter chooses.
func (m meaning) find(entity string, f any) []int64 {
	found := []int64{}
	for _, r := range m.rows[entity] {
		if m.chooses(entity, r, f) {
			found = append(found, r.id())
		}
	}
	return found
}

func (m meaning) chooses(entity string, r *record, f any) bool {
	return slices.ContainsFunc(groups(f), func(g any) bool { return m.group(entity, r, g) })
}

func (m meaning) group(entity string, r *record, g any) bool {
	for name, v := range g.(map[string]any) {
		if !m.member(entity, r, name, v) {
			return false
		}
	}
	return true
}

func (m meaning) member(entity string, r *record, name string, v any) bool {
	holds := func(g any) bool { return m.group(entity, r, g) }
	switch name {
	case "$and":
		return !slices.ContainsFunc(v.([]any), func(g any) bool { return !holds(g) })
	case "$or":
		return slices.ContainsFunc(v.([]any), holds)
	case "$not":
		return !holds(v)
	case "$search":
		return r != nil && matches(r.get("w"), v.(string))
	}
	first, rest, dotted := strings.Cut(name, ".")
	rel, isRelation := relations[entity][first]
	switch {
	case !isRelation && dotted:
		return m.value(at(r.get(first), strings.Split(rest, ".")), v, m.holdsInJSON)
	case !isRelation:
		return m.value(r.get(name), v, m.holds)
	case rel.many:
		return m.quantified(m.follow(r, rel), rel.to, v.(map[string]any))
	case dotted:
		return m.member(rel.to, m.one(r, rel), rest, v)
	case v == nil:
		return m.one(r, rel) == nil
	}
	return m.group(rel.to, m.one(r, rel), v)
}

func (m meaning) quantified(rows []*record, entity string, quantifiers map[string]any) bool {
	for name, g := range quantifiers {
		some := slices.ContainsFunc(rows, func(r *record) bool { return m.group(entity, r, g) })
		none := !some
		every := !slices.ContainsFunc(rows, func(r *record) bool { return !m.group(entity, r, g) })
		if !map[string]bool{"$some": some, "$none": none, "$every": every}[name] {
			return false
		}
	}
	return true
}

func (m meaning) value(value, condition any, holds func(value any, op string, operand any) bool) bool {
	operators, ok := condition.(map[string]any)
	if !ok {
		return holds(value, "$eq", condition)
	}
	for op, operand := range operators {
		if !holds(value, op, operand) {
			return false
		}
	}
	return true
}

// negated returns the operator that a negative one is the complement of, and true.
func negated(op string) (string, bool) {
	verb, ok := strings.CutPrefix(op, "$not")
	switch {
	case !ok:
		return op, false
	case verb == "":
		return "$eq", true
	}
	return "$" + strings.ToLower(verb[:1]) + verb[1:], true
}

// holds tells whether a condition holds for a value, which is nil for NULL.
func (m meaning) holds(value any, op string, operand any) bool {
	if positive, ok := negated(op); ok {
		return !m.holds(value, positive, operand)
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
	}
	if value == nil {
		return false
	}
	switch op {
	case "$has":
		return has(decoded(value), operand.(string))
	case "$lt":
		return compare(value, operand) < 0
	case "$lte":
		return compare(value, operand) <= 0
	case "$gt":
		return compare(value, operand) > 0
	case "$gte":
		return compare(value, operand) >= 0
	}
	return m.like(value.(string), op, operand)
}

// holdsInJSON is holds for a value inside JSON: nil for null and for what is not there. The operand's type is the one that the
// value must have.
func (m meaning) holdsInJSON(value any, op string, operand any) bool {
	if positive, ok := negated(op); ok {
		return !m.holdsInJSON(value, positive, operand)
	}
	switch op {
	case "$null":
		return (value == nil) == operand.(bool)
	case "$empty":
		return (value == nil || value == "") == operand.(bool)
	case "$eq":
		return equalJSON(value, decoded(operand))
	case "$in":
		return slices.ContainsFunc(operand.([]any), func(o any) bool { return equalJSON(value, decoded(o)) })
	case "$has":
		return has(value, operand.(string))
	case "$lt", "$lte", "$gt", "$gte":
		var c int
		switch bound := decoded(operand).(type) {
		case json.Number:
			v, ok := value.(json.Number)
			if !ok {
				return false
			}
			c = rational(v).Cmp(rational(bound))
		case string:
			v, ok := value.(string)
			if !ok {
				return false
			}
			c = strings.Compare(v, bound)
		}
		return c < 0 && op[1] == 'l' || c > 0 && op[1] == 'g' || c == 0 && strings.HasSuffix(op, "e")
	}
	s, ok := value.(string)
	return ok && m.like(s, op, operand)
}

func (m meaning) like(value, op string, operand any) bool {
	if op == "$ilike" {
		op = "$containsCi"
	}
	fold := func(s string) string { return s }
	if verb, ok := strings.CutSuffix(op, "Ci"); ok {
		op, fold = verb, m.lower
	}
	is := func(o any) bool {
		s, part := fold(value), fold(o.(string))
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
		if equalJSON(decoded(v), decoded(operand)) {
			return 0
		}
		return 1
	}
	panic(fmt.Sprintf("%T", value))
}

// decoded returns a JSON value with its numbers as they are written. A value that is not JSON is encoded first.
func decoded(v any) (out any) {
	raw, ok := v.(jsontext.Value)
	if !ok {
		raw = encode(v)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		panic(err)
	}
	return out
}

func rational(n json.Number) *big.Rat {
	r, ok := new(big.Rat).SetString(n.String())
	if !ok {
		panic(n)
	}
	return r
}

func equalJSON(a, b any) bool {
	switch a := a.(type) {
	case json.Number:
		b, ok := b.(json.Number)
		return ok && rational(a).Cmp(rational(b)) == 0
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equalJSON)
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for name, v := range a {
			if other, ok := b[name]; !ok || !equalJSON(v, other) {
				return false
			}
		}
		return true
	}
	return a == b
}

func has(v any, key string) bool {
	switch v := v.(type) {
	case map[string]any:
		_, ok := v[key]
		return ok
	case []any:
		return slices.Contains(v, any(key))
	}
	return false
}

// at returns the value at a path inside a JSON column; nil if it is null or not there.
func at(column any, path []string) any {
	if column == nil {
		return nil
	}
	v := decoded(column)
	for _, segment := range path {
		switch in := v.(type) {
		case map[string]any:
			v = in[segment]
		case []any:
			i, err := strconv.Atoi(segment)
			if i < 0 {
				i += len(in)
			}
			if err != nil || i < 0 || i >= len(in) {
				return nil
			}
			v = in[i]
		default:
			return nil
		}
	}
	return v
}

var searchTerm = regexp.MustCompile(`-?"[^"]*"|\S+`)

// matches tells whether a text is found by words as web search engines take them: all of the terms of one alternative.
func matches(text any, words string) bool {
	s, _ := text.(string)
	for _, alternative := range strings.Split(words, " or ") {
		terms := searchTerm.FindAllString(alternative, -1)
		if len(terms) > 0 && !slices.ContainsFunc(terms, func(term string) bool {
			term, not := strings.CutPrefix(term, "-")
			return strings.Contains(" "+s+" ", " "+strings.Trim(term, `"`)+" ") == not
		}) {
			return true
		}
	}
	return false
}
