package textcrdt

import (
	"math"
	"unicode/utf8"
)

// Load returns the document of a snapshot, packed or not, with that as its base. It writes as site, in a session that is at least
// the given one; site 0 only applies. The error wraps [ErrMalformed].
func Load(site Site, session uint32, snapshot []byte) (*Doc, error) {
	body, err := openAs(snapshot, kindSnapshot)
	if err != nil {
		return nil, err
	}
	r := snapshotDecoder{decoder: decoder{b: body}, doc: New(0, session)}
	r.readVersion()
	spans := r.readSpans()
	order := r.check(spans)
	spans = r.readText(spans)
	if r.err != nil {
		return nil, r.err
	}
	d := r.doc
	if len(order) != len(spans) { // long ones were cut
		order = bySeq(spans)
	}
	d.build(spans, order)
	d.remember(spans, order)
	if site != 0 {
		d.own = d.author(site)
	}
	return d, nil
}

type snapshotDecoder struct {
	decoder
	doc *Doc
}

func (r *snapshotDecoder) readVersion() {
	d := r.doc
	n := r.count()
	d.authors = make([]author, 0, n)
	site := uint64(0)
	for range n {
		more := r.uvarint(math.MaxUint32 - site)
		site += more
		last := uint32(r.uvarint(bound))
		if more == 0 || last == 0 {
			r.fail("site %d twice, or nothing of it", site)
			return
		}
		sum := last + uint32(r.uvarint(uint64(bound-last)))
		session := uint32(r.uvarint(bound))
		d.clock, d.seen = max(d.clock, sum), max(d.seen, session)
		d.numbers[Site(site)] = uint32(len(d.authors))
		d.authors = append(d.authors, author{site: Site(site), last: last, sum: sum, session: session, base: last})
	}
}

func (r *snapshotDecoder) readSpans() []span {
	spans := make([]span, r.count())
	lags := make([]int64, len(r.doc.authors))
	for i := range lags {
		lags[i] = r.doc.authors[i].lag()
	}
	state := newSnapshotState(lags)
	for i := range spans {
		s := &spans[i]
		head := r.uvarint(bound<<spanFlags | (1<<spanFlags - 1))
		s.n = uint32(head >> spanFlags)
		s.deleted = head&spanDeleted != 0
		site := state.site
		if head&spanSite != 0 {
			site = int(r.uvarint(math.MaxUint32))
		}
		if s.n == 0 || site < 0 || site >= len(r.doc.authors) || head&spanSite != 0 && site == state.site {
			r.fail("a span of nobody, or of nothing")
			return nil
		}
		lag := state.lag[site]
		if head&spanLag != 0 {
			lag = r.relative(lag, 0)
		}
		s.session = state.session
		if head&spanSession != 0 {
			s.session = uint32(r.uvarint(bound))
		}
		s.author = uint32(site)
		s.seq = uint32(r.relative(int64(state.next[site]), 1))
		if head&spanLag != 0 && lag == state.lag[site] || head&spanSession != 0 && s.session == state.session {
			r.fail("a span is not told in the shortest way")
		}
		a := &r.doc.authors[site]
		end := int(s.seq) + int(s.n) - 1
		if end > int(a.last) || lag > a.lag() || s.session > a.session || end == int(a.last) && (lag < a.lag() || s.session < a.session) {
			r.fail("a span contradicts the last of its site")
		}
		s.sum = uint32(int64(s.seq) + lag)
		if i > 0 && spans[i-1].deleted == s.deleted && spans[i-1].precedes(s) {
			r.fail("two spans where one suffices")
		}
		if r.err != nil {
			return nil
		}
		state.advance(s, site, lag)
	}
	return spans
}

// check refuses spans that contradict each other, and returns them by author and seq.
func (r *snapshotDecoder) check(spans []span) []uint32 {
	order := bySeq(spans)
	for i := 1; i < len(order); i++ {
		s, b := &spans[order[i-1]], &spans[order[i]]
		if s.author == b.author && (s.seq+s.n > b.seq || s.sum-s.seq > b.sum-b.seq || s.session > b.session) {
			r.fail("two spans contradict each other")
		}
	}
	return order
}

// bySeq returns the indexes of spans by author and seq. It sorts by radix, as sorting would else be half of the time of Load.
func bySeq(spans []span) []uint32 {
	const bits, digits = 11, 1 << 11
	key := func(i uint32) uint64 { return uint64(spans[i].author)<<32 | uint64(spans[i].seq) }
	order, sorted := make([]uint32, len(spans)), make([]uint32, len(spans))
	greatest := uint64(0)
	for i := range order {
		order[i] = uint32(i)
		greatest = max(greatest, key(uint32(i)))
	}
	for shift := 0; greatest>>shift > 0; shift += bits {
		var starts [digits + 1]uint32
		for _, i := range order {
			starts[key(i)>>shift%digits+1]++
		}
		for digit := range digits {
			starts[digit+1] += starts[digit]
		}
		for _, i := range order {
			start := &starts[key(i)>>shift%digits]
			sorted[*start] = i
			*start++
		}
		order, sorted = sorted, order
	}
	return order
}

// readText gives the spans their text, and cuts those that are too long for a tree.
func (r *snapshotDecoder) readText(spans []span) []span {
	text := r.b
	total := utf8.RuneCount(text)
	chars := 0
	for i := range spans {
		chars += spans[i].chars()
	}
	if chars != total || !utf8.Valid(text) {
		r.fail("the text has %d characters, the spans have %d", total, chars)
	}
	if r.err != nil {
		return nil
	}
	cut := make([]span, 0, len(spans)+chars/maxSpan)
	sizes := make([]uint32, len(r.doc.authors))
	for _, s := range spans {
		if s.deleted {
			s.at = none
			cut = append(cut, s)
			continue
		}
		for rest := s.n; rest > 0; rest -= s.n {
			s.n = min(rest, maxSpan)
			bytes, astral := int(s.n), 0
			if total < len(text) {
				bytes, astral = prefix(r.b, int(s.n))
			}
			s.at, s.size, s.astral = sizes[s.author], uint32(bytes), uint16(astral)
			sizes[s.author] += s.size
			r.b = r.b[bytes:]
			cut = append(cut, s)
			s.seq += s.n
			s.sum += s.n
		}
	}
	for i, size := range sizes {
		r.doc.authors[i].text = make([]byte, 0, size)
	}
	for i := range cut {
		if s := &cut[i]; !s.deleted {
			a := &r.doc.authors[s.author]
			a.text = append(a.text, text[:s.size]...)
			text = text[s.size:]
		}
	}
	return cut
}

// remember notes what the spans tell of the authors' deeds.
func (d *Doc) remember(spans []span, order []uint32) {
	next := make([]uint32, len(d.authors)) // seq behind what is noted
	for i := range next {
		next[i] = 1
	}
	for _, i := range order {
		s := &spans[i]
		a := &d.authors[s.author]
		if s.seq > next[s.author] {
			a.runs = append(a.runs, run{kind: forgotten, seq: next[s.author]})
		}
		if i := len(a.runs) - 1; i < 0 || a.runs[i].kind != inserts || a.runs[i].sum+s.seq-a.runs[i].seq != s.sum || a.runs[i].session != s.session {
			a.runs = append(a.runs, run{kind: inserts, seq: s.seq, sum: s.sum, session: s.session})
		}
		next[s.author] = s.seq + s.n
	}
	for i := range d.authors {
		if a := &d.authors[i]; next[i] <= a.last {
			a.runs = append(a.runs, run{kind: forgotten, seq: next[i]})
		}
	}
}
