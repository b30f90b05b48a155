package rpc

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/model"
	"rowcall/modules/apperr"
	"rowcall/modules/document"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/store"
	"rowcall/modules/textcrdt"
)

// The methods of a document's text.

// Bounds of these methods, besides those of the package document.
const (
	maxEdits      = 1000
	maxOperations = 10_000 // of a page
)

func textMethods(m *jsonrpc.Mux, api API, d *entityDoc) {
	describe := describeText{d}
	jsonrpc.Handle(m, "open_document", api.openDocument, describe.open())
	jsonrpc.Handle(m, "read_document_operations", api.readOperations, describe.read())
	jsonrpc.Handle(m, pushOperations, api.pushOperations, describe.push())
	jsonrpc.Handle(m, "get_document_text", api.documentText, describe.text())
	handleWrite(m, api, "edit_document", api.editDocument, describe.edit())
	handleWrite(m, api, "restore_document", api.restoreDocument, describe.restore())
	handleWrite(m, api, "fork_document", api.forkDocument, describe.fork())
}

const pushOperations = "push_document_operations"

type openDocumentParams struct {
	ID    uuid.UUID     `json:"id"`
	Site  textcrdt.Site `json:"site,omitzero"`
	Since *int64        `json:"since,omitzero"`
}

// openedDocument is what begins a replica.
type openedDocument struct {
	Document         model.Document           `json:"document"`
	Role             document.Role            `json:"role"`
	Site             textcrdt.Site            `json:"site"`
	Session          uint32                   `json:"session"`
	Snapshot         *[]byte                  `json:"snapshot"`
	SnapshotPosition int64                    `json:"snapshot_position"`
	Version          map[textcrdt.Site]uint32 `json:"version"`
	Presence         []document.Presence      `json:"presence"`
	operationsPage
}

// operationsPage is operations up to a position.
type operationsPage struct {
	Operations []byte `json:"operations"`
	Position   int64  `json:"position"`
	More       bool   `json:"more"`
}

func pageOf(p document.Page) operationsPage {
	return operationsPage{p.Operations, p.Position, p.Head > p.Position}
}

// checkPosition returns an error for a position that no document can have; nil is none.
func checkPosition(path string, position *int64) error {
	if position != nil && *position < 0 {
		return apperr.Invalid(apperr.Issue{Path: path, Reason: "must be 0 or more"})
	}
	return nil
}

func (api API) openDocument(ctx context.Context, p openDocumentParams) (r data[openedDocument], err error) {
	if err := checkPosition("params.since", p.Since); err != nil {
		return r, err
	}
	tx, err := api.DB.Session(ctx)
	if err != nil {
		return r, err
	}
	row, err := model.Documents.Get(tx, p.ID)
	if err != nil {
		return r, err
	}
	o, err := api.Documents.Open(ctx, p.ID, document.OpenOptions{Site: p.Site, Since: p.Since})
	if err != nil {
		return r, apperr.Under("params", err)
	}
	r.Data = openedDocument{
		Document: row, Role: o.Role, Site: o.Site, Session: o.Session, SnapshotPosition: o.SnapshotPosition,
		Version: o.Version, Presence: o.Presence, operationsPage: pageOf(o.Page),
	}
	if o.Snapshot != nil {
		r.Data.Snapshot = &o.Snapshot
	}
	return r, nil
}

type readOperationsParams struct {
	ID    uuid.UUID `json:"id"`
	Since int64     `json:"since"`
	Limit int       `json:"limit,omitzero"`
}

func (api API) readOperations(ctx context.Context, p readOperationsParams) (data[operationsPage], error) {
	if p.Limit < 0 || p.Limit > maxOperations {
		return data[operationsPage]{}, apperr.Invalid(apperr.Issue{Path: "params.limit", Reason: fmt.Sprintf("must be between 0 and %d", maxOperations)})
	}
	if err := checkPosition("params.since", &p.Since); err != nil {
		return data[operationsPage]{}, err
	}
	page, err := api.Documents.Read(ctx, p.ID, p.Since, p.Limit)
	return data[operationsPage]{pageOf(page)}, apperr.Under("params", err)
}

type pushOperationsParams struct {
	mutable
	ID         uuid.UUID     `json:"id"`
	Site       textcrdt.Site `json:"site"`
	Operations []byte        `json:"operations"`
}

// documentPosition is where a document is after a change of its text.
type documentPosition struct {
	Position int64 `json:"position"`
}

// pushOperations asks for no Tx, which would prove the login: the commit of a push does.
func (api API) pushOperations(ctx context.Context, p pushOperationsParams) (w changed[documentPosition], err error) {
	if p.MutationID != nil {
		return once(ctx, api, pushOperations, p, api.pushIn)
	}
	w.Data.Position, err = api.Documents.Push(ctx, p.ID, p.Site, p.Operations)
	return w, apperr.Under("params", err)
}

func (api API) pushIn(tx *store.Tx, p pushOperationsParams) (documentPosition, error) {
	position, err := api.Documents.Push(tx.Context(), p.ID, p.Site, p.Operations)
	return documentPosition{position}, apperr.Under("params", err)
}

// textPlace is a document's text as it was at a position, or as it is named.
type textPlace struct {
	ID        uuid.UUID  `json:"id"`
	Position  *int64     `json:"position,omitzero"`
	VersionID *uuid.UUID `json:"version_id,omitzero"`
}

// position returns the position; nil for now.
func (p textPlace) position(tx *store.Tx) (*int64, error) {
	switch {
	case p.VersionID == nil:
		return p.Position, checkPosition("params.position", p.Position)
	case p.Position != nil:
		return nil, apperr.Invalid(apperr.Issue{Path: "params.version_id", Reason: "goes without a position"})
	}
	v, err := model.DocumentVersions.Get(tx, *p.VersionID)
	if err == nil && v.DocumentID != p.ID {
		err = apperr.NoRow(model.DocumentVersions.Entity(), *p.VersionID)
	}
	return &v.Position, err
}

type documentText struct {
	Text     string `json:"text"`
	Position int64  `json:"position"`
}

func (api API) textAt(ctx context.Context, p textPlace) (t documentText, err error) {
	tx, err := api.DB.Session(ctx)
	if err != nil {
		return t, err
	}
	position, err := p.position(tx)
	if err != nil {
		return t, err
	}
	t.Text, t.Position, err = api.Documents.TextAt(ctx, p.ID, position)
	return t, apperr.Under("params", err)
}

func (api API) documentText(ctx context.Context, p textPlace) (data[documentText], error) {
	t, err := api.textAt(ctx, p)
	return data[documentText]{t}, err
}

type editDocumentParams struct {
	mutable
	ID       uuid.UUID  `json:"id"`
	Position *int64     `json:"position,omitzero"`
	Edits    []textEdit `json:"edits"`
}

type textEdit struct {
	At     int    `json:"at"`
	Delete int    `json:"delete,omitzero"`
	Insert string `json:"insert,omitzero"`
}

func (api API) editDocument(tx *store.Tx, p editDocumentParams) (documentPosition, error) {
	if len(p.Edits) > maxEdits {
		return documentPosition{}, apperr.Invalid(apperr.Issue{Path: "params.edits", Reason: fmt.Sprintf("may have at most %d items", maxEdits)})
	}
	edits := make([]document.Edit, len(p.Edits))
	for i, e := range p.Edits {
		edits[i] = document.Edit(e)
	}
	position, err := api.Documents.Edit(tx.Context(), p.ID, p.Position, edits)
	return documentPosition{position}, apperr.Under("params", err)
}

type restoreDocumentParams struct {
	mutable
	textPlace
}

func (api API) restoreDocument(tx *store.Tx, p restoreDocumentParams) (r documentPosition, err error) {
	position, err := p.position(tx)
	if err == nil && position == nil {
		err = apperr.Invalid(apperr.Issue{Path: "params", Reason: "must have either position or version_id"})
	}
	if err != nil {
		return r, err
	}
	r.Position, err = api.Documents.Restore(tx.Context(), p.ID, *position)
	return r, apperr.Under("params", err)
}

type forkDocumentParams struct {
	mutable
	textPlace
	Data jsontext.Value `json:"data"`
}

func (api API) forkDocument(tx *store.Tx, p forkDocumentParams) (model.Document, error) {
	t, err := api.textAt(tx.Context(), p.textPlace)
	if err != nil {
		return model.Document{}, err
	}
	return createDocument(tx, newDocumentParams{Data: p.Data, Text: t.Text})
}
