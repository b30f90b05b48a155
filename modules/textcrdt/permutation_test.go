package textcrdt

import (
	"bytes"
	"iter"
	"math/rand/v2"
	"testing"
)

// permutations yields all orders of s, in place.
func permutations[T any](s []T) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		var permute func(k int) bool
		permute = func(k int) bool {
			if k == len(s) {
				return yield(s)
			}
			for i := k; i < len(s); i++ {
				s[k], s[i] = s[i], s[k]
				more := permute(k + 1)
				s[k], s[i] = s[i], s[k]
				if !more {
					return false
				}
			}
			return true
		}
		permute(0)
	}
}

// move is a step of a small history: a site reads all that another has written, or edits.
type move int

const (
	readNext move = iota
	insertFirst
	insertLast
	deleteFirst
	insertPair
	deleteTwo
	moves = int(deleteTwo) + 1
)

// play makes a history of moves, and returns its operations, causes first.
func play(t *testing.T, sites int, script []int) (ops []Op) {
	t.Helper()
	docs := make([]*Doc, sites)
	for i := range docs {
		docs[i] = New(Site(i+1), 0)
	}
	char := 'a'
	for _, step := range script {
		i := step % sites
		d := docs[i]
		var made []Op
		var err error
		switch move(step / sites) {
		case readNext:
			if made, err = docs[(i+1)%sites].Operations(d.Version()); err == nil {
				err = d.Apply(made, nil)
			}
			made = nil
		case insertFirst:
			made, err = d.Insert(0, string(char))
		case insertLast:
			made, err = d.Insert(d.Len(), string(char))
		case deleteFirst:
			made, err = d.Delete(0, min(1, d.Len()))
		case insertPair:
			made, err = d.Insert(d.Len()/2, string([]rune{char, char - 'a' + 'A'}))
		case deleteTwo:
			made, err = d.Delete(d.Len()/3, min(2, d.Len()-d.Len()/3))
		}
		if err != nil {
			t.Fatal(err)
		}
		ops = append(ops, made...)
		char++
	}
	return ops
}

// inAnyOrder applies a history in each order that there is, and returns how many there are.
func inAnyOrder(t *testing.T, ops []Op) (orders int) {
	t.Helper()
	o := newOracle()
	if err := o.apply(ops); err != nil {
		t.Fatal(err)
	}
	want := o.snapshot()
	var b []byte
	for order := range permutations(ops) {
		d := New(0, 0)
		for i := range order {
			if err := d.Apply(order[i:i+1], nil); err != nil {
				t.Fatalf("%v: %v", order, err)
			}
		}
		b = d.AppendSnapshot(b[:0])
		if !bytes.Equal(b, want) || d.Early() != 0 {
			t.Fatalf("%v comes to %q, with %d early; want %q", order, d.String(), d.Early(), o.text())
		}
		orders++
	}
	return orders
}

// TestEveryOrder proves that the order of arrival does not matter, on every history of a few moves and all its orders.
func TestEveryOrder(t *testing.T) {
	unwatched(t)
	t.Parallel()
	histories, orders := 0, 0
	for _, size := range []struct{ sites, moves int }{{2, 4}, {3, 3}} {
		kinds := size.sites * moves
		script := make([]int, size.moves)
		for more := true; more; {
			if ops := play(t, size.sites, script); len(ops) > 1 {
				histories++
				orders += inAnyOrder(t, ops)
			}
			more = false
			for i := range script {
				if script[i]++; script[i] < kinds {
					more = true
					break
				}
				script[i] = 0
			}
		}
	}
	t.Logf("%d histories in %d orders", histories, orders)
}

// TestEveryOrderOfEight proves the same of some larger histories of up to 8 operations.
func TestEveryOrderOfEight(t *testing.T) {
	unwatched(t)
	t.Parallel()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	orders := 0
	for range 2 {
		sites := 2 + random.IntN(3)
		var ops []Op
		for len(ops) != 8 {
			script := make([]int, 8+random.IntN(8))
			for i := range script {
				script[i] = random.IntN(sites * moves)
			}
			ops = play(t, sites, script)
		}
		orders += inAnyOrder(t, ops)
		if t.Failed() {
			break
		}
	}
	t.Logf("seed %d: %d orders", seed, orders)
}

// typing is what two sites come to that type at one place without hearing each other.
func typing(t *testing.T, first, second func(d *Doc) []Op) string {
	t.Helper()
	start := New(1, 0)
	ops, err := start.Insert(0, "<>")
	if err != nil {
		t.Fatal(err)
	}
	var both [2]*Doc
	var wrote [2][]Op
	for i, edit := range []func(*Doc) []Op{first, second} {
		both[i] = New(Site(i+2), 0)
		if err := both[i].Apply(ops, nil); err != nil {
			t.Fatal(err)
		}
		wrote[i] = edit(both[i])
	}
	for i, d := range both {
		if err := d.Apply(wrote[1-i], nil); err != nil {
			t.Fatal(err)
		}
	}
	if both[0].String() != both[1].String() {
		t.Fatalf("%q and %q", both[0].String(), both[1].String())
	}
	return both[0].String()
}

// TestTypingAtOnePlace pins what the algorithm makes of concurrent typing at one place. It guarantees that
//   - what one site types from left to right stays together, whether sent by character or as a run, also if the author goes back and types
//     on behind or inside of it: each character stands behind the one that it was typed behind, and whatever stands behind that, too;
//   - of two such texts, the one with the greater clock at its start comes first, then that of the greater site.
//
// It does not guarantee that what is typed from right to left stays together: each character is a sibling of the others', and so they
// interleave, by their clocks. (No algorithm that orders siblings by a clock does; people do not type so, but prepending line by line is the same.)
func TestTypingAtOnePlace(t *testing.T) {
	t.Parallel()
	insert := func(pos int, text string) func(*Doc) []Op {
		return func(d *Doc) []Op {
			ops, err := d.Insert(pos, text)
			if err != nil {
				t.Error(err)
			}
			return ops
		}
	}
	each := func(edits ...func(*Doc) []Op) func(*Doc) []Op {
		return func(d *Doc) (ops []Op) {
			for _, edit := range edits {
				ops = append(ops, edit(d)...)
			}
			return ops
		}
	}
	forwards := func(text string) func(*Doc) []Op {
		return func(d *Doc) (ops []Op) {
			for i, char := range text {
				ops = append(ops, insert(1+i, string(char))(d)...)
			}
			return ops
		}
	}
	backwards := func(text string) func(*Doc) []Op {
		return func(d *Doc) (ops []Op) {
			for _, char := range text {
				ops = append(ops, insert(1, string(char))(d)...)
			}
			return ops
		}
	}
	for _, test := range []struct {
		name          string
		first, second func(*Doc) []Op
		want          string
	}{
		{"runs", insert(1, "abc"), insert(1, "xyz"), "<xyzabc>"},
		{"forwards by character", forwards("abc"), forwards("xyz"), "<xyzabc>"},
		{"forwards, of different length", forwards("abcdef"), forwards("x"), "<xabcdef>"},
		{"forwards, the first later", each(insert(2, "!"), forwards("abc")), forwards("xyz"), "<abcxyz>!"},
		{"one went back inside of it", each(forwards("abc"), insert(2, "B")), forwards("xyz"), "<xyzaBbc>"},
		{"one went back before it", each(forwards("abc"), insert(1, "B")), forwards("xyz"), "<Bxyzabc>"}, // not together: B is a sibling of both
		{"backwards", backwards("cba"), backwards("zyx"), "<xaybzc>"},
		{"backwards, of different length", backwards("cba"), backwards("zyxwv"), "<vwxaybzc>"},
		{"one forwards, one backwards", forwards("abc"), backwards("zyx"), "<xyzabc>"},
		{"one backwards, one forwards", backwards("cba"), forwards("xyz"), "<abxyzc>"},
	} {
		if got := typing(t, test.first, test.second); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// unwatched skips a long test of one goroutine while the race detector watches.
func unwatched(t *testing.T) {
	t.Helper()
	if racing {
		t.Skip("runs without the race detector, which finds nothing in one goroutine")
	}
}
