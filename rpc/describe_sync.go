package rpc

import (
	"rowcall/modules/apperr"
	"rowcall/modules/changelog"
	"rowcall/modules/filter"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/openrpc"
	"rowcall/modules/store"
)

// The descriptions of the methods by which clients keep copies.

// define gives names to the schemas of what these methods answer.
func (v views) define(s *openrpc.Schemas) {
	text, integer := &openrpc.Schema{Type: openrpc.Types{"string"}}, typeSchemas[filter.Int]
	position := &openrpc.Schema{Type: integer.Type, Format: integer.Format, Description: "1 at a tenant's first change, and one more with each."}
	prev := &openrpc.Schema{Type: integer.Type, Format: integer.Format, Description: "The position of the entry before this one, at first that which was asked with. Coalesced entries have none."}
	row := openrpc.Member[*openrpc.Schema]{Name: "data", Value: &openrpc.Schema{
		Type: openrpc.Types{"object"}, Description: "The row, as get_<entity> answers it, without the fields that the log does not keep."}}
	entity, id := member("entity", openrpc.Enum(v.Entities()...)), member("id", &openrpc.Schema{Type: openrpc.Types{"integer", "string"}})
	s.Define("SyncRow", &openrpc.Schema{
		Type:       openrpc.Types{"object"},
		Properties: properties{entity, id, member("version", integer), row},
		Required:   []string{"entity", "id", "version", "data"},
	})
	after := *row.Value
	after.Description = "The row after the change, as in sync_bootstrap; null after a delete."
	s.Define("Entry", &openrpc.Schema{
		Type: openrpc.Types{"object"},
		Properties: properties{
			member("position", position), member("prev", prev), member("at", typeSchemas[filter.Time]),
			member("actor", &openrpc.Schema{Type: integer.Type, Format: integer.Format, Description: "The user who made it."}),
			member("method", text), entity, id, member("op", openrpc.Enum(changelog.Create, changelog.Update, changelog.Delete)),
			member("version", integer), member("data", openrpc.Nullable(&after)),
		},
		Required: []string{"position", "at", "actor", "method", "entity", "id", "op", "version", "data"},
	})
}

// syncErrors are what these methods can answer.
var syncErrors = []apperr.Kind{apperr.Forbidden, apperr.ResyncRequired}

const exampleEpoch = "0d1f2e3c4b5a69788796a5b4c3d2e1f0.member"

var exampleChange = object{
	value("position", 42), value("at", "2026-03-02T09:00:00.000000Z"), value("actor", 1000), value("method", "delete_task"),
	value("entity", "task"), value("id", 1000), value("op", changelog.Delete), value("version", 2), value("data", nil),
}

// syncParams are the schemas of params that these methods share.
func (v views) syncParams() schemas {
	entities := openrpc.Nullable(openrpc.ArrayOf(openrpc.Enum(v.Entities()...)))
	entities.Description = "Those to follow; all, if it is left out."
	groups := openrpc.ArrayOf(typeSchemas[filter.UUID])
	groups.MaxItems = new(store.MaxBulk)
	groups.Description = "Of rows that belong to groups (those of the vault to collections, those of documents to the documents), only those of these; all, if it is left out. Other rows are not concerned."
	limit := *typeSchemas[filter.Int]
	limit.Minimum, limit.Maximum, limit.Default = new(1.0), new(float64(maxSyncLimit)), defaultSyncLimit
	return schemas{
		"entities": entities,
		"groups":   openrpc.Nullable(groups),
		"limit":    openrpc.Nullable(&limit),
		"epoch": openrpc.Nullable(&openrpc.Schema{
			Type: openrpc.Types{"string"}, Description: "The one that the copy was made in. If it is not current any more: RESYNC_REQUIRED.",
		}),
	}
}

func (v views) describeHead() jsonrpc.MethodOption {
	is := object{value("position", 42), value("tail", 0), value("epoch", exampleEpoch)}
	return described(doc{
		tag:         "sync",
		safe:        true,
		summary:     "Tell where the log of changes begins and ends",
		description: "`position` is that of the newest entry, and `tail` that of the last one that was pruned.",
		params:      v.syncParams(),
		errors:      syncErrors,
		example:     &example{nil, append(dataOf(is), is...)},
	})
}

func (v views) describeDelta() jsonrpc.MethodOption {
	return described(doc{
		tag:     "sync",
		safe:    true,
		summary: "List the changes after a position",
		description: "Those that the caller may see, in the order of their positions; unless `coalesce` is false, only the newest of each row. " +
			"`position` is what to go on `since`, also if there were none, and there is `more` if it is not the head. A page may have fewer than `limit`. " +
			"A `since` under the tail or over the head: RESYNC_REQUIRED.",
		params: v.syncParams(),
		data:   openrpc.ArrayOf(openrpc.Ref("Entry")),
		errors: syncErrors,
		example: &example{object{value("since", 41)}, object{
			value("data", []any{exampleChange}), value("position", 42), value("more", false), value("epoch", exampleEpoch),
		}},
	})
}

func (v views) describeBootstrap() jsonrpc.MethodOption {
	row := object{value("entity", "project"), value("id", 1000), value("version", 1), value("data", object{value("id", 1000)})}
	return described(doc{
		tag:     "sync",
		safe:    true,
		summary: "Copy all rows",
		description: "Those that the caller may see, page by page: the next one is at `next_cursor`, which is null at the end. Applying what sync_delta answers since `position`, which is " +
			"the same on every page, to the rows of all pages gives the state. A page may have fewer rows than `limit`. With `Accept: application/x-ndjson`, the " +
			"answer to a single call is all rows, a line each, and then a line with `end`, `position` and `epoch`, or with `error`.",
		params: v.syncParams(),
		data:   openrpc.ArrayOf(openrpc.Ref("SyncRow")),
		errors: syncErrors,
		example: &example{object{value("entities", []string{"project"})}, object{
			value("data", []any{row}), value("next_cursor", nil), value("position", 42), value("epoch", exampleEpoch),
		}},
	})
}
