package textcrdt

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
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
		for s.n > 0 {
			has, n := p.has(&s)
			if has {
				b = append(b, d.text(d.middle(s, 0, n))...)
			}
			_, s = d.cut(s, n)
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
		for s.n > 0 {
			was, n := old.has(&s)
			is, m := now.has(&s)
			n = min(n, m)
			part, rest := d.cut(s, n)
			s = rest
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
				text = append(text, d.text(part)...)
				end = pos
			case was && !is:
				edits[len(edits)-1].Deleted += n
				end = pos
			}
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

func (d *Doc) at(v Version) (past, error) {
	if !v.Includes(d.Base()) {
		return past{}, ErrBase
	}
	if !d.Version().Includes(v) {
		return past{}, ErrEarly
	}
	last := make([]uint32, len(d.authors))
	for i := range d.authors {
		last[i] = v[d.authors[i].site]
	}
	return past{last, d.deletedBy(last)}, nil
}

// deletedBy returns which of each author's characters were deleted, since the base, by what each author did up to its last.
func (d *Doc) deletedBy(last []uint32) []seqs {
	dead := make([]seqs, len(d.authors))
	for i := range d.authors {
		a := &d.authors[i]
		for j, r := range a.runs {
			if r.seq > last[i] {
				break
			}
			n := min(a.end(j), last[i]+1) - r.seq
			switch r.kind {
			case deletes:
				dead[r.target].add(r.targetSeq, n)
			case deletesBack:
				dead[r.target].add(r.targetSeq-(n-1), n)
			case inserts, forgotten:
			}
		}
	}
	for i := range dead {
		dead[i] = dead[i].sorted()
	}
	return dead
}

// has returns whether the first character of s was there, and for how many this is so.
func (p *past) has(s *span) (has bool, n int) {
	if s.at == none || s.seq > p.last[s.author] {
		return false, int(s.n)
	}
	dead, n := p.dead[s.author].has(s.seq, s.n)
	return !dead, min(n, int(p.last[s.author]-s.seq)+1)
}

// seqs is a set of an author's seqs, as stretches that do not touch, once it is sorted. How many seqs they are does not matter: deleting what is deleted
// takes seqs, too, and is cheap to do.
type seqs []seqRange

type seqRange struct{ from, to uint32 } // without to

func (s *seqs) add(seq, n uint32) {
	if last := len(*s) - 1; last >= 0 && (*s)[last].to == seq {
		(*s)[last].to += n
		return
	}
	*s = append(*s, seqRange{seq, seq + n})
}

// sorted makes s what it has to be.
func (s seqs) sorted() seqs {
	slices.SortFunc(s, func(a, b seqRange) int { return cmp.Compare(a.from, b.from) })
	joined := s[:0]
	for _, r := range s {
		if last := len(joined) - 1; last >= 0 && r.from <= joined[last].to {
			joined[last].to = max(joined[last].to, r.to)
		} else {
			joined = append(joined, r)
		}
	}
	return joined
}

// has returns whether seq is in s, and for how many of the n from there on this is so.
func (s seqs) has(seq, n uint32) (bool, int) {
	i := sort.Search(len(s), func(i int) bool { return s[i].to > seq })
	switch {
	case i == len(s):
		return false, int(n)
	case s[i].from <= seq:
		return true, int(min(n, s[i].to-seq))
	}
	return false, int(min(n, s[i].from-seq))
}
