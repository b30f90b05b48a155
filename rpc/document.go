package rpc

import (
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/model"
	"rowcall/modules/apperr"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/store"
)

func documentMethods(m *jsonrpc.Mux, api API) {
	n := entity[model.Document, uuid.UUID]{api, model.Documents, "documents"}
	readable(m, api, model.Documents, "documents")
	d := describe(model.Documents, "documents")
	handleWrite(m, api, "create_document", createDocument, described(doc{
		entity:      d,
		summary:     "Create a document",
		description: "Its owner becomes its first member.",
		params:      schemas{"data": d.ref("Create")},
		errors:      writeErrors,
		example:     &example{object{value("data", d.exampleNew())}, writtenOf(d.exampleRow())},
	}))
	handleWrite(m, api, "update_document", n.update, d.update())
	handleWrite(m, api, "delete_document", deleteDocument, d.delete())
	crud(m, api, model.DocumentMembers, "document_members")
	crud(m, api, model.DocumentComments, "document_comments")
	crud(m, api, model.DocumentVersions, "document_versions")
}

type newDocumentParams struct {
	mutable
	Data jsontext.Value `json:"data"`
}

func createDocument(tx *store.Tx, p newDocumentParams) (model.Document, error) {
	d, err := model.Documents.DecodeNew(p.Data)
	if err != nil {
		return d, apperr.Under("params.data", err)
	}
	d, err = model.CreateDocument(tx, d)
	return d, apperr.Under("params", err)
}

func deleteDocument(tx *store.Tx, p deleteParams[uuid.UUID]) (model.Document, error) {
	return model.DeleteDocument(tx, p.ID, store.IfVersion(p.Version))
}
