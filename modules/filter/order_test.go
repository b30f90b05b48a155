package filter_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/doug-martin/goqu/v9"

	"rowcall/modules/filter"
)

func orderBy(tb testing.TB, o *filter.Order) string {
	tb.Helper()
	if o == nil {
		return ""
	}
	text, _, err := goqu.Dialect("postgres").From("t").Prepared(true).Order(o.Expressions(false)...).ToSQL()
	if err != nil {
		tb.Fatal(err)
	}
	return strings.ReplaceAll(strings.TrimPrefix(text, `SELECT * FROM "t" ORDER BY `), `"r0".`, "")
}

func TestParseOrder(t *testing.T) {
	shapes := map[string]string{}
	for _, c := range []struct{ raw, want string }{
		{``, ``},
		{`null`, ``},
		{`[]`, ``},
		{`"id"`, `"id" ASC`},
		{`"!id"`, `"id" DESC`},
		{`"title"`, `"title" ASC, "id" ASC`},
		{`"!due"`, `"due_at" DESC, "id" ASC`},
		{`["!title","done"]`, `"title" DESC, "done" ASC, "id" ASC`},
		{`["title","!id"]`, `"title" ASC, "id" DESC`},
		{`["title","id","done"]`, `"title" ASC, "id" ASC`},
	} {
		o, err := filter.ParseOrder([]byte(c.raw), schema, "params.list_options.order_bys")
		if err != nil {
			t.Errorf("%s: %v", c.raw, err)
			continue
		}
		if got := orderBy(t, o); got != c.want {
			t.Errorf("%s: got %s, want %s", c.raw, got, c.want)
		}
		if o == nil {
			continue
		}
		shape := string(o.Shape(nil))
		if other, ok := shapes[shape]; ok && other != c.want {
			t.Errorf("%s has the shape of %s", c.raw, other)
		}
		shapes[shape] = c.want
	}
}

func TestParseOrderRefuses(t *testing.T) {
	sortable := strings.Fields("done due id key project_id score title")
	for _, c := range []struct {
		raw, path, reason string
		allowed           []string
	}{
		{`"tilte"`, ``, `is not a field; did you mean title?`, sortable},
		{`["id","x"]`, `[1]`, `is not a field`, sortable},
		{`"!!id"`, ``, `is not a field; did you mean id?`, sortable},
		{`""`, ``, `is not a field`, sortable},
		{`"title; DROP TABLE task"`, ``, `is not a field`, sortable},
		{`"project.nome"`, ``, `is not a field; did you mean name?`, strings.Fields("id name owner_id")},
		{`"project.props"`, ``, `has no order`, strings.Fields("id name owner_id")},
		{`"project.tasks.id"`, ``, `goes through a list`, nil},
		{`"projekt.name"`, ``, `is not a field`, sortable},
		{`["done","meta"]`, `[1]`, `has no order`, sortable},
		{`["title","!title"]`, `[1]`, `is given twice`, nil},
		{`["id","id"]`, `[1]`, `is given twice`, nil},
		{`["title",1]`, `[1]`, `must be a string`, nil},
		{`{"title":1}`, ``, `must be a name or an array of names`, nil},
		{`["title"`, ``, `is not valid JSON`, nil},
		{`"title" "id"`, ``, `is not valid JSON`, nil},
	} {
		_, err := filter.ParseOrder([]byte(c.raw), schema, "params.o")
		if err == nil {
			t.Errorf("%s: no error", c.raw)
			continue
		}
		got := issueOf(t, err)
		if got.Path != "params.o"+c.path || got.Reason != c.reason || !slices.Equal(got.Allowed, c.allowed) {
			t.Errorf("%s: got %+v", c.raw, got)
		}
	}
}
