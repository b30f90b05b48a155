package textcrdt

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// world is replicas and a network that loses, doubles, reorders and re-cuts what they send.
type world struct {
	*rapid.T
	replicas []*replica
	log      []Op // all that anybody wrote, causes first: what a server has stored
	mail     []letter
	split    int // the replicas below it and the others cannot hear each other
	sites    Site
	sessions int
	runs     bool       // the replicas may write more than a character at once
	purging  conditions // under which the replicas purge; 0: they do not
	calm     bool       // a short text, and little but edits, fetching and purging: what purging is sensitive to
	mutant   bool       // what goes wrong is wanted
}

type letter struct {
	from, to int
	ops      []Op
	version  Version // the sender's
}

// grow edits a lot, so that trees have some height: here and there, or mostly at one place, where all prepend. The replicas hear of each other now and then.
func (w *world) grow(edits int) {
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(w.T, "seed"), 0))
	seldom, onePlace := 16<<random.IntN(6), random.IntN(2) == 0
	for range edits {
		r := w.replicas[random.IntN(len(w.replicas))]
		pos := random.IntN(r.Len() + 1)
		if onePlace && random.IntN(8) > 0 {
			pos = min(3, r.Len())
		}
		var ops []Op
		var err error
		if n := r.Len() - pos; n > 0 && random.IntN(4) == 0 {
			ops, err = r.Delete(pos, 1+random.IntN(min(n, 3)))
		} else {
			ops, err = r.Insert(pos, []string{"a", "é", "xyz", "𝄞"}[random.IntN(4)])
		}
		if err != nil {
			w.Fatalf("an edit: %v", err)
		}
		if err := r.oracle.apply(ops); err != nil {
			w.Fatalf("the oracle, of %v: %v", ops, err)
		}
		w.log = append(w.log, ops...)
		if random.IntN(seldom) == 0 {
			missing := w.missing(r)
			random.Shuffle(len(missing), func(i, j int) { missing[i], missing[j] = missing[j], missing[i] })
			if err := errors.Join(r.Apply(missing, nil), r.oracle.apply(missing)); err != nil {
				w.Fatalf("%v: %v", missing, err)
			}
		}
	}
	for _, r := range w.replicas {
		r.text = []rune(r.String())
		r.agrees(w)
	}
}

// caught is panicked with when a mutant does something wrong.
type caught struct{}

func (w *world) Fatalf(format string, args ...any) {
	w.Helper()
	if w.mutant {
		panic(caught{})
	}
	w.T.Fatalf(format, args...)
}

// replica is a Doc, and beside it the oracle and a plain text that is edited as the Doc says.
type replica struct {
	*Doc
	oracle  *oracle
	site    Site
	text    []rune
	at      int // where it edited last
	anchors []Anchor
	undo    *Undo
	acked   map[int]Version // by the replicas, as far as this one has heard
	purged  bool            // or it has at least forgotten some history

	saved       []byte
	savedOracle *oracle
	savedPurged bool
}

func newWorld(t *rapid.T, replicas int) *world {
	w := &world{T: t, runs: coin.Draw(t, "runs"), sessions: 1 + 2*draw(t, 2, "sessions")}
	for range replicas {
		w.sites++
		session := w.session()
		r := &replica{Doc: New(w.sites, session), oracle: newOracle(), site: w.sites, acked: map[int]Version{}}
		r.undo = NewUndo(r.Doc)
		r.save()
		w.replicas = append(w.replicas, r)
	}
	return w
}

func (w *world) step() {
	i := w.draw(len(w.replicas), "replica")
	r := w.replicas[i]
	kind := w.draw(24, "step")
	if w.calm {
		kind = []int{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 17, 17, 17, 17, 17, 17, 17, 21, 21, 21, 21, 21, 21}[kind]
	}
	switch {
	case kind < 6:
		w.write(i)
	case kind < 14:
		if len(w.mail) > 0 {
			at := 0 // mostly in order
			if w.draw(3, "reorder") == 0 {
				at = w.draw(len(w.mail), "letter")
			}
			l := w.mail[at]
			if fate := w.draw(8, "fate"); fate > 0 { // 1: it comes again later
				if w.heard(l) && fate < 7 {
					w.apply(w.replicas[l.to], w.recut(l.ops))
					w.replicas[l.to].acked[l.from] = l.version
				}
				if fate > 1 {
					w.mail = slices.Delete(w.mail, at, at+1)
				}
			}
		}
	case kind == 14:
		w.split = w.draw(len(w.replicas), "split")
	case kind == 15:
		r.save()
	case kind == 16:
		w.crash(r)
	case kind == 17:
		w.fetch(r, w.replicas[w.draw(len(w.replicas), "peer")])
	case kind == 18:
		pos, before := w.draw(r.Len()+1, "pos"), rapid.Bool().Draw(w.T, "before")
		a := r.Anchor(pos, before)
		if at, ok := r.Resolve(a); !ok || at != pos {
			w.Fatalf("the anchor %v, made at %d, is at %d, %v", a, pos, at, ok)
		}
		r.anchors = append(r.anchors, a)
	case kind == 19: // what somebody wrote long ago comes again, in pieces
		if len(w.log) > 0 {
			from := w.draw(len(w.log), "from")
			w.apply(r, w.recut(w.log[from:min(from+1+w.draw(4, "ops"), len(w.log))]))
		}
	case kind == 20:
		if len(w.log) > 0 {
			op := w.forge(r, w.log[w.draw(len(w.log), "forged")])
			w.judge(r, op)
			if !r.purged {
				w.refuse(r, op)
			}
		}
	case kind > 20 && w.purging != 0:
		keep := slices.Clone(r.anchors)
		if rapid.Bool().Draw(w.T, "keep what can be undone") {
			keep = append(keep, r.undo.Anchors()...)
		}
		w.purgeBy(i, keep)
	}
	r.agrees(w)
}

// purgeBy drops what a replica may drop as far as it has heard.
func (w *world) purgeBy(i int, keep []Anchor) {
	r := w.replicas[i]
	acknowledged := map[Site]Version{}
	for peer := range w.replicas {
		if peer != i {
			acknowledged[Site(peer+1)] = r.acked[peer]
		}
	}
	base := r.Base()
	n := r.purge(acknowledged, keep, w.purging)
	r.purged = r.purged || n > 0 || !base.Includes(r.Base())
	got, want := origins(r.nodes(), r.Base()), origins(r.oracle.nodes(), r.Base())
	if !w.mutant && !maps.Equal(got, want) { // a mutant has to come to another text
		w.Fatalf("of what is not in the base %v, the origins are %v after a purge; the oracle's are %v", r.Base(), got, want)
	}
}

// nodes returns the characters in document order, and the start.
func (d *Doc) nodes() []*node {
	all := []*node{{}}
	for s := range d.spans() {
		for i := range s.n {
			all = append(all, &node{ID: ID{d.authors[s.author].site, s.seq + i}, session: s.session, sum: s.sum + i})
		}
	}
	return all
}

func (o *oracle) nodes() (all []*node) {
	for n := o.head; n != nil; n = n.next {
		all = append(all, n)
	}
	return all
}

// origins returns the origins of what is not in base: the nearest to the left that is less.
func origins(all []*node, base Version) map[ID]ID {
	origins := map[ID]ID{}
	for i, n := range all {
		if n.Seq > base[n.Site] {
			for i--; all[i].compare(n) > 0; i-- {
			}
			origins[n.ID] = all[i].ID
		}
	}
	return origins
}

func (w *world) session() uint32 { return uint32(w.draw(w.sessions, "session")) }

func (w *world) draw(n int, what string) int { return draw(w.T, n, what) }

// draw draws from [0, n), all alike: rapid's own ranges prefer their ends.
func draw(t *rapid.T, n int, what string) (drawn int) {
	for bits := n - 1; bits > 0; bits >>= 1 {
		drawn <<= 1
		if coin.Draw(t, what) {
			drawn |= 1
		}
	}
	return drawn % n
}

var coin = rapid.Bool()

// write edits the text of a replica, and sends the operations to all others.
func (w *world) write(i int) {
	r := w.replicas[i]
	var ops []Op
	var err error
	pos := min(r.at, r.Len()) // mostly where it was, as people type
	if w.draw(3, "jump") == 0 {
		pos = w.draw(r.Len()+1, "pos")
	}
	n := r.Len() - pos
	kind := w.draw(6, "kind")
	if w.calm && n > 0 && r.Len() > 4 {
		kind = 1
	}
	switch {
	case kind == 0:
		if ops, err = r.undo.Undo(); w.draw(2, "undo") == 0 {
			var redone []Op
			redone, err = r.undo.Redo()
			ops = append(ops, redone...)
		}
		r.text = []rune(r.String())
	case kind < 3 && n > 0:
		if w.runs {
			n = 1 + w.draw(min(n, 6), "n")
		} else {
			n = 1
		}
		ops, err = r.Delete(pos, n)
		r.undo.Add(ops)
		r.text = slices.Delete(r.text, pos, pos+n)
	default:
		text := string(rapid.SampledFrom([]rune("abcdeé€𝄞")).Draw(w.T, "char"))
		if w.runs {
			text = rapid.StringOfN(rapid.RuneFrom([]rune("abcdeé€𝄞")), 1, 5, -1).Draw(w.T, "text")
		}
		ops, err = r.Insert(pos, text)
		r.undo.Add(ops)
		r.text = slices.Insert(r.text, pos, []rune(text)...)
		pos += utf8.RuneCountInString(text)
	}
	r.at = pos
	if err != nil {
		w.Fatalf("an edit: %v", err)
	}
	for _, op := range ops {
		if err := r.oracle.take(op); err != nil {
			w.Fatalf("the oracle, of the site's own %v: %v", op, err)
		}
	}
	w.log = append(w.log, ops...)
	for to := range w.replicas {
		if to != i {
			w.mail = append(w.mail, letter{i, to, ops, r.Version()})
		}
	}
}

func (w *world) heard(l letter) bool { return (l.from < w.split) == (l.to < w.split) }

// recut takes operations apart, joins what is joined by nature, and repeats some of it.
func (w *world) recut(ops []Op) (cut []Op) {
	how := w.draw(4, "recut")
	if how == 0 {
		return ops
	}
	for _, op := range ops {
		last := len(cut) - 1
		switch {
		case how == 1 && last >= 0 && continues(cut[last], op):
			cut[last] = join(cut[last], op)
		case how >= 2 && op.N > 1:
			at := 1 + w.draw(op.N-1, "at")
			left, right := cutOp(op, 0, at), cutOp(op, at-w.draw(at, "overlap"), op.N)
			if how == 3 {
				left, right = right, left
			}
			cut = append(cut, left, right)
		default:
			cut = append(cut, op)
		}
	}
	return cut
}

// cutOp is the part of a run from its i-th id up to its j-th.
func cutOp(op Op, i, j int) Op {
	part := op
	part.Seq, part.Sum, part.N = op.Seq+uint32(i), op.Sum+uint32(i), j-i
	switch {
	case !op.Delete:
		part.Text = string([]rune(op.Text)[i:j])
		if i > 0 {
			part.Ref = ID{op.Site, part.Seq - 1}
		}
	case op.Back:
		part.Ref.Seq -= uint32(i)
	default:
		part.Ref.Seq += uint32(i)
	}
	return part
}

// continues says whether two runs can be written as one.
func continues(a, b Op) bool {
	if a.Site != b.Site || a.Session != b.Session || a.Delete != b.Delete || a.Seq+uint32(a.N) != b.Seq || a.Sum+uint32(a.N) != b.Sum {
		return false
	}
	if !a.Delete {
		return b.Ref == ID{a.Site, b.Seq - 1}
	}
	if a.Ref.Site != b.Ref.Site {
		return false
	}
	forwards := (!a.Back || a.N == 1) && (!b.Back || b.N == 1) && b.Ref.Seq == a.Ref.Seq+uint32(a.N)
	backwards := (a.Back || a.N == 1) && (b.Back || b.N == 1) && b.Ref.Seq == a.Ref.Seq-uint32(a.N)
	return forwards || backwards
}

func join(a, b Op) Op {
	if a.Delete {
		a.Back = b.Ref.Seq < a.Ref.Seq
	}
	a.N, a.Text = a.N+b.N, a.Text+b.Text
	return a
}

// apply hands operations to a replica and its oracle, and holds Check against what happens.
func (w *world) apply(r *replica, ops []Op) {
	w.judge(r, ops...)
	index, want := r.oracle.check(ops)
	if refused, ok := errors.AsType[*OpError](r.Check(ops)); ok != (want != nil) || ok && (refused.Index != index || errors.Is(refused, ErrEarly) != (errors.Is(want, errOracleEarly))) {
		w.Fatalf("Check of %v: %v; the oracle: %d, %v", ops, refused, index, want)
	}
	if err := r.Apply(ops, func(e Edit) { r.text = slices.Replace(r.text, e.Pos, e.Pos+e.Deleted, []rune(e.Text)...) }); err != nil {
		w.Fatalf("Apply of %v: %v", ops, err)
	}
	if err := r.oracle.apply(ops); err != nil {
		w.Fatalf("the oracle, of %v: %v", ops, err)
	}
	r.agrees(w)
}

// judge proves that what comes next is judged alike by a replica and by one that is loaded from its snapshot. Of what came before, the
// latter may not know that it is forged.
func (w *world) judge(r *replica, ops ...Op) {
	loaded, err := Load(0, 0, r.AppendSnapshot(nil))
	if err != nil {
		w.Fatalf("Load: %v", err)
	}
	version := r.Version()
	for i := range ops {
		want, got := r.Check(ops[i:i+1]), loaded.Check(ops[i:i+1])
		forgotten := ops[i].Seq <= version[ops[i].Site] && errors.Is(want, ErrMalformed)
		if verdict(got) != verdict(want) && !forgotten {
			w.Fatalf("%+v is judged %v; by the replica of a snapshot: %v", ops[i], want, got)
		}
	}
}

// forge makes an operation that is nearly one, often what its site does next.
func (w *world) forge(r *replica, op Op) Op {
	if w.draw(2, "next") == 0 {
		op.Seq, op.Session, op.Sum = r.Version()[op.Site]+1, r.oracle.newest[op.Site].session, r.oracle.newest[op.Site].sum
	}
	number := func(n uint32, what string) uint32 {
		if w.draw(2, what) == 0 {
			return n
		}
		return rapid.OneOf(rapid.Uint32Range(0, 9), rapid.Uint32Range(max(n, 2)-2, n+2), rapid.Just(uint32(1<<31-1)), rapid.Uint32()).Draw(w.T, what)
	}
	op.Site, op.Seq = Site(number(uint32(op.Site), "site")), number(op.Seq, "seq")
	op.Session, op.Sum = number(op.Session, "session"), number(op.Sum, "sum")
	op.Ref = ID{Site(number(uint32(op.Ref.Site), "ref site")), number(op.Ref.Seq, "ref seq")}
	switch w.draw(5, "kind") {
	case 0:
		op.Delete, op.Text = true, ""
	case 1:
		op.Delete, op.Back, op.Text = false, false, strings.Repeat("x", op.N)
	case 2:
		op.N = int(int32(number(uint32(op.N), "n")))
	case 3:
		op.Text += "\xff"
	}
	return op
}

// refuse gives a replica a forged operation. If the oracle would refuse it, nothing may change; if not, nobody can tell that it is forged,
// and it is not given at all, as then all bets are off.
func (w *world) refuse(r *replica, op Op) {
	index, want := r.oracle.check([]Op{op})
	refused, ok := errors.AsType[*OpError](r.Check([]Op{op}))
	if ok != (want != nil) || ok && (refused.Index != index || errors.Is(refused, ErrEarly) != (errors.Is(want, errOracleEarly))) {
		w.Fatalf("Check of the forged %+v: %v; the oracle: %d, %v", op, refused, index, want)
	}
	if errors.Is(want, errOracleRefused) {
		if err := r.Apply([]Op{op}, func(e Edit) { w.Fatalf("the refused %+v edits: %v", op, e) }); !errors.Is(err, ErrMalformed) {
			w.Fatalf("Apply of the forged %+v: %v", op, err)
		}
	}
}

// check is what Check must say.
func (o *oracle) check(ops []Op) (int, error) {
	try := o.clone()
	for i, op := range ops {
		if err := try.take(op); err != nil {
			return i, err
		}
	}
	return 0, nil
}

func (r *replica) save() {
	r.saved, r.savedOracle, r.savedPurged = r.AppendSnapshot(nil), r.oracle.clone(), r.purged
	r.savedOracle.forget()
}

// crash takes a replica back to what it last saved. It goes on as another site, or as the same one when it has got back all that it wrote.
func (w *world) crash(r *replica) {
	same := rapid.Bool().Draw(w.T, "same site")
	if !same {
		w.sites++
		r.site = w.sites
	}
	doc, err := Load(r.site, w.session(), r.saved)
	if err != nil {
		w.Fatalf("Load: %v", err)
	}
	r.Doc, r.oracle, r.text, r.purged = doc, r.savedOracle.clone(), []rune(doc.String()), r.savedPurged
	r.undo = NewUndo(r.Doc)
	if again := r.AppendSnapshot(nil); !bytes.Equal(again, r.saved) {
		w.Fatalf("a snapshot loaded has another:\n%x\n%x", r.saved, again)
	}
	if same || w.purging != 0 { // others may count on it that it knows what it once knew
		w.fetchLog(r)
	}
	r.agrees(w)
}

// fetch gets what a peer has more, if it can tell.
func (w *world) fetch(r, peer *replica) {
	ops, err := peer.Operations(r.Version())
	switch {
	case errors.Is(err, ErrBase) && !r.Version().Includes(peer.Base()):
	case err != nil:
		w.Fatalf("Operations: %v", err)
	default:
		decoded, err := DecodeOps(AppendOps(nil, ops))
		if err != nil || !slices.Equal(decoded, ops) {
			w.Fatalf("operations sent and received:\n%v\n%v, %v", ops, decoded, err)
		}
		if err := r.Check(ops); err != nil {
			w.Fatalf("what a peer has more: %v", err)
		}
		w.apply(r, ops)
		r.acked[slices.Index(w.replicas, peer)] = peer.Version()
		if !r.Version().Includes(peer.Version()) {
			w.Fatalf("after all that the peer has: %v, of %v", r.Version(), peer.Version())
		}
	}
}

// fetchLog gets what the server has more.
func (w *world) fetchLog(r *replica) {
	w.apply(r, w.missing(r))
}

func (w *world) missing(r *replica) []Op {
	have := r.Version()
	return slices.DeleteFunc(slices.Clone(w.log), func(op Op) bool { return op.Seq+uint32(op.N)-1 <= have[op.Site] })
}

// heal brings all that was written to everybody, and proves that all came to the same.
func (w *world) heal() {
	for _, r := range w.replicas {
		for _, peer := range w.replicas {
			w.fetch(r, peer)
		}
		w.fetchLog(r)
	}
	first := w.replicas[0]
	for _, r := range w.replicas {
		for i := range w.replicas {
			r.acked[i] = first.Version()
		}
	}
	for i, r := range w.replicas {
		if w.purging != 0 {
			w.purgeBy(i, nil)
			r.anchors = nil
			r.agrees(w)
		}
		if !maps.Equal(r.Version(), first.Version()) || r.Early() != 0 {
			w.Fatalf("versions %v and %v, %d early", r.Version(), first.Version(), r.Early())
		}
		if !bytes.Equal(r.AppendSnapshot(nil), first.AppendSnapshot(nil)) {
			w.Fatalf("replicas differ: %q and %q", r.String(), first.String())
		}
	}
}

// agrees proves that a replica is as its oracle is, to the byte.
func (r *replica) agrees(t rapid.TB) {
	t.Helper()
	r.check(t)
	text := r.oracle.text()
	if got := r.String(); got != text || string(r.text) != text || r.Len() != utf8.RuneCountInString(text) {
		t.Fatalf("the text is %q, by its edits %q, of length %d; the oracle's is %q", got, string(r.text), r.Len(), text)
	}
	if got, want := r.AppendSnapshot(nil), r.oracle.snapshot(); !r.purged && !bytes.Equal(got, want) {
		t.Fatalf("%q has the snapshot\n%x\nthe oracle's is\n%x", text, got, want)
	}
	if !maps.Equal(r.Version(), r.oracle.last) || r.Clock() != r.oracle.clock {
		t.Fatalf("version %v, clock %d; the oracle has %v, %d", r.Version(), r.Clock(), r.oracle.last, r.oracle.clock)
	}
	for _, a := range r.anchors {
		got, ok := r.Resolve(a)
		want, known := r.oracle.resolve(a)
		if got != want && known || ok != known {
			t.Fatalf("the anchor %v is at %d, %v; the oracle says %d, %v", a, got, ok, want, known)
		}
	}
}
