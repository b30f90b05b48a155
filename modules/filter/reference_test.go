package filter_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/doug-martin/goqu/v9"
	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/filter"
)

// joins is what texts have where they lead from a task to its project and on to its owner or its tasks, and a text in JSON.
var joins = strings.NewReplacer(
	"PROJECT", `EXISTS (SELECT FROM "project" AS "r1" WHERE "r1"."tenant_id" = "tenant_id" AND "r1"."id" = "project_id"`,
	"OWNER", `EXISTS (SELECT FROM "tenant_user" AS "r2" WHERE "r2"."tenant_id" = "r1"."tenant_id" AND "r2"."id" = "r1"."owner_id"`,
	"TASKS", `EXISTS (SELECT FROM "task" AS "r2" WHERE "r2"."tenant_id" = "r1"."tenant_id" AND "r2"."project_id" = "r1"."id"`,
	"TEXT", `CASE WHEN jsonb_typeof("meta" #> ?::text[]) = 'string' THEN ("meta" #>> ?::text[]) COLLATE "C" END`,
)

// own in a text stands for the rule that a project be one's own, which is there for those who are held to it, and among arguments
// for the user.
const own = "{own}"

func TestReferencesAndPaths(t *testing.T) {
	path := []string{"a"}
	for _, c := range []struct {
		raw, where string
		args       []any
	}{
		{`{"project.name":"x"}`, `PROJECT{own} AND "r1"."name" = ?::text)`, []any{own, "x"}},
		{`{"project":{"name":"x"}}`, `PROJECT{own} AND "r1"."name" = ?::text)`, []any{own, "x"}},
		{`{"project.name":{"$not":"x"}}`, `NOT PROJECT{own} AND "r1"."name" = ?::text)`, []any{own, "x"}},
		{`{"project.name":{"$notIn":[null]}}`, `PROJECT{own} AND (("r1"."name" = ANY(?::text[]) OR "r1"."name" IS NULL)) IS NOT TRUE)`, []any{own, []string{}}},
		{`{"project":null}`, `NOT PROJECT{own} AND ("r1"."id" IS NULL) IS NOT TRUE)`, []any{own}},
		{`{"project.owner.name":null}`, `NOT PROJECT{own} AND OWNER AND ("r2"."name" IS NULL) IS NOT TRUE))`, []any{own}},
		{`{"project":{"owner.name":"x","name":"y"}}`, `(PROJECT{own} AND OWNER AND "r2"."name" = ?::text)) AND PROJECT{own} AND "r1"."name" = ?::text))`, []any{own, "x", own, "y"}},
		{`{"project":{"$not":{"name":"x"}}}`, `(PROJECT{own} AND "r1"."name" = ?::text)) IS NOT TRUE`, []any{own, "x"}},
		{`{"project":{}}`, `TRUE`, []any{}},
		{`{"project.tasks":{"$some":{"done":true}}}`, `PROJECT{own} AND TASKS AND "r2"."done" = ?::boolean))`, []any{own, true}},
		{`{"project.tasks":{"$none":{"done":true}}}`, `NOT PROJECT{own} AND TASKS AND "r2"."done" = ?::boolean))`, []any{own, true}},
		{`{"project":{"tasks":{"$every":{"done":true}}}}`, `NOT PROJECT{own} AND TASKS AND ("r2"."done" = ?::boolean) IS NOT TRUE))`, []any{own, true}},
		{`{"project.tasks":{}}`, `TRUE`, []any{}},
		{`{"project.props.a":"x"}`, `PROJECT{own} AND "r1"."props" @> ?::jsonb)`, []any{own, `{"a":"x"}`}},
		{`{"project.props.a":{"$not":"x"}}`, `NOT PROJECT{own} AND "r1"."props" @> ?::jsonb)`, []any{own, `{"a":"x"}`}},
		{`{"meta.a.b":1}`, `"meta" @> ?::jsonb`, []any{`{"a":{"b":1}}`}},
		{`{"meta.a.0":1}`, `"meta" #> ?::text[] = ?::jsonb`, []any{[]string{"a", "0"}, `1`}},
		{`{"meta.-1":1}`, `"meta" #> ?::text[] = ?::jsonb`, []any{[]string{"-1"}, `1`}},
		{`{"meta.a":{"$eq":[1]}}`, `"meta" #> ?::text[] = ?::jsonb`, []any{path, `[1]`}},
		{`{"meta.\"}":"\\"}`, `"meta" @> ?::jsonb`, []any{`{"\"}":"\\"}`}},
		{`{"meta.a":null}`, `coalesce("meta" #> ?::text[], 'null') = 'null'`, []any{path}},
		{`{"meta.a":{"$in":[1,null]}}`, `("meta" #> ?::text[] = ANY(?::jsonb[]) OR coalesce("meta" #> ?::text[], 'null') = 'null')`, []any{path, []string{"1"}, path}},
		{`{"meta.a":{"$lt":1}}`, `(jsonb_typeof("meta" #> ?::text[]) = 'number' AND "meta" #> ?::text[] < ?::jsonb)`, []any{path, path, "1"}},
		{`{"meta.a":{"$gte":"x"}}`, `TEXT >= ?::text`, []any{path, path, "x"}},
		{`{"meta.a":{"$notStartsWith":"x"}}`, `(TEXT LIKE ?::text) IS NOT TRUE`, []any{path, path, "x%"}},
		{
			`{"meta.a":{"$containsAnyCi":["x"]}}`,
			`lower(TEXT COLLATE "und-x-icu") LIKE ANY(ARRAY(SELECT lower(p COLLATE "und-x-icu") FROM unnest(?::text[]) AS p))`,
			[]any{path, path, []string{"%x%"}},
		},
		{`{"meta.a":{"$has":"k"}}`, `(jsonb_typeof("meta" #> ?::text[]) IN ('object', 'array') AND jsonb_exists("meta" #> ?::text[], ?::text))`, []any{path, path, "k"}},
		{`{"meta.a":{"$notEmpty":true}}`, `(coalesce("meta" #> ?::text[], 'null') IN ('null', '""')) IS NOT TRUE`, []any{path}},
		{`{"$search":"a b"}`, `"task_matches"("search", ?::text)`, []any{"a b"}},
		{`{"project.tasks":{"$some":{"$search":"a"}}}`, `PROJECT{own} AND TASKS AND "task_matches"("r2"."search", ?::text)))`, []any{own, "a"}},
	} {
		f := mustParse(t, c.raw)
		for _, held := range []bool{false, true} {
			rule, args := "", []any{}
			if held {
				rule = ` AND "r1"."owner_id" = ?`
			}
			for _, arg := range c.args {
				switch {
				case arg != any(own):
					args = append(args, arg)
				case held:
					args = append(args, int64(7))
				}
			}
			want := strings.ReplaceAll(joins.Replace(c.where), "{own}", rule)
			if got := placeholder.ReplaceAllString(whereBy(t, f, held), "?"); got != want {
				t.Errorf("%s, held to own rows: %v\n got %s\nwant %s", c.raw, held, got, want)
			}
			if got := f.Args([]any{}, held, 7); !reflect.DeepEqual(got, args) {
				t.Errorf("%s, held to own rows: %v\n got %#v\nwant %#v", c.raw, held, got, args)
			}
		}
	}
}

// asked is what queries ask, by who may.
func TestAllowed(t *testing.T) {
	p := projects
	parse := func(raw string) (interface{ Allowed(auth.Role) error }, error) {
		return filter.Parse([]byte(raw), p, "f")
	}
	order := func(raw string) (interface{ Allowed(auth.Role) error }, error) {
		return filter.ParseOrder([]byte(raw), p, "o")
	}
	include := func(raw string) (interface{ Allowed(auth.Role) error }, error) {
		return filter.ParseSelection(nil, []byte(raw), p, "s")
	}
	aggregate := func(groupBy, aggregates string) func(string) (interface{ Allowed(auth.Role) error }, error) {
		return func(string) (interface{ Allowed(auth.Role) error }, error) {
			return filter.ParseAggregation(filter.AggregationParams{GroupBy: jsontext.Value(groupBy), Aggregates: jsontext.Value(aggregates)}, p, "a")
		}
	}
	for _, c := range []struct {
		parse     func(string) (interface{ Allowed(auth.Role) error }, error)
		raw, path string // "" for what members may know
	}{
		{parse, `{"owner.name":"x"}`, ""},
		{parse, `{"owner.suspended":true}`, "f.owner.suspended"},
		{parse, `[{"name":"x"},{"$not":{"owner":{"name":"x","suspended":null}}}]`, "f[1].$not.owner.suspended"},
		{parse, `{"tasks":{"$none":{"project.owner.suspended":{"$in":[]}}}}`, "f.tasks.$none.project.owner.suspended"},
		{order, `["name","!owner.name"]`, ""},
		{order, `["name","!owner.suspended"]`, "o[1]"},
		{include, `["owner"]`, ""},
		{include, `{"owner":{"fields":["id","suspended"]}}`, "s.include.owner.fields[1]"},
		{include, `{"tasks":{"filters":{"project.owner.suspended":false}}}`, "s.include.tasks.filters.project.owner.suspended"},
		{include, `{"tasks":{"order_bys":"project.owner.suspended"}}`, "s.include.tasks.order_bys"},
		{include, `{"tasks":{"include":{"project":{"include":{"owner":{"fields":["suspended"]}}}}}}`, "s.include.tasks.include.project.include.owner.fields[0]"},
		{aggregate(`["owner.name"]`, `{"n":"count"}`), "", ""},
		{aggregate(`["name","owner.suspended"]`, `{"n":"count"}`), "", "a.group_by[1]"},
		{aggregate(``, `{"n":{"count":"owner.suspended"}}`), "", "a.aggregates.n.count"},
	} {
		asked, err := c.parse(c.raw)
		if err != nil {
			t.Errorf("%s: %v", c.raw, err)
			continue
		}
		if err := asked.Allowed(auth.Admin); err != nil {
			t.Errorf("%s: an admin: %v", c.raw, err)
		}
		switch e := apperr.From(asked.Allowed(auth.Member)); {
		case c.path == "" && e != nil:
			t.Errorf("%s: a member: %v", c.raw, e)
		case c.path != "" && (e == nil || e.Kind != apperr.Forbidden || !strings.HasSuffix(e.Message, ": "+c.path)):
			t.Errorf("%s: a member: %v", c.raw, e)
		}
	}
}

func TestWhatNobodyReadsIsForbiddenToAll(t *testing.T) {
	id := filter.Field{Name: "id", Column: "id", Type: filter.Int}
	secret := filter.NewSchema(filter.Entity{Name: "secret", Table: "secret", Fields: []filter.Field{id}})
	open := filter.NewSchema(filter.Entity{Name: "open", Table: "open", Read: auth.Member, Fields: []filter.Field{id}})
	open.Link(filter.Ref{Name: "secret", To: secret, Column: "id", Other: "id"}, filter.Ref{Name: "admins", To: open, Column: "id", Other: "id", Read: auth.Admin})
	for raw, owner := range map[string]bool{`{"secret":null}`: false, `{"secret.id":1}`: false, `{"admins.id":1}`: true} {
		f, err := filter.Parse([]byte(raw), open, "f")
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Allowed(auth.Owner); (err == nil) != owner {
			t.Errorf("%s: an owner: %v", raw, err)
		}
		if err := f.Allowed(auth.Member); apperr.From(err).Kind != apperr.Forbidden {
			t.Errorf("%s: a member: %v", raw, err)
		}
	}
}

func TestKeysets(t *testing.T) {
	for _, c := range []struct {
		order  string
		values []any
		where  string
	}{
		{`"id"`, []any{int64(1)}, `(("id") > ($1::bigint))`},
		{`["project_id","id"]`, []any{int64(1), int64(2)}, `(("project_id", "id") > ($1::bigint, $2::bigint))`},
		{`["!project_id","!id"]`, []any{int64(1), int64(2)}, `(("project_id", "id") < ($1::bigint, $2::bigint))`},
		{
			`"!done"`, []any{true, int64(2)},
			`(("done") <= ($1::boolean) AND ("done" < $2::boolean OR "done" = $3::boolean AND ("id" > $4::bigint)))`,
		},
		{`"title"`, []any{"a", int64(2)}, `("title" > $1::text OR "title" IS NULL OR "title" = $2::text AND ("id" > $3::bigint))`},
		{`"title"`, []any{nil, int64(2)}, `(FALSE OR "title" IS NULL AND ("id" > $1::bigint))`},
		{`"!title"`, []any{"a", int64(2)}, `("title" < $1::text OR "title" = $2::text AND ("id" > $3::bigint))`},
		{`"!title"`, []any{nil, int64(2)}, `("title" IS NOT NULL OR "title" IS NULL AND ("id" > $1::bigint))`},
	} {
		o, err := filter.ParseOrder([]byte(c.order), schema, "")
		if err != nil {
			t.Fatal(err)
		}
		if got := keysetText(t, o.After(c.values), false); got != c.where && got != "("+c.where+")" {
			t.Errorf("%s after %v:\n got %s\nwant %s", c.order, c.values, got, c.where)
		}
	}
}

// keysetText returns the text of a keyset, after checking that its placeholders are as many as its arguments.
func keysetText(tb testing.TB, k *filter.Keyset, own bool) string {
	tb.Helper()
	text, _, err := goqu.Dialect("postgres").From("t").Prepared(true).Where(k.Where(own)).ToSQL()
	if err != nil {
		tb.Fatal(err)
	}
	if n := len(placeholder.FindAllString(text, -1)); n != len(k.Args(nil, own, 7)) {
		tb.Fatalf("%s: %d placeholders, %d arguments", text, n, len(k.Args(nil, own, 7)))
	}
	return strings.ReplaceAll(strings.TrimPrefix(text, `SELECT * FROM "t" WHERE `), `"r0".`, "")
}
