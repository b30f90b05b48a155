package textcrdt

import (
	"slices"
	"sort"
)

// index finds the leaf of each of an author's characters. It maps ranges of seqs to leaves; seqs of deletions belong to any range.
// Pages bound what an insertion moves.
type index struct{ pages []page }

type page struct {
	first  uint32 // pieces[0].seq
	pieces []piece
}

// piece says that the characters from seq on, up to the next piece, are in leaf.
type piece struct{ seq, leaf uint32 }

const maxPage = 128

// leaf returns the leaf that has seq, if any has.
func (x *index) leaf(seq uint32) uint32 {
	p, i := x.locate(seq)
	if i < 0 {
		return none
	}
	return x.pages[p].pieces[i].leaf
}

// locate returns page and index of the piece that seq belongs to, index −1 if there is none.
func (x *index) locate(seq uint32) (p, i int) {
	p = len(x.pages) - 1
	if p < 0 || seq < x.pages[p].first {
		p = sort.Search(len(x.pages), func(p int) bool { return x.pages[p].first > seq }) - 1
		if p < 0 {
			return 0, -1
		}
	}
	pieces := x.pages[p].pieces
	if last := len(pieces) - 1; pieces[last].seq <= seq {
		return p, last
	}
	return p, sort.Search(len(pieces), func(i int) bool { return pieces[i].seq > seq }) - 1
}

// push says that the characters from seq on, greater than all before, are in leaf.
func (x *index) push(seq, leaf uint32) {
	p, i := x.locate(seq)
	if i < 0 || x.pages[p].pieces[i].leaf != leaf {
		x.insert(p, i+1, piece{seq, leaf})
	}
}

// set moves the n characters from seq on, which the index has, to leaf; last is the author's last seq.
func (x *index) set(seq, n, last, leaf uint32) {
	end := seq + n
	if end <= last {
		x.cut(end)
	}
	x.cut(seq)
	for p, i := x.locate(seq); p < len(x.pages); p, i = p+1, 0 {
		for pieces := x.pages[p].pieces; i < len(pieces); i++ {
			if pieces[i].seq >= end {
				return
			}
			pieces[i].leaf = leaf
		}
	}
}

// cut makes a piece begin at seq.
func (x *index) cut(seq uint32) {
	if p, i := x.locate(seq); x.pages[p].pieces[i].seq != seq {
		x.insert(p, i+1, piece{seq, x.pages[p].pieces[i].leaf})
	}
}

func (x *index) insert(p, i int, c piece) {
	if len(x.pages) == 0 {
		x.pages = append(x.pages, page{})
	}
	if pieces := x.pages[p].pieces; len(pieces) == maxPage {
		half := maxPage / 2
		if i == maxPage && p == len(x.pages)-1 {
			half = maxPage - 1 // seqs grow: leave full pages behind
		}
		right := append(make([]piece, 0, maxPage), pieces[half:]...)
		x.pages[p].pieces = pieces[:half]
		x.pages = slices.Insert(x.pages, p+1, page{right[0].seq, right})
		if i > half {
			p, i = p+1, i-half
		}
	}
	g := &x.pages[p]
	g.pieces = slices.Insert(g.pieces, i, c)
	g.first = g.pieces[0].seq
}
