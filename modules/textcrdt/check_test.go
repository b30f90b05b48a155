package textcrdt

import "pgregory.net/rapid"

// check fails the test if the document's structure is not sound.
func (d *Doc) check(t rapid.TB) {
	t.Helper()
	d.flush()
	leaves := 0
	prev := none // leaf before
	var visit func(node uint32, height int) (count, vector)
	visit = func(node uint32, height int) (count, vector) {
		sum, least := d.sum(node, height)
		if height == 0 {
			leaves++
			if prev != none && d.leaves[prev].next != node {
				t.Fatalf("leaf %d is followed by %d instead of %d", prev, d.leaves[prev].next, node)
			}
			prev = node
			l := &d.leaves[node]
			if l.n == 0 && (d.height > 0 || len(d.leaves) > 1) {
				t.Fatalf("leaf %d is empty", node)
			}
			for i := range l.spans[:l.n] {
				d.checkSpan(t, node, &l.spans[i])
			}
			return sum, least
		}
		in := &d.inners[node]
		if in.height != height {
			t.Fatalf("node %d has height %d instead of %d", node, in.height, height)
		}
		for i, child := range in.child[:in.n] {
			if *d.parent(child, height-1) != node {
				t.Fatalf("node %d has another parent than %d", child, node)
			}
			if c, v := visit(child, height-1); c != in.count[i] || v != in.least[i] {
				t.Fatalf("child %d of %d: %v %v instead of %v %v", i, node, in.count[i], in.least[i], c, v)
			}
		}
		return sum, least
	}
	if c, _ := visit(d.root, d.height); c != d.total {
		t.Fatalf("total %v instead of %v", d.total, c)
	}
	if leaves != len(d.leaves) {
		t.Fatalf("%d of %d leaves are in the tree", leaves, len(d.leaves))
	}
	if up := *d.parent(d.root, d.height); up != none {
		t.Fatalf("the root has parent %d", up)
	}
	for i := range d.authors {
		d.checkAuthor(t, &d.authors[i])
	}
}

func (d *Doc) checkSpan(t rapid.TB, leaf uint32, s *span) {
	t.Helper()
	a := &d.authors[s.author]
	if s.n == 0 || s.seq == 0 || s.seq+s.n-1 > a.last || s.sum+s.n-1 > d.clock || s.session > d.seen {
		t.Fatalf("span %+v of %+v exceeds the numbers", s, a)
	}
	for _, seq := range []uint32{s.seq, s.seq + s.n/2, s.seq + s.n - 1} {
		if at := a.index.leaf(seq); at != leaf {
			t.Fatalf("%d.%d is in leaf %d instead of %d", a.site, seq, at, leaf)
		}
		if i, n := a.run(seq); a.runs[i].kind != inserts || seq-a.runs[i].seq >= n ||
			a.runs[i].sum+seq-a.runs[i].seq != s.sum+seq-s.seq || a.runs[i].session != s.session {
			t.Fatalf("%d.%d is in run %+v of %d", a.site, seq, a.runs[i], n)
		}
	}
	if s.at == none {
		if !s.deleted || s.size != 0 {
			t.Fatalf("span %+v has no text", s)
		}
	} else if c, ok := measure(string(d.text(*s))); !ok || c != (count{int(s.n), int(s.size), int(s.astral)}) {
		t.Fatalf("span %+v has text %q", s, d.text(*s))
	}
}

func (d *Doc) checkAuthor(t rapid.TB, a *author) {
	t.Helper()
	for i := range a.runs {
		if r := &a.runs[i]; r.seq > a.last || i > 0 && r.seq <= a.runs[i-1].seq || i == 0 && r.seq != 1 {
			t.Fatalf("site %d: run %d is %+v", a.site, i, r)
		}
	}
	last := uint32(0)
	for p := range a.index.pages {
		g := &a.index.pages[p]
		if g.first != g.pieces[0].seq {
			t.Fatalf("site %d: page %d begins with %d instead of %d", a.site, p, g.first, g.pieces[0].seq)
		}
		for _, c := range g.pieces {
			if c.seq <= last || c.seq > a.last {
				t.Fatalf("site %d: piece %d follows %d", a.site, c.seq, last)
			}
			last = c.seq
		}
	}
}
