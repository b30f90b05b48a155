package rpc

import (
	"maps"
	"slices"

	"rowcall/modules/apperr"
	"rowcall/modules/changelog"
	"rowcall/modules/filter"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/openrpc"
)

// pushMethod adds sync_push, which writes the entities that are there by now.
func pushMethod(m *jsonrpc.Mux, api API) {
	const exampleID = "019aa5e5-7b00-7c3e-9b1d-2f3e4d5c6b7a"
	jsonrpc.Handle(m, "sync_push", api.push, described(doc{
		tag:        "sync",
		idempotent: true,
		summary:    "Carry out mutations that were queued offline, in their order",
		description: "Up to 1,000 of them. Each is kept by itself, at most once, and one that fails does not hold back the others: `applied`, " +
			"with the row as it is then (null after a delete); `conflict`, with the row as the caller may see it (null when it is gone), " +
			"if `version` is not its version any more; or `rejected`, with the error of the mutation, whose paths begin at its members. " +
			"To a `mutation_id` that was pushed before, the answer is that of the first time. An error of the whole call leaves open what " +
			"was applied: push all of it again.",
		params: schemas{"mutations": api.pushedSchema()},
		data:   openrpc.ArrayOf(outcomeSchema()),
		errors: []apperr.Kind{apperr.Forbidden},
		example: &example{
			object{value("mutations", []any{object{
				value("mutation_id", exampleID), value("op", changelog.Delete), value("entity", "task"), value("id", 1000), value("version", 1),
			}})},
			writtenOf([]any{object{
				value("mutation_id", exampleID), value("status", applied), value("id", 1000), value("position", 42), value("version", 2), value("data", nil),
			}}),
		},
	}))
}

var rowIDSchema = &openrpc.Schema{Type: openrpc.Types{"integer", "string"}}

func (api API) pushedSchema() *openrpc.Schema {
	s := openrpc.ArrayOf(&openrpc.Schema{
		Type: openrpc.Types{"object"}, AdditionalProperties: openrpc.Nothing,
		Properties: properties{
			member("mutation_id", &openrpc.Schema{Type: openrpc.Types{"string"}, Format: "uuid", Description: "A UUIDv7 made for this mutation."}),
			member("op", openrpc.Enum(changelog.Create, changelog.Update, changelog.Delete)),
			member("entity", openrpc.Enum(slices.Sorted(maps.Keys(api.writers))...)),
			member("id", openrpc.Nullable(&openrpc.Schema{
				Type: rowIDSchema.Type, Description: "Of the row. To create one, a UUIDv7 where ids are UUIDs, else none.",
			})),
			member("version", openrpc.Nullable(typeSchemas[filter.Int])),
			member("data", openrpc.Nullable(&openrpc.Schema{Type: openrpc.Types{"object"}, Description: "As in create_<entity> and update_<entity>."})),
		},
		Required: []string{"mutation_id", "op", "entity"},
	})
	s.MaxItems = new(maxPushed)
	return s
}

func outcomeSchema() *openrpc.Schema {
	row := &openrpc.Schema{Type: openrpc.Types{"object"}}
	return &openrpc.Schema{
		Type: openrpc.Types{"object"},
		Properties: properties{
			member("mutation_id", &openrpc.Schema{Type: openrpc.Types{"string"}, Format: "uuid"}),
			member("status", openrpc.Enum(applied, conflicted, rejected)),
			member("id", rowIDSchema),
			member("position", typeSchemas[filter.Int]),
			member("version", typeSchemas[filter.Int]),
			member("data", openrpc.Nullable(row)),
			member("current", openrpc.Nullable(row)),
			member("error", &openrpc.Schema{
				Type: openrpc.Types{"object"},
				Properties: properties{
					member("code", &openrpc.Schema{Type: openrpc.Types{"integer"}}),
					member("message", &openrpc.Schema{Type: openrpc.Types{"string"}}),
					member("data", &openrpc.Schema{
						Type:        openrpc.Types{"object"},
						Description: "`kind`, and further members, as in the error of a call; it has no request_id.",
						Properties:  properties{member("kind", &openrpc.Schema{Type: openrpc.Types{"string"}})}, Required: []string{"kind"},
						AdditionalProperties: &openrpc.Schema{},
					}),
				},
				Required: []string{"code", "message", "data"},
			}),
		},
		Required: []string{"mutation_id", "status"},
	}
}
