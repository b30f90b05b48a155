package textcrdt

import "sort"

// author is what a document knows of a site.
type author struct {
	site         Site
	last         uint32 // seq of the last thing that it did
	sum, session uint32 // of that
	base         uint32 // seq of the last thing of which the outcome alone is known
	runs         []run  // what it did, by seq
	text         []byte // of its characters, by seq those after base
	index        index
}

// run is a run of ids of one kind with consecutive sums. It goes up to the next one.
type run struct {
	kind         kind
	seq          uint32
	sum, session uint32
	target       uint32 // of a deletion: the author
	targetSeq    uint32 // and the seq of the first
}

type kind uint8

const (
	inserts kind = iota
	deletes
	deletesBack
	forgotten // from before the base, and no character that is still there
)

// lag returns how far the author's sums are ahead of its seqs, in the end: they never fall back.
func (a *author) lag() int64 { return int64(a.sum) - int64(a.last) }

// run returns the index of the run that has seq, which the author did, and how many ids it has.
func (a *author) run(seq uint32) (i int, n uint32) {
	i = sort.Search(len(a.runs), func(i int) bool { return a.runs[i].seq > seq }) - 1
	return i, a.end(i) - a.runs[i].seq
}

// end returns the seq behind run i.
func (a *author) end(i int) uint32 {
	if i+1 < len(a.runs) {
		return a.runs[i+1].seq
	}
	return a.last + 1
}

// inserted records that the author inserted n characters.
func (a *author) inserted(sum, session, n uint32) {
	if i := len(a.runs) - 1; i < 0 || a.runs[i].kind != inserts || a.sum+1 != sum || a.session != session {
		a.runs = append(a.runs, run{kind: inserts, seq: a.last + 1, sum: sum, session: session})
	}
	a.advance(sum, session, n)
}

// deleted records that the author deleted n characters of target, from seq on; the greatest of their sums is newest. A run does not
// go on with a target that is as new as the run itself, because then no order of runs could put the target first.
func (a *author) deleted(sum, session, n, target, seq uint32, back bool, newest uint32) {
	if !a.goesOn(sum, session, n, target, seq, back, newest) {
		k := deletes
		if back && n > 1 {
			k = deletesBack
		}
		a.runs = append(a.runs, run{kind: k, seq: a.last + 1, sum: sum, session: session, target: target, targetSeq: seq})
	}
	a.advance(sum, session, n)
}

// goesOn reports whether the deletion belongs to the author's last run, and turns that around if it was of one character.
func (a *author) goesOn(sum, session, n, target, seq uint32, back bool, newest uint32) bool {
	i := len(a.runs) - 1
	if i < 0 || a.runs[i].target != target || a.sum+1 != sum || a.session != session || newest >= a.runs[i].sum {
		return false
	}
	r := &a.runs[i]
	had := a.last + 1 - r.seq
	switch {
	case r.kind == deletes && (n == 1 || !back) && seq == r.targetSeq+had:
		return true
	case (r.kind == deletesBack || r.kind == deletes && had == 1) && (n == 1 || back) && seq == r.targetSeq-had:
		r.kind = deletesBack
		return true
	}
	return false
}

func (a *author) advance(sum, session, n uint32) {
	a.last += n
	a.sum, a.session = sum+n-1, session
}
