package store_test

import (
	"encoding/json"
	"math"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// What the filters' laws are tried with. Rows and operands come from the same few values, so that they often meet.

type kind int

const (
	ints kind = iota
	floats
	bools
	texts
	times
	uuids
	jsons
	jsonPaths // what a path in JSON leads to
)

// kinds is the fields that are filtered by.
var kinds = map[string]map[string]kind{
	"thing": {"id": ints, "n": ints, "f": floats, "b": bools, "s": texts, "t": times, "u": uuids, "j": jsons, "boss_id": ints, "w": texts},
	"card":  {"id": ints, "owner_id": ints, "thing_id": ints, "name": texts},
}

// names are kinds and relations, in an order that a drawn number can stand for.
var names = map[string][]string{
	"thing": {"id", "n", "f", "b", "s", "s", "t", "u", "j", "boss_id", "boss", "team", "card", "cards"},
	"card":  {"id", "owner_id", "thing_id", "name", "thing", "things"},
}

var (
	integers  = []int64{0, 1, -1, 2, 7, 150, math.MaxInt64, math.MinInt64}
	numbers   = []float64{0, math.Copysign(0, -1), 1, -1.5, 0.1, 1e300, 5e-324, math.MaxFloat64}
	fragments = []string{
		"a", "A", "b", "B", "%", "_", `\`, `"`, "'", ",", "{", "NULL", " ", "é", "É", "e\u0301", "ß", "ẞ",
		"Σ", "σ", "ς", "ΟΔΟΣ", "İ", "i", "I", "ı", "ǅ", "🙂", "\n", "\ufeff", "?", "$1",
	}
	instants = []string{
		"2030-01-31T00:00:00Z", "2030-01-31T02:00:00+02:00", "2030-01-30T23:59:59.999999Z", "2030-01-31T00:00:00.000001Z",
		"1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z",
	}
	// In UTC these are in years that no row's time can be written in.
	extremes = []string{"0000-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59"}
	keys     = []string{
		"00000000-0000-0000-0000-000000000000", "01890a5d-ac96-774b-bcce-b302099a8057",
		"01890A5D-AC96-774B-BCCE-B302099A8058", "ffffffff-ffff-ffff-ffff-ffffffffffff",
	}
	documents = []string{
		`{}`, `[]`, `0`, `-0`, `1`, `1.0`, `10e-1`, `"1"`, `true`, `""`, `"é\"\\,{}"`, `{"a":1,"b":[null]}`, `{"b":[null],"a":1.00}`,
		`{"a":null}`, `[1,2]`, `[2,1]`, `[[]]`, `1e300`,
		`{"a":"a"}`, `{"a":"É%"}`, `{"a":["a","b"],"b":{"a":0.1}}`, `{"a":{"a":{"b":"A"}}}`, `{"a":{"b":1.0},"0":true}`, `["a",{"a":-1}]`,
		`{"0":"a","1":[1],"-1":""}`, `{"a":[{"b":1},{"b":null}]}`, `{"a":12345678901234567890.000000001}`,
	}
	scalars  = []string{`"a"`, `"A"`, `1`, `1.00`, `0.1`, `true`, `-1`, `""`, `"É%"`}
	segments = []string{"a", "a", "b", "0", "1", "-1", "+0", "é\"\\", "$eq"}
	words    = []string{"red", "green", "blue"}
)

func drawThing(t *rapid.T) thing {
	times := rapid.Map(rapid.SampledFrom(instants), func(s string) time.Time {
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			panic(err)
		}
		return at.UTC()
	})
	r := thing{
		N: rapid.Ptr(rapid.SampledFrom(integers), true).Draw(t, "n"),
		F: rapid.Ptr(rapid.SampledFrom(numbers), true).Draw(t, "f"),
		B: rapid.Ptr(rapid.Bool(), true).Draw(t, "b"),
		S: rapid.Ptr(rapid.Custom(func(t *rapid.T) string { return drawText(t, 5) }), true).Draw(t, "s"),
		T: rapid.Ptr(times, true).Draw(t, "t"),
		U: rapid.Ptr(rapid.Map(rapid.SampledFrom(keys), uuid.MustParse), true).Draw(t, "u"),
	}
	if rapid.Bool().Draw(t, "json") {
		r.J = jsontext.Value(rapid.SampledFrom(documents).Draw(t, "j"))
		r.K = r.J
	}
	r.W = rapid.Ptr(rapid.Map(rapid.SliceOfN(rapid.SampledFrom(words), 0, 4), func(w []string) string { return strings.Join(w, " ") }), true).Draw(t, "w")
	return r
}

func drawCard(t *rapid.T) card {
	return card{OwnerID: rapid.Int64Range(6, 8).Draw(t, "owner"), Name: drawText(t, 2), Secret: rapid.Ptr(rapid.SampledFrom(integers), true).Draw(t, "secret")}
}

func drawText(t *rapid.T, most int) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(fragments), 0, most).Draw(t, "text"), "")
}

// drawFilter leaves room for a negation around it, which takes 3 levels.
func drawFilter(t *rapid.T, entity string) any {
	if rapid.Bool().Draw(t, "one group") {
		return drawGroup(t, entity, 4)
	}
	return drawGroups(t, entity, 4)
}

func drawGroups(t *rapid.T, entity string, room int) []any {
	groups := []any{}
	for range rapid.IntRange(0, 3).Draw(t, "groups") {
		groups = append(groups, drawGroup(t, entity, room))
	}
	return groups
}

// drawGroup draws a group in which there is room for so many levels more.
func drawGroup(t *rapid.T, entity string, room int) map[string]any {
	group := map[string]any{}
	for range rapid.IntRange(0, 3).Draw(t, "members") {
		name, v := drawMember(t, entity, room)
		group[name] = v
	}
	return group
}

func drawMember(t *rapid.T, entity string, room int) (name string, v any) {
	some := names[entity]
	if entity == "thing" {
		some = append([]string{"$search", "path"}, some...)
	}
	if room > 1 {
		some = append([]string{"$and", "$or", "$not"}, some...)
	}
	name = rapid.SampledFrom(some).Draw(t, "member")
	rel, isRelation := relations[entity][name]
	switch {
	case name == "$search":
		return name, drawWords(t)
	case name == "path":
		return rapid.SampledFrom([]string{"j.", "k."}).Draw(t, "field") + drawPath(t), drawCondition(t, jsonPaths)
	case name == "$not":
		return name, drawGroup(t, entity, room-1)
	case name[0] == '$':
		return name, drawGroups(t, entity, room-2)
	case !isRelation:
		return name, drawCondition(t, kinds[entity][name])
	case room == 0:
		return "id", drawCondition(t, ints)
	case rel.many:
		quantifiers := map[string]any{}
		for range rapid.IntRange(0, 2).Draw(t, "quantifiers") {
			quantifiers[rapid.SampledFrom([]string{"$some", "$every", "$none"}).Draw(t, "quantifier")] = drawGroup(t, rel.to, room-1)
		}
		return name, quantifiers
	}
	switch rapid.IntRange(0, 4).Draw(t, "how") {
	case 0:
		return name, nil
	case 1:
		return name, drawGroup(t, rel.to, room-1)
	}
	inner, v := drawMember(t, rel.to, room-1)
	if inner[0] == '$' {
		return name, map[string]any{inner: v}
	}
	return name + "." + inner, v
}

func drawPath(t *rapid.T) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(segments), 1, 3).Draw(t, "path"), ".")
}

func drawWords(t *rapid.T) string {
	var terms []string
	for range rapid.IntRange(0, 3).Draw(t, "terms") {
		term := rapid.SampledFrom(words).Draw(t, "word")
		switch rapid.IntRange(0, 5).Draw(t, "term") {
		case 0:
			term = "-" + term
		case 1:
			term = `"` + term + " " + rapid.SampledFrom(words).Draw(t, "second word") + `"`
		case 2:
			if len(terms) > 0 {
				terms = append(terms, "or")
			}
		}
		terms = append(terms, term)
	}
	return strings.Join(terms, " ")
}

func drawCondition(t *rapid.T, k kind) any {
	switch rapid.IntRange(0, 4).Draw(t, "condition") {
	case 0:
		return nil
	case 1:
		v := drawValue(t, k)
		if raw, ok := v.(json.RawMessage); ok && (raw[0] == '{' || raw[0] == '[') {
			return map[string]any{"$eq": v}
		}
		return v
	}
	operators := map[string]any{}
	for range rapid.IntRange(0, 2).Draw(t, "operators") {
		op := rapid.SampledFrom(operatorsOf(k)).Draw(t, "operator")
		operators[op] = drawOperand(t, k, op)
	}
	return operators
}

// operatorsOf spells the contract's table out.
func operatorsOf(k kind) []string {
	ops := []string{"$eq", "$not", "$in", "$notIn", "$null"}
	if k == jsons || k == jsonPaths {
		ops = append(ops, "$has", "$notHas")
	}
	if k != bools && k != jsons {
		ops = append(ops, "$lt", "$lte", "$gt", "$gte")
	}
	if k == texts || k == jsonPaths {
		ops = append(ops, "$empty", "$notEmpty", "$ilike", "$notIlike")
		for _, verb := range []string{"Contains", "ContainsAny", "ContainsAll", "StartsWith", "StartsWithAny", "EndsWith", "EndsWithAny"} {
			for _, fold := range []string{"", "Ci"} {
				ops = append(ops, "$"+strings.ToLower(verb[:1])+verb[1:]+fold, "$not"+verb+fold)
			}
		}
	}
	return ops
}

// negationOf returns the operator that holds where op does not; "" for comparisons, which have none, and for $null,
// which is negated by its operand.
func negationOf(op string) string {
	switch op {
	case "$lt", "$lte", "$gt", "$gte", "$null":
		return ""
	case "$eq":
		return "$not"
	case "$not":
		return "$eq"
	}
	if verb, ok := strings.CutPrefix(op, "$not"); ok {
		return "$" + strings.ToLower(verb[:1]) + verb[1:]
	}
	return "$not" + strings.ToUpper(op[1:2]) + op[2:]
}

func drawOperand(t *rapid.T, k kind, op string) any {
	switch {
	case op == "$has" || op == "$notHas":
		return rapid.SampledFrom([]string{"a", "b", "1", ""}).Draw(t, "key")
	case op == "$null" || strings.HasSuffix(op, "mpty"):
		return rapid.Bool().Draw(t, "flag")
	case op == "$eq" || op == "$not":
		return drawValueOrNull(t, k)
	case op == "$in" || op == "$notIn":
		list := []any{}
		for range rapid.IntRange(0, 4).Draw(t, "values") {
			list = append(list, drawValueOrNull(t, k))
		}
		return list
	case strings.Contains(op, "Any") || strings.Contains(op, "All"):
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "values") {
			list = append(list, drawText(t, 2))
		}
		return list
	case len(op) > len("$gte"):
		return drawText(t, 2)
	case k == jsonPaths: // what has an order
		return json.RawMessage(rapid.SampledFrom([]string{`0`, `1`, `1.0`, `-1`, `1e300`, `0.1`, `""`, `"a"`, `"é"`, `"A"`}).Draw(t, "bound"))
	}
	return drawValue(t, k)
}

func drawValueOrNull(t *rapid.T, k kind) any {
	if rapid.IntRange(0, 4).Draw(t, "null") == 0 {
		return nil
	}
	return drawValue(t, k)
}

func drawValue(t *rapid.T, k kind) any {
	switch k {
	case ints:
		return rapid.SampledFrom(integers).Draw(t, "integer")
	case floats:
		return rapid.SampledFrom(numbers).Draw(t, "number")
	case bools:
		return rapid.Bool().Draw(t, "boolean")
	case times:
		return rapid.SampledFrom(append(instants, extremes...)).Draw(t, "time")
	case uuids:
		return rapid.SampledFrom(keys).Draw(t, "uuid")
	case jsons, jsonPaths:
		return json.RawMessage(rapid.SampledFrom(append(scalars, documents...)).Draw(t, "json"))
	default:
		return drawText(t, 3)
	}
}
