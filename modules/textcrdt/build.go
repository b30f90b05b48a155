package textcrdt

// build makes the tree of the spans, of which order tells the order by author and seq. Leaves get some room, as edits come everywhere.
func (t *tree) build(spans []span, order []uint32) {
	const fill = fan * 3 / 4
	leafOf := func(i uint32) uint32 { return i / fill }
	for i := range t.authors {
		t.authors[i].index = index{}
	}
	for _, i := range order {
		s := &spans[i]
		t.authors[s.author].index.push(s.seq, leafOf(i))
	}
	n := max((len(spans)+fill-1)/fill, 1)
	t.leaves = make([]leaf, n, n+n/8)
	t.inners, t.root, t.height = nil, 0, 0
	t.total, t.cur = count{}, cursor{}
	nodes := make([]uint32, n)
	for i := range t.leaves {
		l := &t.leaves[i]
		l.n = uint32(copy(l.spans[:fill], spans[min(i*fill, len(spans)):]))
		l.parent, l.next = none, uint32(i+1)
		nodes[i] = uint32(i)
	}
	t.leaves[n-1].next = none
	for height := 0; len(nodes) > 1; height++ {
		nodes = t.buildAbove(nodes, height, fill)
	}
	c, _ := t.sum(t.root, t.height)
	t.total = c
}

// buildAbove makes the parents of the nodes of a height, and returns them.
func (t *tree) buildAbove(nodes []uint32, height, fill int) []uint32 {
	var parents []uint32
	for i, node := range nodes {
		if i%fill == 0 {
			t.root, t.height = uint32(len(t.inners)), height+1
			parents = append(parents, t.root)
			t.inners = append(t.inners, inner{parent: none, height: height + 1})
		}
		in := &t.inners[t.root]
		in.child[in.n] = node
		in.count[in.n], in.least[in.n] = t.sum(node, height)
		in.n++
		*t.parent(node, height) = t.root
	}
	return parents
}
