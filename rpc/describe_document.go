package rpc

import (
	"rowcall/modules/apperr"
	"rowcall/modules/document"
	"rowcall/modules/filter"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/openrpc"
)

// describeText has the descriptions of the methods of a document's text.
type describeText struct{ *entityDoc }

const (
	exampleBatch  = "cmNvAQEBAQFAAGhp" // of which the text is not real
	positionWords = "1 for the document's first operation, and one more with each; 0 for none. It is not a position of the tenant's log."
	batchWords    = "In base64, as docs/textcrdt.md has it, packed or not."
)

func (d describeText) params(more schemas) schemas {
	count := func(words string) *openrpc.Schema {
		s := *typeSchemas[filter.Int]
		s.Minimum, s.Description = new(0.0), words
		return &s
	}
	all := schemas{
		"site":       count("A replica's own."),
		"since":      count("A position. " + positionWords),
		"position":   count(positionWords),
		"version_id": {Type: openrpc.Types{"string"}, Format: "uuid", Description: "The position of a version of the document."},
	}
	for name, schema := range more {
		all[name] = schema
	}
	return all
}

func (d describeText) describe(o doc) jsonrpc.MethodOption {
	o.entity = d.entityDoc
	o.params = d.params(o.params)
	o.errors = append(o.errors, apperr.NotFound)
	return described(o)
}

func (d describeText) open() jsonrpc.MethodOption {
	return d.describe(doc{
		summary: "Open a document: what begins a replica of its text",
		description: "Who comes for the first time is given a `site` to write as, which nobody else has or had, the text as a `snapshot`, up to the operation at `snapshot_position` " +
			"(null for a document that has none yet), and the operations after that. Who comes back gives `site`, if everything is still there that was written as it, " +
			"and as `since` the position up to which all operations have been applied: then there is no snapshot. Only one replica at a time writes as a site. `position` is that of the last of the operations; " +
			"if there is `more`, go on with read_document_operations. `version` has the number of each site's last operation. RESYNC_REQUIRED for a `since` that the document has not come to: open it anew.",
		errors: []apperr.Kind{apperr.ResyncRequired},
		example: &example{object{value("id", d.exampleID())}, dataOf(object{
			value("document", d.exampleRow(value("position", 0))), value("role", document.Editor), value("site", 1), value("session", 1), value("snapshot", nil),
			value("snapshot_position", 0), value("version", object{}), value("presence", []any{}),
			value("operations", ""), value("position", 0), value("more", false),
		})},
	})
}

func (d describeText) read() jsonrpc.MethodOption {
	limit := *typeSchemas[filter.Int]
	limit.Minimum, limit.Maximum, limit.Description = new(0.0), new(float64(maxOperations)), "0, or left out: as many as go into an answer."
	return d.describe(doc{
		safe:        true,
		summary:     "Read a document's operations after a position",
		description: "`position` is that of the last one, or `since` if there are none. A page may have fewer than `limit`.",
		params:      schemas{"limit": openrpc.Nullable(&limit)},
		errors:      []apperr.Kind{apperr.ResyncRequired},
		example: &example{object{value("id", d.exampleID()), value("since", 0)}, dataOf(object{
			value("operations", exampleBatch), value("position", 1), value("more", false),
		})},
	})
}

func (d describeText) push() jsonrpc.MethodOption {
	return d.describe(doc{
		idempotent: true,
		summary:    "Append operations to a document's text",
		description: "Those of one site, each site's in their order, up to 2,000 of them in 256 KiB, with 8,388,608 ids. The answer comes when they are committed, with a `position` that has all of them. Operations that are there already are not added again, so a push " +
			"of which the outcome is not known is repeated. All are taken, or none: VALIDATION says which is wrong. Editors may. With a `mutation_id`, or in an atomic batch, others who write the document wait until it is committed.",
		params:  schemas{"operations": {Type: openrpc.Types{"string"}, Format: "byte", Description: batchWords}},
		errors:  []apperr.Kind{apperr.ValidationFailed},
		example: &example{object{value("id", d.exampleID()), value("site", 1), value("operations", exampleBatch)}, textAt(1)},
	})
}

func (d describeText) text() jsonrpc.MethodOption {
	return d.describe(doc{
		safe:        true,
		summary:     "Get a document's text",
		description: "As it is now, as it was at a `position`, or as it is in a version.",
		example:     &example{object{value("id", d.exampleID())}, dataOf(object{value("text", "hi"), value("position", 1)})},
	})
}

func (d describeText) edit() jsonrpc.MethodOption {
	edits := openrpc.ArrayOf(openrpc.Closed(properties{
		member("at", &openrpc.Schema{Type: openrpc.Types{"integer"}, Minimum: new(0.0), Description: "Where, in code points of the text before any of the edits."}),
		member("delete", &openrpc.Schema{Type: openrpc.Types{"integer", "null"}, Minimum: new(0.0), Description: "How many code points behind it to delete."}),
		member("insert", &openrpc.Schema{Type: openrpc.Types{"string", "null"}, Description: "What to insert there."}),
	}))
	edits.Items.Required, edits.MaxItems = []string{"at"}, new(maxEdits)
	return d.describe(doc{
		summary:     "Edit a document's text",
		description: "For callers who have no replica. `at` is a place in the text as it was at `position`, or as it is now: what others have done since then stays. Editors may.",
		params:      schemas{"edits": edits},
		errors:      []apperr.Kind{apperr.ValidationFailed},
		example:     &example{object{value("id", d.exampleID()), value("edits", []any{object{value("at", 0), value("insert", "hi")}})}, textAt(1)},
	})
}

func (d describeText) restore() jsonrpc.MethodOption {
	return d.describe(doc{
		summary:     "Make a document's text what it was",
		description: "At a `position`, or in a version. It is done by new operations, so that nothing of its history is lost, and who has the document open sees it. Editors may.",
		errors:      []apperr.Kind{apperr.ValidationFailed},
		example:     &example{object{value("id", d.exampleID()), value("position", 1)}, textAt(2)},
	})
}

func (d describeText) fork() jsonrpc.MethodOption {
	return d.describe(doc{
		summary:     "Create a document with the text of another",
		description: "As that is now, as it was at a `position`, or in a version. Neither its members nor its history come with it. Whoever reads a document may fork it.",
		params:      schemas{"data": d.ref("Create")},
		errors:      writeErrors,
		example: &example{
			object{value("id", d.exampleID()), value("data", object{value("title", "copy.go")})},
			writtenOf(d.exampleRow(value("id", "01890a5d-ac96-774b-bcce-b302099a8059"), value("title", "copy.go"))),
		},
	})
}

// textAt is the result of a method that changes a text, which makes no entry in the change log at once.
func textAt(position int64) object {
	return append(dataOf(object{value("position", position)}), value("position", nil))
}

func (d describeText) show() jsonrpc.MethodOption {
	return d.describe(doc{
		idempotent: true,
		summary:    "Show those who have a document open who one is, and where in it",
		description: "They get it at once, and it is not kept: it expires after 30 seconds, so show it again before that. The `selection` is between two anchors, as docs/textcrdt.md has them; " +
			"`head` is where the cursor is. Without a `presence`, or with null, it is taken away. All members may. Show a change when it is a moment old: what is shown many times a second is not all passed on.",
		errors: []apperr.Kind{apperr.ValidationFailed},
		example: &example{
			object{value("id", d.exampleID()), value("site", 1), value("presence", object{
				value("name", "Ann"), value("color", "#d33682"), value("selection", object{value("anchor", "1.2b"), value("head", "1.2b")}),
			})},
			dataOf(object{value("shown", true)}),
		},
	})
}

func (d describeText) follow() jsonrpc.MethodOption {
	return d.describe(doc{
		summary: "Get a document's operations as notifications",
		description: "On a WebSocket only, at `GET /api/rpc`; a connection can follow 100 documents. After the answer, all operations after `since` come in notifications of the method `document_operations` " +
			"(`document_id`, `prev`, `position`, `operations`), each from `prev`, where the one before ended, to `position`; and what others show, of `document_presence` " +
			"(`document_id`, `site`, `user_id`, `presence`). `document_closed` (`document_id`, `reason`) is the end: `resync`, if the connection was too slow (go on from the last position), `forbidden`, `deleted` or `failed`.",
		errors:  []apperr.Kind{apperr.InvalidRequest, apperr.ResyncRequired},
		example: &example{object{value("id", d.exampleID()), value("since", 1)}, dataOf(object{value("position", 1)})},
	})
}

func (d describeText) unfollow() jsonrpc.MethodOption {
	return d.describe(doc{
		summary:     "Get no more operations of a document",
		description: "On a WebSocket only.",
		errors:      []apperr.Kind{apperr.InvalidRequest},
		example:     &example{object{value("id", d.exampleID())}, dataOf(object{value("unfollowed", true)})},
	})
}
