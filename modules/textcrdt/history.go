package textcrdt

import "slices"

// Operations returns what d knows and since does not, in an order in which none is early. The error is [ErrBase] if since does not
// include [Doc.Base].
func (d *Doc) Operations(since Version) ([]Op, error) {
	var ops []Op
	for number := range d.authors {
		a := &d.authors[number]
		known := since[a.site]
		if known < a.base {
			return nil, ErrBase
		}
		if known < a.last {
			ops = d.operations(ops, uint32(number), known+1)
		}
	}
	slices.SortFunc(ops, compareOps)
	return ops, nil
}

// operations appends what an author did from seq on.
func (d *Doc) operations(ops []Op, number, seq uint32) []Op {
	a := &d.authors[number]
	t := tail{text: a.text}
	for i, _ := a.run(seq); i < len(a.runs); i++ {
		r := &a.runs[i]
		skipped := seq - r.seq
		n := a.end(i) - seq
		op := Op{ID: ID{a.site, seq}, Session: r.session, Sum: r.sum + skipped, N: int(n)}
		switch r.kind {
		case inserts:
			ops = d.insertions(ops, number, op, &t)
		case deletes, deletesBack:
			op.Delete = true
			op.Ref = ID{d.authors[r.target].site, r.targetSeq + skipped}
			if r.kind == deletesBack {
				op.Ref.Seq = r.targetSeq - skipped
				op.Back = n > 1
			}
			ops = append(ops, op)
		case forgotten: // never since the base
		}
		seq += n
	}
	return ops
}

// insertions appends the insertion of a run of characters, which takes several operations if they have several origins.
func (d *Doc) insertions(ops []Op, number uint32, all Op, t *tail) []Op {
	first := len(ops)
	begin := uint32(0)
	for all.N > 0 {
		off, _ := d.find(number, all.Seq)
		s := d.middle(*d.span(), off, min(int(d.span().n)-off, all.N))
		op := all
		op.N = int(s.n)
		op.Ref = ID{op.Site, op.Seq - 1}
		if off == 0 {
			op.Ref = d.origin()
		}
		if last := len(ops) - 1; last >= first && op.Ref == (ID{op.Site, op.Seq - 1}) {
			ops[last].N += op.N
			ops[last].Text = t.slice(begin, s.at+s.size)
		} else {
			begin = s.at
			op.Text = t.slice(begin, s.at+s.size)
			ops = append(ops, op)
		}
		all.N -= op.N
		all.Seq += s.n
		all.Sum += s.n
	}
	return ops
}

// origin returns the origin of the first character of the cursor's span, the nearest to the left with a smaller vector, and may move
// the cursor there.
func (d *Doc) origin() ID {
	v := d.vector(d.span())
	if !d.less(v, -1) {
		return ID{}
	}
	s := d.span()
	return d.id(s, int(d.lesser(s, v))-1)
}

// lesser returns how many of the characters of s are less than v; the first is.
func (t *tree) lesser(s *span, v vector) uint32 {
	w := t.vector(s)
	if w.session != v.session {
		return s.n
	}
	n := v.sum - w.sum
	if w.site < v.site {
		n++
	}
	return min(n, s.n)
}

// tail is the end of an author's text, copied once.
type tail struct {
	text  []byte
	begin uint32
	copy  string
}

func (t *tail) slice(from, to uint32) string {
	if t.copy == "" {
		t.begin, t.copy = from, string(t.text[from:])
	}
	return t.copy[from-t.begin : to-t.begin]
}
