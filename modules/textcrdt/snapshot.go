package textcrdt

import (
	"cmp"
	"encoding/binary"
	"iter"
	"slices"
)

// Flags of a span in a snapshot, under its number of characters.
const (
	spanDeleted = 1 << iota
	spanSite
	spanLag
	spanSession
	spanFlags = iota
)

// snapshotState is what the spans before say of the next one.
type snapshotState struct {
	site    int // rank, −1 before the first span
	session uint32
	next    []uint32 // seq that a site's next span probably begins with
	lag     []int64  // of a site's sums ahead of its seqs
}

// newSnapshotState begins with the lags of what the sites did last.
func newSnapshotState(lags []int64) snapshotState {
	return snapshotState{site: -1, next: slices.Repeat([]uint32{1}, len(lags)), lag: lags}
}

// AppendSnapshot appends the document's canonical encoding to b: equal for all replicas that know the same operations and have
// purged the same tombstones. Early operations are not in it.
func (d *Doc) AppendSnapshot(b []byte) []byte {
	start := len(b)
	b = appendHeader(b, kindSnapshot, version)

	ranks := make([]int, len(d.authors)) // of the authors, by site
	var order []int
	for i := range d.authors {
		if d.authors[i].last > 0 {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(d.authors[i].site, d.authors[j].site) })
	b = binary.AppendUvarint(b, uint64(len(order)))
	before := Site(0)
	lags := make([]int64, len(order))
	for rank, i := range order {
		a := &d.authors[i]
		ranks[i] = rank
		b = binary.AppendUvarint(b, uint64(a.site-before))
		b = binary.AppendUvarint(b, uint64(a.last))
		b = binary.AppendUvarint(b, uint64(a.lag()))
		b = binary.AppendUvarint(b, uint64(a.session))
		lags[rank] = a.lag()
		before = a.site
	}

	var spans []byte
	n := 0
	state := newSnapshotState(lags)
	for s := range d.canonical() {
		spans = state.append(spans, &s, ranks[s.author])
		n++
	}
	b = binary.AppendUvarint(b, uint64(n))
	b = slices.Grow(b, len(spans)+d.total.bytes+checksumSize)
	b = append(b, spans...)
	for s := range d.spans() {
		if !s.deleted {
			b = append(b, d.text(s)...)
		}
	}
	return appendChecksum(b, start)
}

// canonical yields the spans in document order, as long as they can be.
func (d *Doc) canonical() iter.Seq[span] {
	return func(yield func(span) bool) {
		var long span
		for s := range d.spans() {
			switch {
			case long.n > 0 && long.deleted == s.deleted && long.precedes(&s):
				long.n += s.n
			case long.n > 0 && !yield(long):
				return
			default:
				long = s
			}
		}
		if long.n > 0 {
			yield(long)
		}
	}
}

func (t *snapshotState) append(b []byte, s *span, site int) []byte {
	lag := int64(s.sum) - int64(s.seq)
	flags := when(s.deleted, spanDeleted) | when(site != t.site, spanSite) | when(lag != t.lag[site], spanLag) | when(s.session != t.session, spanSession)
	b = binary.AppendUvarint(b, uint64(s.n)<<spanFlags|uint64(flags))
	if flags&spanSite != 0 {
		b = binary.AppendUvarint(b, uint64(site))
	}
	if flags&spanLag != 0 {
		b = appendSvarint(b, lag-t.lag[site])
	}
	if flags&spanSession != 0 {
		b = binary.AppendUvarint(b, uint64(s.session))
	}
	b = appendSvarint(b, int64(s.seq)-int64(t.next[site]))
	t.advance(s, site, lag)
	return b
}

func (t *snapshotState) advance(s *span, site int, lag int64) {
	t.site, t.session = site, s.session
	t.next[site] = s.seq + s.n
	t.lag[site] = lag
}
