package textcrdt

import "iter"

const fan = 32

// tree holds the spans in document order: a B+tree in slices without pointers, whose nodes refer to each other by index. The leaf 0
// stays the first.
type tree struct {
	authors []author
	leaves  []leaf
	inners  []inner
	root    uint32 // of inners if height > 0, else of leaves
	height  int
	total   count
	cur     cursor
}

type leaf struct {
	n            uint32
	parent, next uint32
	spans        [fan]span
}

type inner struct {
	n      uint32
	parent uint32
	height int // 1: the children are leaves
	child  [fan]uint32
	count  [fan]count
	least  [fan]vector // of the child's characters
}

// cursor is where the tree was changed last. Changes of the leaf's count are carried up only when the cursor leaves it, as
// nearly all edits are where the one before was.
type cursor struct {
	leaf    uint32
	i       int   // span
	before  int   // characters ahead of the span, −1 if nobody asked yet
	pending count // what the nodes above do not have yet
}

func newTree() tree {
	return tree{leaves: []leaf{{parent: none, next: none}}}
}

// span returns the cursor's span, nil in an empty document.
func (t *tree) span() *span {
	if l := &t.leaves[t.cur.leaf]; t.cur.i < int(l.n) {
		return &l.spans[t.cur.i]
	}
	return nil
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

func (t *tree) vector(s *span) vector {
	return vector{s.session, s.sum, t.authors[s.author].site}
}

// changed takes note of a change of the text in the cursor's leaf.
func (t *tree) changed(c count) {
	t.total.add(c)
	t.cur.pending.add(c)
}

// flush carries the count of the cursor's leaf up.
func (t *tree) flush() {
	if t.cur.pending == (count{}) {
		return
	}
	for node, up := t.cur.leaf, t.leaves[t.cur.leaf].parent; up != none; node, up = up, t.inners[up].parent {
		in := &t.inners[up]
		in.count[in.slot(node)].add(t.cur.pending)
	}
	t.cur.pending = count{}
}

func (in *inner) slot(child uint32) int {
	i := 0
	for in.child[i] != child {
		i++
	}
	return i
}

// seek moves the cursor to the character at pos, which exists, and returns its offset in the span.
func (t *tree) seek(pos int) int {
	c := &t.cur
	l := &t.leaves[c.leaf]
	if c.before < 0 || l.n == 0 {
		return t.descend(pos)
	}
	for pos < c.before {
		if c.i == 0 {
			return t.descend(pos)
		}
		c.i--
		c.before -= l.spans[c.i].chars()
	}
	for {
		n := l.spans[c.i].chars()
		if pos < c.before+n {
			return pos - c.before
		}
		if c.i+1 == int(l.n) {
			return t.descend(pos)
		}
		c.i++
		c.before += n
	}
}

func (t *tree) descend(pos int) int {
	t.flush()
	node, before := t.root, 0
	for range t.height {
		in, i := &t.inners[node], 0
		for pos-before >= in.count[i].chars {
			before += in.count[i].chars
			i++
		}
		node = in.child[i]
	}
	l, i := &t.leaves[node], 0
	for pos-before >= l.spans[i].chars() {
		before += l.spans[i].chars()
		i++
	}
	t.cur = cursor{leaf: node, i: i, before: before}
	return pos - before
}

// start moves the cursor to the start of the document.
func (t *tree) start() {
	if t.cur.leaf != 0 {
		t.flush()
	}
	t.cur = cursor{pending: t.cur.pending}
}

// visit moves the cursor to a span, without asking for its position.
func (t *tree) visit(leaf uint32, i int) {
	if leaf != t.cur.leaf {
		t.flush()
		t.cur = cursor{leaf: leaf, i: i, before: -1}
	} else if i != t.cur.i {
		t.cur.i, t.cur.before = i, -1
	}
}

// find moves the cursor to an author's character and returns its offset in the span; not ok if there is none.
func (t *tree) find(author, seq uint32) (off int, ok bool) {
	if s := t.span(); s != nil && s.has(author, seq) {
		return int(seq - s.seq), true
	}
	at := t.authors[author].index.leaf(seq)
	if at == none {
		return 0, false
	}
	l := &t.leaves[at]
	for i := range l.spans[:l.n] {
		if s := &l.spans[i]; s.has(author, seq) {
			t.visit(at, i)
			return int(seq - s.seq), true
		}
	}
	return 0, false
}

// position returns the number of characters ahead of the cursor's span.
func (t *tree) position() int {
	if t.cur.before >= 0 {
		return t.cur.before
	}
	before := t.ahead(t.cur.leaf).chars
	l := &t.leaves[t.cur.leaf]
	for i := range l.spans[:t.cur.i] {
		before += l.spans[i].chars()
	}
	t.cur.before = before
	return before
}

// ahead returns the count of the text ahead of a leaf.
func (t *tree) ahead(leaf uint32) (c count) {
	t.flush()
	for node, up := leaf, t.leaves[leaf].parent; up != none; node, up = up, t.inners[up].parent {
		in := &t.inners[up]
		for i := range in.slot(node) {
			c.add(in.count[i])
		}
	}
	return c
}

// less moves the cursor to the nearest span that begins with a vector less than v: of those to the right of it if step is 1, to the
// left if −1. Not ok if there is none; then the cursor stays.
func (t *tree) less(v vector, step int) bool {
	at := t.cur.leaf
	if i, ok := t.lessInLeaf(at, t.cur.i+step, v, step); ok {
		t.visit(at, i)
		return true
	}
	for node, up := at, t.leaves[at].parent; up != none; node, up = up, t.inners[up].parent {
		in := &t.inners[up]
		i, ok := in.less(in.slot(node)+step, v, step)
		if !ok {
			continue
		}
		at = in.child[i]
		for range in.height - 1 {
			in = &t.inners[at]
			i, _ = in.less(in.from(step), v, step)
			at = in.child[i]
		}
		from := 0
		if step < 0 {
			from = int(t.leaves[at].n) - 1
		}
		i, _ = t.lessInLeaf(at, from, v, step)
		t.visit(at, i)
		return true
	}
	return false
}

func (t *tree) lessInLeaf(at uint32, i int, v vector, step int) (int, bool) {
	l := &t.leaves[at]
	for ; 0 <= i && i < int(l.n); i += step {
		if t.vector(&l.spans[i]).less(v) {
			return i, true
		}
	}
	return 0, false
}

// from returns the child to begin with for a search in the direction of step.
func (in *inner) from(step int) int {
	if step < 0 {
		return int(in.n) - 1
	}
	return 0
}

func (in *inner) less(i int, v vector, step int) (int, bool) {
	for ; 0 <= i && i < int(in.n); i += step {
		if in.least[i].less(v) {
			return i, true
		}
	}
	return 0, false
}

// end moves the cursor to the last span.
func (t *tree) end() {
	node := t.root
	for range t.height {
		node = t.inners[node].child[t.inners[node].n-1]
	}
	t.visit(node, max(int(t.leaves[node].n)-1, 0))
}
