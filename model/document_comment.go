package model

import (
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/document"
	"rowcall/modules/filter"
	"rowcall/modules/store"
	"rowcall/modules/textcrdt"
)

// DocumentComment is what somebody says about a part of a document's text, which is between two anchors, or about the whole of it, which
// has none, or about another comment, with which it stands. Whoever may comment resolves comments, too. Only its author changes what a comment
// says; the author and the document's owner delete it.
type DocumentComment struct {
	store.Base[uuid.UUID]
	DocumentID uuid.UUID  `db:"document_id" json:"document_id" write:"create"        validate:"required"           ref:"document" many:"comments"`
	ParentID   *uuid.UUID `db:"parent_id"   json:"parent_id"   write:"create"        ref:"document_comment"        many:"replies"`
	Start      *string    `db:"start"       json:"start"       write:"create"        example:"3.17b"`
	End        *string    `db:"end"         json:"end"         write:"create"        example:"3.20a"`
	Body       string     `db:"body"        json:"body"        write:"create,update" validate:"required,max=10000" example:"Is this still true?"`
	Resolved   bool       `db:"resolved"    json:"resolved"    write:"update"`
}

// DocumentComments is the repository of comments.
var DocumentComments = store.NewRepo[DocumentComment]("document_comment", store.Access{
	Read: auth.Member, Write: auth.Member,
	Members: documentMembers("document_id"), Writers: documentMembers("document_id", document.Commenter, document.Editor),
	Deleters: []filter.Members{{Column: "id", Table: "document_comment", Group: "id", User: "cid"}, documentOwner("document_id")},
})

// PrepareCreate checks where a comment is to stand.
func (c *DocumentComment) PrepareCreate(tx *store.Tx) error {
	var issues []apperr.Issue
	wrong := func(path, reason string) { issues = append(issues, apperr.Issue{Path: path, Reason: reason}) }
	for i, a := range []*string{c.Start, c.End} {
		switch path := []string{"start", "end"}[i]; {
		case a == nil && (c.Start != nil || c.End != nil):
			wrong(path, "is needed with the other anchor")
		case a != nil && c.ParentID != nil:
			wrong(path, "is not for an answer, which stands with the comment that it answers")
		case a != nil && new(textcrdt.Anchor).UnmarshalText([]byte(*a)) != nil:
			wrong(path, "must be an anchor, as 3.17a")
		}
	}
	if c.ParentID != nil {
		switch parent, err := DocumentComments.Get(tx, *c.ParentID); {
		case err == nil && parent.ParentID != nil:
			wrong("parent_id", "may not be an answer itself")
		case err != nil && apperr.From(err).Kind != apperr.NotFound: // which is a bad reference, of which the table tells
			return err
		}
	}
	if issues != nil {
		return apperr.Validation(issues...)
	}
	return nil
}
