package document

import (
	"github.com/google/uuid"

	"rowcall/modules/store"
	"rowcall/modules/textcrdt"
)

// This file is what appends to a log in a transaction of the caller, around the rooms, which read it after the commit.

// head is the end of a log, where nobody else appends before the end of the transaction that has locked it.
type head struct {
	position       int64
	membersVersion int64
	site           textcrdt.Site // that the server writes as; 0: none has been given yet
	session        uint32        // of that
	tail           tail
}

// lockHead waits for others who append to the log, and keeps them from it, but not those who compact it.
func lockHead(tx *store.Tx, document uuid.UUID) (h head, err error) {
	found := false
	err = tx.Each(`
		SELECT h.position, h.members_version, coalesce(CASE WHEN h.epoch = current_epoch() THEN h.server_site END, 0), h.session,
		       h.position - s.position, octet_length(s.snapshot)
		FROM document_head h JOIN document_snapshot s USING (tenant_id, document_id)
		WHERE h.tenant_id = $1 AND h.document_id = $2 FOR NO KEY UPDATE OF h`,
		[]any{tx.Actor.Tenant.String(), document.String()},
		[]any{&h.position, &h.membersVersion, &h.site, &h.session, &h.tail.runs, &h.tail.snapshot}, func() bool { found = true; return true })
	if err == nil && !found {
		err = noDocument(document)
	}
	return h, err
}

// append locks the head of a document, brings a replica there, and appends what operations returns, in tx's transaction or in one for that alone. It
// returns the position of the last. What the replica has by then is not read under the lock.
func (h *Hub) append(tx *store.Tx, document uuid.UUID, s *saved, operations func(*store.Tx, head) ([]textcrdt.Op, error)) (position int64, err error) {
	err = tx.InTx(func(tx *store.Tx) error {
		at, err := lockHead(tx, document)
		if err != nil {
			return err
		}
		switch a, err := accessOf(tx, document); { // members cannot change any more
		case err != nil:
			return err
		case a.Role != Editor:
			return errNotEditor
		}
		if err := s.advance(tx, document, at.position); err != nil {
			return err
		}
		position = at.position
		ops, err := operations(tx, at)
		if err != nil || len(ops) == 0 {
			return err
		}
		var g group
		g.add(tx.Actor.User, ops...)
		w := write{document: document, membersVersion: at.membersVersion, group: &g}
		if w.alone(tx); w.err != nil {
			return w.err
		}
		position = w.position
		at.tail.add(len(g.ops), len(g.bytes))
		tx.AfterCommit(func() { h.appended(key{tx.Actor.Tenant, document}, position, len(g.ops), at.tail) })
		return nil
	})
	return position, err
}

// appended is what follows the commit of operations that no room has written.
func (h *Hub) appended(k key, position int64, n int, t tail) {
	h.counts.commits.Add(1)
	h.counts.operations.Add(int64(n))
	h.mu.Lock()
	r := h.rooms[k]
	h.mu.Unlock()
	if r != nil {
		r.hint(state{position: position})
	}
	h.changed(k, position)
	if t.due() {
		h.compactions.add(k)
	}
}

// appendPush is a push that is a part of a transaction.
func (h *Hub) appendPush(tx *store.Tx, document uuid.UUID, site textcrdt.Site, ops []textcrdt.Op) (int64, error) {
	s, err := h.loadAt(tx, document, nil, Editor)
	if err == nil {
		err = checkSite(tx, document, site)
	}
	if err != nil {
		return 0, err
	}
	return h.append(tx, document, &s, func(*store.Tx, head) ([]textcrdt.Op, error) {
		if err := s.doc.Check(ops); err != nil {
			return nil, refusal(err)
		}
		var unknown []textcrdt.Op
		known := s.doc.Version()[site]
		for _, op := range ops {
			if op, ok := after(op, known); ok {
				known = last(&op)
				unknown = append(unknown, op)
			}
		}
		if len(unknown) == 0 {
			return nil, nil
		}
		return unknown, h.bounds.check(s.doc, "operations", unknown)
	})
}

// appendOwn appends operations of the server, which have yet to get their ids.
func (h *Hub) appendOwn(tx *store.Tx, document uuid.UUID, s *saved, operations func() ([]textcrdt.Op, error)) (int64, error) {
	return h.append(tx, document, s, func(tx *store.Tx, at head) ([]textcrdt.Op, error) {
		ops, err := operations()
		if err == nil && len(ops) > 0 && at.site == 0 {
			at.site, at.session, err = giveServerSite(tx, document)
		}
		if err != nil {
			return nil, err
		}
		session := max(at.session, s.doc.Session())
		seq, sum := s.doc.Version()[at.site]+1, s.doc.Clock()+1
		numbered := make([]textcrdt.Op, 0, len(ops))
		for _, op := range ops {
			op.ID, op.Session, op.Sum = textcrdt.ID{Site: at.site, Seq: seq}, session, sum
			numbered = append(numbered, split(op)...)
			seq += uint32(op.N)
			sum += uint32(op.N)
		}
		return numbered, refusal(s.doc.Check(numbered))
	})
}

// giveServerSite returns the site that the server writes as from now on, on any node. The head is locked.
func giveServerSite(tx *store.Tx, document uuid.UUID) (site textcrdt.Site, session uint32, err error) {
	if site, session, err = giveSite(tx, document, 0); err == nil {
		_, err = tx.Exec(`UPDATE document_head SET server_site = $3 WHERE tenant_id = $1 AND document_id = $2`,
			tx.Actor.Tenant.String(), document.String(), int64(site))
	}
	return site, session, err
}
