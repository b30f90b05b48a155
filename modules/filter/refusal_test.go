package filter_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/filter"
)

// refused is what must be refused: at the path, with the reason.
type refused []struct{ raw, path, reason string }

func (all refused) check(t *testing.T, root string, parse func(jsontext.Value) error) {
	t.Helper()
	for _, c := range all {
		err := parse(jsontext.Value(c.raw))
		if err == nil {
			t.Errorf("%s: no error", c.raw)
			continue
		}
		if got := issueOf(t, err); got.Path != root+c.path || got.Reason != c.reason {
			t.Errorf("%s:\n got %q %q\nwant %q %q", c.raw, got.Path, got.Reason, root+c.path, c.reason)
		}
	}
}

const deep = "is nested deeper than 8 levels"

func TestReferencesAndPathsRefuse(t *testing.T) {
	refused{
		{`{"projekt.name":1}`, `.projekt.name`, `does not begin with a field or a reference; did you mean project?`},
		{`{"project.nome":1}`, `.project.nome`, `is not a field; did you mean name?`},
		{`{"project.":1}`, `.project.`, `is not a field`},
		{`{".name":1}`, `..name`, `does not begin with a field or a reference`},
		{`{"project..name":1}`, `.project..name`, `does not begin with a field or a reference`},
		{`{"project.$or":[]}`, `.project.$or`, `must lead to a field: ask project by an object with operators`},
		{`{"title.x":1}`, `.title.x`, `has no fields: title is a string`},
		{`{"project.tasks.title":1}`, `.project.tasks.title`, `goes through a list: ask tasks by $every, $none, $some`},
		{`{"project":1}`, `.project`, `must be an object`},
		{`{"project":[]}`, `.project`, `must be an object`},
		{`{"project":{"$search":"x"}}`, `.project.$search`, `is not an operator here: a project cannot be searched`},
		{`{"project.tasks":null}`, `.project.tasks`, `must be an object with $every, $none, $some`},
		{`{"project.tasks":{"title":"x"}}`, `.project.tasks.title`, `is not a quantifier`},
		{`{"project.tasks":{"$som":{}}}`, `.project.tasks.$som`, `is not a quantifier; did you mean $some?`},
		{`{"project.tasks":{"$some":[]}}`, `.project.tasks.$some`, `must be an object`},
		{`{"$search":1}`, `.$search`, `must be a string`},
		{`{"$search":"\u0000"}`, `.$search`, `must not contain U+0000`},
		{`{"meta.":1}`, `.meta.`, `has a segment that is empty or longer than 64 bytes`},
		{`{"meta.a..b":1}`, `.meta.a..b`, `has a segment that is empty or longer than 64 bytes`},
		{`{"meta.a.b.c.d.e.f.g.h.i":1}`, `.meta.a.b.c.d.e.f.g.h.i`, `has more than 8 segments after the field`},
		{`{"meta.a\u0000":1}`, ".meta.a\x00", `must not contain U+0000`},
		{`{"meta.a":[1]}`, `.meta.a`, `must be a JSON value, null or an object of operators`},
		{`{"meta.a":{"b":1}}`, `.meta.a.b`, `is not an operator of a JSON value`},
		{`{"meta.a":{"$lt":true}}`, `.meta.a.$lt`, `must be a number or a string`},
		{`{"meta.a":{"$gt":[1]}}`, `.meta.a.$gt`, `must be a number or a string`},
		{`{"meta.a":{"$contains":1}}`, `.meta.a.$contains`, `must be a string`},
		{`{"meta.a":{"$has":1}}`, `.meta.a.$has`, `must be a string`},
		{`{"meta.a":1e2000}`, `.meta.a`, `must be a number of at most 1,000 digits with an exponent within ±1,000`},
		{`{"meta.a":{"$in":1}}`, `.meta.a.$in`, `must be an array`},
		{strings.Repeat(`{"project":{"tasks":{"$some":`, 4) + `{}` + strings.Repeat(`}}}`, 4), strings.Repeat(".project.tasks.$some", 4), deep},
	}.check(t, "f", func(raw jsontext.Value) error { _, err := filter.Parse(raw, schema, "f"); return err })
}

func TestSelectionsRefuse(t *testing.T) {
	refused{
		{`["id","nome"]`, `[1]`, `is not a field; did you mean name?`},
		{`["id","id"]`, `[1]`, `is given twice`},
		{`["owner"]`, `[0]`, `is not a field`},
		{`["owner.name"]`, `[0]`, `is not a field`},
		{`"id"`, ``, `must be an array`},
		{`[1]`, `[0]`, `must be a string`},
	}.check(t, "s.fields", func(raw jsontext.Value) error { _, err := filter.ParseSelection(raw, nil, projects, "s"); return err })
	include := `{}`
	for range 4 {
		include = `{"owner":{"include":{"projects":{"include":` + include + `}}}}`
	}
	include = strings.Replace(include, `{}`, `{"owner":{}}`, 1)
	refused{
		{`["ownr"]`, `[0]`, `is not a reference; did you mean owner?`},
		{`["owner","owner"]`, `[1]`, `is given twice`},
		{`["owner.projects"]`, `[0]`, `is not a reference`},
		{`"owner"`, ``, `must be an array of names, or an object`},
		{`{"owner":1}`, `.owner`, `must be an object`},
		{`{"owner":{"filters":{}}}`, `.owner.filters`, `is not an option of this reference`},
		{`{"owner":{"limit":1}}`, `.owner.limit`, `is not an option of this reference`},
		{`{"tasks":{"limt":1}}`, `.tasks.limt`, `is not an option of this reference; did you mean limit?`},
		{`{"tasks":{"offset":1}}`, `.tasks.offset`, `is not an option of this reference`},
		{`{"tasks":{"limit":1001}}`, `.tasks.limit`, `must be an integer from 0 to 1000`},
		{`{"tasks":{"limit":-1}}`, `.tasks.limit`, `must be an integer from 0 to 1000`},
		{`{"tasks":{"limit":1.0}}`, `.tasks.limit`, `must be an integer from 0 to 1000`},
		{`{"tasks":{"limit":"1"}}`, `.tasks.limit`, `must be an integer from 0 to 1000`},
		{`{"tasks":{"filters":{"titel":1}}}`, `.tasks.filters.titel`, `is not a field; did you mean title?`},
		{`{"tasks":{"order_bys":["meta"]}}`, `.tasks.order_bys[0]`, `has no order`},
		{`{"tasks":{"fields":["id","x"]}}`, `.tasks.fields[1]`, `is not a field`},
		{`{"tasks":{"include":["project",1]}}`, `.tasks.include[1]`, `must be a string`},
		{include, strings.Repeat(".owner.include.projects.include", 4) + `.owner`, deep},
	}.check(t, "s.include", func(raw jsontext.Value) error { _, err := filter.ParseSelection(nil, raw, projects, "s"); return err })
}

func TestAggregationsRefuse(t *testing.T) {
	type params = filter.AggregationParams
	parse := func(of func(jsontext.Value) params) func(jsontext.Value) error {
		return func(raw jsontext.Value) error { _, err := filter.ParseAggregation(of(raw), schema, "a"); return err }
	}
	count := jsontext.Value(`{"n":"count"}`)
	refused{
		{`"id"`, ``, `must be an array`},
		{`["x"]`, `[0]`, `is not a field`},
		{`["meta"]`, `[0]`, `has no order`},
		{`["project.tasks.id"]`, `[0]`, `goes through a list`},
		{`["id","id"]`, `[1]`, `is given twice`},
		{`["id",{"id":{"day":"due"}}]`, `[1].id`, `is given twice`},
		{`[{"a b":{"day":"due"}}]`, `[0].a b`, `must be a name of up to 63 letters, digits and underscores`},
		{`[{"m":{"day":"title"}}]`, `[0].m.day`, `is a string, of which this is not known`},
		{`[{"m":{"dayy":"due"}}]`, `[0].m.dayy`, `is no unit of time; did you mean day?`},
		{`[{"m":{"day":"due","hour":"due"}}]`, `[0].m.hour`, `is a second unit of time`},
		{`[{"m":{"time_zone":"UTC"}}]`, `[0].m`, `has no unit of time`},
		{`[{"m":{"day":"due","time_zone":"Mars/Base"}}]`, `[0].m.time_zone`, `is no time zone, like Europe/Berlin`},
		{`[{"m":{"day":"due","time_zone":"Local"}}]`, `[0].m.time_zone`, `is no time zone, like Europe/Berlin`},
		{`[{"m":{"day":"due","time_zone":"../etc/passwd"}}]`, `[0].m.time_zone`, `is no time zone, like Europe/Berlin`},
		{`[{` + buckets(11) + `}]`, `[0].x10`, `is past the 10 values to group by`},
		{`["id","project_id","title","done","due","score","key","project.id","project.name","project.owner_id","project.owner.id"]`, `[10]`, `is past the 10 values to group by`},
	}.check(t, "a.group_by", parse(func(raw jsontext.Value) params { return params{GroupBy: raw, Aggregates: count} }))
	refused{
		{`["n"]`, ``, `must be an object`},
		{`{}`, ``, `has nothing to find out, and there is nothing to group by`},
		{`{"n":"sum"}`, `.n`, `must be count, or an object with a function and its field`},
		{`{"n":1}`, `.n`, `must be an object`},
		{`{"n":{}}`, `.n`, `has no function`},
		{`{"n":{"summ":"id"}}`, `.n.summ`, `is not a function; did you mean sum?`},
		{`{"n":{"sum":"title"}}`, `.n.sum`, `is a string, of which this is not known`},
		{`{"n":{"max":"done"}}`, `.n.max`, `is a boolean, of which this is not known`},
		{`{"n":{"min":"id","max":"id"}}`, `.n.max`, `is a second function`},
		{`{"n":{"min":["id"]}}`, `.n.min`, `must be a string`},
		{`{` + strings.ReplaceAll(buckets(21), `{"day":"due"}`, `"count"`) + `}`, `.x20`, `is past the 20 aggregates`},
		{`{"a.b":"count"}`, `.a.b`, `must be a name of up to 63 letters, digits and underscores`},
		{`{"` + strings.Repeat("a", 64) + `":"count"}`, `.` + strings.Repeat("a", 64), `must be a name of up to 63 letters, digits and underscores`},
	}.check(t, "a.aggregates", parse(func(raw jsontext.Value) params { return params{Aggregates: raw} }))
	refused{
		{`{"id":1}`, `.id`, `is not a field`},
		{`{"n":{"$contains":"x"}}`, `.n.$contains`, `is not an operator of an integer`},
		{`{"$search":"x"}`, `.$search`, `is not an operator here: a group cannot be searched`},
		{`{"project.owner.name":1}`, `.project.owner.name`, `does not begin with a field or a reference`},
	}.check(t, "a.having", parse(func(raw jsontext.Value) params {
		return params{GroupBy: jsontext.Value(`["project.name"]`), Aggregates: count, Having: raw}
	}))
	refused{
		{`"id"`, ``, `is not a field`},
		{`["n","!n"]`, `[1]`, `is given twice`},
	}.check(t, "a.order_bys", parse(func(raw jsontext.Value) params { return params{Aggregates: count, OrderBys: raw} }))
}

// buckets returns the members of an object with so many buckets.
func buckets(n int) string {
	var members []string
	for i := range n {
		members = append(members, fmt.Sprintf(`"x%d":{"day":"due"}`, i))
	}
	return strings.Join(members, ",")
}
