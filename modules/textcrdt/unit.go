package textcrdt

// UTF16 returns how many UTF-16 units the first pos characters take. Positions outside of the text count as its start or end.
func (d *Doc) UTF16(pos int) int {
	c := d.until(pos)
	return c.chars + c.astral
}

// Bytes returns how many bytes of UTF-8 the first pos characters take.
func (d *Doc) Bytes(pos int) int { return d.until(pos).bytes }

// FromUTF16 returns how many characters are whole in the first off UTF-16 units.
func (d *Doc) FromUTF16(off int) int {
	return d.within(off, func(c count) int { return c.chars + c.astral })
}

// FromBytes returns how many characters are whole in the first off bytes.
func (d *Doc) FromBytes(off int) int {
	return d.within(off, func(c count) int { return c.bytes })
}

// until returns the count of the first pos characters.
func (d *Doc) until(pos int) count {
	if pos <= 0 {
		return count{}
	}
	if pos >= d.Len() {
		return d.total
	}
	off := d.seek(pos)
	c := d.ahead(d.cur.leaf)
	l := &d.leaves[d.cur.leaf]
	for i := range l.spans[:d.cur.i] {
		c.add(l.spans[i].count())
	}
	s := d.middle(*d.span(), 0, off)
	c.add(s.count())
	return c
}

// within returns the number of characters that end within the first off units of the given measure.
func (d *Doc) within(off int, units func(count) int) int {
	if off <= 0 {
		return 0
	}
	if off >= units(d.total) {
		return d.Len()
	}
	d.flush()
	node, c := d.root, count{}
	pass := func(next count) bool {
		next.add(c)
		if units(next) > off {
			return false
		}
		c = next
		return true
	}
	for range d.height {
		in, i := &d.inners[node], 0
		for pass(in.count[i]) {
			i++
		}
		node = in.child[i]
	}
	l, i := &d.leaves[node], 0
	for pass(l.spans[i].count()) {
		i++
	}
	for text := d.text(l.spans[i]); ; {
		bytes, astral := prefix(text, 1)
		if !pass(count{1, bytes, astral}) {
			return c.chars
		}
		text = text[bytes:]
	}
}
