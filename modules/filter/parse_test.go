package filter_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"rowcall/modules/apperr"
	"rowcall/modules/filter"
)

// issueOf returns the one issue of an INVALID_PARAMS.
func issueOf(t *testing.T, err error) apperr.Issue {
	t.Helper()
	e := apperr.From(err)
	if e == nil || e.Kind != apperr.InvalidParams || len(e.Issues()) != 1 {
		t.Fatalf("want INVALID_PARAMS with one issue, got %v", err)
	}
	return e.Issues()[0]
}

func TestParseRefuses(t *testing.T) {
	const microseconds, rfc3339, integer = "must be a time in whole microseconds",
		"must be a time by RFC 3339, like 2030-12-31T23:59:59.999999Z", "must be an integer, without fraction and exponent"
	for _, c := range []struct{ raw, path, reason string }{
		{`1`, ``, `must be an object or an array of objects`},
		{`"{}"`, ``, `must be an object or an array of objects`},
		{`[[]]`, `[0]`, `must be an object`},
		{`[{},null]`, `[1]`, `must be an object`},
		{`{"$and":{}}`, `.$and`, `must be an array of objects`},
		{`{"$or":null}`, `.$or`, `must be an array of objects`},
		{`{"$not":[]}`, `.$not`, `must be an object`},
		{`{"$nor":[]}`, `.$nor`, `is not an operator of a group; did you mean $not?`},
		{`{"tilte":"a"}`, `.tilte`, `is not a field; did you mean title?`},
		{`{"Title":"a"}`, `.Title`, `is not a field; did you mean title?`},
		{`{"due_at":null}`, `.due_at`, `is not a field`},
		{`{"":1}`, ``, `is not a field`},
		{`[{"title":{"$contans":"a"}}]`, `[0].title.$contans`, `is not an operator of a string; did you mean $contains?`},
		{`{"title":{"contains":"a"}}`, `.title.contains`, `is not an operator of a string; did you mean $contains?`},
		{`{"id":{"$contains":"a"}}`, `.id.$contains`, `is not an operator of an integer`},
		{`{"done":{"$lt":true}}`, `.done.$lt`, `is not an operator of a boolean`},
		{`{"meta":{"$lt":1}}`, `.meta.$lt`, `is not an operator of a JSON value`},
		{`{"meta":{"color":"red"}}`, `.meta.color`, `is not an operator of a JSON value`},
		{`{"meta":["a"]}`, `.meta`, `must be a JSON value, null or an object of operators`},
		{`{"id":[1]}`, `.id`, `must be an integer, null or an object of operators`},
		{`{"id":"1"}`, `.id`, `must be an integer`},
		{`{"id":{"$not":{"$eq":1}}}`, `.id.$not`, `must be an integer`},
		{`{"id":{"$lt":null}}`, `.id.$lt`, `must be an integer`},
		{`{"id":1.0}`, `.id`, integer},
		{`{"id":1e3}`, `.id`, integer},
		{`{"id":9223372036854775808}`, `.id`, `must be an integer of 64 bits`},
		{`{"id":{"$in":1}}`, `.id.$in`, `must be an array`},
		{`{"id":{"$in":[1,"2"]}}`, `.id.$in[1]`, `must be an integer`},
		{`{"score":1e309}`, `.score`, `must be a number that a float of 64 bits can hold`},
		{`{"score":"NaN"}`, `.score`, `must be a number`},
		{`{"done":0}`, `.done`, `must be true or false`},
		{`{"done":{"$null":"yes"}}`, `.done.$null`, `must be true or false`},
		{`{"title":{"$empty":null}}`, `.title.$empty`, `must be true or false`},
		{`{"title":5}`, `.title`, `must be a string`},
		{`{"title":{"$contains":null}}`, `.title.$contains`, `must be a string`},
		{`{"title":{"$containsAny":["a",null]}}`, `.title.$containsAny[1]`, `must be a string`},
		{`{"title":"a\u0000"}`, `.title`, `must not contain U+0000`},
		{`{"title":{"$containsAll":["\u0000"]}}`, `.title.$containsAll[0]`, `must not contain U+0000`},
		{`{"due":5}`, `.due`, `must be a time`},
		{`{"due":"2030-01-01"}`, `.due`, rfc3339},
		{`{"due":"2030-01-01T00:00:00"}`, `.due`, rfc3339},
		{`{"due":"2030-01-01 00:00:00Z"}`, `.due`, rfc3339},
		{`{"due":"2030-02-29T00:00:00Z"}`, `.due`, rfc3339},
		{`{"due":"2030-01-01T1:00:00Z"}`, `.due`, rfc3339},
		{`{"due":"2030-01-01T00:00:00,5Z"}`, `.due`, rfc3339},
		{`{"due":"2030-01-01T00:00:00+24:00"}`, `.due`, rfc3339},
		{`{"due":"2030-01-01T00:00:00-01:60"}`, `.due`, rfc3339},
		{`{"due":"2030-01-01T23:59:60Z"}`, `.due`, rfc3339},
		{`{"due":""}`, `.due`, rfc3339},
		{`{"due":{"$gt":"2030-01-01T00:00:00.0000001Z"}}`, `.due.$gt`, microseconds},
		{`{"key":"01890a5dac96774bbcceb302099a8057"}`, `.key`, `must be a uuid, like 01890a5d-ac96-774b-bcce-b302099a8057`},
		{`{"key":"{1890a5d-ac96-774b-bcce-b302099a8057"}`, `.key`, `must be a uuid, like 01890a5d-ac96-774b-bcce-b302099a8057`},
		{`{"key":1}`, `.key`, `must be a uuid`},
		{`{"meta":{"$eq":{"a":["\u0000"]}}}`, `.meta.$eq.a[0]`, `must not contain U+0000`},
		{`{"meta":{"$eq":{"\u0000":1}}}`, `.meta.$eq.` + "\x00", `must not contain U+0000`},
		{`{"meta":{"$in":[1e1001]}}`, `.meta.$in[0]`, `must be a number of at most 1,000 digits with an exponent within ±1,000`},
		{`{"meta":-1E-1001}`, `.meta`, `must be a number of at most 1,000 digits with an exponent within ±1,000`},
		{`{"id":1,"id":2}`, `.id`, `is given twice`},
		{`[{"id":{"$gt":1,"$gt":2}}]`, `[0].id.$gt`, `is given twice`},
		{`{"meta":{"$eq":{"a":1,"a":1}}}`, `.meta.$eq.a`, `is given twice`},
		{`{"id":1`, ``, `is not valid JSON`},
		{`{"id":1}}`, ``, `is not valid JSON`},
		{`{} {}`, ``, `is not valid JSON`},
		{`{"title":"` + "\xff" + `"}`, ``, `is not valid JSON`},
		{`{"title":"\ud800"}`, ``, `is not valid JSON`},
		{` `, ``, `is not valid JSON`},
	} {
		_, err := filter.Parse([]byte(c.raw), schema, "params.filters")
		if err == nil {
			t.Errorf("%s: no error", c.raw)
			continue
		}
		got := issueOf(t, err)
		if got.Path != "params.filters"+c.path || got.Reason != c.reason {
			t.Errorf("%s:\n got %q %q\nwant %q %q", c.raw, got.Path, got.Reason, "params.filters"+c.path, c.reason)
		}
	}
}

func TestUnknownNamesCarryTheAllowedOnes(t *testing.T) {
	for _, c := range []struct{ raw, allowed string }{
		{`{"x":1}`, `done due id key meta project project_id score title`},
		{`{"$x":1}`, `$and $not $or $search`},
		{`{"done":{"$x":1}}`, `$eq $in $not $notIn $null`},
		{`{"meta":{"$x":1}}`, `$eq $has $in $not $notHas $notIn $null`},
		{`{"due":{"$x":1}}`, `$eq $gt $gte $in $lt $lte $not $notIn $null`},
		{`{"title":{"$x":1}}`, `$contains $containsAll $containsAllCi $containsAny $containsAnyCi $containsCi $empty $endsWith ` +
			`$endsWithAny $endsWithAnyCi $endsWithCi $eq $gt $gte $ilike $in $lt $lte $not $notContains $notContainsAll ` +
			`$notContainsAllCi $notContainsAny $notContainsAnyCi $notContainsCi $notEmpty $notEndsWith $notEndsWithAny ` +
			`$notEndsWithAnyCi $notEndsWithCi $notIlike $notIn $notStartsWith $notStartsWithAny $notStartsWithAnyCi ` +
			`$notStartsWithCi $null $startsWith $startsWithAny $startsWithAnyCi $startsWithCi`},
	} {
		_, err := filter.Parse([]byte(c.raw), schema, "params.filters")
		if got := issueOf(t, err).Allowed; strings.Join(got, " ") != c.allowed {
			t.Errorf("%s: allowed %q", c.raw, got)
		}
	}
}

func TestBudgets(t *testing.T) {
	nested := func(n int, before, inner, after string) string {
		return strings.Repeat(before, n) + inner + strings.Repeat(after, n)
	}
	list := func(n int, element string) string {
		return "[" + strings.Join(slices.Repeat([]string{element}, n), ",") + "]"
	}
	const deep, many, long = "is nested deeper than 8 levels", "is past the 200 conditions that a filter may have",
		"is past the 1,000 values that a list may have"
	for _, c := range []struct{ name, raw, path, reason string }{
		{"8 groups deep", nested(7, `{"$not":`, `{"id":1}`, `}`), "", ""},
		{"9 groups deep", nested(8, `{"$not":`, `{"id":1}`, `}`), strings.Repeat(".$not", 8), deep},
		{"arrays count", nested(3, `{"$and":[`, `{"id":{"$in":[1]}}`, `]}`), "", ""},
		{"arrays count", nested(4, `{"$or":[`, `{"id":1}`, `]}`), strings.Repeat(".$or[0]", 4), deep},
		{"the outermost array counts", `[` + nested(7, `{"$not":`, `{}`, `}`) + `]`, "[0]" + strings.Repeat(".$not", 7), deep},
		{"a JSON value is not counted", `{"meta":{"$eq":` + nested(50, `[`, ``, `]`) + `}}`, "", ""},
		{"200 conditions", list(200, `{"id":1}`), "", ""},
		{"201 conditions", list(201, `{"id":1}`), "[200].id", many},
		{"201 operators", list(67, `{"title":{"$gt":"a","$lt":"b","$in":[]}}`), "[66].title.$in", many},
		{"200 conditions within $not", list(200, `{"$not":{"id":null}}`), "", ""},
		{"201 empty groups", list(201, `{}`), "[200]", many},
		{"201 empty arrays", list(201, `{"$or":[]}`), "[200].$or", many},
		{"201 fields without operators", list(201, `{"id":{}}`), "[200]", many},
		{"1,000 values", `{"id":{"$in":` + list(1000, `7`) + `}}`, "", ""},
		{"1,001 values", `{"id":{"$in":` + list(1001, `7`) + `}}`, ".id.$in[1000]", long},
		{"1,001 nulls", `{"id":{"$in":` + list(1001, `null`) + `}}`, ".id.$in[1000]", long},
		{"1,001 patterns", `{"title":{"$containsAny":` + list(1001, `""`) + `}}`, ".title.$containsAny[1000]", long},
	} {
		f, err := filter.Parse([]byte(c.raw), schema, "")
		if c.reason == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			} else {
				where(t, f)
			}
			continue
		}
		if got := issueOf(t, err); strings.TrimPrefix(c.path, ".") != got.Path || got.Reason != c.reason {
			t.Errorf("%s: got %q %q, want %q %q", c.name, got.Path, got.Reason, c.path, c.reason)
		}
	}
}

func TestParseStopsAtTheBudget(t *testing.T) {
	// What follows the fault is not JSON, so whoever reads on says something else.
	raw := `[` + strings.Repeat(`{"id":1},`, 201) + `!`
	_, err := filter.Parse([]byte(raw), schema, "params.filters")
	if got := issueOf(t, err); got.Path != "params.filters[200].id" {
		t.Fatalf("%+v", got)
	}
}

func TestLongNamesAreCutInPaths(t *testing.T) {
	_, err := filter.Parse([]byte(`{"`+strings.Repeat("é", 1000)+`":1}`), schema, "f")
	if got, want := issueOf(t, err).Path, "f."+strings.Repeat("é", 32)+"…"; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestNewSchemaPanicsOnMistakes(t *testing.T) {
	id := filter.Field{Name: "id", Column: "id", Type: filter.Int}
	for _, fields := range [][]filter.Field{
		{},
		{{Name: "key", Column: "key"}},
		{id, id},
		{id, {Name: "a", Column: "id"}},
		{id, {Name: "a", Column: ""}},
		{id, {Name: "", Column: "a"}},
		{id, {Name: "a", Column: `a"b`}},
		{id, {Name: "a.b", Column: "a"}},
		{id, {Name: "$a", Column: "a"}},
		{id, {Name: "!a", Column: "a"}},
		{id, {Name: "a", Column: "a", Type: filter.ID + 1}},
		{id, {Name: "a", Column: "a", Type: -1}},
	} {
		t.Run(fmt.Sprint(fields), func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			filter.NewSchema(filter.Entity{Name: "a", Table: "a", Fields: fields})
		})
	}
}
