package model

import (
	"fmt"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/document"
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
	Read: auth.Member, Write: auth.Member, Members: documentMembers("document_id"), Writers: documentMembers("document_id", document.Editor),
}, store.Unique("document_id", "name"))

// PrepareCreate gives a version without a position that of the document. Who may not name versions of it is refused later, and learns nothing here.
func (v *DocumentVersion) PrepareCreate(tx *store.Tx) error {
	var heads []int64
	err := tx.Select(&heads, `
		SELECT h.position FROM document_head h JOIN document_member m USING (tenant_id, document_id)
		WHERE h.tenant_id = $1 AND h.document_id = $2 AND m.user_id = $3`, tx.Actor.Tenant, v.DocumentID, tx.Actor.User)
	switch {
	case err != nil || len(heads) == 0:
		return err
	case v.Position == 0:
		v.Position = heads[0]
	case v.Position > heads[0]:
		return apperr.Validation(apperr.Issue{Path: "position", Reason: fmt.Sprintf("is past the document's, which is %d", heads[0])})
	}
	return nil
}
