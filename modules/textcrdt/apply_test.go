package textcrdt

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestEarlyOperationsWait(t *testing.T) {
	a := newSite(t, 1)
	for i := range 100 {
		a.insert(i/2, "x")
		if i%3 == 0 {
			a.delete(i/4, 1)
		}
	}
	b := newSite(t, 0)
	backwards := slices.Clone(a.said)
	slices.Reverse(backwards)
	for i := range backwards[:len(backwards)-1] {
		if err := b.Apply(backwards[i:i+1], nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Apply(backwards[:20], nil); err != nil { // again
		t.Fatal(err)
	}
	if b.Len() > 0 || b.Early() != len(a.said)-1 {
		t.Fatalf("%d characters, %d wait", b.Len(), b.Early())
	}
	var edits int
	if err := b.Apply(a.said[:1], func(Edit) { edits++ }); err != nil {
		t.Fatal(err)
	}
	if edits != len(a.said) || b.Early() > 0 {
		t.Errorf("%d of %d edits, %d wait", edits, len(a.said), b.Early())
	}
	b.check(t)
	same(t, a.Doc, b.Doc)
}

func TestEarlyOperationsAreBounded(t *testing.T) {
	d := New(0, 0)
	for i := range uint32(maxEarly) {
		if err := d.Apply([]Op{{ID: ID{1, 2 + i}, Sum: 2 + i, N: 1, Text: "a"}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	late := []Op{{ID: ID{2, 2}, Sum: 2, N: 1, Text: "a"}}
	var bad *OpError
	if err := d.Apply(late, nil); !errors.Is(err, ErrFull) || !errors.As(err, &bad) || bad.Index != 0 {
		t.Errorf("one more gives %v", err)
	}
	if err := d.Apply([]Op{{ID: ID{1, 1}, Sum: 1, N: 1, Text: "a"}}, nil); err != nil || d.Early() > 0 || d.Len() != maxEarly+1 {
		t.Fatalf("%v, %d wait, %d characters", err, d.Early(), d.Len())
	}
	long := strings.Repeat("a", maxEarlyText/2)
	for i, want := range []error{nil, nil, ErrFull} {
		op := Op{ID: ID{Site(5 + i), 2}, Sum: 2, N: len(long), Text: long}
		if err := d.Apply([]Op{op}, nil); !errors.Is(err, want) {
			t.Errorf("text %d gives %v instead of %v", i, err, want)
		}
	}
}

func TestApplyStopsAtTheRefused(t *testing.T) {
	d := newSite(t, 0)
	ops := []Op{
		{ID: ID{1, 1}, Sum: 1, N: 2, Text: "ab"},
		{ID: ID{2, 2}, Sum: 1, N: 1, Text: "?"},
		{ID: ID{1, 3}, Sum: 2, N: 1, Text: "!"},
		{ID: ID{2, 1}, Sum: 1, N: 1, Text: "c"},
	}
	var bad *OpError
	if err := d.Check(ops); !errors.As(err, &bad) || bad.Index != 1 || !errors.Is(err, ErrEarly) {
		t.Errorf("Check says %v", err)
	}
	if err := d.Apply(ops, nil); !errors.As(err, &bad) || bad.Index != 2 || !errors.Is(err, ErrMalformed) {
		t.Errorf("Apply says %v", err)
	}
	d.is("ab")
	if d.Early() != 1 {
		t.Errorf("%d wait", d.Early())
	}
}

func TestOperationsSince(t *testing.T) {
	all := script(t, 7, 3, 200)
	full := all[0].Doc
	history, err := full.Operations(nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n <= len(history); n += 5 {
		d := newSite(t, 0)
		d.hear(history[:n])
		rest, err := full.Operations(d.Version())
		if err != nil {
			t.Fatal(err)
		}
		d.hear(rest)
		same(t, full, d.Doc)
		loaded, err := Load(99, 5, d.AppendSnapshot(nil))
		if err != nil {
			t.Fatal(err)
		}
		base := loaded.Version()
		later := &site{Doc: loaded, t: t}
		later.insert(loaded.Len()/2, "later")
		later.delete(loaded.Len()/3, 7)
		more, err := loaded.Operations(base)
		if err != nil {
			t.Fatal(err)
		}
		d.hear(more)
		same(t, loaded, d.Doc)
		if _, err := loaded.Operations(nil); !errors.Is(err, ErrBase) {
			t.Errorf("from before the base: %v", err)
		}
	}
}

func TestAnchors(t *testing.T) {
	d := newSite(t, 3)
	d.insert(0, "hello")
	before, behind, start, end := d.Anchor(2, true), d.Anchor(2, false), d.Anchor(0, false), d.Anchor(5, true)
	at := func(want ...int) {
		t.Helper()
		for i, a := range []Anchor{start, behind, before, end} {
			if pos, ok := d.Resolve(a); pos != want[i] || !ok {
				t.Errorf("%v is at %d (%v) instead of %d", a, pos, ok, want[i])
			}
		}
	}
	at(0, 2, 2, 5)
	d.insert(2, "--")
	d.insert(0, "<")
	d.insert(8, ">")
	at(0, 3, 5, 9)
	d.delete(2, 5)
	at(0, 2, 2, 4)
	for _, a := range []Anchor{start, behind, before, end} {
		b, _ := a.MarshalText()
		var c Anchor
		if err := c.UnmarshalText(b); err != nil || c != a {
			t.Errorf("%s is read as %v: %v", b, c, err)
		}
	}
	if before.String() != "3.3b" || behind.String() != "3.2a" || start.String() != "0.0a" || end.String() != "0.0b" {
		t.Error(before, behind, start, end)
	}
	for _, bad := range []string{"", "b", "1.1", "1.1c", "1.1ab", "01.1a", "1.0a", "0.1a", "-1.1a", "1.1.1a", "4294967296.1a", "1.2147483648a"} {
		var a Anchor
		if err := a.UnmarshalText([]byte(bad)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q is read as %v: %v", bad, a, err)
		}
	}
	for _, unknown := range []Anchor{{ID: ID{4, 1}}, {ID: ID{3, 99}}, {ID: ID{3, 10}}} { // 3.10 is a deletion
		if pos, ok := d.Resolve(unknown); ok {
			t.Errorf("%v is at %d", unknown, pos)
		}
	}
}

func TestAppendText(t *testing.T) {
	d := script(t, 11, 3, 300)[0].Doc
	text := []rune(d.String())
	r := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		from := r.IntN(len(text))
		to := from + r.IntN(len(text)-from)
		if got := string(d.AppendText([]byte("+"), from, to)); got != "+"+string(text[from:to]) {
			t.Fatalf("[%d, %d) is %q", from, to, got)
		}
	}
	if got := d.AppendText(nil, -5, 1<<40); string(got) != string(text) {
		t.Error("what is outside of the text is not ignored")
	}
}
