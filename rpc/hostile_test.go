package rpc_test

import (
	"database/sql"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/rpc/rpctest"
)

// marker is in the hostile texts, so that they can be found in statements.
const marker = "zqx7"

// hostile returns texts that would do harm where a text becomes a part of a statement, a pattern, a path or a format.
func hostile() []string {
	all := []string{
		"", " ", ".", "..", "$", "$$", "$1", "?", "??", "%", "_", "%s%n%d", `\`, `"`, "'", "`", ";", "--", "/*", "*/", "*", "(", ")", "[", "]", "{", "}", "{}", "[]", "!", "!!", ",", ":", "|", "&", "<->",
		"$eq", "$where", "$or", "$ref", "$search", "$some", "__proto__", "constructor", "toString", "null", "NULL", "true", "0", "-1", "1e999", "NaN", "Infinity",
		"tenant_id", "r0", "r0.title", "r1", "task", "task.title", "task_search", "tenant", "project.tenant_id", "project.owner.pwd", "hash", "pwd", "xmin", "ctid", "oid",
		"title.", ".title", "project.", "project..name", "project.name.", "project.$not", "project.project", "meta.", "meta..a", "meta.a.", "title.a", "id.a", "Title", "TITLE",
		"/meta/a", "~0~1", "#/meta", "$.meta", "meta->>'a'", "meta.a,b", "meta.{a}", `meta."a"`, "title::text", "title DESC", "title;", "count(*)", "(SELECT 1)", "excluded.name", ":name", "@p1", "{{.}}", "${jndi:ldap://x}", "<script>",
		"\x00", "a\x00b", "title\x00", "\x01\x02\x1b[2J", "\n", "\r\n", "\t", "\u2028", "\ufeff", "\ufeffid", "\u202eeltit", "t\u0456tle", "ｔｉｔｌｅ", "id\u200b", "İ", "\U0001f642", "e\u0301",
		"Europe/../../etc/passwd", "/etc/localtime", "UTC'", "Local", "EST5EDT; DROP", "month', now())--", "W10", strings.Repeat("A", 64),
		marker, strings.Repeat(marker, 20), strings.Repeat(marker, 5000), strings.Repeat("project.", 100) + "name", strings.Repeat("meta.", 100), "meta." + strings.Repeat("a.", 8) + marker,
	}
	for _, name := range []string{"title", "project.name", "meta.a", "id", "max", "count", "month", "$eq", "name", ""} {
		for _, attack := range []string{
			`'; DROP TABLE task; -- zqx7`, `"; DROP TABLE task; -- zqx7`, `" OR 1=1 -- zqx7`, `') OR ('zqx7'='zqx7`, `") zqx7`, `\'zqx7`, `\"zqx7`, `$1zqx7`, `?zqx7`, "\x00zqx7", `%zqx7`, `||zqx7`, ` zqx7`, `}zqx7`, `$$zqx7$$`, `"zqx7"`,
		} {
			if all = append(all, attack+name); name != "" {
				all = append(all, name+attack)
			}
		}
	}
	return all
}

// places are the calls with a text wherever a client's text goes. None of them writes anything.
func places(h string) map[string]rpctest.Row {
	type Row = rpctest.Row
	list := func(filters any) Row { return Row{"filters": filters} }
	options := func(o Row) Row { return Row{"list_options": o} }
	count := Row{"n": "count"}
	calls := map[string]Row{}
	add := func(method string, all ...Row) {
		for i, params := range all {
			calls[fmt.Sprint(method, " ", i)] = params
		}
	}
	add("list_tasks",
		list(Row{h: 1}), list(Row{h: Row{"$eq": "x"}}), list(Row{h: nil}), list([]any{Row{h: Row{}}}), list(Row{"$" + h: []any{}}),
		list(Row{"title": Row{h: "x"}}), list(Row{"id": Row{h: []int{1}}}), list(Row{"meta": Row{h: "x"}}), list(Row{"meta.a": Row{h: "x"}}), list(Row{"title": Row{"$" + h: "x"}}),
		list(Row{"project." + h: 1}), list(Row{"project.owner." + h: Row{"$null": true}}), list(Row{h + ".name": 1}), list(Row{"project": Row{h: 1}}), list(Row{"project": Row{"owner": Row{h: nil}}}),
		list(Row{"meta." + h: Row{"$lt": 1}}), list(Row{"meta.a." + h: Row{"$contains": "x"}}), list(Row{"meta." + h + ".0": Row{"$has": h}}), list(Row{"meta.0": Row{"$in": []string{h}}}),
		list(Row{"id": h}), list(Row{"done": h}), list(Row{"due": h}), list(Row{"due": Row{"$lt": h}}), list(Row{"project_id": Row{"$in": []string{h}}}), list(h), list(Row{"title": Row{"$null": h}}),
		list(Row{"title": []any{h}}), list(Row{"$and": h}), list(Row{"$search": Row{h: h}}), list(Row{"$not": Row{"$search": h}}),
		options(Row{"order_bys": h}), options(Row{"order_bys": "!" + h}), options(Row{"order_bys": []string{"title", h}}), options(Row{"order_bys": "project." + h}), options(Row{"order_bys": h + ".name"}),
		options(Row{"cursor": h}), options(Row{"limit": h}), options(Row{"offset": h}), options(Row{"total": h}), options(Row{h: 1}), Row{h: 1},
		options(Row{"fields": []string{h}}), options(Row{"fields": h}), options(Row{"include": []string{h}}), options(Row{"include": h}), options(Row{"include": Row{h: Row{}}}),
		options(Row{"include": Row{"project": Row{h: 1}}}), options(Row{"include": Row{"project": Row{"fields": []string{h}}}}), options(Row{"include": Row{"project": Row{"include": Row{h: nil}}}}),
	)
	add("list_projects",
		list(Row{"tasks": Row{h: Row{}}}), list(Row{"tasks": Row{"$some": Row{h: 1}}}), list(Row{"tasks." + h: 1}), list(Row{"tasks": Row{"$every": Row{"meta." + h: h}}}),
		list(Row{"tasks": Row{"$none": Row{"$search": h}}}),
		options(Row{"include": Row{"tasks": Row{"order_bys": h}}}), options(Row{"include": Row{"tasks": Row{"filters": Row{h: 1}}}}), options(Row{"include": Row{"tasks": Row{"limit": h}}}),
		options(Row{"include": Row{"tasks": Row{"filters": Row{"$search": h}}}}), options(Row{"include": Row{"tasks": Row{"filters": Row{"meta." + h: h}}}}),
	)
	add("get_task", Row{"id": h}, Row{"id": 1000, "fields": []string{h}}, Row{"id": 1000, "include": []string{h}})
	add("count_tasks", list(Row{h: 1}), list(Row{"$search": h}))
	add("aggregate_tasks",
		Row{"aggregates": count, "group_by": []any{h}}, Row{"aggregates": count, "group_by": h}, Row{"aggregates": count, "group_by": []any{"project." + h}},
		Row{"aggregates": count, "group_by": []any{Row{h: Row{"month": "due"}}}}, Row{"aggregates": count, "group_by": []any{Row{"m": Row{h: "due"}}}},
		Row{"aggregates": count, "group_by": []any{Row{"m": Row{"month": h}}}}, Row{"aggregates": count, "group_by": []any{Row{"m": Row{"month": "due", "time_zone": h}}}},
		Row{"aggregates": Row{h: "count"}}, Row{"aggregates": Row{"n": h}}, Row{"aggregates": Row{"n": Row{h: "id"}}}, Row{"aggregates": Row{"n": Row{"max": h}}}, Row{"aggregates": h},
		Row{"aggregates": Row{h: Row{"max": "title"}}, "having": Row{h: Row{"$contains": h}}, "order_bys": h},
		Row{"aggregates": count, "having": Row{h: 1}}, Row{"aggregates": count, "having": Row{"n": Row{h: 1}}}, Row{"aggregates": count, "order_bys": h}, Row{"aggregates": count, "limit": h},
		Row{"aggregates": count, "filters": Row{"meta." + h: h}, "group_by": []any{"title"}, "having": Row{"title": h}},
	)
	add("create_task", Row{"data": Row{h: 1, "project_id": 1000, "title": nil}}, Row{"data": h}, Row{"data": Row{"project_id": h, "title": h}})
	add("update_task", Row{"id": 1000, "data": Row{h: 1}}, Row{"id": 1000, "data": Row{"done": h}}, Row{"id": 1000, "data": Row{}, "version": h})
	add("update_tasks", Row{"filters": Row{h: 1, "id": -1}, "data": Row{}}, Row{"filters": Row{"id": -1, "meta." + h: h}, "data": Row{"title": "x"}}, Row{"filters": Row{"id": -1}, "data": Row{h: 1}})
	add("delete_tasks", Row{"filters": Row{h: 1, "id": -1}}, Row{"filters": Row{"id": -1, "$search": h}}, Row{"ids": []string{h}})
	add("upsert_project", Row{"data": Row{"name": 1}, "on": []string{h}}, Row{"data": Row{h: 1}, "on": []string{"name"}}, Row{"data": Row{"name": marker, "owner_id": h}, "on": []string{"name", h}})
	return calls
}

// Whatever stands in a place for a name or a value, it is refused as such or means itself; it does not come into a statement, and
// nothing is changed.
func TestHostileTextsAreRefusedOrHarmless(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c := s.As(t, "demo1")
	project := newProject(c, "a")
	rpctest.Call[rpctest.Row](c, "create_task", rpctest.Row{"data": rpctest.Row{"project_id": project, "title": "a", "due": "2026-01-02T03:04:05Z", "meta": map[string]any{"a": "x"}}})
	owner := s.DB.Owner(t)
	before := fingerprint(t, owner)
	accepted := 0
	for _, h := range hostile() {
		for place, params := range places(h) {
			method, _, _ := strings.Cut(place, " ")
			result, failed := c.Do(method, params)
			switch {
			case result != nil:
				accepted++
			case !slices.Contains([]apperr.Kind{apperr.InvalidParams, apperr.ValidationFailed}, failed.Data.Kind):
				t.Errorf("%s %.300v: %+v", method, params, failed)
			case strings.Contains(failed.Message, "pq:") || strings.Contains(failed.Message, "SQL") && !strings.Contains(h, "SQL"):
				t.Errorf("%s %.300v: %s", method, params, failed.Message)
			}
		}
		if strings.Contains(h, marker) {
			var found int
			if err := owner.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%' || $1 || '%'`, marker).Scan(&found); err != nil || found > 0 {
				t.Fatalf("%q is in a statement (%v)", h, err)
			}
		}
	}
	if after := fingerprint(t, owner); !reflect.DeepEqual(before, after) {
		t.Errorf("the database is now %v, was %v", after, before)
	}
	if accepted == 0 {
		t.Error("nothing was accepted: the calls are wrong")
	}
}

// fingerprint counts the rows of all tables, and their versions where they have one.
func fingerprint(t *testing.T, owner *sql.DB) map[string]int64 {
	t.Helper()
	rows, err := owner.QueryContext(t.Context(), `SELECT c.relname, a.attname IS NOT NULL FROM pg_class c
		LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'version'
		WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close() //nolint:errcheck // of a query that was read to its end
	found := map[string]int64{}
	for rows.Next() {
		var table string
		var versioned bool
		if err := rows.Scan(&table, &versioned); err != nil {
			t.Fatal(err)
		}
		what := "count(*)"
		if versioned {
			what = "count(*) * 1000 + coalesce(sum(version), 0)"
		}
		var n int64
		if err := owner.QueryRowContext(t.Context(), `SELECT `+what+` FROM "`+table+`"`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		found[table] = n
	}
	if err := rows.Err(); err != nil || len(found) < 8 {
		t.Fatalf("%d tables, %v", len(found), err)
	}
	return found
}

// A hostile text that can be kept is kept as it is, and found by itself and by nothing else.
func TestHostileTextsMeanThemselves(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c := s.As(t, "demo1")
	project := newProject(c, "a")
	rpctest.Call[rpctest.Row](c, "create_task", rpctest.Row{"data": rpctest.Row{"project_id": project, "title": "plain", "meta": map[string]any{"plain": "plain"}}})
	for _, h := range hostile() {
		if h == "" || strings.Contains(h, "\x00") || utf8.RuneCountInString(h) > 100 {
			continue
		}
		made := rpctest.Call[rpctest.Row](c, "create_task", rpctest.Row{"data": rpctest.Row{"project_id": project, "title": h, "meta": map[string]any{h: h}}})
		if meta := made["meta"].(map[string]any); made["title"] != h || meta[h] != h || len(meta) != 1 {
			t.Errorf("%q was kept as %v", h, made)
		}
		filters := []any{
			rpctest.Row{"title": h}, rpctest.Row{"title": rpctest.Row{"$in": []string{h}}}, rpctest.Row{"title": rpctest.Row{"$startsWith": h, "$endsWith": h}},
			rpctest.Row{"meta": rpctest.Row{"$eq": rpctest.Row{h: h}}}, rpctest.Row{"meta": rpctest.Row{"$has": h}},
			rpctest.Row{"title": h, "project": rpctest.Row{"tasks": rpctest.Row{"$some": rpctest.Row{"title": h}}}},
		}
		if !strings.Contains(h, ".") && len(h) <= 64 {
			filters = append(filters, rpctest.Row{"meta." + h: h}, rpctest.Row{"meta." + h: rpctest.Row{"$contains": h}}, rpctest.Row{"meta." + h: rpctest.Row{"$in": []string{h}}})
		}
		for _, f := range filters {
			rows := rpctest.Call[[]rpctest.Row](c, "list_tasks", rpctest.Row{"filters": f})
			if len(rows) != 1 || rows[0]["id"] != made["id"] {
				t.Errorf("%q finds %v", f, rows)
			}
		}
		name := rpctest.Call[rpctest.Row](c, "upsert_project", rpctest.Row{"data": rpctest.Row{"name": h}, "on": []string{"name"}})
		again := rpctest.Call[rpctest.Row](c, "upsert_project", rpctest.Row{"data": rpctest.Row{"name": h}, "on": []string{"name"}})
		if name["name"] != h || again["id"] != name["id"] || again["version"] != 2.0 {
			t.Errorf("%q is upserted as %v, then %v", h, name, again)
		}
		groups := rpctest.Call[[]rpctest.Row](c, "aggregate_tasks", rpctest.Row{"group_by": []string{"title"}, "aggregates": rpctest.Row{"n": "count"}, "having": rpctest.Row{"title": h}})
		if len(groups) != 1 || groups[0]["title"] != h || groups[0]["n"] != 1.0 {
			t.Errorf("%q is grouped as %v", h, groups)
		}
		// A page that ends at the text goes on after it.
		options := rpctest.Row{"order_bys": "title", "limit": 1}
		f := rpctest.Row{"title": rpctest.Row{"$in": []string{h, "plain"}}}
		page, failed := c.Do("list_tasks", rpctest.Row{"filters": f, "list_options": options})
		if failed != nil || page.NextCursor == nil {
			t.Fatalf("%q: %+v", h, failed)
		}
		options["cursor"] = *page.NextCursor
		if rows := rpctest.Call[[]rpctest.Row](c, "list_tasks", rpctest.Row{"filters": f, "list_options": options}); len(rows) != 1 || rows[0]["title"] != max(h, "plain") {
			t.Errorf("after %q comes %v", h, rows)
		}
		rpctest.Call[rpctest.Row](c, "delete_task", rpctest.Row{"id": made["id"]})
	}
}

// Cost bombs meet a budget before a statement is sent.
func TestCostBombsAreRefused(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c := s.As(t, "demo1")
	newProject(c, "a")
	nested := `{"tasks":{"limit":1000}}`
	for range 5 {
		nested = `{"tasks":{"limit":1000,"include":{"project":{"include":` + nested + `}}}}`
	}
	many := func(n int, of string) string { return strings.TrimSuffix(strings.Repeat(of+",", n), ",") }
	call := func(method, params string) string {
		return `{"id":1,"method":"` + method + `","params":` + params + `}`
	}
	lists := call("list_tasks", `{"list_options":{"limit":5000,"include":["project"]}}`)
	for name, bomb := range map[string]struct {
		body       string
		statements int // at most
		refused    int
	}{
		"nested include":          {call("list_projects", `{"list_options":{"include":`+nested+`}}`), 0, 1},
		"nested include of one":   {call("get_project", `{"id":1000,"include":`+nested+`}`), 0, 1},
		"many includes":           {call("list_projects", `{"list_options":{"limit":5000,"include":["tasks"]}}`), 0, 1},
		"many conditions":         {call("list_tasks", `{"filters":{"$or":[`+many(201, `{"id":1}`)+`]}}`), 0, 1},
		"many empty groups":       {call("count_tasks", `{"filters":[`+many(100_000, `{}`)+`]}`), 0, 1},
		"many references":         {call("list_tasks", `{"filters":{"$or":[`+many(101, `{"project.name":"x"}`)+`]}}`), 0, 1},
		"many values":             {call("list_tasks", `{"filters":{"id":{"$in":[`+many(1001, `1`)+`]}}}`), 0, 1},
		"deep groups":             {call("list_tasks", `{"filters":`+strings.Repeat(`{"$not":`, 9)+`{}`+strings.Repeat(`}`, 9)+`}`), 0, 1},
		"deep references":         {call("list_projects", `{"filters":`+strings.Repeat(`{"tasks":{"$some":{"project":`, 5)+`{}`+strings.Repeat(`}}}`, 5)+`}`), 0, 1},
		"many searches":           {call("list_tasks", `{"filters":[`+many(200, `{"$search":"a"}`)+`]}`), 5, 0},
		"many keys":               {call("list_tasks", `{"list_options":{"order_bys":[`+many(1000, `"title"`)+`]}}`), 0, 1},
		"wide batch":              {`[` + many(100, lists) + `]`, 50 * 2, 50},
		"wide batch after a debt": {`[` + call("list_tasks", `{"list_options":{"limit":-9000000000000000}}`) + `,` + many(99, lists) + `]`, 50 * 2, 50},
		"wide batch of gets":      {`[` + many(100, call("get_project", `{"id":1000,"include":{"tasks":{"limit":1000,"include":{"project":{"include":{"tasks":{"limit":100}}}}}}}`)) + `]`, 4 * 4, 96},
	} {
		ctx := auth.WithRequest(t.Context(), &auth.Request{ID: "bomb", Now: time.Now, Actor: c.Actor})
		reply := s.Mux.Serve(ctx, "bomb", []byte(bomb.body))
		var answers []struct {
			Error *rpctest.Error `json:"error"`
		}
		body := jsontext.Value(reply.Body)
		if body.Kind() == jsontext.KindBeginObject {
			body = slices.Concat(jsontext.Value("["), body, jsontext.Value("]"))
		}
		if err := json.Unmarshal(body, &answers); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		refused := 0
		for _, a := range answers {
			if a.Error != nil {
				if refused++; a.Error.Data.Kind != apperr.InvalidParams {
					t.Errorf("%s: %+v", name, a.Error)
				}
			}
		}
		if n := auth.RequestFrom(ctx).Stats.Statements; n > bomb.statements || refused != bomb.refused {
			t.Errorf("%s: %d statements, %d refused", name, n, refused)
		}
	}
}
