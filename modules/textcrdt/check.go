package textcrdt

import (
	"fmt"
	"sort"
)

// Check returns nil if [Doc.Apply] would take all of ops now, with none to wait and none to refuse, else an [*OpError] of the
// first that it would not. It changes nothing.
func (d *Doc) Check(ops []Op) error {
	t := trial{Doc: d, done: map[Site][]Op{}, clock: d.clock}
	for i := range ops {
		if err := t.take(ops[i]); err != nil {
			return &OpError{i, err}
		}
	}
	return nil
}

// known is what an operation is judged by: a document, or one with operations that are on trial.
type known interface {
	Clock() uint32
	last(Site) stretch             // the last thing that a site did, n is 1; zero if it did nothing
	did(ID) stretch                // the rest of a run of things, from one on that the site did
	chars(ID) (s stretch, ok bool) // the run of characters that has the given one
}

// stretch is a run of ids of one site.
type stretch struct {
	kind         kind
	seq, n       uint32
	sum, session uint32
}

// shape tells what is wrong with op whatever else is known, and measures its text.
func (op *Op) shape() (count, error) {
	c, ok := measure(op.Text)
	switch {
	case op.Site == 0 || op.Seq == 0 || op.Sum == 0 || op.N < 1:
		return c, op.malformed("has no id")
	case int(op.Seq)+op.N-1 > bound || int(op.Sum)+op.N-1 > bound || op.Session > bound:
		return c, op.malformed("exceeds the numbers")
	case !ok || !op.Delete && c.chars != op.N || op.Delete && c.chars > 0:
		return c, op.malformed("has another text than it says")
	case op.Ref.Site == 0 && (op.Delete || op.Ref.Seq > 0) || op.Ref.Site > 0 && op.Ref.Seq == 0:
		return c, op.malformed("refers to no id")
	case op.Back && (!op.Delete || int(op.Ref.Seq) < op.N):
		return c, op.malformed("goes back too far")
	case op.Ref.Site == op.Site && op.Ref.Seq >= op.Seq, op.Delete && !op.Back && op.Ref.Site == op.Site && int(op.Ref.Seq)+op.N > int(op.Seq):
		return c, op.malformed("refers to itself")
	}
	return c, nil
}

// admit judges op, whose shape is right, and takes from its front what is known already; nothing is left then if all is.
func admit(k known, op *Op) error {
	last := k.last(op.Site)
	if op.Seq > last.seq+1 {
		return fmt.Errorf("%w: %v follows %v", ErrEarly, op.ID, ID{op.Site, last.seq})
	}
	for op.N > 0 && op.Seq <= last.seq {
		s := k.did(op.ID)
		if s.kind != forgotten && ((s.kind != inserts) != op.Delete || s.sum != op.Sum || s.session != op.Session) {
			return op.malformed("is known as something else")
		}
		op.skip(min(op.N, int(s.n)))
	}
	switch {
	case op.N == 0:
		return nil
	case op.Sum > k.Clock()+1:
		return fmt.Errorf("%w: %v was made at %d, it is %d", ErrEarly, op.ID, op.Sum, k.Clock())
	case op.Sum <= last.sum || op.Session < last.session:
		return op.malformed("is less than what precedes it")
	case op.Delete:
		return op.admitTargets(k)
	case op.Ref != ID{}:
		_, err := op.admitRef(k, op.Ref, op.Sum)
		return err
	}
	return nil
}

func (op *Op) admitTargets(k known) error {
	for i := 0; i < op.N; {
		id := op.target(i)
		s, err := op.admitRef(k, id, op.Sum+uint32(i))
		if err != nil {
			return err
		}
		if op.Back {
			i += int(id.Seq-s.seq) + 1
		} else {
			i += int(s.seq + s.n - id.Seq)
		}
	}
	return nil
}

// admitRef judges a character that op refers to, at op's given sum.
func (op *Op) admitRef(k known, id ID, sum uint32) (stretch, error) {
	s, ok := k.chars(id)
	if !ok {
		if id.Seq > k.last(id.Site).seq {
			return s, fmt.Errorf("%w: %v refers to %v", ErrEarly, op.ID, id)
		}
		return s, op.malformed("refers to what is no character")
	}
	if s.session > op.Session || s.sum+(id.Seq-s.seq) >= sum {
		return s, op.malformed("is not greater than what it refers to")
	}
	return s, nil
}

// target returns the i-th target of a deletion.
func (op *Op) target(i int) ID {
	if op.Back {
		return ID{op.Ref.Site, op.Ref.Seq - uint32(i)}
	}
	return ID{op.Ref.Site, op.Ref.Seq + uint32(i)}
}

// skip takes the first n ids from op.
func (op *Op) skip(n int) {
	op.N -= n
	op.Seq += uint32(n)
	op.Sum += uint32(n)
	if op.Delete {
		op.Ref = op.target(n)
		return
	}
	bytes, _ := prefix(op.Text, n)
	op.Text = op.Text[bytes:]
	op.Ref = ID{op.Site, op.Seq - 1}
}

func (op *Op) malformed(why string) error {
	return fmt.Errorf("%w: %v %s", ErrMalformed, op.ID, why)
}

func (d *Doc) last(site Site) stretch {
	number := d.number(site)
	if number == none {
		return stretch{}
	}
	a := &d.authors[number]
	return stretch{seq: a.last, n: 1, sum: a.sum, session: a.session}
}

func (d *Doc) did(id ID) stretch {
	a := &d.authors[d.number(id.Site)]
	i, n := a.run(id.Seq)
	r := &a.runs[i]
	skipped := id.Seq - r.seq
	return stretch{r.kind, id.Seq, n - skipped, r.sum + skipped, r.session}
}

func (d *Doc) chars(id ID) (stretch, bool) {
	number := d.number(id.Site)
	if number == none {
		return stretch{}, false
	}
	if _, ok := d.find(number, id.Seq); !ok {
		return stretch{}, false
	}
	s := d.span()
	return stretch{inserts, s.seq, s.n, s.sum, s.session}, true
}

// trial is a document with operations that it would take, though they are not applied.
type trial struct {
	*Doc
	done  map[Site][]Op // what is not known to the document, by seq
	clock uint32
}

func (t *trial) take(op Op) error {
	if _, err := op.shape(); err != nil {
		return err
	}
	if err := admit(t, &op); err != nil || op.N == 0 {
		return err
	}
	t.done[op.Site] = append(t.done[op.Site], op)
	t.clock = max(t.clock, op.Sum+uint32(op.N)-1)
	return nil
}

func (t *trial) Clock() uint32 { return t.clock }

func (t *trial) last(site Site) stretch {
	done := t.done[site]
	if len(done) == 0 {
		return t.Doc.last(site)
	}
	op := &done[len(done)-1]
	n := uint32(op.N - 1)
	return stretch{seq: op.Seq + n, n: 1, sum: op.Sum + n, session: op.Session}
}

func (t *trial) did(id ID) stretch {
	op := t.op(id)
	if op == nil {
		return t.Doc.did(id)
	}
	skipped := id.Seq - op.Seq
	s := stretch{inserts, id.Seq, uint32(op.N) - skipped, op.Sum + skipped, op.Session}
	if op.Delete {
		s.kind = deletes
	}
	return s
}

func (t *trial) chars(id ID) (stretch, bool) {
	op := t.op(id)
	if op == nil {
		return t.Doc.chars(id)
	}
	return stretch{inserts, op.Seq, uint32(op.N), op.Sum, op.Session}, !op.Delete
}

// op returns the operation on trial that has id, nil if there is none.
func (t *trial) op(id ID) *Op {
	done := t.done[id.Site]
	i := sort.Search(len(done), func(i int) bool { return done[i].Seq > id.Seq }) - 1
	if i < 0 || int(id.Seq-done[i].Seq) >= done[i].N {
		return nil
	}
	return &done[i]
}
