package textcrdt

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// site is a replica in a test that remembers what it has said.
type site struct {
	*Doc
	t    testing.TB
	said []Op
}

func newSite(t testing.TB, number Site) *site { return &site{Doc: New(number, 0), t: t} }

func (s *site) insert(pos int, text string) []Op {
	s.t.Helper()
	return s.keep(s.Insert(pos, text))
}

func (s *site) delete(pos, n int) []Op {
	s.t.Helper()
	return s.keep(s.Delete(pos, n))
}

func (s *site) keep(ops []Op, err error) []Op {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	s.check(s.t)
	s.said = append(s.said, ops...)
	return ops
}

// hear applies operations that are due, and checks that Edits tell what happens.
func (s *site) hear(ops []Op) {
	s.t.Helper()
	if err := s.Check(ops); err != nil {
		s.t.Fatal(err)
	}
	want := []rune(s.String())
	if err := s.Apply(ops, func(e Edit) { want = slices.Replace(want, e.Pos, e.Pos+e.Deleted, []rune(e.Text)...) }); err != nil {
		s.t.Fatal(err)
	}
	if got := s.String(); got != string(want) {
		s.t.Fatalf("the text is %q, the edits made %q", got, string(want))
	}
	s.check(s.t)
}

func (s *site) is(text string) {
	s.t.Helper()
	if got := s.String(); got != text {
		s.t.Errorf("text is %q instead of %q", got, text)
	}
}

func same(t testing.TB, a, b *Doc) {
	t.Helper()
	if got, want := b.AppendSnapshot(nil), a.AppendSnapshot(nil); !bytes.Equal(got, want) {
		t.Fatalf("replicas differ: %q and %q\n%x\n%x", a, b, want, got)
	}
}

func TestInsertAndDelete(t *testing.T) {
	a, b := newSite(t, 1), newSite(t, 2)
	b.hear(a.insert(0, "hello"))
	a.hear(b.insert(5, " wörld"))
	b.hear(a.insert(5, ","))
	a.is("hello, wörld")
	b.is("hello, wörld")
	a.hear(b.delete(3, 5))
	a.is("helörld")
	if ops := b.said[len(b.said)-2:]; ops[0].Ref != (ID{1, 4}) || ops[0].N != 3 || ops[1].Ref != (ID{2, 1}) || ops[1].N != 2 {
		t.Errorf("deletions %+v", ops)
	}
	same(t, a.Doc, b.Doc)
}

func TestConcurrentInserts(t *testing.T) {
	a, b := newSite(t, 1), newSite(t, 2)
	b.hear(a.insert(0, "()"))
	var fromA, fromB []Op
	for i, r := range "abc" {
		fromA = append(fromA, a.insert(1+i, string(r))...) // forwards
		fromB = append(fromB, b.insert(1, strings.ToUpper(string(r)))...)
	}
	a.hear(fromB)
	b.hear(fromA)
	same(t, a.Doc, b.Doc)
	a.is("(CBAabc)")
}

func TestConcurrentDeletes(t *testing.T) {
	a, b := newSite(t, 1), newSite(t, 2)
	b.hear(a.insert(0, "abcdef"))
	x, y := a.delete(1, 3), b.delete(2, 3)
	z := b.insert(2, "!")
	a.hear(y)
	b.hear(x)
	a.hear(z)
	a.is("a!f")
	same(t, a.Doc, b.Doc)
}

func TestRanges(t *testing.T) {
	d := New(1, 0)
	for _, err := range []error{
		second(d.Insert(1, "a")), second(d.Insert(-1, "a")), second(d.Delete(0, 1)), second(d.Delete(0, -1)), second(New(0, 0).Insert(0, "a")),
	} {
		if !errors.Is(err, ErrRange) {
			t.Errorf("%v is no ErrRange", err)
		}
	}
	if err := second(d.Insert(0, "a\xff")); !errors.Is(err, ErrMalformed) {
		t.Errorf("%v is no ErrMalformed", err)
	}
	if ops, err := d.Insert(0, ""); len(ops) > 0 || err != nil {
		t.Errorf("nothing makes %v, %v", ops, err)
	}
}

func second[T any](_ T, err error) error { return err }

// script makes random edits of sites that hear of each other now and then, and tells each site's operations in order.
func script(t testing.TB, seed uint64, sites, edits int) []*site {
	r := rand.New(rand.NewPCG(seed, 0))
	all := make([]*site, sites)
	heard := make([][]int, sites) // operations that one has heard of another
	for i := range all {
		all[i] = newSite(t, Site(10*i+1))
		all[i].session = uint32(r.IntN(2))
		heard[i] = make([]int, sites)
	}
	texts := []string{"a", "b", "ü", "𝄞", "word ", "€𝄞x", strings.Repeat("long", 400), "\n"}
	for range edits {
		i := r.IntN(sites)
		s := all[i]
		switch k := r.IntN(10); {
		case k < 5:
			s.insert(near(r, s.Len()), texts[r.IntN(len(texts))])
		case k < 8 && s.Len() > 0:
			pos := r.IntN(s.Len())
			s.delete(pos, min(s.Len()-pos, 1+r.IntN(20)))
		default:
			j := r.IntN(sites)
			for heard[i][j] < len(all[j].said) && i != j {
				op := all[j].said[heard[i][j] : heard[i][j]+1]
				if err := s.Check(op); err != nil {
					if !errors.Is(err, ErrEarly) {
						t.Fatal(err)
					}
					break
				}
				s.hear(op)
				heard[i][j]++
			}
		}
	}
	for i, s := range all {
		for j := range all {
			if i != j {
				if err := s.Apply(all[j].said[heard[i][j]:], nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		s.check(t)
		if s.Early() > 0 {
			t.Fatalf("%d operations wait for ever", s.Early())
		}
	}
	return all
}

// near returns a position that is often the same one.
func near(r *rand.Rand, n int) int {
	if r.IntN(3) > 0 {
		return min(n, 5)
	}
	return r.IntN(n + 1)
}

func TestRandomScripts(t *testing.T) {
	seeds := uint64(60)
	if racing {
		seeds = 6
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			all := script(t, seed, 2+int(seed%4), 150)
			for _, s := range all[1:] {
				same(t, all[0].Doc, s.Doc)
			}
			s := all[0]
			snapshot := s.AppendSnapshot(nil)
			loaded, err := Load(3, 0, snapshot)
			if err != nil {
				t.Fatal(err)
			}
			loaded.check(t)
			same(t, s.Doc, loaded)
			ops, err := s.Operations(nil)
			if err != nil {
				t.Fatal(err)
			}
			again := newSite(t, 0)
			again.hear(ops)
			same(t, s.Doc, again.Doc)
			for _, ops := range [][]Op{ops, all[1].said} {
				b := AppendOps(nil, ops)
				p, err := Pack(b)
				if err != nil {
					t.Fatal(err)
				}
				if u, err := Unpack(p); err != nil || !bytes.Equal(u, b) {
					t.Fatalf("unpacked otherwise: %v", err)
				}
				for _, packed := range [][]byte{b, p} {
					if n, err := UnpackedSize(packed); err != nil || n != len(b) {
						t.Fatalf("says that it has %d bytes, not %d: %v", n, len(b), err)
					}
				}
				decoded, err := DecodeOps(p)
				if err != nil || !slices.Equal(decoded, ops) {
					t.Fatalf("decoded %v\n%v\nas %v", err, ops, decoded)
				}
			}
			checkUnits(t, s.Doc)
		})
	}
}

func checkUnits(t *testing.T, d *Doc) {
	t.Helper()
	text := d.String()
	pos, units := 0, 0
	for at, r := range text {
		if d.Bytes(pos) != at || d.FromBytes(at) != pos || d.UTF16(pos) != units || d.FromUTF16(units) != pos {
			t.Fatalf("position %d: bytes %d, %d back, UTF-16 %d, %d back", pos, d.Bytes(pos), d.FromBytes(at), d.UTF16(pos), d.FromUTF16(units))
		}
		pos++
		units++
		if r > 0xffff {
			if d.FromUTF16(units) != pos-1 {
				t.Fatalf("%d is amid a character", units)
			}
			units++
		}
	}
}
