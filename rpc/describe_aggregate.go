package rpc

import (
	"slices"

	"rowcall/modules/apperr"
	"rowcall/modules/filter"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/openrpc"
	"rowcall/modules/store"
)

func (d *entityDoc) aggregate() jsonrpc.MethodOption {
	order := &openrpc.Schema{Type: openrpc.Types{"string"}, Description: "An alias or a group's name, descending with ! before it."}
	groups := openrpc.ArrayOf(d.ref("GroupBy"))
	groups.MaxItems = new(filter.MaxGroups)
	return described(doc{
		entity:  d,
		safe:    true,
		summary: "Count, add up and compare " + d.wordsOfMany() + ", by groups",
		description: "A member of the data has the names of `group_by` and the aliases of `aggregates`: a count is an integer, a sum a " +
			"number, an average a number or null, the least and the most are values of the field or null. " +
			"`more` tells whether there are more groups than the limit.",
		params: schemas{
			"filters":    d.ref("Filters"),
			"group_by":   groups,
			"aggregates": d.ref("Aggregates"),
			"having":     filtersSchema(openrpc.Ref("HavingGroup")),
			"order_bys":  openrpc.Nullable(orderBysSchema(order)),
			"limit":      limitSchema(store.MaxLimit, store.DefaultLimit),
		},
		data: openrpc.ArrayOf(&openrpc.Schema{
			Type:                 openrpc.Types{"object"},
			AdditionalProperties: &openrpc.Schema{Type: openrpc.Types{"string", "number", "boolean", "null"}},
		}),
		errors: []apperr.Kind{apperr.ValidationFailed},
		example: &example{
			object{value("group_by", []any{d.exampleFilters()[0].Name}), value("aggregates", object{value("n", "count")})},
			object{value("data", []any{append(d.exampleFilters(), value("n", 1))}), value("more", false)},
		},
	})
}

// defineHaving gives a name to the schema of a group of conditions on aggregates.
func defineHaving(s *openrpc.Schemas) {
	self := openrpc.Ref("HavingGroup")
	s.Define("HavingGroup", &openrpc.Schema{
		Description: "Conditions on the aliases of aggregates and the names of groups.",
		Type:        openrpc.Types{"object"},
		Properties: properties{
			member("$and", openrpc.ArrayOf(self)), member("$or", openrpc.ArrayOf(self)), member("$not", self),
		},
		AdditionalProperties: openrpc.Ref("Condition"),
	})
}

// groupBySchema returns the schema of what rows are grouped by: a field, or the time unit that a field's value is in.
func (all entityDocs) groupBySchema(d *entityDoc) *openrpc.Schema {
	times := all.reachedSchema(d, "", func(t filter.Type) bool { return t == filter.Time })
	bucket := openrpc.AnyOf()
	for _, unit := range filter.Units() {
		of := openrpc.Closed(properties{
			member(unit, times),
			member("time_zone", &openrpc.Schema{Type: openrpc.Types{"string"}, Description: "An IANA name.", Default: "UTC"}),
		})
		of.Required = []string{unit}
		bucket.AnyOf = append(bucket.AnyOf, of)
	}
	return openrpc.AnyOf(all.reachedSchema(d, "", filter.Type.Sortable), &openrpc.Schema{
		Description:          "A name for the group, and the time unit.",
		Type:                 openrpc.Types{"object"},
		PropertyNames:        aliasSchema(),
		AdditionalProperties: bucket,
	})
}

// aggregatesSchema returns the schema of what is computed of a group's rows, by aliases.
func (all entityDocs) aggregatesSchema(d *entityDoc) *openrpc.Schema {
	of := openrpc.AnyOf(openrpc.Enum("count"))
	for _, f := range filter.Functions() {
		field := all.reachedSchema(d, "", func(t filter.Type) bool { return slices.Contains(f.Takes, t) })
		o := openrpc.Closed(properties{member(f.Name, field)})
		o.Required = []string{f.Name}
		of.AnyOf = append(of.AnyOf, o)
	}
	return &openrpc.Schema{
		Type: openrpc.Types{"object", "null"}, PropertyNames: aliasSchema(), AdditionalProperties: of, MaxProperties: new(filter.MaxAggregates),
	}
}

// aliasSchema returns the schema of the names that an aggregation gives.
func aliasSchema() *openrpc.Schema {
	return &openrpc.Schema{Type: openrpc.Types{"string"}, Pattern: filter.Name}
}
