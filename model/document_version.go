package model

import (
	"github.com/google/uuid"

	"rowcall/modules/auth"
	"rowcall/modules/store"
)

// DocumentVersion is a name for a document's text as it was at a position. Editors name versions.
type DocumentVersion struct {
	store.Base[uuid.UUID]
	DocumentID uuid.UUID `db:"document_id" json:"document_id" write:"create"        validate:"required" ref:"document" many:"versions"`
	Name       string    `db:"name"        json:"name"        write:"create,update" validate:"required,max=100" example:"as sent to print"`
	Position   int64     `db:"position"    json:"position"    write:"create"        validate:"min=0"` // 0 in a new one: where the document is now
}

// DocumentVersions is the repository of versions.
var DocumentVersions = store.NewRepo[DocumentVersion]("document_version", store.Access{
	Read: auth.Member, Write: auth.Member, Members: documentMembers("document_id"), Writers: documentMembers("document_id", Editor),
}, store.Unique("document_id", "name"))
