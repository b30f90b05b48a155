package textcrdt

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// What waits is bounded in operations and in bytes of text.
const (
	maxEarly     = 10_000
	maxEarlyText = 1 << 20
)

// Apply applies operations of others, or of this site from before a crash. Early ones wait until what they miss has come. If one
// is refused, Apply returns an [*OpError] and leaves the rest alone; what came before it stays applied. changed, if not nil, is told
// what happens to the text, in this order; it must not use d.
func (d *Doc) Apply(ops []Op, changed func(Edit)) error {
	for i := range ops {
		op := ops[i]
		err := d.apply(&op, changed)
		if errors.Is(err, ErrEarly) {
			err = d.wait(op)
		}
		if err != nil {
			return &OpError{i, err}
		}
	}
	d.retry(changed)
	return nil
}

// apply applies one operation, or tells why not.
func (d *Doc) apply(op *Op, changed func(Edit)) error {
	c, err := op.shape()
	if err != nil {
		return err
	}
	had := op.N
	if err := admit(d, op); err != nil || op.N == 0 {
		return err
	}
	if op.N < had {
		c, _ = measure(op.Text)
	}
	number := d.author(op.Site)
	if op.Delete {
		d.remove(number, op, changed)
		return nil
	}
	off := d.behind(op)
	pos := 0
	if s := d.span(); changed != nil && s != nil {
		pos = d.position() + min(off, s.chars())
	}
	d.put(number, op, c, off)
	if changed != nil {
		changed(Edit{Pos: pos, Text: op.Text})
	}
	return nil
}

// behind moves the cursor to where op, an insertion, belongs, and returns the offset in the span.
func (d *Doc) behind(op *Op) int {
	v := vector{op.Session, op.Sum, op.Site}
	newest := op.Session > d.seen || op.Session == d.seen && op.Sum > d.clock
	if op.Ref == (ID{}) {
		d.start()
		if s := d.span(); newest || s == nil || d.vector(s).less(v) {
			return 0
		}
		return d.pass(v)
	}
	off, _ := d.find(d.number(op.Ref.Site), op.Ref.Seq)
	off++
	if newest {
		return off
	}
	if s := d.span(); off < int(s.n) {
		if next := d.vector(s); (vector{next.session, next.sum + uint32(off), next.site}).less(v) {
			return off
		}
	}
	return d.pass(v)
}

// pass moves the cursor past all spans that begin with vectors greater than v, and returns the offset in the last one, its end: the
// character with v may continue it. Spans are passed as a whole, because descendants have greater vectors.
func (d *Doc) pass(v vector) int {
	at, i := d.cur.leaf, d.cur.i
	l := &d.leaves[at]
	switch {
	case i+1 < int(l.n) && d.vector(&l.spans[i+1]).less(v):
	case !d.less(v, 1):
		d.end()
	case d.cur.i > 0:
		d.visit(d.cur.leaf, d.cur.i-1)
	case l.next == d.cur.leaf && i+1 == int(l.n):
		d.visit(at, i)
	default:
		return 0
	}
	return int(d.span().n)
}

// put inserts the text of op, an insertion by author number, behind the first off characters of the cursor's span.
func (d *Doc) put(number uint32, op *Op, c count, off int) {
	s := span{author: number, session: op.Session, seq: op.Seq, sum: op.Sum}
	for text := op.Text; text != ""; {
		part := c
		if part.chars > maxSpan {
			part.chars = maxSpan
			part.bytes, part.astral = prefix(text, maxSpan)
		}
		a := &d.authors[number]
		s.n, s.at, s.size, s.astral = uint32(part.chars), uint32(len(a.text)), uint32(part.bytes), uint16(part.astral)
		a.text = append(a.text, text[:part.bytes]...)
		d.insert(off, &s)
		d.authors[number].inserted(s.sum, s.session, s.n)
		text = text[part.bytes:]
		c.sub(part)
		s.seq += s.n
		s.sum += s.n
		off = int(d.span().n)
	}
	d.saw(op)
}

// remove deletes what op, a deletion by author number, says.
func (d *Doc) remove(number uint32, op *Op, changed func(Edit)) {
	target := d.number(op.Ref.Site)
	for i := 0; i < op.N; {
		id, sum, left := op.target(i), op.Sum+uint32(i), op.N-i
		off, _ := d.find(target, id.Seq)
		s := d.span()
		newest := s.sum + uint32(off)
		k := min(left, int(s.n)-off, int(sum-newest))
		if op.Back {
			k = min(left, off+1)
			off -= k - 1
		} else {
			newest += uint32(k) - 1
		}
		d.authors[number].deleted(sum, op.Session, uint32(k), target, id.Seq, op.Back, newest)
		if !s.deleted {
			if changed != nil {
				changed(Edit{Pos: d.position() + off, Deleted: k})
			}
			d.bury(off, k)
		}
		i += k
	}
	d.saw(op)
}

// saw takes note of an operation's clocks.
func (d *Doc) saw(op *Op) {
	d.clock = max(d.clock, op.Sum+uint32(op.N)-1)
	d.seen = max(d.seen, op.Session)
}

// wait keeps an early operation.
func (d *Doc) wait(op Op) error {
	i, _ := slices.BinarySearchFunc(d.early, op, compareOps)
	for ; i < len(d.early) && compareOps(d.early[i], op) == 0; i++ {
		if e := &d.early[i]; e.Delete == op.Delete && e.N >= op.N && e.Seq == op.Seq {
			return nil
		}
	}
	if len(d.early) >= maxEarly || d.waiting+len(op.Text) > maxEarlyText {
		return fmt.Errorf("%w: %d wait", ErrFull, len(d.early))
	}
	op.Text = strings.Clone(op.Text)
	d.waiting += len(op.Text)
	d.early = slices.Insert(d.early, i, op)
	return nil
}

// compareOps orders operations by sum, so that what an operation builds upon precedes it.
func compareOps(a, b Op) int {
	return cmp.Or(cmp.Compare(a.Sum, b.Sum), cmp.Compare(a.Site, b.Site))
}

// retry applies those of the early operations that are early no longer, and drops what turns out to be malformed.
func (d *Doc) retry(changed func(Edit)) {
	kept := d.early[:0]
	for i, op := range d.early {
		if op.Sum > d.clock+1 { // and so are all behind it
			kept = append(kept, d.early[i:]...)
			break
		}
		d.waiting -= len(op.Text)
		if err := d.apply(&op, changed); errors.Is(err, ErrEarly) {
			kept = append(kept, op)
			d.waiting += len(op.Text)
		}
	}
	clear(d.early[len(kept):])
	d.early = kept
}
