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
)

// kinds is the fields of a thing that are filtered by.
var kinds = map[string]kind{"id": ints, "n": ints, "f": floats, "b": bools, "s": texts, "t": times, "u": uuids, "j": jsons}

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
	}
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
	}
	return r
}

func drawText(t *rapid.T, most int) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(fragments), 0, most).Draw(t, "text"), "")
}

func drawFilter(t *rapid.T) any {
	if rapid.Bool().Draw(t, "one group") {
		return drawGroup(t, 1)
	}
	return drawGroups(t, 1)
}

func drawGroups(t *rapid.T, depth int) []any {
	groups := []any{}
	for range rapid.IntRange(0, 3).Draw(t, "groups") {
		groups = append(groups, drawGroup(t, depth+1))
	}
	return groups
}

func drawGroup(t *rapid.T, depth int) map[string]any {
	group := map[string]any{}
	for range rapid.IntRange(0, 3).Draw(t, "members") {
		name := rapid.SampledFrom([]string{"id", "n", "f", "b", "s", "s", "s", "t", "u", "j", "$and", "$or", "$not"}).Draw(t, "member")
		switch {
		case name[0] != '$':
			group[name] = drawCondition(t, kinds[name])
		case depth >= 4: // within a negation it is 3 levels deeper
		case name == "$not":
			group[name] = drawGroup(t, depth+1)
		default:
			group[name] = drawGroups(t, depth+1)
		}
	}
	return group
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
	if k == jsons {
		ops = append(ops, "$has", "$notHas")
	}
	if k != bools && k != jsons {
		ops = append(ops, "$lt", "$lte", "$gt", "$gte")
	}
	if k == texts {
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
	case k == texts && len(op) > len("$gte"):
		return drawText(t, 2)
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
	case jsons:
		return json.RawMessage(rapid.SampledFrom(documents).Draw(t, "json"))
	default:
		return drawText(t, 3)
	}
}
