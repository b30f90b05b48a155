package model

import (
	"time"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/document"
	"rowcall/modules/filter"
	"rowcall/modules/store"
)

// Document is a text that its members read, comment and edit at once. Only members know of it, whatever their role in the tenant.
type Document struct {
	store.Base[uuid.UUID]
	OwnerID  int64     `db:"owner_id"  json:"owner_id"                                                  ref:"user"`
	Title    string    `db:"title"     json:"title"     write:"create,update" validate:"required,max=200" example:"main.go"`
	Language *string   `db:"language"  json:"language"  write:"create,update" validate:"min=1,max=50"          example:"go"`
	Position int64     `db:"position"  json:"position"`  // of one of the newest operations; the document's own log may be ahead by a second
	EditedAt time.Time `db:"edited_at" json:"edited_at"` // when that was
}

// DocumentMember is a user's membership of a document, in a [document.Role]. The owner, who is always a member and an editor, adds members, removes them and changes
// their roles; everybody may remove themselves.
type DocumentMember struct {
	store.Base[uuid.UUID]
	DocumentID uuid.UUID `db:"document_id" json:"document_id" write:"create"        validate:"required" ref:"document" many:"members"`
	UserID     int64     `db:"user_id"     json:"user_id"     write:"create"        validate:"required" ref:"user"`
	Role       string    `db:"role"        json:"role"        write:"create,update" validate:"required,oneof=reader commenter editor" example:"editor"`
}

// The repositories of documents and their members.
var (
	Documents = store.NewRepo[Document]("document", store.Access{
		Read: auth.Member, Write: auth.Member,
		Members: documentMembers("id"), Writers: documentMembers("id", document.Editor), Deleters: []filter.Members{documentOwner("id")},
	})
	DocumentMembers = store.NewRepo[DocumentMember]("document_member",
		store.Access{Read: auth.Member, Write: auth.Member, Members: documentMembers("document_id"), Writers: documentOwner("document_id")},
		store.Unique("document_id", "user_id"))
)

// documentMembers is the rule for members with one of the roles, of which none stands for all.
func documentMembers(column string, roles ...document.Role) filter.Members {
	m := filter.Members{Column: column, Table: "document_member", Group: "document_id", User: "user_id"}
	for _, role := range roles {
		m.Role, m.Roles = "role", append(m.Roles, string(role))
	}
	return m
}

func documentOwner(column string) filter.Members {
	return filter.Members{Column: column, Table: "document", Group: "id", User: "owner_id"}
}

var documentGroups = group[Document, DocumentMember]{
	Documents, DocumentMembers, "document_id",
	func(d Document) int64 { return d.OwnerID }, func(m DocumentMember) uuid.UUID { return m.ID },
}

// PrepareCreate makes whoever creates a document its owner.
func (d *Document) PrepareCreate(tx *store.Tx) error {
	d.OwnerID, d.EditedAt = tx.Actor.User, tx.Now()
	return nil
}

// CreateDocument adds a document with its owner's membership and a text, in one transaction. Paths of issues begin with data, or are text.
func CreateDocument(tx *store.Tx, d Document, text string) (Document, error) {
	d.Position = document.PositionOf(text)
	err := tx.InTx(func(tx *store.Tx) (err error) {
		if d, err = Documents.Create(tx, d); err != nil {
			return apperr.Under("data", err)
		}
		if _, err = DocumentMembers.Create(tx, DocumentMember{DocumentID: d.ID, UserID: d.OwnerID, Role: string(document.Editor)}); err != nil || text == "" {
			return err
		}
		return document.Begin(tx, d.ID, text)
	})
	return d, err
}

// DeleteDocument removes a document with all that is below it, in one transaction.
func DeleteDocument(tx *store.Tx, id uuid.UUID, version store.Version) (Document, error) {
	return documentGroups.delete(tx, id, version)
}

// TouchDocument notes where a document's text is now, which is not further than its own log; see [document.Config.Touch].
func TouchDocument(tx *store.Tx, id uuid.UUID, version, position int64, at time.Time) error {
	_, err := Documents.Update(tx, id, store.Set{"position": position, "edited_at": at}, store.IfVersion(&version))
	return err
}
