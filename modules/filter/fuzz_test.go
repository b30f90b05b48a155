package filter_test

import (
	"testing"

	"rowcall/modules/apperr"
	"rowcall/modules/filter"
)

// FuzzParse holds for any bytes: no panic; an error is INVALID_PARAMS; there are as many placeholders as arguments; and
// of what was parsed in this run, equal shapes have equal texts.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `{}`, `[]`, string(hot),
		`[{"id":{"$in":[1,null]}},{"title":{"$notStartsWithAnyCi":["\u00c9%"],"$empty":false}},{"$not":{"$or":[{"due":null}]}}]`,
		`{"due":{"$gte":"2030-01-31T01:02:03.000004+02:00"},"score":{"$lt":-1.5e3},"done":{"$not":true}}`,
		`{"key":"01890a5d-ac96-774b-bcce-b302099a8057","meta":{"$in":[{"a":[1,"\\u0000"]},null]}}`,
		`{"title":{"$contans":1}}`, `{"id":1e3}`, `{"id":1,"id":2}`, `{"$and":[[]]}`, `"!title"`, `["!title","id"]`,
	} {
		f.Add([]byte(seed))
	}
	texts := map[string]string{}
	f.Fuzz(func(t *testing.T, raw []byte) {
		same := func(kind string, shape []byte, text string) {
			key := kind + string(shape)
			if other, ok := texts[key]; ok && other != text {
				t.Fatalf("shape %q: %s and %s", shape, text, other)
			}
			texts[key] = text
		}
		refused := func(err error) {
			e := apperr.From(err)
			if e.Kind != apperr.InvalidParams || len(e.Issues()) != 1 || e.Issues()[0].Reason == "" {
				t.Fatalf("%q: %v", raw, err)
			}
		}
		if flt, err := filter.Parse(raw, schema, "params.filters"); err != nil {
			refused(err)
		} else {
			same("filter", flt.Shape(nil), where(t, flt))
		}
		if o, err := filter.ParseOrder(raw, schema, "params.list_options.order_bys"); err != nil {
			refused(err)
		} else if o != nil {
			same("order", o.Shape(nil), orderBy(t, o))
		}
	})
}
