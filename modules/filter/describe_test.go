package filter_test

import (
	"slices"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/filter"
)

// What an operator is said to take is what it takes.
func TestOperatorsTakeWhatTheySay(t *testing.T) {
	t.Parallel()
	values := [...]string{
		filter.Int: `1`, filter.Float: `1.5`, filter.Bool: `true`, filter.Time: `"2026-01-02T03:04:05Z"`, filter.String: `"x"`,
		filter.UUID: `"01890a5d-ac96-774b-bcce-b302099a8057"`, filter.JSON: `{"a":1}`,
	}
	for i, value := range values {
		typ := filter.Type(i)
		s := filter.NewSchema(filter.Entity{Name: "e", Table: "e", Fields: []filter.Field{
			{Name: "id", Column: "id"}, {Name: "f", Column: "f", Type: typ},
		}})
		checkOperands(t, s, "f", value, typ.Operators())
		if typ == filter.JSON {
			checkOperands(t, s, "f.a", value, filter.PathOperators())
		}
		_, err := filter.ParseOrder(jsontext.Value(`"f"`), s, "")
		if typ.Sortable() != (err == nil) {
			t.Errorf("type %d: sortable %t, but %v", typ, typ.Sortable(), err)
		}
		for _, f := range filter.Functions() {
			_, err := filter.ParseAggregation(filter.AggregationParams{Aggregates: jsontext.Value(`{"x":{"` + f.Name + `":"f"}}`)}, s, "")
			if slices.Contains(f.Takes, typ) != (err == nil) {
				t.Errorf("%s of type %d: %v", f.Name, typ, err)
			}
		}
	}
}

func checkOperands(t *testing.T, s *filter.Schema, field, value string, operators []filter.Operator) {
	t.Helper()
	operands := map[filter.Operand]struct{ yes, no []string }{
		filter.OneValue:   {[]string{value}, []string{`null`, `[` + value + `]`}},
		filter.OneOrNull:  {[]string{value, `null`}, nil},
		filter.ManyOrNull: {[]string{`[]`, `[` + value + `,null]`}, []string{`null`, value}},
		filter.OneText:    {[]string{`"x"`}, []string{`null`, `1`, `["x"]`}},
		filter.ManyTexts:  {[]string{`[]`, `["x","y"]`}, []string{`null`, `"x"`, `[1]`, `[null]`}},
		filter.Flag:       {[]string{`true`, `false`}, []string{`null`, `1`, `"x"`}},
		filter.Ordered:    {[]string{`1.5`, `"x"`}, []string{`null`, `true`, `{}`, `[]`}},
	}
	for _, op := range operators {
		for i, texts := range [][]string{operands[op.Takes].yes, operands[op.Takes].no} {
			for _, operand := range texts {
				raw := `{"` + field + `":{"` + op.Name + `":` + operand + `}}`
				if _, err := filter.Parse(jsontext.Value(raw), s, ""); (err == nil) != (i == 0) {
					t.Errorf("%s: %v", raw, err)
				}
			}
		}
	}
}
