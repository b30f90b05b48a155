package textcrdt

import (
	"maps"
	"slices"
)

// Purge drops tombstones that nobody can need any more, and returns how many. acknowledged says of each site that may still write which version it
// has acknowledged, i.e. knew when it had not yet done what is not in that version. What is in all of them becomes the base of d.
//
// A tombstone goes if
//   - a deletion of it is in the base, so that no operation that d does not have yet refers to it; and
//   - it is the origin of no character outside of the base: all that stands behind it is less than what is still to come, so that this finds the same
//     place without the tombstone, and d can still tell that character's origin to others;
//
// unless an anchor in keep stands at it. (The second is more than the paper asks for, of the right neighbour alone, because the paper's
// operations carry their origins and those of d derive them.) If d does not know all that was acknowledged, nothing goes.
//
// A site that begins later must begin with a version that includes the base.
func (d *Doc) Purge(acknowledged map[Site]Version, keep []Anchor) int {
	return d.purge(acknowledged, keep, deletionKnown|childrenKnown)
}

// conditions are those under which a tombstone goes. Tests take one away.
type conditions uint8

const (
	deletionKnown conditions = 1 << iota
	childrenKnown
)

func (d *Doc) purge(acknowledged map[Site]Version, keep []Anchor, c conditions) int {
	base := d.Version()
	for _, v := range acknowledged {
		if !d.Version().Includes(v) {
			return 0
		}
		for site, seq := range base {
			base[site] = min(seq, v[site])
		}
	}
	maps.DeleteFunc(base, func(_ Site, seq uint32) bool { return seq == 0 })
	p, err := d.at(base)
	if err != nil { // somebody has not acknowledged what was purged before
		return 0
	}
	needed := make([]seqs, len(d.authors))
	if c&childrenKnown != 0 {
		d.addOrigins(needed, p)
	}
	for _, a := range keep {
		if number, ok := d.numbers[a.Site]; ok && a.Seq <= bound {
			needed[number].add(a.Seq, 1)
		}
	}
	for i := range needed {
		needed[i] = needed[i].sorted()
	}
	purged := 0
	var spans []span
	last := gone
	for s := range d.spans() {
		for s.n > 0 {
			fate, n := p.fate(&s, needed[s.author], c)
			part, rest := d.cut(s, n)
			s = rest
			switch fate {
			case gone:
				purged += n
				continue
			case bare:
				part.at, part.size, part.astral = none, 0, 0
			case old, young:
			}
			if end := len(spans) - 1; fate == last && end >= 0 && spans[end].continues(&part) {
				spans[end].extend(count{int(part.n), int(part.size), int(part.astral)})
			} else {
				spans = append(spans, part)
			}
			last = fate
		}
	}
	d.rebuild(spans, p.last)
	return purged
}

// fate is what a purge makes of a character.
type fate uint8

const (
	gone  fate = iota
	bare       // it loses its text, as nobody can ask for it any more
	old        // it stays, and is in the base
	young      // it stays, and is not
)

// fate returns what becomes of the first character of s, and of how many.
func (p *past) fate(s *span, needed seqs, c conditions) (f fate, n int) {
	last := p.last[s.author]
	if s.seq > last {
		return young, int(s.n)
	}
	n = min(int(s.n), int(last-s.seq)+1)
	if !s.deleted {
		return old, n
	}
	dead := true
	if s.at != none {
		dead, n = p.dead[s.author].has(s.seq, uint32(n))
	}
	need, n := needed.has(s.seq, uint32(n))
	switch {
	case !need && (dead || c&deletionKnown == 0):
		return gone, n
	case dead:
		return bare, n
	}
	return old, n
}

// addOrigins adds the origins of all characters outside of the base.
func (d *Doc) addOrigins(needed []seqs, base past) {
	var open []span // what can be the origin of something further on, each less than the next
	for s := range d.spans() {
		v := d.vector(&s)
		for len(open) > 0 && !d.vector(&open[len(open)-1]).less(v) {
			open = open[:len(open)-1]
		}
		outside := base.last[s.author] + 1
		if last := len(open) - 1; last >= 0 {
			o := &open[last]
			o.n = d.lesser(o, v)
			if s.seq >= outside {
				needed[o.author].add(o.seq+o.n-1, 1)
			}
		}
		if first := max(s.seq+1, outside); first < s.seq+s.n {
			needed[s.author].add(first-1, s.seq+s.n-first)
		}
		open = append(open, s)
	}
}

// rebuild makes d anew of its spans, none of which is partly in the base, and forgets what happened up to there.
func (d *Doc) rebuild(spans []span, base []uint32) {
	before := slices.Clone(d.authors)
	for i := range d.authors {
		a := &d.authors[i]
		a.base, a.last = base[i], base[i] // as remember wants it
		a.runs, a.text = nil, nil
	}
	order := bySeq(spans)
	var settled []uint32 // of these: what is in the base
	for _, i := range order {
		s := &spans[i]
		a := &d.authors[s.author]
		if s.seq <= a.base {
			settled = append(settled, i)
		}
		if s.at != none {
			text := before[s.author].text[s.at:][:s.size]
			s.at = uint32(len(a.text))
			a.text = append(a.text, text...)
		}
	}
	d.remember(spans, settled)
	for i := range d.authors {
		a, was := &d.authors[i], &before[i]
		for j := range was.runs {
			if was.end(j) > a.base+1 {
				a.runs = append(a.runs, was.runs[j].from(a.base+1))
			}
		}
		a.last = was.last
	}
	d.build(spans, order)
}

// from returns the part of r that begins with seq, or all of it if it begins later.
func (r run) from(seq uint32) run {
	if r.seq < seq {
		skipped := seq - r.seq
		r.seq, r.sum = seq, r.sum+skipped
		if r.kind == deletesBack {
			r.targetSeq -= skipped
		} else {
			r.targetSeq += skipped
		}
	}
	return r
}
