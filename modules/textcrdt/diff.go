package textcrdt

import (
	"fmt"
	"iter"
	"unicode/utf8"
)

// TextAt returns the text as it was when d knew just v. The error wraps [ErrBase] if v does not include [Doc.Base], [ErrEarly] if d does
// not know all of v.
func (d *Doc) TextAt(v Version) (string, error) {
	p, err := d.at(v)
	if err != nil {
		return "", err
	}
	var b []byte
	for s := range d.spans() {
		for off := 0; off < int(s.n); {
			n, has := p.part(p, s, off)
			if has {
				b = append(b, d.text(d.middle(s, off, n))...)
			}
			off += n
		}
	}
	return string(b), nil
}

// Diff returns the edits that make the text at one version that at another, from the left to the right, each for the text that those before it
// have made. The errors are those of [Doc.TextAt].
func (d *Doc) Diff(from, to Version) ([]Edit, error) {
	old, err := d.at(from)
	if err != nil {
		return nil, err
	}
	now, err := d.at(to)
	if err != nil {
		return nil, err
	}
	var edits []Edit
	var text []byte // of the last one
	end := -1       // where it ends
	pos := 0
	for s := range d.spans() {
		for off := 0; off < int(s.n); {
			n, is := now.part(old, s, off)
			was := old.has(s, off)
			if was != is && pos != end {
				if end >= 0 {
					edits[len(edits)-1].Text, text = string(text), text[:0]
				}
				edits = append(edits, Edit{Pos: pos})
			}
			if is {
				pos += n
			}
			switch {
			case is && !was:
				text = append(text, d.text(d.middle(s, off, n))...)
				end = pos
			case was && !is:
				edits[len(edits)-1].Deleted += n
				end = pos
			}
			off += n
		}
	}
	if end >= 0 {
		edits[len(edits)-1].Text = string(text)
	}
	return edits, nil
}

// Revert makes the text what it was at v, and returns the operations that do: as new edits of this site, which others follow and which can be
// undone, on top of all that was done since. The errors are those of [Doc.TextAt] and [Doc.Insert].
func (d *Doc) Revert(v Version) ([]Op, error) {
	edits, err := d.Diff(d.Version(), v)
	if err != nil {
		return nil, err
	}
	ids := 0
	for _, e := range edits {
		ids += e.Deleted + utf8.RuneCountInString(e.Text)
	}
	if !d.writes(ids) {
		return nil, fmt.Errorf("%w: %d edits by site %d", ErrRange, ids, d.Site())
	}
	var ops []Op
	for _, e := range edits {
		deleted, err := d.Delete(e.Pos, e.Deleted)
		if err != nil {
			return nil, err
		}
		inserted, err := d.Insert(e.Pos, e.Text)
		if err != nil {
			return nil, err
		}
		ops = append(append(ops, deleted...), inserted...)
	}
	return ops, nil
}

// past is which characters there were at a version.
type past struct {
	last []uint32 // of each author: seq
	dead []seqs   // of each author's characters, since the base
}

// seqs is a set of an author's seqs, as bits.
type seqs []uint64

func newSeqs(authors []author) []seqs {
	sets := make([]seqs, len(authors))
	for i := range authors {
		sets[i] = make(seqs, authors[i].last/64+1)
	}
	return sets
}

func (s seqs) add(seq uint32)      { s[seq/64] |= 1 << (seq % 64) }
func (s seqs) has(seq uint32) bool { return s[seq/64]>>(seq%64)&1 != 0 }

func (d *Doc) at(v Version) (past, error) {
	if !v.Includes(d.Base()) {
		return past{}, ErrBase
	}
	if !d.Version().Includes(v) {
		return past{}, ErrEarly
	}
	p := past{last: make([]uint32, len(d.authors)), dead: newSeqs(d.authors)}
	for i := range d.authors {
		p.last[i] = v[d.authors[i].site]
	}
	for i := range d.authors {
		a := &d.authors[i]
		for j, r := range a.runs {
			if r.seq > p.last[i] {
				break
			}
			if r.kind != deletes && r.kind != deletesBack {
				continue
			}
			n := min(a.end(j), p.last[i]+1) - r.seq
			first := r.targetSeq
			if r.kind == deletesBack {
				first -= n - 1
			}
			for seq := first; seq < first+n; seq++ {
				p.dead[r.target].add(seq)
			}
		}
	}
	return p, nil
}

// has reports whether a character of s was there.
func (p *past) has(s span, off int) bool {
	seq := s.seq + uint32(off)
	return s.at != none && seq <= p.last[s.author] && !p.dead[s.author].has(seq)
}

// part returns for how many characters of s, from off on, p.has and q.has stay the same, and the former.
func (p *past) part(q past, s span, off int) (n int, has bool) {
	has, other := p.has(s, off), q.has(s, off)
	for n = 1; off+n < int(s.n) && p.has(s, off+n) == has && q.has(s, off+n) == other; n++ {
	}
	return n, has
}

// spans yields all spans in document order.
func (t *tree) spans() iter.Seq[span] {
	return func(yield func(span) bool) {
		for at := uint32(0); at != none; at = t.leaves[at].next {
			l := &t.leaves[at]
			for _, s := range l.spans[:l.n] {
				if !yield(s) {
					return
				}
			}
		}
	}
}
