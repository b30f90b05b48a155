package textcrdt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

var update = flag.Bool("update", false, "write testdata/vectors.json")

// vectors are what a port must do alike. Byte slices are base64.
type vectors struct {
	Histories []vectorHistory `json:"histories"`
	Judged    []vectorJudged  `json:"judged"`
	Encodings []vectorBytes   `json:"encodings"`
}

// vectorHistory is what some sites do. Batches stand in an order in which none is early; taken in any order, and twice, they come to
// the same text and snapshot.
type vectorHistory struct {
	Name     string         `json:"name"`
	Batches  []vectorBatch  `json:"batches"`
	Text     string         `json:"text"`
	Snapshot []byte         `json:"snapshot"`
	Version  Version        `json:"version"`
	History  []byte         `json:"history"` // all operations since the empty version, runs as long as can be
	Anchors  []vectorAnchor `json:"anchors"`
}

// vectorBatch is what one site does at once: it opens the document anew (from its own snapshot) if the session is not that of its batch before, takes the batches
// that it has heard of, in this order, and makes the edits [position, deleted, inserted], which give the operations.
type vectorBatch struct {
	Site    Site         `json:"site"`
	Session uint32       `json:"session"`
	Heard   []int        `json:"heard"`
	Edits   []vectorEdit `json:"edits"`
	Ops     []vectorOp   `json:"ops"`
	Bytes   []byte       `json:"bytes"`
}

type vectorEdit struct {
	Pos     int    `json:"pos"`
	Deleted int    `json:"deleted,omitzero"`
	Text    string `json:"text,omitzero"`
}

type vectorOp struct {
	Site    Site   `json:"site"`
	Seq     uint32 `json:"seq"`
	Session uint32 `json:"session"`
	Sum     uint32 `json:"sum"`
	N       int    `json:"n"`
	RefSite Site   `json:"ref_site"`
	RefSeq  uint32 `json:"ref_seq"`
	Text    string `json:"text,omitzero"`
	Delete  bool   `json:"delete,omitzero"`
	Back    bool   `json:"back,omitzero"`
}

// vectorAnchor is an anchor of a position in the end, and where the UTF-16 units and bytes of that position are.
type vectorAnchor struct {
	Pos    int    `json:"pos"`
	Before bool   `json:"before"`
	Anchor Anchor `json:"anchor"`
	UTF16  int    `json:"utf16"`
	Bytes  int    `json:"bytes"`
}

// vectorJudged is a history and an operation after it, with the verdict: "ok", "early" or "malformed". A replica that begins with the snapshot of
// the history has the same verdict if the operation begins after it.
type vectorJudged struct {
	Name    string     `json:"name"`
	History []vectorOp `json:"history"`
	Op      vectorOp   `json:"op"`
	Verdict string     `json:"verdict"`
	Text    string     `json:"text"` // after it, whatever the verdict
}

// vectorBytes is an encoding that a decoder must take, or refuse.
type vectorBytes struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"` // "operations" or "snapshot"
	Bytes []byte `json:"bytes"`
	OK    bool   `json:"ok"`
}

// lines is the JSON of v, with a line for each history and so on.
func (v *vectors) lines(t *testing.T) []byte {
	b := []byte("{")
	array := func(name string, n int, element func(int) any) {
		b = fmt.Appendf(b, "%q: [", name)
		for i := range n {
			line, err := json.Marshal(element(i), json.Deterministic(true))
			if err != nil {
				t.Fatal(err)
			}
			b = append(append(b, '\n'), line...)
			if i < n-1 {
				b = append(b, ',')
			}
		}
		b = append(b, "\n]"...)
	}
	array("histories", len(v.Histories), func(i int) any { return v.Histories[i] })
	b = append(b, ",\n"...)
	array("judged", len(v.Judged), func(i int) any { return v.Judged[i] })
	b = append(b, ",\n"...)
	array("encodings", len(v.Encodings), func(i int) any { return v.Encodings[i] })
	return append(b, "}\n"...)
}

func toVector(op Op) vectorOp {
	return vectorOp{op.Site, op.Seq, op.Session, op.Sum, op.N, op.Ref.Site, op.Ref.Seq, op.Text, op.Delete, op.Back}
}

func fromVector(v vectorOp) Op {
	return Op{ID{v.Site, v.Seq}, v.Session, v.Sum, v.N, ID{v.RefSite, v.RefSeq}, v.Text, v.Delete, v.Back}
}

func mapped[A, B any](all []A, f func(A) B) []B {
	out := make([]B, len(all))
	for i := range all {
		out[i] = f(all[i])
	}
	return out
}

func TestVectors(t *testing.T) {
	const file = "testdata/vectors.json"
	if *update {
		if err := os.WriteFile(file, makeVectors(t).lines(t), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	for _, h := range v.Histories {
		t.Run(h.Name, func(t *testing.T) { h.verify(t) })
	}
	for _, j := range v.Judged {
		t.Run(j.Name, func(t *testing.T) {
			d := New(0, 0)
			if err := d.Apply(mapped(j.History, fromVector), nil); err != nil || d.Early() > 0 {
				t.Fatal(err, d.Early())
			}
			loaded, err := Load(0, 0, d.AppendSnapshot(nil))
			if err != nil {
				t.Fatal(err)
			}
			op := []Op{fromVector(j.Op)}
			if got := verdict(loaded.Check(op)); got != j.Verdict && op[0].Seq > d.Version()[op[0].Site] {
				t.Errorf("Check of a replica of the snapshot says %s instead of %s", got, j.Verdict)
			}
			if got := verdict(d.Check(op)); got != j.Verdict {
				t.Errorf("Check says %s instead of %s", got, j.Verdict)
			}
			err = d.Apply(op, nil)
			if got := verdict(err); got != j.Verdict && (j.Verdict != "early" || d.Early() != 1) {
				t.Errorf("Apply says %s instead of %s", got, j.Verdict)
			}
			if got := d.String(); got != j.Text {
				t.Errorf("text is %q instead of %q", got, j.Text)
			}
			d.check(t)
		})
	}
	for _, e := range v.Encodings {
		t.Run(e.Name, func(t *testing.T) {
			var err error
			if e.Kind == "snapshot" {
				_, err = Load(1, 0, e.Bytes)
			} else {
				_, err = DecodeOps(e.Bytes)
			}
			if (err == nil) != e.OK || err != nil && !errors.Is(err, ErrMalformed) {
				t.Errorf("it gives %v", err)
			}
		})
	}
}

func verdict(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrEarly):
		return "early"
	case errors.Is(err, ErrMalformed):
		return "malformed"
	}
	return err.Error()
}

func (h *vectorHistory) verify(t *testing.T) {
	w := vectorWorld{t: t, docs: map[Site]*Doc{}, sessions: map[Site]uint32{}}
	for _, b := range h.Batches {
		got := w.edit(b)
		if !slices.Equal(got.Ops, b.Ops) || !bytes.Equal(got.Bytes, b.Bytes) {
			t.Fatalf("site %d made %v\n%x\ninstead of %v\n%x", b.Site, got.Ops, got.Bytes, b.Ops, b.Bytes)
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	for round := range 5 {
		d := New(0, 0)
		order := r.Perm(len(h.Batches))
		if round == 0 {
			slices.Sort(order)
		}
		for _, i := range append(order, r.IntN(len(order))) {
			ops, err := DecodeOps(h.Batches[i].Bytes)
			if err == nil {
				err = d.Apply(ops, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if got := d.String(); got != h.Text {
			t.Errorf("text is %q instead of %q", got, h.Text)
		}
		if got := d.AppendSnapshot(nil); !bytes.Equal(got, h.Snapshot) {
			t.Errorf("snapshot is %x instead of %x", got, h.Snapshot)
		}
		v := d.Version()
		if !v.Includes(h.Version) || !h.Version.Includes(v) {
			t.Errorf("version is %v instead of %v", v, h.Version)
		}
		ops, err := d.Operations(nil)
		if got := AppendOps(nil, ops); err != nil || !bytes.Equal(got, h.History) {
			t.Errorf("%v: history is %x instead of %x", err, got, h.History)
		}
		for _, a := range h.Anchors {
			pos, ok := d.Resolve(a.Anchor)
			if pos != a.Pos || !ok || d.Anchor(a.Pos, a.Before) != a.Anchor || d.UTF16(a.Pos) != a.UTF16 || d.Bytes(a.Pos) != a.Bytes {
				t.Errorf("%+v is at %d (%v)", a, pos, ok)
			}
		}
	}
}

// vectorWorld plays histories.
type vectorWorld struct {
	t        *testing.T
	docs     map[Site]*Doc
	sessions map[Site]uint32
	batches  []vectorBatch
}

// edit lets b.Site make a batch.
func (w *vectorWorld) edit(b vectorBatch) vectorBatch {
	w.t.Helper()
	d := w.docs[b.Site]
	switch {
	case d == nil:
		d = New(b.Site, b.Session)
	case w.sessions[b.Site] != b.Session:
		var err error
		if d, err = Load(b.Site, b.Session, d.AppendSnapshot(nil)); err != nil {
			w.t.Fatal(err)
		}
	}
	w.docs[b.Site], w.sessions[b.Site] = d, b.Session
	for _, i := range b.Heard {
		ops := mapped(w.batches[i].Ops, fromVector)
		if err := d.Check(ops); err != nil {
			w.t.Fatal(err)
		}
		if err := d.Apply(ops, nil); err != nil {
			w.t.Fatal(err)
		}
	}
	var ops []Op
	for _, e := range b.Edits {
		deleted, err := d.Delete(e.Pos, e.Deleted)
		if err != nil {
			w.t.Fatal(err)
		}
		inserted, err := d.Insert(e.Pos, e.Text)
		if err != nil {
			w.t.Fatal(err)
		}
		ops = append(append(ops, deleted...), inserted...)
	}
	d.check(w.t)
	b.Ops, b.Bytes = mapped(ops, toVector), AppendOps(nil, ops)
	w.batches = append(w.batches, b)
	return b
}

func (w *vectorWorld) finish(name string) vectorHistory {
	d := New(0, 0)
	for _, b := range w.batches {
		if err := d.Apply(mapped(b.Ops, fromVector), nil); err != nil {
			w.t.Fatal(err)
		}
	}
	ops, err := d.Operations(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	h := vectorHistory{Name: name, Batches: w.batches, Text: d.String(), Snapshot: d.AppendSnapshot(nil), Version: d.Version(), History: AppendOps(nil, ops)}
	for _, pos := range slices.Compact([]int{0, d.Len() / 3, d.Len() / 2, d.Len()}) {
		for _, before := range []bool{false, true} {
			h.Anchors = append(h.Anchors, vectorAnchor{pos, before, d.Anchor(pos, before), d.UTF16(pos), d.Bytes(pos)})
		}
	}
	return h
}

func makeVectors(t *testing.T) *vectors {
	v := &vectors{}
	play := func(name string, batches ...vectorBatch) {
		w := vectorWorld{t: t, docs: map[Site]*Doc{}, sessions: map[Site]uint32{}}
		for _, b := range batches {
			w.edit(b)
		}
		v.Histories = append(v.Histories, w.finish(name))
	}
	type B = vectorBatch
	type E = []vectorEdit
	play("nothing", B{Site: 7})
	play("one site types and deletes", B{Site: 1, Edits: E{{0, 0, "helo"}, {3, 0, "l"}, {5, 0, " wörld 𝄞!"}, {12, 1, ""}, {0, 1, "H"}}})
	play("deletes back and forth", B{Site: 1, Edits: E{{0, 0, "abcdefghij"}, {9, 1, ""}, {8, 1, ""}, {7, 1, ""}, {0, 1, ""}, {0, 1, ""}, {2, 2, "x"}, {2, 1, ""}, {1, 1, ""}}})
	play("concurrent typing at one place, forwards and backwards",
		B{Site: 1, Edits: E{{0, 0, "()"}}},
		B{Site: 2, Heard: []int{0}, Edits: E{{1, 0, "a"}, {2, 0, "b"}, {3, 0, "c"}}},
		B{Site: 3, Heard: []int{0}, Edits: E{{1, 0, "Z"}, {1, 0, "Y"}, {1, 0, "X"}}},
		B{Site: 1, Edits: E{{1, 0, "1"}, {2, 0, "2"}}},
		B{Site: 2, Heard: []int{2}, Edits: E{{3, 2, "-"}}},
		B{Site: 3, Heard: []int{3, 1, 4}, Edits: E{{0, 1, "["}}})
	play("concurrent deletes of the same", B{Site: 1, Edits: E{{0, 0, "abcdef"}}},
		B{Site: 4294967295, Heard: []int{0}, Edits: E{{1, 3, ""}}}, B{Site: 2, Heard: []int{0}, Edits: E{{2, 3, "!"}}}, B{Site: 1, Edits: E{{3, 1, "¡"}, {2, 1, ""}}})
	play("sessions", B{Site: 5, Session: 3, Edits: E{{0, 0, "five"}}}, B{Site: 6, Session: 1, Edits: E{{0, 0, "six"}}},
		B{Site: 4, Heard: []int{1}, Edits: E{{3, 0, " four"}}}, B{Site: 6, Session: 2, Heard: []int{2}, Edits: E{{0, 1, "S"}, {8, 0, "."}}},
		B{Site: 6, Session: 9, Heard: []int{0}, Edits: E{{1, 0, "-"}}}, B{Site: 4, Heard: []int{3, 0, 4}, Edits: E{{2, 2, "€𝄞"}}})
	play("a long paste, cut", B{Site: 1, Edits: E{{0, 0, strings.Repeat("0123456789𝄞", 250)}, {1100, 300, "ä"}, {5, 0, "x"}}},
		B{Site: 2, Heard: []int{0}, Edits: E{{1500, 700, "y"}, {2, 1, ""}}}, B{Site: 1, Edits: E{{1400, 100, ""}}})
	for seed := range uint64(16) {
		v.Histories = append(v.Histories, randomHistory(t, seed))
	}
	v.Judged = makeJudged()
	v.Encodings = makeEncodings(t, v.Histories)
	return v
}

func randomHistory(t *testing.T, seed uint64) vectorHistory {
	r := rand.New(rand.NewPCG(seed, 7))
	w := vectorWorld{t: t, docs: map[Site]*Doc{}, sessions: map[Site]uint32{}}
	sites := []Site{1, 2, 300, 70000, 4294967295}[:2+seed%4]
	heard := map[Site]map[int]bool{}
	texts := []string{"a", "b", "ü", "𝄞", "word ", "€𝄞x", "\n", "0123456789"}
	for i := range 10 + 4*int(seed) {
		site := sites[r.IntN(len(sites))]
		b := vectorBatch{Site: site, Session: w.sessions[site]}
		if r.IntN(8) == 0 {
			b.Session++
		}
		if heard[site] == nil {
			heard[site] = map[int]bool{}
		}
		probe := New(0, 0) // what the site will be
		if d := w.docs[site]; d != nil {
			var err error
			if probe, err = Load(0, 0, d.AppendSnapshot(nil)); err != nil {
				t.Fatal(err)
			}
		}
		if r.IntN(2) == 0 {
			for j := range i {
				ops := mapped(w.batches[j].Ops, fromVector)
				if heard[site][j] || r.IntN(4) == 0 || probe.Check(ops) != nil {
					continue
				}
				if err := probe.Apply(ops, nil); err != nil {
					t.Fatal(err)
				}
				heard[site][j] = true
				b.Heard = append(b.Heard, j)
			}
		}
		n := probe.Len()
		at := min(n, r.IntN(6))
		for range 1 + r.IntN(4) {
			at = min(at, n)
			e := vectorEdit{Pos: at}
			switch k := r.IntN(6); {
			case k < 3 || n == 0:
				e.Text = texts[r.IntN(len(texts))]
				n += len([]rune(e.Text))
				at += r.IntN(2) * len([]rune(e.Text))
			case k == 3 && at > 0: // backspace
				e.Pos, e.Deleted = at-1, 1
				at--
				n--
			default:
				e.Deleted = min(n-at, 1+r.IntN(5))
				n -= e.Deleted
			}
			b.Edits = append(b.Edits, e)
		}
		heard[site][i] = true
		w.edit(b)
	}
	return w.finish(fmt.Sprintf("random %d", seed))
}

func makeJudged() []vectorJudged {
	history := []Op{
		{ID: ID{1, 1}, Session: 1, Sum: 1, N: 4, Text: "abcd"},
		{ID: ID{2, 1}, Session: 1, Sum: 5, N: 2, Ref: ID{1, 3}, Delete: true},
		{ID: ID{2, 3}, Session: 2, Sum: 7, N: 2, Ref: ID{1, 2}, Text: "𝄞x"},
	}
	base := Op{ID: ID{3, 1}, Session: 2, Sum: 9, N: 1, Ref: ID{2, 4}, Text: "!"}
	var out []vectorJudged
	add := func(name, verdict, text string, change func(*Op)) {
		op := base
		change(&op)
		out = append(out, vectorJudged{name, mapped(history, toVector), toVector(op), verdict, text})
	}
	const was = "ab𝄞x"
	add("an insert", "ok", was+"!", func(*Op) {})
	add("a less sum that still is greater", "ok", was+"!", func(op *Op) { op.Sum = 9 })
	add("an insert at the start", "ok", "!"+was, func(op *Op) { op.Ref = ID{} })
	add("a concurrent insert at the start", "ok", was+"!", func(op *Op) { op.Ref, op.Sum, op.Session = ID{}, 1, 0 })
	add("a delete", "ok", "b𝄞x", func(op *Op) { op.Delete, op.Text, op.Ref = true, "", ID{1, 1} })
	add("a delete back", "ok", "𝄞x", func(op *Op) { op.Delete, op.Back, op.N, op.Text, op.Ref = true, true, 4, "", ID{1, 4} })
	add("a duplicate", "ok", was, func(op *Op) { *op = history[2] })
	add("a duplicate in part", "ok", was+"yz", func(op *Op) { *op = history[2]; op.N, op.Text = 4, "𝄞xyz" })
	add("a duplicate delete in part", "malformed", was, func(op *Op) { *op = history[1]; op.N = 3; op.Ref.Seq = 2 })
	add("early by its own", "early", was, func(op *Op) { op.Seq = 2 })
	add("early by its sum", "early", was, func(op *Op) { op.Sum = 10 })
	add("early by its origin", "early", was, func(op *Op) { op.Ref = ID{2, 5} })
	add("early by an unknown site", "early", was, func(op *Op) { op.Ref = ID{9, 1} })
	add("early by a target", "early", was, func(op *Op) { op.Delete, op.Text, op.N, op.Ref = true, "", 2, ID{1, 4} })
	add("site 0", "malformed", was, func(op *Op) { op.Site = 0 })
	add("seq 0", "malformed", was, func(op *Op) { op.Seq = 0 })
	add("sum 0", "malformed", was, func(op *Op) { op.Sum = 0 })
	add("no ids", "malformed", was, func(op *Op) { op.N, op.Text = 0, "" })
	add("less text", "malformed", was, func(op *Op) { op.N = 2 })
	add("more text", "malformed", was, func(op *Op) { op.Text = "!!" })
	add("a seq over the bound", "malformed", was, func(op *Op) { op.Seq, op.N, op.Text = bound, 2, "!!" })
	add("a sum over the bound", "malformed", was, func(op *Op) { op.Sum, op.N, op.Text = bound, 2, "!!" })
	add("a session over the bound", "malformed", was, func(op *Op) { op.Session = bound + 1 })
	add("an origin at seq 0", "malformed", was, func(op *Op) { op.Ref = ID{1, 0} })
	add("an origin at site 0", "malformed", was, func(op *Op) { op.Ref = ID{0, 1} })
	add("an origin that is a deletion", "malformed", was, func(op *Op) { op.Ref = ID{2, 2} })
	add("a target that is a deletion", "malformed", was, func(op *Op) { op.Delete, op.Text, op.N, op.Ref = true, "", 2, ID{2, 2} })
	add("a delete of the start", "malformed", was, func(op *Op) { op.Delete, op.Text, op.Ref = true, "", ID{} })
	add("a delete with text", "malformed", was, func(op *Op) { op.Delete, op.Ref = true, ID{1, 1} })
	add("a delete back past the first", "malformed", was, func(op *Op) { op.Delete, op.Back, op.N, op.Text, op.Ref = true, true, 3, "", ID{1, 2} })
	add("an insert backwards", "malformed", was, func(op *Op) { op.Back = true })
	add("its own origin", "malformed", was, func(op *Op) { op.Ref = op.ID })
	add("a delete of itself", "malformed", was, func(op *Op) { op.Delete, op.Text, op.Ref = true, "", ID{3, 1} })
	add("a sum not over its origin's", "malformed", was, func(op *Op) { op.Sum = 8 })
	add("a session less than its origin's", "malformed", was, func(op *Op) { op.Session = 1 })
	add("a sum not over its site's last", "malformed", was, func(op *Op) { op.ID, op.Ref, op.Sum = ID{2, 5}, ID{1, 1}, 8 })
	add("a session less than its site's last", "malformed", was, func(op *Op) { op.ID, op.Ref, op.Session = ID{2, 5}, ID{1, 1}, 1 })
	add("a known id of another kind", "malformed", was, func(op *Op) { *op = history[1]; op.N, op.Delete, op.Text = 1, false, "?" })
	add("a known id with another sum", "malformed", was, func(op *Op) { *op = history[2]; op.Sum = 8 })
	add("a known id with another session", "malformed", was, func(op *Op) { *op = history[2]; op.Session = 1 })
	history = append(history, Op{ID: ID{2, 5}, Session: 3, Sum: 9, N: 1, Ref: ID{1, 1}, Delete: true})
	const then = "b𝄞x"
	base = Op{ID: ID{2, 6}, Session: 3, Sum: 10, N: 1, Ref: ID{2, 4}, Text: "!"}
	add("an insert after its site's deletion", "ok", then+"!", func(*Op) {})
	add("a sum not over its site's last deletion's", "malformed", then, func(op *Op) { op.Sum = 9 })
	add("a session less than its site's last deletion's", "malformed", then, func(op *Op) { op.Session = 2 })
	return out
}

// seal makes an encoding of a body.
func seal(kind, version byte, body ...byte) []byte {
	b := append([]byte{'r', 'c', kind, version}, body...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

func makeEncodings(t *testing.T, histories []vectorHistory) []vectorBytes {
	ops, snapshot := histories[1].History, histories[1].Snapshot
	packedOps, err := Pack(ops)
	if err != nil {
		t.Fatal(err)
	}
	packedSnapshot, err := Pack(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	changed := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] ^= 1
		return b
	}
	const o, s = "operations", "snapshot"
	return []vectorBytes{
		{"operations", o, ops, true}, {"packed operations", o, packedOps, true},
		{"a snapshot", s, snapshot, true}, {"a packed snapshot", s, packedSnapshot, true},
		{"no operations", o, seal('o', 1, 0, 0), true}, {"an empty snapshot", s, seal('s', 1, 0, 0), true},
		{"one insert", o, seal('o', 1, 1, 1, 1, 1, 64|2|16, 0, 0, 'a'), true},
		{"nothing at all", o, nil, false}, {"a snapshot as operations", o, snapshot, false}, {"operations as a snapshot", s, ops, false},
		{"another magic", o, changed(ops, 0), false}, {"a changed byte", o, changed(ops, 9), false}, {"a changed checksum", s, changed(snapshot, len(snapshot)-1), false},
		{"the end cut off", o, ops[:len(ops)-1], false}, {"version 2", o, seal('o', 2, 0, 0), false}, {"more behind it", o, append(bytes.Clone(ops), 0), false},
		{"a long number", o, seal('o', 1, 0x80, 0, 0), false}, {"a number without end", o, seal('o', 1, 0xff), false},
		{"more sites than bytes", o, seal('o', 1, 100, 1, 1, 0), false}, {"more runs than bytes", o, seal('o', 1, 0, 100), false},
		{"a site twice", o, seal('o', 1, 2, 1, 1, 1, 1, 1, 64|2|16, 0, 0, 'a'), false}, {"site 0", o, seal('o', 1, 1, 0, 1, 1, 64|2|16, 0, 0, 'a'), false},
		{"a site that no run mentions", o, seal('o', 1, 1, 1, 0, 0), false}, {"a run of no site", o, seal('o', 1, 1, 1, 1, 1, 64|16, 0, 'a'), false},
		{"a first seq of a site without runs", o, seal('o', 1, 2, 1, 1, 2, 5, 1, 64|1|2|16, 0, 2, 4), false},
		{"no first seq of a site with runs", o, seal('o', 1, 1, 1, 0, 1, 64|2|16, 0, 0, 'a'), false},
		{"a site past the table", o, seal('o', 1, 1, 1, 1, 1, 64|2|16, 1, 0, 'a'), false},
		{"a run without ids", o, seal('o', 1, 1, 1, 1, 1, 2|16, 0, 0), false}, {"less text than ids", o, seal('o', 1, 1, 1, 1, 1, 64|2|16, 0, 0), false},
		{"more text than ids", o, seal('o', 1, 1, 1, 1, 1, 64|2|16, 0, 0, 'a', 'b'), false}, {"text that is not UTF-8", o, seal('o', 1, 1, 1, 1, 1, 64|2|16, 0, 0, 0xff), false},
		{"a surrogate as text", o, seal('o', 1, 1, 1, 1, 1, 64|2|16, 0, 0, 0xed, 0xa0, 0x80), false},
		{"a delete of the start", o, seal('o', 1, 1, 1, 1, 1, 64|1|2|16, 0, 0), false}, {"an insert backwards", o, seal('o', 1, 1, 1, 1, 1, 64|2|16|32, 0, 0, 'a'), false},
		{"an expected sum that is told", o, seal('o', 1, 1, 1, 1, 1, 64|2|4|16, 0, 0, 0, 'a'), false},
		{"packed but longer", o, seal('o', 0x81, 3, 1, 2, 0, 0xfd, 0xff, 0, 0), false}, {"packed but no deflate", o, seal('o', 0x81, 2, 0xff, 0xff), false},
		{"packed and told to be huge", o, seal('o', 0x81, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 0, 0, 0xff, 0xff), false},
		{"a site of a snapshot twice", s, seal('s', 1, 2, 1, 1, 0, 0, 0, 1, 0, 0, 0), false}, {"a version of 0", s, seal('s', 1, 1, 1, 0, 0, 0, 0), false},
		{"a last sum over the bound", s, seal('s', 1, 1, 1, 1, 0xff, 0xff, 0xff, 0xff, 7, 0, 0), false}, {"a last session over the bound", s, seal('s', 1, 1, 1, 1, 0, 0x80, 0x80, 0x80, 0x80, 8, 0), false},
		{"a tombstone", s, seal('s', 1, 1, 1, 1, 0, 0, 1, 16|1|2, 0, 0), true}, {"nothing but what is purged", s, seal('s', 1, 1, 1, 2, 5, 3, 0), true},
		{"a span past the version", s, seal('s', 1, 1, 1, 1, 0, 0, 1, 32|1|2, 0, 0), false},
		{"a sum less than the seq", s, seal('s', 1, 1, 1, 2, 0, 0, 1, 16|1|2|4, 0, 1, 2), false},
		{"a sum past the last", s, seal('s', 1, 1, 1, 2, 0, 0, 1, 16|1|2|4, 0, 2, 0), false}, {"a session past the last", s, seal('s', 1, 1, 1, 2, 0, 0, 1, 16|1|2|8, 0, 1, 0), false},
		{"a lag that is less at first", s, seal('s', 1, 1, 1, 2, 1, 0, 1, 16|1|2|4, 0, 1, 0), true}, {"a session that is less at first", s, seal('s', 1, 1, 1, 2, 0, 1, 1, 16|1|2, 0, 0), true},
		{"another sum of the last", s, seal('s', 1, 1, 1, 1, 1, 0, 1, 16|1|2|4, 0, 1, 0), false}, {"another session of the last", s, seal('s', 1, 1, 1, 1, 0, 1, 1, 16|1|2, 0, 0), false},
		{"a lag that falls", s, seal('s', 1, 1, 1, 4, 2, 0, 2, 16|1|2, 0, 0, 16|1|4, 1, 2), false}, {"a session that falls", s, seal('s', 1, 1, 1, 4, 0, 2, 2, 16|1|2|8, 0, 2, 0, 16|1|8, 1, 2), false},
		{"a lag that is told again", s, seal('s', 1, 1, 1, 1, 0, 0, 1, 16|1|2|4, 0, 0, 0), false},
		{"overlapping spans", s, seal('s', 1, 1, 1, 2, 0, 0, 2, 32|1|2, 0, 0, 16|1, 1), false}, {"two spans for one", s, seal('s', 1, 1, 1, 2, 0, 0, 2, 16|1|2, 0, 0, 16|1, 0), false},
		{"more text than spans", s, seal('s', 1, 1, 1, 1, 0, 0, 1, 16|2, 0, 0, 'a', 'b'), false}, {"less text than spans", s, seal('s', 1, 1, 1, 1, 0, 0, 1, 16|2, 0, 0), false},
	}
}
