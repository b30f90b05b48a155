package textcrdt

// text returns the text of s.
func (t *tree) text(s span) []byte { return t.authors[s.author].text[s.at : s.at+s.size] }

// cut returns the first n characters of s, and the others.
func (t *tree) cut(s span, n int) (left, right span) {
	left, right = s, s
	left.n = uint32(n)
	right.n -= left.n
	right.seq += left.n
	right.sum += left.n
	if s.at != none {
		c := t.count(&s, 0, n)
		left.size, left.astral = uint32(c.bytes), uint16(c.astral)
		right.at += left.size
		right.size -= left.size
		right.astral -= left.astral
	}
	return left, right
}

// count measures the n characters of s from off on, deleted or not.
func (t *tree) count(s *span, off, n int) count {
	if s.size == s.n {
		return count{n, n, 0}
	}
	text := t.text(*s)
	ahead, _ := prefix(text, off)
	bytes, astral := prefix(text[ahead:], n)
	return count{n, bytes, astral}
}

// middle returns the n characters of s from off on.
func (t *tree) middle(s span, off, n int) span {
	if off > 0 {
		_, s = t.cut(s, off)
	}
	if n < int(s.n) {
		s, _ = t.cut(s, n)
	}
	return s
}

// insert puts s behind the first off characters of the cursor's span, and moves the cursor to it.
func (t *tree) insert(off int, s *span) {
	p := t.span()
	switch {
	case p != nil && off == int(p.n) && p.continues(s):
		c := s.count()
		p.extend(c)
		t.changed(c)
		return
	case p == nil || off == 0:
		t.replace(0, *s)
	case off < int(p.n):
		left, right := t.cut(*p, off)
		ahead := left.chars()
		t.replace(1, left, *s, right)
		t.advance(ahead)
	default:
		ahead := p.chars()
		t.replace(1, *p, *s)
		t.advance(ahead)
	}
	t.changed(s.count())
	t.authors[s.author].index.push(s.seq, t.cur.leaf)
	t.lower(t.vector(s))
}

// advance moves the cursor to the next span of its leaf; the present one has the given number of characters.
func (t *tree) advance(chars int) {
	t.cur.i++
	if t.cur.before >= 0 {
		t.cur.before += chars
	}
}

// bury turns k characters of the cursor's span, from off on, into tombstones.
func (t *tree) bury(off, k int) {
	l, i := &t.leaves[t.cur.leaf], t.cur.i
	s := &l.spans[i]
	gone := t.count(s, off, k)
	begins, ends := off == 0, off+k == int(s.n)
	switch {
	case begins && i > 0 && l.spans[i-1].takesFirst(s, k):
		l.spans[i-1].extend(gone)
		s.drop(gone)
		s.seq += uint32(k)
		s.sum += uint32(k)
		s.at += uint32(gone.bytes)
		if ends {
			l.remove(i)
			t.cur.i--
			t.join()
		}
	case ends && i+1 < int(l.n) && l.spans[i+1].takesLast(s, k):
		next := &l.spans[i+1]
		next.extend(gone)
		next.seq -= uint32(k)
		next.sum -= uint32(k)
		next.at -= uint32(gone.bytes)
		s.drop(gone)
		if begins {
			l.remove(i)
		}
	case begins && ends:
		s.deleted = true
	default:
		t.cutOut(off, k)
	}
	t.changed(count{-gone.chars, -gone.bytes, -gone.astral})
}

// cutOut makes a tombstone of its own of k characters of the cursor's span, but not of all.
func (t *tree) cutOut(off, k int) {
	dead := *t.span()
	left, dead := t.cut(dead, off)
	dead, right := t.cut(dead, k)
	dead.deleted = true
	switch {
	case left.n == 0:
		t.replace(1, dead, right)
	case right.n == 0:
		t.replace(1, left, dead)
	default:
		t.replace(1, left, dead, right)
	}
}

// join makes one of the cursor's span, a tombstone, and the next one, if that continues it.
func (t *tree) join() {
	l, i := &t.leaves[t.cur.leaf], t.cur.i
	if i+1 < int(l.n) && l.spans[i].continues(&l.spans[i+1]) {
		next := &l.spans[i+1]
		l.spans[i].extend(count{int(next.n), int(next.size), int(next.astral)})
		l.remove(i + 1)
	}
}

func (l *leaf) remove(i int) {
	copy(l.spans[i:l.n], l.spans[i+1:l.n])
	l.n--
}

// replace puts spans in the place of old ones, from the cursor on, and leaves the cursor at the first. They stay in one leaf.
func (t *tree) replace(old int, spans ...span) {
	if int(t.leaves[t.cur.leaf].n)+len(spans)-old > fan {
		t.split()
	}
	l, i := &t.leaves[t.cur.leaf], t.cur.i
	copy(l.spans[i+len(spans):], l.spans[i+old:l.n])
	copy(l.spans[i:], spans)
	l.n += uint32(len(spans) - old)
}

// split moves the right part of the cursor's leaf to a new one, and the cursor with it if it was there. If the cursor is at the end,
// nearly all stays, so that who writes on leaves full leaves behind.
func (t *tree) split() {
	t.flush()
	at, right := t.cur.leaf, uint32(len(t.leaves))
	half := fan / 2
	if t.cur.i >= fan-2 {
		half = t.cur.i
	}
	t.leaves = append(t.leaves, leaf{})
	l, r := &t.leaves[at], &t.leaves[right]
	r.n = uint32(copy(r.spans[:], l.spans[half:l.n]))
	l.n = uint32(half)
	r.next, l.next = l.next, right
	for i := range r.spans[:r.n] {
		s := &r.spans[i]
		a := &t.authors[s.author]
		a.index.set(s.seq, s.n, a.last, right)
	}
	if t.cur.i >= half {
		t.cur.leaf, t.cur.i = right, t.cur.i-half
	}
	t.adopt(at, right, 0)
}

// adopt puts node, of the given height, behind its new left neighbour under the same parent.
func (t *tree) adopt(left, node uint32, height int) {
	up := *t.parent(left, height)
	switch {
	case up == none:
		up = uint32(len(t.inners))
		t.inners = append(t.inners, inner{n: 1, parent: none, height: height + 1, child: [fan]uint32{left}})
		t.root, t.height = up, height+1
		*t.parent(left, height) = up
	case t.inners[up].n == fan:
		t.splitInner(up, t.inners[up].slot(left))
		up = *t.parent(left, height)
	}
	in := &t.inners[up]
	slot := in.slot(left) + 1
	copy(in.child[slot+1:], in.child[slot:in.n])
	copy(in.count[slot+1:], in.count[slot:in.n])
	copy(in.least[slot+1:], in.least[slot:in.n])
	in.child[slot] = node
	in.n++
	*t.parent(node, height) = up
	t.renew(left, height)
	t.renew(node, height)
}

// splitInner makes two nodes of a full one, for a child behind slot.
func (t *tree) splitInner(node uint32, slot int) {
	half := fan / 2
	if slot == fan-1 {
		half = slot
	}
	right := uint32(len(t.inners))
	t.inners = append(t.inners, inner{height: t.inners[node].height})
	in, r := &t.inners[node], &t.inners[right]
	r.n = uint32(copy(r.child[:], in.child[half:]))
	copy(r.count[:], in.count[half:])
	copy(r.least[:], in.least[half:])
	in.n = uint32(half)
	for _, child := range r.child[:r.n] {
		*t.parent(child, r.height-1) = right
	}
	t.adopt(node, right, in.height)
}

// parent returns where the parent of a node of that height is noted; leaves have height 0.
func (t *tree) parent(node uint32, height int) *uint32 {
	if height == 0 {
		return &t.leaves[node].parent
	}
	return &t.inners[node].parent
}

// renew sums a node up for the nodes above it.
func (t *tree) renew(node uint32, height int) {
	for up := *t.parent(node, height); up != none; up = t.inners[up].parent {
		in := &t.inners[up]
		slot := in.slot(node)
		in.count[slot], in.least[slot] = t.sum(node, height)
		node, height = up, height+1
	}
}

// sum returns count and least vector of a node.
func (t *tree) sum(node uint32, height int) (c count, least vector) {
	least = vector{session: none, sum: none}
	if height == 0 {
		l := &t.leaves[node]
		for i := range l.spans[:l.n] {
			s := &l.spans[i]
			c.add(s.count())
			if v := t.vector(s); v.less(least) {
				least = v
			}
		}
		return c, least
	}
	in := &t.inners[node]
	for i := range in.n {
		c.add(in.count[i])
		if in.least[i].less(least) {
			least = in.least[i]
		}
	}
	return c, least
}

// lower takes note of a new character's vector in the nodes above the cursor's leaf.
func (t *tree) lower(v vector) {
	for node, up := t.cur.leaf, t.leaves[t.cur.leaf].parent; up != none; node, up = up, t.inners[up].parent {
		in := &t.inners[up]
		slot := in.slot(node)
		if !v.less(in.least[slot]) {
			return
		}
		in.least[slot] = v
	}
}
