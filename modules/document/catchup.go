package document

import (
	"fmt"
	"time"

	"rowcall/modules/store"
	"rowcall/modules/textcrdt"
)

// catchUp reads what other nodes have written, and who the members are, and tells the followers.
func (r *room) catchUp(tx *store.Tx) error {
	since := r.position
	if r.members == nil {
		since = nowhere // it begins at the head
	}
	for {
		part, err := readAfter(tx, r.document, since, pageRuns)
		if err != nil {
			return err
		}
		if r.members == nil || part.membersVersion != r.membersVersion {
			if err := r.readMembers(tx); err != nil {
				return err
			}
		}
		switch {
		case since == nowhere:
			r.position = part.head
			r.hub.askPresence(r.key)
			return nil
		case part.head < since:
			return fmt.Errorf("%w: it has gone back from %d to %d", errCorrupt, since, part.head)
		}
		ops, size, err := part.decode()
		if err != nil {
			return err
		}
		if len(ops) > 0 {
			if err := r.hub.Revoked(tx.Context()); err != nil {
				return err
			}
			if r.doc != nil && applyAll(r.doc, ops) != nil {
				r.doc = nil // it has something else of this node, which was not kept
			}
			r.tail.add(len(ops), size)
			r.advance(ops)
		}
		if since = r.position; since >= part.head {
			return nil
		}
	}
}

// readMembers reads who the members are, and ends the followings of those who are no longer.
func (r *room) readMembers(tx *store.Tx) (err error) {
	r.members, r.membersVersion, err = membersOf(tx, r.document)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for f := range r.followers {
		if r.members[f.user] == "" {
			r.end(f, Forbidden)
		}
	}
	for _, s := range r.presence {
		if r.members[s.User] == "" {
			r.tell(s.leave())
		}
	}
	return nil
}

// advance takes operations that are committed at the next positions, and sends them to the followers.
func (r *room) advance(ops []textcrdt.Op) {
	prev := r.position
	r.position += int64(len(ops))
	if r.doc != nil {
		for i := range ops {
			r.persisted[ops[i].Site] = last(&ops[i])
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = r.state
	r.rest = time.Now().Add(min(time.Duration(len(r.followers))*pauseFor, maxPause))
	if len(r.followers) > 0 {
		r.broadcast(operationsFrame(r.document, prev, r.position, textcrdt.AppendOps(nil, ops)))
	}
}

// load makes the replica that pushes are checked against.
func (r *room) load(tx *store.Tx) error {
	if err := r.catchUp(tx); err != nil {
		return err
	}
	s, err := load(tx, r.document, r.position)
	if err != nil {
		return err
	}
	if s.position < r.position {
		return fmt.Errorf("%w: it ends at %d, and was at %d", errCorrupt, s.position, r.position)
	}
	r.doc, r.persisted = s.doc, s.doc.Version().Clone()
	r.tail = tail{snapshot: s.snapshot, runs: s.runs, size: s.size}
	return nil
}

// last returns the seq of an operation's last character.
func last(op *textcrdt.Op) uint32 { return op.Seq + uint32(op.N) - 1 }

// tail is what of a log its snapshot does not have.
type tail struct {
	snapshot int // its bytes
	runs     int64
	size     int
}

func (t *tail) add(runs, size int) {
	t.runs += int64(runs)
	t.size += size
}

// Bounds of what is not in the snapshot of a short document. For a long one, whose snapshot is more work, they are up to twice as much: what a
// page holds.
const (
	maxTail      = pageRuns / 2
	maxTailBytes = pageBytes / 2
)

// due tells whether there should be another snapshot.
func (t *tail) due() bool {
	return t.runs > maxTail+int64(min(t.snapshot>>10, maxTail)) || t.size > maxTailBytes+min(t.snapshot>>2, maxTailBytes)
}
