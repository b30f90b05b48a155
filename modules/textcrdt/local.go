package textcrdt

import "fmt"

// Insert puts text at pos and returns the operation, none if text is empty. The error wraps [ErrRange] if pos is outside of the text
// or the site cannot write (any more), [ErrMalformed] if text is not valid UTF-8.
func (d *Doc) Insert(pos int, text string) ([]Op, error) {
	return d.insertAt(make([]Op, 0, 1), pos, text) // inlined, so that a caller who keeps nothing allocates nothing
}

func (d *Doc) insertAt(ops []Op, pos int, text string) ([]Op, error) {
	c, ok := measure(text)
	if !ok {
		return nil, fmt.Errorf("%w: the text is not valid UTF-8", ErrMalformed)
	}
	if pos < 0 || pos > d.Len() || !d.writes(c.chars) {
		return nil, fmt.Errorf("%w: insert of %d at %d of %d by site %d", ErrRange, c.chars, pos, d.Len(), d.Site())
	}
	if c.chars == 0 {
		return ops, nil
	}
	ops = append(ops, Op{Text: text})
	op := &ops[0]
	d.begin(op, c.chars)
	off := 0
	if pos == 0 {
		d.start()
	} else {
		off = d.seek(pos-1) + 1
		op.Ref = d.id(d.span(), off-1)
	}
	d.put(d.own, op, c, off)
	return ops, nil
}

// Delete removes n characters from pos on and returns the operations. The error wraps [ErrRange].
func (d *Doc) Delete(pos, n int) ([]Op, error) {
	return d.deleteAt(make([]Op, 0, 1), pos, n)
}

func (d *Doc) deleteAt(ops []Op, pos, n int) ([]Op, error) {
	if pos < 0 || n < 0 || pos > d.Len()-n || !d.writes(n) {
		return nil, fmt.Errorf("%w: delete of %d at %d of %d by site %d", ErrRange, n, pos, d.Len(), d.Site())
	}
	for n > 0 {
		off := d.seek(pos)
		s := d.span()
		k := min(n, int(s.n)-off)
		ops = append(ops, Op{Delete: true})
		last := len(ops) - 1
		op := &ops[last]
		d.begin(op, k)
		op.Ref = d.id(s, off)
		d.authors[d.own].deleted(op.Sum, op.Session, uint32(k), s.author, op.Ref.Seq, false, s.sum+uint32(off+k)-1)
		d.saw(op)
		d.bury(off, k)
		n -= k
		if last > 0 && op.Ref == ops[last-1].target(ops[last-1].N) {
			ops[last-1].N += k
			ops = ops[:last]
		}
	}
	return ops, nil
}

// Site returns the site that d writes as, 0 if none.
func (d *Doc) Site() Site {
	if d.own == none {
		return 0
	}
	return d.authors[d.own].site
}

// writes reports whether the site has n more ids.
func (d *Doc) writes(n int) bool {
	return d.own != none && n <= int(bound-max(d.authors[d.own].last, d.clock))
}

// begin makes op take the site's next n ids. It is told where op is, as operations are large to copy.
func (d *Doc) begin(op *Op, n int) {
	a := &d.authors[d.own]
	op.Site, op.Seq = a.site, a.last+1
	op.Session, op.Sum = d.Session(), d.clock+1
	op.N = n
}

// id returns the id of a character in s.
func (d *Doc) id(s *span, off int) ID {
	return ID{d.authors[s.author].site, s.seq + uint32(off)}
}
