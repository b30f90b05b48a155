package rpc_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
	"rowcall/rpc/rpctest"
)

// Whatever the description of a method's params refuses, the server refuses too. The other direction, that what it takes is
// described, is seen to by every test that calls a method.
func TestWhatIsNotDescribedIsRefused(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c := s.As(t, "admin")
	project := newProject(c, "a")
	data := rpctest.Row{"project_id": project, "title": "a", "done": true, "due": "2026-01-02T03:04:05Z", "meta": rpctest.Row{"a": 1}}
	task := rpctest.Call[rpctest.Row](c, "create_task", rpctest.Row{"data": data})
	filters := rpctest.Row{
		"id": rpctest.Row{"$gt": 1, "$in": []any{1, nil}, "$null": false}, "title": rpctest.Row{"$containsAny": []any{"a"}, "$startsWith": "a"},
		"due": "2026-01-02T03:04:05Z", "done": true, "meta": rpctest.Row{"$eq": rpctest.Row{}}, "meta.a": 1, "project.name": "a", "project": nil,
		"$or": []any{rpctest.Row{"title": "a"}, rpctest.Row{"due": nil}}, "$not": rpctest.Row{"version": 3},
	}
	options := rpctest.Row{"limit": 2, "offset": 0, "order_bys": []any{"title", "!id"}, "total": true}
	aggregation := rpctest.Row{
		"group_by":   []any{"project_id", rpctest.Row{"m": rpctest.Row{"month": "due", "time_zone": "UTC"}}},
		"aggregates": rpctest.Row{"n": "count", "last": rpctest.Row{"max": "due"}, "sum": rpctest.Row{"sum": "version"}},
		"having":     rpctest.Row{"n": rpctest.Row{"$gt": 0}}, "order_bys": []any{"!n"}, "limit": 10,
	}
	embedding := rpctest.Row{
		"fields": []any{"id", "name"}, "include": rpctest.Row{
			"owner": rpctest.Row{"fields": []any{"name"}, "include": []any{"projects"}},
			"tasks": rpctest.Row{"filters": rpctest.Row{"meta.a": rpctest.Row{"$gte": 1}, "$search": "a"}, "order_bys": "!title", "limit": 3},
		},
	}
	newDocument(c, document)
	rpctest.Call[any](c, "open_document", rpctest.Row{"id": document}) // which gives site 1
	refused, accepted := 0, 0
	for method, params := range map[string]any{
		"create_task":     rpctest.Row{"data": data},
		"create_tasks":    rpctest.Row{"data": []any{data}},
		"create_project":  rpctest.Row{"data": rpctest.Row{"name": "b", "owner_id": c.Actor.User}},
		"get_task":        rpctest.Row{"id": task["id"]},
		"list_tasks":      rpctest.Row{"filters": filters, "list_options": options},
		"count_tasks":     rpctest.Row{"filters": []any{filters}},
		"update_task":     rpctest.Row{"id": task["id"], "data": rpctest.Row{"title": "b", "due": nil}, "version": 1},
		"delete_project":  rpctest.Row{"id": project},
		"delete_tasks":    rpctest.Row{"ids": []any{1}},
		"create_api_key":  rpctest.Row{"data": rpctest.Row{"name": "k", "scopes": []any{"read"}, "expires_at": "2100-01-01T00:00:00Z"}},
		"update_tasks":    rpctest.Row{"filters": rpctest.Row{"id": task["id"]}, "data": rpctest.Row{"done": true}},
		"upsert_project":  rpctest.Row{"data": rpctest.Row{"name": "c"}, "on": []any{"name"}},
		"aggregate_tasks": aggregation,
		"list_projects":   rpctest.Row{"filters": rpctest.Row{"tasks": rpctest.Row{"$some": rpctest.Row{"project.owner.name": "x"}}}, "list_options": embedding},
		"list_users":      rpctest.Row{"list_options": rpctest.Row{"order_bys": "name"}},
		"open_document":   rpctest.Row{"id": document, "since": 0},
		"edit_document":   rpctest.Row{"id": document, "edits": []any{rpctest.Row{"at": 0, "delete": 0, "insert": "x"}}},
		"show_presence": rpctest.Row{"id": document, "site": 1, "presence": rpctest.Row{
			"name": "Ann", "color": "red", "selection": rpctest.Row{"anchor": "0.0a", "head": "0.0a"}}},
		"read_document_operations": rpctest.Row{"id": document, "since": 0, "limit": 1},
		"create_document_comment":  rpctest.Row{"data": rpctest.Row{"document_id": document, "body": "x", "start": "0.0a", "end": "0.0b"}},
		"suspend_user":             rpctest.Row{"id": c.Actor.User},
		"change_password":          rpctest.Row{"pwd": "wrong", "new_pwd": "also wrong"},
	} {
		schema := rpctest.Methods()[method].Params
		for _, mutant := range mutants(params) {
			text, err := json.Marshal(mutant)
			if err != nil {
				t.Fatal(err)
			}
			value, err := rpctest.Value(text)
			if err != nil {
				t.Fatal(err)
			}
			why := schema.Validate(value)
			if why == nil {
				accepted++
				continue
			}
			refused++
			if result, failed := c.Do(method, jsontext.Value(text)); failed == nil {
				t.Errorf("%s takes %s and gives %s, but it is described so: %v", method, text, result.Data, why)
			} else if failed.Data.Kind != apperr.InvalidParams && failed.Data.Kind != apperr.ValidationFailed {
				t.Errorf("%s refuses %s as %s, not for its params: %v", method, text, failed.Data.Kind, why)
			}
		}
	}
	if refused < 500 || accepted < 100 {
		t.Errorf("the sample says little: %d refused, %d accepted", refused, accepted)
	}
}

// mutants returns copies of a JSON value in each of which one thing is another, is missing, or is too much.
func mutants(v any) []any {
	made := []any{nil, true, -1, 1.5, 1 << 40, "x", "", "id", strings.Repeat("é", 201), "2026-13-01T00:00:00Z", []any{}, []any{nil}, rpctest.Row{}}
	switch v := v.(type) {
	case rpctest.Row:
		more := maps.Clone(v)
		more["nonsense"] = 1
		made = append(made, more)
		for _, name := range slices.Sorted(maps.Keys(v)) {
			less := maps.Clone(v)
			delete(less, name)
			made = append(made, less)
			for _, mutant := range mutants(v[name]) {
				other := maps.Clone(v)
				other[name] = mutant
				made = append(made, other)
			}
		}
	case []any:
		for i := range v {
			for _, mutant := range mutants(v[i]) {
				other := slices.Clone(v)
				other[i] = mutant
				made = append(made, other)
			}
		}
	}
	return made
}

// method is what a description has of a method, as far as its examples go.
type method struct {
	Name     string `json:"name"`
	Summary  string `json:"summary"`
	Examples []struct {
		Params namedValues `json:"params"`
		Result namedValue  `json:"result"`
	} `json:"examples"`
}

type namedValue struct {
	Name  string         `json:"name"`
	Value jsontext.Value `json:"value"`
}

type namedValues []namedValue

func (values namedValues) object() map[string]jsontext.Value {
	o := map[string]jsontext.Value{}
	for _, v := range values {
		o[v.Name] = v.Value
	}
	return o
}

func discovered(t *testing.T) []method {
	t.Helper()
	var document struct {
		Methods []method `json:"methods"`
	}
	if err := json.Unmarshal(rpctest.Discover(), &document); err != nil {
		t.Fatal(err)
	}
	return document.Methods
}

// Each example is a call that its method's description allows, and has a result that it allows.
func TestExamplesAreAsDescribed(t *testing.T) {
	t.Parallel()
	for _, m := range discovered(t) {
		if m.Summary == "" {
			t.Errorf("%s has no summary", m.Name)
		}
		// Of an entity without a unique key no upsert works.
		if len(m.Examples) == 0 && m.Name != "rpc.discover" && !strings.HasPrefix(m.Name, "upsert_") {
			t.Errorf("%s has no example", m.Name)
		}
		described := rpctest.Methods()[m.Name]
		for _, e := range m.Examples {
			params, err := json.Marshal(e.Params.object())
			if err != nil {
				t.Fatal(err)
			}
			for _, check := range []struct {
				text   jsontext.Value
				schema interface{ Validate(any) error }
			}{{params, described.Params}, {e.Result.Value, described.Result}} {
				value, err := rpctest.Value(check.text)
				if err == nil {
					err = check.schema.Validate(value)
				}
				if err != nil {
					t.Errorf("%s: the example %s: %v", m.Name, check.text, err)
				}
			}
		}
	}
}

// The examples are not only described right: they work.
func TestExamplesWork(t *testing.T) {
	t.Parallel()
	c := rpctest.New(t).As(t, "admin")
	if id := newProject(c, "an example"); id != 1000.0 {
		t.Fatalf("the examples are of the project 1000, and the first one is %v", id)
	}
	newCollection(c, collection)
	newDocument(c, collection) // all examples of ids are the same
	worked := 0
	for _, m := range discovered(t) {
		if slices.Contains([]string{"create_projects", "create_vault_members", "create_document_member", "create_document_members", "create_document_versions"}, m.Name) { // what is unique is there
			continue
		}
		if strings.HasPrefix(m.Name, "create_") || strings.HasPrefix(m.Name, "list_") {
			rpctest.Call[any](c, m.Name, m.Examples[0].Params.object())
			worked++
		}
	}
	if worked < 8 {
		t.Errorf("%d examples worked", worked)
	}
}
