package filter_test

import (
	"math"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/doug-martin/goqu/v9"
	_ "github.com/doug-martin/goqu/v9/dialect/postgres"
	"github.com/google/uuid"

	"rowcall/modules/auth"
	"rowcall/modules/filter"
)

// A task is in a project, which has an owner; projects and users know their tasks and projects.
var schema, projects = newSchemas()

func newSchemas() (tasks, projects *filter.Schema) {
	id := filter.Field{Name: "id", Column: "id", Type: filter.Int}
	tasks = filter.NewSchema(filter.Entity{Name: "task", Table: "task", Read: auth.Member, Search: "search", Fields: []filter.Field{
		id,
		{Name: "project_id", Column: "project_id", Type: filter.Int},
		{Name: "title", Column: "title", Type: filter.String, Nullable: true},
		{Name: "done", Column: "done", Type: filter.Bool},
		{Name: "due", Column: "due_at", Type: filter.Time, Nullable: true},
		{Name: "score", Column: "score", Type: filter.Float, Nullable: true},
		{Name: "key", Column: "key", Type: filter.UUID},
		{Name: "meta", Column: "meta", Type: filter.JSON},
	}})
	projects = filter.NewSchema(filter.Entity{Name: "project", Table: "project", Read: auth.Member, Own: "owner_id", Fields: []filter.Field{
		id,
		{Name: "name", Column: "name", Type: filter.String},
		{Name: "owner_id", Column: "owner_id", Type: filter.Int},
		{Name: "props", Column: "props", Type: filter.JSON, Indexed: true},
	}})
	users := filter.NewSchema(filter.Entity{Name: "user", Table: "tenant_user", Read: auth.Member, Fields: []filter.Field{
		id,
		{Name: "name", Column: "name", Type: filter.String},
		{Name: "suspended", Column: "suspended", Type: filter.Bool, Read: auth.Admin},
	}})
	tasks.Link(filter.Ref{Name: "project", To: projects, Column: "project_id", Other: "id"})
	projects.Link(
		filter.Ref{Name: "owner", To: users, Column: "owner_id", Other: "id"},
		filter.Ref{Name: "tasks", To: tasks, Many: true, Column: "id", Other: "project_id"},
	)
	users.Link(filter.Ref{Name: "projects", To: projects, Many: true, Column: "id", Other: "owner_id"})
	return tasks, projects
}

func mustParse(tb testing.TB, raw string) *filter.Filter {
	tb.Helper()
	f, err := filter.Parse([]byte(raw), schema, "params.filters")
	if err != nil {
		tb.Fatalf("%s: %v", raw, err)
	}
	return f
}

// where returns the text of the filter's condition, after checking that its placeholders are as many as its arguments.
func where(tb testing.TB, f *filter.Filter) string {
	tb.Helper()
	return whereBy(tb, f, false)
}

// whereBy is where for an actor who may be held to rows of their own. The root is left out of the text.
func whereBy(tb testing.TB, f *filter.Filter, own bool) string {
	tb.Helper()
	text, discarded, err := goqu.Dialect("postgres").From("t").Prepared(true).Where(f.Where(own)).ToSQL()
	if err != nil {
		tb.Fatal(err)
	}
	args := f.Args(nil, own, 7)
	if len(discarded) != len(args) || len(placeholder.FindAllString(text, -1)) != len(args) {
		tb.Fatalf("%s: %d placeholders, %d arguments", text, len(discarded), len(args))
	}
	return strings.ReplaceAll(strings.TrimPrefix(text, `SELECT * FROM "t" WHERE `), `"r0".`, "")
}

var placeholder = regexp.MustCompile(`\$\d+`)

var key = uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057")

const lowered = `lower("title" COLLATE "und-x-icu")`

func TestWhereAndArgs(t *testing.T) {
	for _, c := range []struct {
		raw, where string
		args       []any
	}{
		{``, `TRUE`, []any{}},
		{`null`, `TRUE`, []any{}},
		{`{}`, `TRUE`, []any{}},
		{`[]`, `FALSE`, []any{}},
		{`[{}]`, `TRUE`, []any{}},
		{`{"$and":[]}`, `TRUE`, []any{}},
		{`{"$or":[]}`, `FALSE`, []any{}},
		{`{"$not":{}}`, `(TRUE) IS NOT TRUE`, []any{}},
		{`{"title":{}}`, `TRUE`, []any{}},
		{
			`{"project_id":1000,"title":{"$contains":"BB"}}`,
			`("project_id" = $1::bigint AND "title" LIKE $2::text)`, []any{int64(1000), "%BB%"},
		},
		{
			`[{"id":1},{"id":2,"done":true}]`,
			`("id" = $1::bigint OR ("id" = $2::bigint AND "done" = $3::boolean))`, []any{int64(1), int64(2), true},
		},
		{
			`{"id":1,"$or":[{"id":2},{"$and":[{"id":3},{"id":4}]}],"$not":{"id":5}}`,
			`("id" = $1::bigint AND ("id" = $2::bigint OR ("id" = $3::bigint AND "id" = $4::bigint)) AND ("id" = $5::bigint) IS NOT TRUE)`,
			[]any{int64(1), int64(2), int64(3), int64(4), int64(5)},
		},
		{`{"title":null}`, `"title" IS NULL`, []any{}},
		{`{"title":{"$eq":null}}`, `"title" IS NULL`, []any{}},
		{`{"title":{"$not":null}}`, `("title" IS NULL) IS NOT TRUE`, []any{}},
		{`{"title":{"$null":true}}`, `"title" IS NULL`, []any{}},
		{`{"title":{"$null":false}}`, `("title" IS NULL) IS NOT TRUE`, []any{}},
		{`{"title":{"$empty":true}}`, `coalesce("title", '') = ''`, []any{}},
		{`{"title":{"$notEmpty":false}}`, `coalesce("title", '') = ''`, []any{}},
		{`{"title":{"$empty":false}}`, `(coalesce("title", '') = '') IS NOT TRUE`, []any{}},
		{`{"title":{"$notEmpty":true}}`, `(coalesce("title", '') = '') IS NOT TRUE`, []any{}},
		{`{"title":{"$not":"a"}}`, `("title" = $1::text) IS NOT TRUE`, []any{"a"}},
		{`{"id":{"$in":[]}}`, `"id" = ANY($1::bigint[])`, []any{[]int64{}}},
		{`{"id":{"$in":[1,-0,-9223372036854775808]}}`, `"id" = ANY($1::bigint[])`, []any{[]int64{1, 0, math.MinInt64}}},
		{`{"id":{"$in":[1,null]}}`, `("id" = ANY($1::bigint[]) OR "id" IS NULL)`, []any{[]int64{1}}},
		{`{"id":{"$notIn":[null]}}`, `(("id" = ANY($1::bigint[]) OR "id" IS NULL)) IS NOT TRUE`, []any{[]int64{}}},
		{`{"done":{"$in":[true]}}`, `"done" = ANY($1::boolean[])`, []any{[]bool{true}}},
		{
			`{"due":{"$gte":"2030-01-31T01:02:03.000004000\u002B02:00","$in":["2030-02-01T00:00:00Z"]}}`,
			`("due_at" >= $1::timestamptz AND "due_at" = ANY($2::timestamptz[]))`,
			[]any{
				time.Date(2030, 1, 30, 23, 2, 3, 4000, time.UTC),
				[]time.Time{time.Date(2030, 2, 1, 0, 0, 0, 0, time.UTC)},
			},
		},
		{`{"score":{"$lte":1e3}}`, `"score" <= $1::float8`, []any{1000.0}},
		{`{"score":{"$in":[0.5]}}`, `"score" = ANY($1::float8[])`, []any{[]float64{0.5}}},
		{`{"key":{"$gt":"01890A5D-AC96-774B-BCCE-B302099A8057"}}`, `"key" > $1::uuid`, []any{key}},
		{`{"key":{"$in":["01890a5d-ac96-774b-bcce-b302099a8057"]}}`, `"key" = ANY($1::uuid[])`, []any{[]uuid.UUID{key}}},
		{`{"meta":{"$eq": {"a": [1, null]} }}`, `"meta" = $1::jsonb`, []any{`{"a": [1, null]}`}},
		{
			`{"meta":{"$notIn":[ 1 , "x",null]}}`,
			`(("meta" = ANY($1::jsonb[]) OR "meta" IS NULL)) IS NOT TRUE`, []any{[]string{`1`, `"x"`}},
		},
		{`{"title":{"$startsWith":"100%_\\"}}`, `"title" LIKE $1::text`, []any{`100\%\_\\%`}},
		{`{"title":{"$notEndsWith":"\u00e9"}}`, `("title" LIKE $1::text) IS NOT TRUE`, []any{`%é`}},
		{`{"title":{"$startsWithAny":["a","b"]}}`, `"title" LIKE ANY($1::text[])`, []any{[]string{"a%", "b%"}}},
		{
			`{"title":{"$notContainsAll":["a"]}}`,
			`(("title" LIKE ALL($1::text[]) AND "title" IS NOT NULL)) IS NOT TRUE`, []any{[]string{"%a%"}},
		},
		{`{"title":{"$ilike":"A"}}`, lowered + ` LIKE (SELECT lower($1::text COLLATE "und-x-icu"))`, []any{"%A%"}},
		{
			`{"title":{"$endsWithAnyCi":["A"]}}`,
			lowered + ` LIKE ANY(ARRAY(SELECT lower(p COLLATE "und-x-icu") FROM unnest($1::text[]) AS p))`,
			[]any{[]string{"%A"}},
		},
		{
			`{"title":{"$containsAllCi":["A"]}}`,
			`(` + lowered + ` LIKE ALL(ARRAY(SELECT lower(p COLLATE "und-x-icu") FROM unnest($1::text[]) AS p)) AND "title" IS NOT NULL)`,
			[]any{[]string{"%A%"}},
		},
	} {
		f := mustParse(t, c.raw)
		if got := where(t, f); got != c.where {
			t.Errorf("%s:\n got %s\nwant %s", c.raw, got, c.where)
		}
		if got := f.Args([]any{}, false, 0); !reflect.DeepEqual(got, c.args) {
			t.Errorf("%s:\n got %#v\nwant %#v", c.raw, got, c.args)
		}
	}
}

func TestEqualShapesHaveEqualText(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{``, `{}`, true},
		{`{"id":1}`, `{"id":{"$eq":2}}`, true},
		{`{"id":{"$in":[1]}}`, `{"id":{"$in":[1,2,3]}}`, true},
		{`{"title":{"$contains":"a"}}`, `{"title":{"$startsWith":"b"}}`, true},
		{`{"title":null}`, `{"title":{"$null":true}}`, true},
		{`{}`, `[]`, false},
		{`{"id":1}`, `{"project_id":1}`, false},
		{`{"id":1}`, `{"id":{"$not":1}}`, false},
		{`{"title":{"$null":true}}`, `{"title":{"$null":false}}`, false},
		{`{"id":{"$in":[1]}}`, `{"id":{"$in":[1,null]}}`, false},
		{`{"$or":[{"id":1},{"id":2,"done":true}]}`, `{"$or":[{"id":1,"done":true},{"id":2}]}`, false},
	} {
		a, b := mustParse(t, c.a), mustParse(t, c.b)
		if same := string(a.Shape(nil)) == string(b.Shape(nil)); same != c.same {
			t.Errorf("%s and %s: same shape is %v", c.a, c.b, same)
		}
		if same := where(t, a) == where(t, b); same != c.same {
			t.Errorf("%s and %s: same text is %v", c.a, c.b, same)
		}
	}
}

func TestZeroFilterHoldsForEveryRow(t *testing.T) {
	var zero filter.Filter
	all := mustParse(t, `{}`)
	if got := where(t, &zero); got != "TRUE" || string(zero.Shape(nil)) != string(all.Shape(nil)) {
		t.Fatalf("%s, shape %q", got, zero.Shape(nil))
	}
}
