package rpc

import (
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/model"
	"rowcall/modules/apperr"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/openrpc"
	"rowcall/modules/store"
)

func documentMethods(m *jsonrpc.Mux, api API) {
	n := entity[model.Document, uuid.UUID]{api, model.Documents, "documents"}
	readable(m, api, model.Documents, "documents")
	d := describe(model.Documents, "documents")
	handleWrite(m, api, "create_document", createDocument, described(doc{
		entity:      d,
		summary:     "Create a document",
		description: "Its owner becomes its first member, as an editor.",
		params:      schemas{"data": d.ref("Create"), "text": firstText},
		data:        d.row(),
		errors:      writeErrors,
		example:     &example{object{value("data", d.exampleNew()), value("text", "package main\n")}, writtenOf(d.exampleRow(value("position", 1)))},
	}))
	handleWrite(m, api, "update_document", n.update, d.update())
	handleWrite(m, api, "delete_document", deleteDocument, described(doc{
		entity:      d,
		summary:     "Delete a document with its text, its members, comments and versions",
		description: "Its owner may. The answer has it as it was. A `version` is as in update_document.",
		data:        d.row(),
		errors:      []apperr.Kind{apperr.NotFound, apperr.Conflict},
		example:     &example{object{value("id", d.exampleID())}, writtenOf(d.exampleRow())},
	}))
	crud(m, api, model.DocumentMembers, "document_members")
	crud(m, api, model.DocumentComments, "document_comments")
	crud(m, api, model.DocumentVersions, "document_versions")
	textMethods(m, api, d)
	followMethods(m, api, d)
}

var firstText = &openrpc.Schema{Type: openrpc.Types{"string"}, Description: "What it begins with."}

type newDocumentParams struct {
	mutable
	Data jsontext.Value `json:"data"`
	Text string         `json:"text,omitzero"`
}

func createDocument(tx *store.Tx, p newDocumentParams) (model.Document, error) {
	d, err := model.Documents.DecodeNew(p.Data)
	if err != nil {
		return d, apperr.Under("params.data", err)
	}
	d, err = model.CreateDocument(tx, d, p.Text)
	return d, apperr.Under("params", err)
}

func deleteDocument(tx *store.Tx, p deleteParams[uuid.UUID]) (model.Document, error) {
	return model.DeleteDocument(tx, p.ID, store.IfVersion(p.Version))
}
