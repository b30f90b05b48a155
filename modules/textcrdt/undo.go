package textcrdt

import (
	"cmp"
	"slices"
)

// Undo takes back what the site of a document has done, and does it again: its own edits, never those of others, in steps that the caller
// chooses. All that it does is done by new operations, which go to the others as any do.
//
// What is taken back of an insertion is what is still there. What is taken back of a deletion is inserted again, at its place, as new
// characters, except for what another site is known to have deleted, too; anchors at the old ones stay where those were.
type Undo struct {
	doc        *Doc
	undo, redo []step
	copies     map[ID]ID     // of a character that was inserted again: what it is now
	copied     map[ID]copied // the other way
}

// copied is what a character is a copy of, and with which operation it was inserted.
type copied struct{ of, with ID }

// step is taken back at once.
type step []change

// change is one run of edits.
type change struct {
	Op
	gone []byte // what a deletion has deleted, in the order of its targets
}

// NewUndo returns an Undo of what d's site does from now on.
func NewUndo(d *Doc) *Undo {
	return &Undo{doc: d, copies: map[ID]ID{}, copied: map[ID]copied{}}
}

// Add makes a step of operations that [Doc.Insert] or [Doc.Delete] has just returned. What was undone before can no longer be redone.
func (u *Undo) Add(ops []Op) {
	if len(ops) > 0 {
		u.undo = append(u.undo, u.step(ops))
		u.redo = nil
	}
}

// Extend is Add, but makes the operations part of the last step.
func (u *Undo) Extend(ops []Op) {
	if last := len(u.undo) - 1; last >= 0 && len(u.redo) == 0 {
		u.undo[last] = append(u.undo[last], u.step(ops)...)
	} else {
		u.Add(ops)
	}
}

// Steps returns how many steps can be undone and redone.
func (u *Undo) Steps() (undo, redo int) { return len(u.undo), len(u.redo) }

// Undo takes the last step back that is not undone yet, and returns the operations that do; none if there is no step, or nothing
// left of it. The error is that of [Doc.Insert].
func (u *Undo) Undo() ([]Op, error) { return u.take(&u.undo, &u.redo) }

// Redo takes the last Undo back.
func (u *Undo) Redo() ([]Op, error) { return u.take(&u.redo, &u.undo) }

// Anchors returns the places of what can come back, for [Doc.Purge] to keep. What has been purged does not come back.
func (u *Undo) Anchors() []Anchor {
	var places []Anchor
	for _, steps := range [][]step{u.undo, u.redo} {
		for _, s := range steps {
			for _, c := range s {
				if c.Delete {
					for i := range c.N {
						places = append(places, Anchor{ID: u.current(c.target(i))})
					}
				}
			}
		}
	}
	return places
}

// step notes what to take back, while the document still has the text of what was deleted.
func (u *Undo) step(ops []Op) step {
	s := make(step, 0, len(ops))
	for _, op := range ops {
		c := change{Op: op}
		if op.Delete {
			for i := range op.N {
				off, _ := u.doc.place(op.target(i))
				c.gone = append(c.gone, u.doc.text(u.doc.middle(*u.doc.span(), off, 1))...)
			}
		}
		s = append(s, c)
	}
	return s
}

// take takes a step back, and puts what takes that back onto the other stack.
func (u *Undo) take(from, to *[]step) (ops []Op, err error) {
	last := len(*from) - 1
	if last < 0 {
		return nil, nil
	}
	var reverse step
	for s := (*from)[last]; len(s) > 0; {
		first := len(s) - 1
		for first > 0 && s[first-1].Delete == s[first].Delete {
			first--
		}
		back := u.remove
		if s[first].Delete {
			back = u.restore
		}
		made, err := back(s[first:])
		ops, reverse = append(ops, made...), append(reverse, u.step(made)...)
		if err != nil { // half of it was taken back, and can be again
			(*from)[last] = s
			if len(reverse) > 0 {
				*to = append(*to, reverse)
			}
			return ops, err
		}
		s = s[:first]
	}
	*from, *to = (*from)[:last], append(*to, reverse)
	return ops, nil
}

// remove deletes what is still there of insertions.
func (u *Undo) remove(inserted []change) (ops []Op, err error) {
	var at []int
	for _, c := range inserted {
		for i := range c.N {
			off, ok := u.doc.place(u.current(ID{c.Site, c.Seq + uint32(i)}))
			if ok && !u.doc.span().deleted {
				at = append(at, u.doc.position()+off)
			}
		}
	}
	slices.Sort(at)
	for end := len(at); end > 0; {
		first := end - 1
		for first > 0 && at[first-1] == at[first]-1 {
			first--
		}
		made, err := u.doc.Delete(at[first], end-first)
		ops = append(ops, made...)
		if err != nil {
			return ops, err
		}
		end = first
	}
	return ops, nil
}

// lost is a character that is to be inserted again.
type lost struct {
	id   ID
	char string
	pos  int
}

// restore inserts again what deletions have deleted.
func (u *Undo) restore(deleted []change) (ops []Op, err error) {
	chars := u.lost(deleted)
	// All that goes to one position is one insertion. From the right to the left, positions stay.
	for end := len(chars); end > 0; {
		first, pos := end-1, chars[end-1].pos
		for first > 0 && chars[first-1].pos == pos {
			first--
		}
		var text []byte
		for _, c := range chars[first:end] {
			text = append(text, c.char...)
		}
		made, err := u.doc.Insert(pos, string(text))
		if err != nil {
			return ops, err
		}
		ops = append(ops, made...)
		for i, c := range chars[first:end] {
			again := ID{made[0].Site, made[0].Seq + uint32(i)}
			u.copies[c.id], u.copied[again] = again, copied{c.id, made[0].ID}
		}
		end = first
	}
	return ops, nil
}

// lost returns what to restore of deletions, in document order.
func (u *Undo) lost(deleted []change) []lost {
	var chars []lost
	others := u.others()
	for _, c := range deleted {
		gone := c.gone
		for i := range c.N {
			size, _ := prefix(gone, 1)
			char := string(gone[:size])
			gone = gone[size:]
			id := u.current(c.target(i))
			if _, ok := u.doc.place(id); ok && u.doc.span().deleted && !u.in(others, id) {
				chars = append(chars, lost{id, char, u.doc.position()})
			}
		}
	}
	slices.SortFunc(chars, func(a, b lost) int { return u.order(a.id, b.id) })
	for i := range chars {
		chars[i].pos = u.ahead(chars[i])
	}
	slices.SortStableFunc(chars, func(a, b lost) int { return cmp.Compare(a.pos, b.pos) })
	return chars
}

// ahead returns where a lost character goes: to its tombstone, but ahead of copies of what belongs behind it.
func (u *Undo) ahead(c lost) int {
	pos := c.pos
	for ; pos > 0; pos-- {
		left := u.doc.Anchor(pos, false).ID
		if _, ok := u.copied[left]; !ok || u.order(c.id, left) > 0 {
			break
		}
	}
	return pos
}

// order compares where two characters belong. A copy belongs where what it was copied from does; it stands ahead of all tombstones there,
// because what it stands behind must be a character that nobody can have purged. What is newer than a copy has its place by it.
func (u *Undo) order(a, b ID) int {
	for {
		if x, y := u.copied[a], u.copied[b]; x.with == y.with && x.with != (ID{}) {
			return cmp.Compare(a.Seq, b.Seq)
		}
		x, _ := u.doc.chars(a)
		y, _ := u.doc.chars(b)
		newer := &a
		if x.sum+a.Seq-x.seq < y.sum+b.Seq-y.seq {
			newer = &b
		}
		from, ok := u.copied[*newer]
		if !ok {
			return u.doc.order(a, b)
		}
		*newer = from.of
	}
}

// others returns which characters other sites have deleted.
func (u *Undo) others() []seqs {
	last := make([]uint32, len(u.doc.authors))
	for i := range last {
		if uint32(i) != u.doc.own {
			last[i] = u.doc.authors[i].last
		}
	}
	return u.doc.deletedBy(last)
}

// in reports whether a character, or one that it is a copy of, is in the sets.
func (u *Undo) in(sets []seqs, id ID) bool {
	for ; id != (ID{}); id = u.copied[id].of {
		if in, _ := sets[u.doc.numbers[id.Site]].has(id.Seq, 1); in {
			return true
		}
	}
	return false
}

// current returns what a character is now: itself, or its latest copy.
func (u *Undo) current(id ID) ID {
	for {
		again, ok := u.copies[id]
		if !ok {
			return id
		}
		id = again
	}
}

// place moves the cursor to the character of id and returns its offset in the span; not ok if there is none.
func (d *Doc) place(id ID) (off int, ok bool) {
	author, ok := d.numbers[id.Site]
	if !ok {
		return 0, false
	}
	return d.find(author, id.Seq)
}

// order compares the places of two characters in the document; of those that are not there, 0.
func (d *Doc) order(a, b ID) int {
	i, ok := d.place(a)
	at := d.cur
	j, ok2 := d.place(b)
	if !ok || !ok2 {
		return 0
	}
	x, y := at.leaf, d.cur.leaf
	if x == y {
		return cmp.Or(cmp.Compare(at.i, d.cur.i), cmp.Compare(i, j))
	}
	up, up2 := d.leaves[x].parent, d.leaves[y].parent
	for up != up2 {
		x, y = up, up2
		up, up2 = d.inners[x].parent, d.inners[y].parent
	}
	in := &d.inners[up]
	return cmp.Compare(in.slot(x), in.slot(y))
}
