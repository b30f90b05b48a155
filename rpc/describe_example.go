package rpc

import (
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/filter"
	"rowcall/modules/openrpc"
	"rowcall/modules/store"
)

// typeExamples are values of fields that have no example of their own.
var typeExamples = [...]any{
	filter.Int:    1000,
	filter.Float:  1.5,
	filter.Bool:   false,
	filter.Time:   "2026-03-02T09:00:00.000000Z",
	filter.String: "text",
	filter.UUID:   "01890a5d-ac96-774b-bcce-b302099a8057",
	filter.JSON:   jsontext.Value("{}"),
	filter.ID:     1000,
}

func exampleValue(f store.FieldDescription) any {
	switch {
	case f.Example != nil:
		return f.Example
	case f.Name == "version":
		return 1
	}
	for _, rule := range f.Rules {
		if rule.Name == "oneof" {
			return typeSchemaOf(f).Enum[0]
		}
	}
	if f.Nullable {
		return nil
	}
	return typeExamples[f.Type]
}

// typeSchemaOf returns the schema of a field's values that are not null.
func typeSchemaOf(f store.FieldDescription) *openrpc.Schema {
	f.Nullable = false
	return fieldSchema(f)
}

// exampleRow returns a row, with changes.
func (d *entityDoc) exampleRow(changes ...openrpc.Member[any]) object {
	row := object{}
	for _, f := range d.Fields {
		example := value(f.Name, exampleValue(f))
		if i := slices.IndexFunc(changes, func(c openrpc.Member[any]) bool { return c.Name == f.Name }); i >= 0 {
			example = changes[i]
		}
		row = append(row, example)
	}
	return row
}

func (d *entityDoc) exampleID() any { return d.exampleRow().Get("id") }

// exampleNew returns data for a new row: what it must have, and what has an example.
func (d *entityDoc) exampleNew() object {
	data := object{}
	for _, f := range d.Fields {
		if f.Required() || (f.OnCreate && f.Example != nil) {
			data = append(data, value(f.Name, exampleValue(f)))
		}
	}
	return data
}

// exampleChange returns data for an update.
func (d *entityDoc) exampleChange() object {
	f := d.exampleField(func(f store.FieldDescription) bool { return f.OnUpdate })
	return object{value(f.Name, exampleValue(f))}
}

// exampleFilters returns filters that choose the example row.
func (d *entityDoc) exampleFilters() object {
	f := d.exampleField(func(f store.FieldDescription) bool { return !f.Base && f.Type.Sortable() })
	return object{value(f.Name, exampleValue(f))}
}

// exampleField returns the first field of which something holds: one with an example if there is one. The id, if it holds of none.
func (d *entityDoc) exampleField(holds func(store.FieldDescription) bool) store.FieldDescription {
	i := slices.IndexFunc(d.Fields, func(f store.FieldDescription) bool { return holds(f) && f.Example != nil })
	if i < 0 {
		i = max(slices.IndexFunc(d.Fields, holds), 0)
	}
	return d.Fields[i]
}

// writtenOf returns the result of a write.
func writtenOf(data any) object { return append(dataOf(data), value("position", 42)) }

// dataOf returns a result with data.
func dataOf(data any) object { return object{value("data", data)} }
