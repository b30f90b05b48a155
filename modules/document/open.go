package document

import (
	"context"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/store"
	"rowcall/modules/textcrdt"
)

// This file is what is asked of the database without a room.

// Open returns what begins a replica. The operations are bounded: [Hub.Read] brings the rest. FORBIDDEN for a site of somebody else,
// RESYNC_REQUIRED (head) for a Since that is over the head.
func (h *Hub) Open(ctx context.Context, document uuid.UUID, o OpenOptions) (opened Opened, err error) {
	tx, err := h.tx(ctx, auth.ScopeRead)
	if err != nil {
		return Opened{}, err
	}
	a, err := accessOf(tx, document)
	if err != nil {
		return Opened{}, err
	}
	if o.Since != nil && *o.Since > a.Position {
		return Opened{}, errAhead(a.Position)
	}
	opened = Opened{Role: a.Role, Site: o.Site, Session: uint32(a.Session)}
	if o.Site == 0 {
		opened.Site, opened.Session, err = giveSite(tx, document, tx.Actor.User)
	} else {
		err = checkSite(tx, document, o.Site)
	}
	if err != nil {
		return Opened{}, err
	}
	since := int64(0)
	if o.Since != nil {
		since = *o.Since
	}
	if err := opened.snapshot(tx, document, o.Since == nil); err != nil {
		return Opened{}, err
	}
	since = max(since, opened.SnapshotPosition)
	if opened.Page, err = readPage(tx, document, since, pageRuns); err != nil {
		return Opened{}, err
	}
	h.mu.Lock()
	r := h.rooms[key{tx.Actor.Tenant, document}]
	h.mu.Unlock()
	if r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		opened.Presence = r.presence.list()
	}
	return opened, nil
}

// snapshot reads the snapshot, if it is wanted, and the version.
func (o *Opened) snapshot(tx *store.Tx, document uuid.UUID, wanted bool) error {
	var version []byte
	err := tx.Each(`
		SELECT CASE WHEN $3 THEN position ELSE 0 END, CASE WHEN $3 THEN snapshot ELSE '' END,
		       (SELECT coalesce(json_object_agg(site, seq), '{}') FROM document_site
		        WHERE tenant_id = $1 AND document_id = $2 AND written)::text
		FROM document_snapshot WHERE tenant_id = $1 AND document_id = $2`,
		[]any{tx.Actor.Tenant.String(), document.String(), wanted}, []any{&o.SnapshotPosition, &o.Snapshot, &version},
		func() bool { return true })
	switch {
	case err != nil:
		return err
	case version == nil:
		return noDocument(document)
	case len(o.Snapshot) == 0:
		o.Snapshot = nil
	}
	return json.Unmarshal(version, &o.Version)
}

// checkSite returns FORBIDDEN unless the site is the actor's.
func checkSite(tx *store.Tx, document uuid.UUID, site textcrdt.Site) error {
	users, err := sitesOf(tx, document, []textcrdt.Site{site})
	if user, known := users[site]; err == nil && (!known || user != tx.Actor.User) {
		err = errSite
	}
	return err
}

// Read returns operations after the position, at most so many, or as many as go into an answer if limit is 0. RESYNC_REQUIRED (head) for a
// position over the head.
func (h *Hub) Read(ctx context.Context, document uuid.UUID, since int64, limit int) (Page, error) {
	tx, err := h.tx(ctx, auth.ScopeRead)
	if err != nil {
		return Page{}, err
	}
	a, err := accessOf(tx, document)
	switch {
	case err != nil:
		return Page{}, err
	case since > a.Position:
		return Page{}, errAhead(a.Position)
	case limit <= 0:
		limit = chunkRuns
	}
	return readPage(tx, document, since, limit)
}

func readPage(tx *store.Tx, document uuid.UUID, since int64, limit int) (Page, error) {
	part, err := readAfter(tx, document, since, min(limit, pageRuns))
	if err != nil {
		return Page{}, err
	}
	p := Page{Head: part.head}
	p.Operations, p.Position, err = part.batch(limit)
	return p, err
}

// TextAt returns the text as it was at a position, or is now if that is nil, and the position. INVALID_PARAMS at "position" for one
// over the head.
func (h *Hub) TextAt(ctx context.Context, document uuid.UUID, position *int64) (text string, at int64, err error) {
	tx, err := h.tx(ctx, auth.ScopeRead)
	if err != nil {
		return "", 0, err
	}
	s, err := h.loadAt(tx, document, position, Reader)
	if err != nil {
		return "", 0, err
	}
	return s.doc.String(), s.position, nil
}

// loadAt makes a replica of a document as it was at a position, or is now, for an actor who is a member, or an editor if that is the role.
func (h *Hub) loadAt(tx *store.Tx, document uuid.UUID, position *int64, role Role) (saved, error) {
	a, err := accessOf(tx, document)
	switch {
	case err != nil:
		return saved{}, err
	case role == Editor && a.Role != Editor:
		return saved{}, errNotEditor
	}
	at := a.Position
	if position != nil {
		at = *position
	}
	if at < 0 || at > a.Position {
		return saved{}, apperr.Invalid(apperr.Issue{Path: "position", Reason: "is not one of the document's"})
	}
	if !tx.Joined() { // which would keep its connection while it waits
		select {
		case h.replays <- struct{}{}:
		case <-tx.Context().Done():
			return saved{}, tx.Context().Err()
		}
		defer func() { <-h.replays }()
	}
	return load(tx, document, at)
}
