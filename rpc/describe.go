package rpc

import (
	"reflect"
	"slices"
	"strings"

	"rowcall/modules/apperr"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/openrpc"
	"rowcall/modules/store"
)

// doc is what a method says of itself beside its name and its Go types.
type doc struct {
	entity      *entityDoc // that it is a method of; nil for none
	tag         string     // that it is grouped by, if not by its entity
	summary     string
	description string
	params      schemas         // of params of which the Go type says too little
	data        *openrpc.Schema // of the result's data, likewise; nil: the Go type says it
	errors      []apperr.Kind   // that it can answer besides those of every method
	safe        bool            // it changes nothing
	idempotent  bool            // called again with the same params it changes nothing more
	example     *example
}

// schemas are schemas by the names of the members that they are for.
type schemas map[string]*openrpc.Schema

// example is a call that succeeds: its params and its result.
type example struct{ params, result object }

// object is a JSON object.
type object = openrpc.Object[any]

func value(name string, v any) openrpc.Member[any] { return openrpc.Member[any]{Name: name, Value: v} }

// properties are the members of an object with their schemas.
type properties = openrpc.Object[*openrpc.Schema]

func member(name string, schema *openrpc.Schema) openrpc.Member[*openrpc.Schema] {
	return openrpc.Member[*openrpc.Schema]{Name: name, Value: schema}
}

func described(d doc) jsonrpc.MethodOption { return jsonrpc.Described(d) }

// method returns the method's description.
func (d doc) method(m jsonrpc.Method, s *openrpc.Schemas) openrpc.Method {
	described := openrpc.Method{
		Name: m.Name, Summary: d.summary, Description: d.description, ParamStructure: "by-name", Safe: d.safe, Idempotent: d.idempotent,
		Params: []openrpc.Content{}, Result: openrpc.Content{Name: "result", Schema: s.Output(m.Result)},
	}
	params := s.Input(m.Params)
	refine(params, schemas{"mutation_id": {Type: openrpc.Types{"string"}, Format: "uuid", Description: mutationWords}})
	refine(params, d.params)
	for _, p := range params.Properties {
		param := openrpc.Content{Name: p.Name, Required: slices.Contains(params.Required, p.Name), Schema: p.Value}
		if !param.Required && len(p.Value.Type) > 0 { // others say by themselves that they may be null
			param.Schema = openrpc.Nullable(p.Value)
		}
		described.Params = append(described.Params, param)
	}
	if d.data != nil {
		refine(described.Result.Schema, schemas{"data": d.data})
	}
	if d.entity != nil {
		d.tag = d.entity.Entity
	}
	if d.tag != "" {
		described.Tags = []openrpc.Tag{{Name: d.tag}}
	}
	if params.Properties.Get("mutation_id") != nil {
		d.errors = append(slices.Clone(d.errors), apperr.ValidationFailed)
	}
	for _, kind := range d.kinds(m.Public) {
		described.Errors = append(described.Errors, openrpc.Reference{Ref: "#/components/errors/" + string(kind)})
	}
	if d.example != nil {
		pairing := openrpc.ExamplePairing{
			Name: m.Name, Params: []openrpc.Example{}, Result: openrpc.Example{Name: "result", Value: d.example.result},
		}
		for _, p := range d.example.params {
			pairing.Params = append(pairing.Params, openrpc.Example(p))
		}
		described.Examples = []openrpc.ExamplePairing{pairing}
	}
	return described
}

// kinds returns the kinds of error that the method can answer, in the order of their names.
func (d doc) kinds(public bool) []apperr.Kind {
	kinds := append([]apperr.Kind{
		apperr.InvalidParams, apperr.Internal, apperr.RateLimited, apperr.Aborted, apperr.Timeout, apperr.Unavailable,
	}, d.errors...)
	if !public {
		kinds = append(kinds, apperr.Unauthenticated)
	}
	if d.entity != nil {
		kinds = append(kinds, apperr.Forbidden)
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// refine replaces the schemas of members that the object has.
func refine(object *openrpc.Schema, by schemas) {
	for i, p := range object.Properties {
		if schema := by[p.Name]; schema != nil {
			object.Properties[i].Value = schema
		}
	}
}

// entityDoc describes an entity and its generic methods.
type entityDoc struct {
	store.Description
	plural string
	pascal string  // its name in those of schemas
	fields schemas // of fields of which the declaration says too little
}

func describe[E store.Entity[K], K store.Key](repo *store.Repo[E, K], plural string) *entityDoc {
	return &entityDoc{Description: repo.Describe(), plural: plural, pascal: pascal(repo.Entity())}
}

// pascal returns ApiKey for api_key.
func pascal(name string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(name, "_") {
		if word != "" {
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}

// ref returns the schema that stands for one of the entity's: "Filters" for TaskFilters.
func (d *entityDoc) ref(suffix string) *openrpc.Schema { return openrpc.Ref(d.pascal + suffix) }

// row returns the schema of a whole row.
func (d *entityDoc) row() *openrpc.Schema { return d.ref("") }

// part returns the schema of a row of which the caller may have chosen the fields.
func (d *entityDoc) part() *openrpc.Schema { return openrpc.AnyOf(d.row(), d.ref("Part")) }

func (d *entityDoc) id() *openrpc.Schema {
	i := slices.IndexFunc(d.Fields, func(f store.FieldDescription) bool { return f.Name == "id" })
	return fieldSchema(d.Fields[i])
}

// chosen returns the schema of filters that choose rows to write: null does not stand for all of them.
func (d *entityDoc) chosen() *openrpc.Schema {
	group := d.ref("FilterGroup")
	return openrpc.AnyOf(group, openrpc.ArrayOf(group))
}

// bulk returns the schema of an array of as many items as a bulk call takes.
func bulk(items *openrpc.Schema) *openrpc.Schema {
	s := openrpc.ArrayOf(items)
	s.MaxItems = new(store.MaxBulk)
	return s
}

const bulkWords = "At most 1,000 of them, all or nothing."

func (d *entityDoc) get() jsonrpc.MethodOption {
	return described(doc{
		entity:  d,
		safe:    true,
		summary: "Get the " + d.words() + " with an id",
		params:  schemas{"fields": fieldsSchema(d), "include": openrpc.Nullable(d.ref("Include"))},
		data:    d.part(),
		errors:  []apperr.Kind{apperr.NotFound},
		example: &example{object{value("id", d.exampleID())}, dataOf(d.exampleRow())},
	})
}

func (d *entityDoc) list() jsonrpc.MethodOption {
	field := d.exampleField(func(f store.FieldDescription) bool { return !f.Base && f.Type.Sortable() })
	return described(doc{
		entity:  d,
		safe:    true,
		summary: "List " + d.wordsOfMany(),
		description: "Those that the filters choose, in the order asked for; the " + d.Key + " is always the last key, so the order is total. " +
			"`next_cursor` leads to the page after this one and is null when there is none; `total` is there if it was asked for.",
		params: schemas{"filters": d.ref("Filters"), "list_options": openrpc.Nullable(d.ref("ListOptions"))},
		data:   openrpc.ArrayOf(d.part()),
		example: &example{
			object{value("filters", object{value(field.Name, exampleValue(field))}), value("list_options", object{value("order_bys", "!"+d.Key), value("limit", 10)})},
			object{value("data", []any{d.exampleRow()}), value("next_cursor", nil)},
		},
	})
}

func (d *entityDoc) count() jsonrpc.MethodOption {
	return described(doc{
		entity:  d,
		safe:    true,
		summary: "Count the " + d.wordsOfMany() + " that the filters choose",
		params:  schemas{"filters": d.ref("Filters")},
		example: &example{nil, dataOf(object{value("count", 1)})},
	})
}

// writeErrors are what the rules of an entity and of its table can say of new values.
var writeErrors = []apperr.Kind{apperr.ValidationFailed, apperr.AlreadyExists, apperr.BadReference}

func (d *entityDoc) create() jsonrpc.MethodOption {
	return described(doc{
		entity:  d,
		summary: "Create " + article(d.words()),
		params:  schemas{"data": d.ref("Create")},
		data:    d.row(),
		errors:  writeErrors,
		example: &example{object{value("data", d.exampleNew())}, writtenOf(d.exampleRow())},
	})
}

func (d *entityDoc) createAll() jsonrpc.MethodOption {
	return described(doc{
		entity:      d,
		summary:     "Create " + d.wordsOfMany(),
		description: bulkWords,
		params:      schemas{"data": bulk(d.ref("Create"))},
		data:        openrpc.ArrayOf(d.row()),
		errors:      writeErrors,
		example:     &example{object{value("data", []any{d.exampleNew()})}, writtenOf([]any{d.exampleRow()})},
	})
}

func (d *entityDoc) update() jsonrpc.MethodOption {
	return described(doc{
		entity:  d,
		summary: "Update the " + d.words() + " with an id",
		description: "Fields that are left out stay as they are, and null in a field that can be null sets it so. With a `version` " +
			"that is not the current one nothing changes: CONFLICT, with the row as it is.",
		params: schemas{"data": d.ref("Update")},
		data:   d.row(),
		errors: append([]apperr.Kind{apperr.NotFound, apperr.Conflict}, writeErrors...),
		example: &example{
			object{value("id", d.exampleID()), value("data", d.exampleChange()), value("version", 1)},
			writtenOf(d.exampleRow(value("version", 2))),
		},
	})
}

func (d *entityDoc) updateAll() jsonrpc.MethodOption {
	return described(doc{
		entity:      d,
		summary:     "Update all " + d.wordsOfMany() + " that the filters choose",
		description: bulkWords,
		params:      schemas{"filters": d.chosen(), "data": d.ref("Update")},
		data:        openrpc.ArrayOf(d.row()),
		errors:      append([]apperr.Kind{apperr.NotFound}, writeErrors...),
		example: &example{
			object{value("filters", d.exampleFilters()), value("data", d.exampleChange())},
			writtenOf([]any{d.exampleRow(value("version", 2))}),
		},
	})
}

func (d *entityDoc) upsert() jsonrpc.MethodOption {
	const words = "The fields by which a row is the same: those of a unique key."
	on := &openrpc.Schema{Type: openrpc.Types{"array"}, MaxItems: new(0), Description: "There is no unique key to name."}
	for i, key := range d.Unique {
		fields := openrpc.ArrayOf(openrpc.Enum(key...))
		fields.MinItems, fields.MaxItems, fields.UniqueItems = new(len(key)), new(len(key)), true
		if i == 0 {
			on = &openrpc.Schema{Description: words}
		}
		on.AnyOf = append(on.AnyOf, fields)
	}
	o := doc{
		entity:      d,
		summary:     "Create " + article(d.words()) + ", or update the one that is there",
		description: "A row with the same values in the fields `on` is updated with the data, else a new one is created.",
		params:      schemas{"data": d.ref("Create"), "on": on},
		data:        d.row(),
		errors:      writeErrors,
	}
	if len(d.Unique) > 0 {
		o.example = &example{object{value("data", d.exampleNew()), value("on", d.Unique[0])}, writtenOf(d.exampleRow())}
	}
	return described(o)
}

func (d *entityDoc) delete() jsonrpc.MethodOption {
	return described(doc{
		entity:      d,
		summary:     "Delete the " + d.words() + " with an id",
		description: "The answer has it as it was. A `version` is as in update_" + d.Entity + ".",
		data:        d.row(),
		errors:      []apperr.Kind{apperr.NotFound, apperr.Conflict, apperr.Referenced},
		example:     &example{object{value("id", d.exampleID())}, writtenOf(d.exampleRow())},
	})
}

func (d *entityDoc) deleteAll() jsonrpc.MethodOption {
	ids := bulk(d.id())
	ids.UniqueItems = true
	return described(doc{
		entity:      d,
		summary:     "Delete " + d.wordsOfMany(),
		description: "Those with the ids, or those that the filters choose: one of the two is given. " + bulkWords + " The answer has them as they were.",
		params:      schemas{"ids": ids, "filters": d.chosen()},
		data:        openrpc.ArrayOf(d.row()),
		errors:      []apperr.Kind{apperr.NotFound, apperr.Referenced},
		example:     &example{object{value("ids", []any{d.exampleID()})}, writtenOf([]any{d.exampleRow()})},
	})
}

// words returns the entity's name as words: api key.
func (d *entityDoc) words() string { return strings.ReplaceAll(d.Entity, "_", " ") }

func (d *entityDoc) wordsOfMany() string { return strings.ReplaceAll(d.plural, "_", " ") }

func article(words string) string {
	if strings.ContainsAny(words[:1], "aeio") {
		return "an " + words
	}
	return "a " + words
}

// listOptionsType is the struct that a list's options are decoded into.
var listOptionsType = reflect.TypeFor[listOptions]()
