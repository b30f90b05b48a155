package rpc

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/filter"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/openrpc"
	"rowcall/modules/store"
)

// library is three entities with every kind of reference and field: an author has books, a book has an author and maybe an
// editor, a review has a book.
func library() entityDocs {
	base := func(fields ...store.FieldDescription) []store.FieldDescription {
		return append([]store.FieldDescription{{Name: "id", Type: filter.Int, Base: true}}, fields...)
	}
	all := entityDocs{}
	for _, d := range []*entityDoc{
		{plural: "authors", Description: store.Description{
			Entity: "author",
			Fields: base(store.FieldDescription{Name: "name", Type: filter.String, OnCreate: true, OnUpdate: true,
				Rules: []store.Rule{{Name: "required"}, {Name: "max", Param: "5"}}},
				store.FieldDescription{Name: "email", Type: filter.String, Read: auth.Admin}),
			Refs:   []store.RefDescription{{Name: "books", Entity: "book", Many: true}},
			Unique: [][]string{{"name"}, {"email", "name"}},
		}},
		{plural: "books", Description: store.Description{
			Entity: "book",
			Fields: base(store.FieldDescription{Name: "author_id", Type: filter.Int}, store.FieldDescription{Name: "meta", Type: filter.JSON},
				store.FieldDescription{Name: "price", Type: filter.Float}, store.FieldDescription{Name: "published", Type: filter.Time, Nullable: true}),
			Refs:   []store.RefDescription{{Name: "author", Entity: "author"}, {Name: "editor", Entity: "author"}, {Name: "reviews", Entity: "review", Many: true}},
			Search: true,
		}},
		{plural: "reviews", Description: store.Description{
			Entity: "review", Fields: base(store.FieldDescription{Name: "book_id", Type: filter.Int}),
			Refs: []store.RefDescription{{Name: "book", Entity: "book"}},
		}},
	} {
		d.pascal = pascal(d.Entity)
		all[d.Entity] = d
	}
	return all
}

// compiled returns the schema with the name out of the library's.
func compiled(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	s := &openrpc.Schemas{}
	defineConditions(s)
	defineHaving(s)
	all := library()
	for _, d := range all {
		all.define(s, d)
	}
	d := openrpc.Document{Components: openrpc.Components{Schemas: s.Used(openrpc.Ref(name))}}
	return compile(t, &d, "components/schemas/"+name)
}

func compile(t *testing.T, d *openrpc.Document, pointer string) *jsonschema.Schema {
	t.Helper()
	text, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft7)
	c.AssertFormat()
	if err := c.AddResource("library.json", root); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("library.json#/" + pointer)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestSchemasOfEntities(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ schema, yes, no string }{
		{"BookFilters", `null; []; {}; {"id":1}; [{"id":null},{"price":1.5}]`, `1; "x"; [1]; [null]; {"nonsense":1}; {"id":"x"}; {"id":1.5}; {"id":[1]}`},
		{"BookFilters", `{"price":{"$gt":1,"$in":[1,null]}}; {"id":{"$null":true}}`, `{"price":{"$contains":"x"}}; {"id":{"$null":1}}; {"id":{"$in":1}}; {"id":{"$gt":null}}`},
		{"BookFilters", `{"published":"2026-01-02T03:04:05Z"}; {"published":{"$lt":"2026-01-02T03:04:05Z"}}`, `{"published":"tomorrow"}; {"published":1}`},
		{"BookFilters", `{"$and":[{"id":1}],"$or":[],"$not":{"$not":{}}}`, `{"$and":{}}; {"$or":[null]}; {"$not":[]}; {"$not":null}`},
		{"BookFilters", `{"author.name":"x"}; {"author.name":{"$contains":"x"}}; {"author.id":1}`, `{"author.title":"x"}; {"author.name":1}; {"publisher.name":"x"}`},
		{"BookFilters", `{"author":{"name":"x"}}; {"author":null}; {"author":{"books":{"$some":{}}}}`, `{"author":{"title":"x"}}; {"author":"x"}; {"author":[]}`},
		{"BookFilters", `{"reviews":{"$some":{"id":1},"$none":{}}}; {"reviews":{"$every":{}}}`, `{"reviews":1}; {"reviews":null}; {"reviews":{"id":1}}; {"reviews.id":1}; {"reviews":{"$some":null}}`},
		{"BookFilters", `{"meta":{"$eq":{"a":1}}}; {"meta":null}; {"meta.color":"red"}; {"meta.a.b":{"$gt":1}}; {"meta.tags.0":{"$startsWith":"x"}}; {"meta.tags":["x"]}; {"meta.a":{"$has":"x","$in":[{},null]}}; {"meta":{"$has":"x"}}`, `{"meta.":1}; {"meta":[1]}; {"meta.color":{"$nonsense":1}}; {"meta.color":{"$gt":true}}; {"meta":{"$gt":1}}; {"price.x":1}`},
		{"BookFilters", `{"$search":"moon rocket"}`, `{"$search":1}; {"$nonsense":1}`},
		{"AuthorFilters", `{"books":{"$some":{"reviews":{"$none":{}}}}}`, `{"$search":"x"}; {"books.id":1}`},
		{"ReviewFilters", `{"book.id":1}; {"book.meta.color":"red"}; {"book.author.name":"x"}; {"book.author":{"name":"x"}}; {"book.author":null}; {"book.reviews":{"$some":{}}}`, `{"book.reviews":1}; {"book.author":{"title":1}}; {"book.nonsense.name":1}; {"book.reviews.id":1}`},
		{"BookOrderBy", `"id"; "!id"; "price"; "author.name"; "!editor.name"`, `"meta"; "nonsense"; "!!id"; "author.title"; "reviews.id"; ""; 1; null`},
		{"ReviewOrderBy", `"book.price"; "book.author.name"; "!book.editor.email"`, `"book.meta"; "book.reviews.id"; "book.author."`},
		{"BookInclude", `[]; ["author","reviews"]; {}; {"author":{}}; {"author":null}; {"author":{"fields":["name"],"include":{"books":{"limit":3,"order_bys":"!id"}}}}`, `["nonsense"]; ["author","author"]; {"nonsense":{}}; {"author":{"limit":1}}; {"author":{"fields":["title"]}}; {"author":1}; null; 1`},
		{"BookInclude", `{"reviews":{"filters":{"id":1},"order_bys":["id"],"limit":1000,"include":["book"]}}`, `{"reviews":{"limit":1001}}; {"reviews":{"limit":-1}}; {"reviews":{"filters":{"price":1}}}; {"reviews":{"offset":1}}`},
		{"Book", `{"id":1,"author_id":1,"meta":[1],"price":1,"published":null}; {"id":1,"author_id":1,"meta":{},"price":1.5,"published":"2026-01-02T03:04:05.000000Z","author":null,"editor":{"id":1},"reviews":[{"id":1}]}`, `{"id":1}; {"id":1,"author_id":1,"meta":1,"price":1,"published":null,"reviews":null}; {"id":1,"author_id":1,"meta":1,"price":1,"published":null,"author":[]}`},
		{"BookPart", `{}; {"id":1}; {"author":{"name":"x"}}`, `{"id":"x"}; {"author":{"name":1}}`},
		{"Author", `{"id":1,"name":"x"}; {"id":1,"name":"x","email":"x"}`, `{"id":1,"email":"x"}; {"id":1,"name":"x","email":null}`},
		{"AuthorCreate", `{"name":"x"}; {"name":"éééé5"}`, `{}; {"name":""}; {"name":null}; {"name":"éééé56"}; {"name":"x","id":1}; {"name":"x","email":"x"}`},
		{"AuthorUpdate", `{}; {"name":"x"}`, `{"name":null}; {"email":"x"}`},
		{"AuthorField", `"id"; "email"`, `"books"; "nonsense"`},
		{"BookGroupBy", `"price"; "author.name"; {}; {"month":{"month":"published"}}; {"day":{"day":"published","time_zone":"Europe/Berlin"}}`, `"meta"; "nonsense"; {"a b":{"month":"published"}}; {"x":{"month":"price"}}; {"x":{"century":"published"}}; {"x":{"time_zone":"UTC"}}; {"x":{"day":"published","hour":"published"}}`},
		{"BookAggregates", `null; {}; {"n":"count"}; {"n":{"count":"price"},"s":{"sum":"price"},"m":{"max":"published"},"a":{"min":"author.name"}}`, `{"a b":"count"}; {"n":"sum"}; {"n":{"count":"meta"}}; {"n":{"sum":"published"}}; {"n":{"avg":"meta"}}; {"n":{"median":"price"}}; {"n":{"sum":"price","avg":"price"}}; {"n":{}}`},
		{"ReviewGroupBy", `"book.author.name"; {"d":{"day":"book.published"}}`, `"book.reviews.id"; {"d":{"day":"book.price"}}`},
		{"ReviewAggregates", `{"n":{"sum":"book.price"}}; {"n":{"max":"book.author.name"}}`, `{"n":{"max":"book.meta"}}`},
		{"HavingGroup", `{"n":{"$gt":1}}; {"n":1,"$or":[{"s":null}]}; {"$not":{"n":1}}`, `{"n":[1]}; {"n":{"gt":1}}; {"$or":{}}`},
	} {
		schema := compiled(t, c.schema)
		for i, texts := range []string{c.yes, c.no} {
			for text := range strings.SplitSeq(texts, "; ") {
				v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
				if err != nil {
					t.Fatalf("%s: %v", text, err)
				}
				if err := schema.Validate(v); (err == nil) != (i == 0) {
					t.Errorf("%s: %s: %v", c.schema, text, err)
				}
			}
		}
	}
}

// The methods that need more than a schema with a name: their params and results are of the types that handlers have.
func TestDescriptionsOfBulkMethods(t *testing.T) {
	t.Parallel()
	type anything = map[string]any
	d := library()["author"]
	m := jsonrpc.New(jsonrpc.Options{})
	handle(m, API{}, "aggregate_authors", func(*store.Tx, struct {
		Filters    any    `json:"filters,omitzero"`
		GroupBy    any    `json:"group_by,omitzero"`
		Aggregates any    `json:"aggregates"`
		Having     any    `json:"having,omitzero"`
		OrderBys   any    `json:"order_bys,omitzero"`
		Limit      *int64 `json:"limit,omitzero"`
	}) (anything, error) {
		return nil, nil
	}, d.aggregate())
	handle(m, API{}, "upsert_author", func(*store.Tx, struct {
		Data any      `json:"data"`
		On   []string `json:"on"`
	}) (anything, error) {
		return nil, nil
	}, d.upsert())
	handle(m, API{}, "update_authors", func(*store.Tx, struct {
		Filters any `json:"filters"`
		Data    any `json:"data"`
	}) (anything, error) {
		return nil, nil
	}, d.updateAll())
	handle(m, API{}, "delete_authors", func(*store.Tx, struct {
		IDs     []int64 `json:"ids,omitzero"`
		Filters any     `json:"filters,omitzero"`
	}) (anything, error) {
		return nil, nil
	}, d.deleteAll())
	methods := m.Methods()
	for _, other := range library() { // what authors refer to
		methods = append(methods, jsonrpc.Method{Name: "x", Params: methods[0].Params, Result: methods[0].Result, Doc: doc{entity: other}})
	}
	described := openRPC(methods, views{})
	for i, want := range []struct{ method, yes, no string }{
		{"aggregate_authors", `{"aggregates":{"n":"count"}}; {"aggregates":{"n":"count"},"having":{"n":{"$gt":1}},"order_bys":["!n"],"limit":5000,"group_by":["name"]}`,
			`{}; {"aggregates":{"n":"count"},"limit":5001}; {"aggregates":{"n":"count"},"group_by":"name"}; {"aggregates":{"n":"count"},"order_bys":1}`},
		{"delete_authors", `{"ids":[1,2]}; {"filters":{"name":"x"}}; {"filters":[]}`, `{"ids":["x"]}; {"ids":[1,1]}; {"ids":[` + strings.Repeat("1,", 1000) + `2]}; {"filters":{"x":1}}`},
		{"update_authors", `{"filters":{},"data":{"name":"x"}}`, `{"data":{}}; {"filters":{}}; {"filters":{},"data":{"id":1}}`},
		{"upsert_author", `{"data":{"name":"x"},"on":["name"]}; {"data":{"name":"x"},"on":["email","name"]}; {"data":{"name":"x"},"on":["name","email"]}`, `{"data":{"name":"x"}}; {"data":{"name":"x"},"on":[]}; {"data":{"name":"x"},"on":["email"]}; {"data":{},"on":["name"]}`},
	} {
		if described.Methods[i].Name != want.method {
			t.Fatalf("method %d is %s", i, described.Methods[i].Name)
		}
		for j, texts := range []string{want.yes, want.no} {
			for text := range strings.SplitSeq(texts, "; ") {
				if err := validParams(t, described, i, text); (err == nil) != (j == 0) {
					t.Errorf("%s %s: %v", want.method, text, err)
				}
			}
		}
		example := described.Methods[i].Examples[0]
		params := object{}
		for _, p := range example.Params {
			params = append(params, value(p.Name, p.Value))
		}
		text, err := json.Marshal(params, json.Deterministic(true))
		if err != nil {
			t.Fatal(err)
		}
		if err := validParams(t, described, i, string(text)); err != nil {
			t.Errorf("%s: the example %s: %v", want.method, text, err)
		}
	}
}

func validParams(t *testing.T, d *openrpc.Document, method int, text string) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	params := v.(map[string]any)
	for i, p := range d.Methods[method].Params {
		given, ok := params[p.Name]
		switch {
		case !ok && p.Required:
			return fmt.Errorf("%s is missing", p.Name)
		case ok:
			if err := compile(t, d, fmt.Sprintf("methods/%d/params/%d/schema", method, i)).Validate(given); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestEveryKindOfErrorIsDescribed(t *testing.T) {
	t.Parallel()
	for _, kind := range apperr.Kinds() {
		if errorDocs[kind].message == "" {
			t.Errorf("%s has no description", kind)
		}
	}
}
