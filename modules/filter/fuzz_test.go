package filter_test

import (
	"fmt"
	"testing"

	"github.com/doug-martin/goqu/v9"
	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
	"rowcall/modules/filter"
)

// FuzzParse holds for any bytes: no panic; an error is INVALID_PARAMS; there are as many placeholders as arguments; of what was
// parsed in this run, equal shapes have equal texts, and no shape of a filter or an order is the beginning of another.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `{}`, `[]`, string(hot),
		`[{"id":{"$in":[1,null]}},{"title":{"$notStartsWithAnyCi":["\u00c9%"],"$empty":false}},{"$not":{"$or":[{"due":null}]}}]`,
		`{"due":{"$gte":"2030-01-31T01:02:03.000004+02:00"},"score":{"$lt":-1.5e3},"done":{"$not":true}}`,
		`{"key":"01890a5d-ac96-774b-bcce-b302099a8057","meta":{"$in":[{"a":[1,"\\u0000"]},null]}}`,
		`{"title":{"$contans":1}}`, `{"id":1e3}`, `{"id":1,"id":2}`, `{"$and":[[]]}`, `"!title"`, `["!title","id"]`,
		`{"project.name":{"$notIn":["a",null]},"project":{"owner":null,"tasks":{"$every":{"meta.a.0":{"$gt":1}},"$none":{"$search":"a"}}}}`,
		`{"project":{"props.a":1,"$not":{"owner.name":"x"}},"meta.b":{"$has":"x","$startsWithCi":"y"},"$search":"z"}`,
		`["project.name","!project.owner.name","due"]`, `{"project":{"fields":["name"],"include":{"tasks":{"limit":3,"filters":{"done":true},"order_bys":"!title"}}}}`,
		`["project","id"]`, `["project.name",{"m":{"month":"due","time_zone":"Europe/Berlin"}}]`, `{"n":"count","last":{"max":"due"},"s":{"sum":"project.owner.id"}}`,
		`{"n":{"$gt":1},"project.name":{"$contains":"x"}}`,
	} {
		f.Add([]byte(seed))
	}
	known := shapes{map[string]string{}, map[string]bool{}}
	f.Fuzz(func(t *testing.T, raw []byte) {
		fault := func(err error) {
			e := apperr.From(err)
			if e.Kind != apperr.InvalidParams || len(e.Issues()) != 1 || e.Issues()[0].Reason == "" {
				t.Fatalf("%q: %v", raw, err)
			}
		}
		for _, own := range []bool{false, true} {
			if flt, err := filter.Parse(raw, schema, "params.filters"); err != nil {
				fault(err)
			} else {
				known.add(t, fmt.Sprint("filter ", own), flt.Shape(nil), whereBy(t, flt, own))
			}
			if o, err := filter.ParseOrder(raw, schema, "params.list_options.order_bys"); err != nil {
				fault(err)
			} else if o != nil {
				known.add(t, fmt.Sprint("order ", own), o.Shape(nil), orderText(t, o, own))
				k := o.After(keyValues(o, raw))
				known.add(t, fmt.Sprint("keyset ", own), k.Shape(o.Shape(nil)), keysetText(t, k, own))
			}
			for _, params := range []filter.AggregationParams{
				{GroupBy: raw, Aggregates: jsontext.Value(`{"n":"count"}`)},
				{Aggregates: raw},
				{GroupBy: jsontext.Value(`["project.name"]`), Aggregates: jsontext.Value(`{"n":"count","t":{"max":"title"}}`), Having: raw},
				{GroupBy: jsontext.Value(`["title"]`), Aggregates: jsontext.Value(`{"n":"count"}`), Filters: raw, OrderBys: jsontext.Value(`"!n"`)},
			} {
				if a, err := filter.ParseAggregation(params, schema, "params"); err != nil {
					fault(err)
				} else {
					known.add(t, fmt.Sprint("aggregation ", own), a.Shape(nil), aggregationText(t, a, own))
				}
			}
		}
		for _, parts := range [][2]jsontext.Value{{raw, nil}, {nil, raw}} {
			if sel, err := filter.ParseSelection(parts[0], parts[1], schema, "params"); err != nil {
				fault(err)
			} else if n := sel.Rows(); n < 1 {
				t.Fatalf("%q: %d rows", raw, n)
			}
		}
	})
}

// shapes is the texts of the shapes that were met, and all their beginnings.
type shapes struct {
	texts  map[string]string
	begins map[string]bool
}

func (s shapes) add(t *testing.T, kind string, shape []byte, text string) {
	key := kind + ":" + string(shape)
	other, ok := s.texts[key]
	switch {
	case ok && other != text:
		t.Fatalf("shape %q: %s and %s", shape, text, other)
	case ok:
		return
	case s.begins[key]:
		t.Fatalf("%s: the shape %q is the beginning of another", text, shape)
	}
	s.texts[key] = text
	for i := len(kind) + 1; i < len(key); i++ {
		if other, ok := s.texts[key[:i]]; ok {
			t.Fatalf("the shape of %s begins with that of %s", text, other)
		}
		s.begins[key[:i]] = true
	}
}

func orderText(tb testing.TB, o *filter.Order, own bool) string {
	tb.Helper()
	text, _, err := goqu.Dialect("postgres").From("t").Prepared(true).Order(o.Expressions(own)...).ToSQL()
	if err != nil {
		tb.Fatal(err)
	}
	if n := len(placeholder.FindAllString(text, -1)); n != len(o.Args(nil, own, 7)) {
		tb.Fatalf("%s: %d placeholders, %d arguments", text, n, len(o.Args(nil, own, 7)))
	}
	return text
}

// keyValues returns values for the keys of an order: NULL for some, as the bytes have it.
func keyValues(o *filter.Order, raw []byte) []any {
	values := make([]any, len(o.Keys))
	for i, k := range o.Keys {
		if !k.Field.Nullable && k.Own() || len(raw) > i && raw[len(raw)-1-i]%2 == 0 {
			values[i] = int64(i)
		}
	}
	return values
}

func aggregationText(tb testing.TB, a *filter.Aggregation, own bool) string {
	tb.Helper()
	text, _, err := a.Statement(goqu.Dialect("postgres").From(goqu.T("task").As(filter.Root)).Prepared(true), own).ToSQL()
	if err != nil {
		tb.Fatal(err)
	}
	if n := len(placeholder.FindAllString(text, -1)); n != len(a.Args(nil, nil, own, 7)) {
		tb.Fatalf("%s: %d placeholders, %d arguments", text, n, len(a.Args(nil, nil, own, 7)))
	}
	return text
}
