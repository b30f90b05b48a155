package textcrdt

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestPast proves that the text at a version is what a replica has that knows just that, that a diff leads from any version to any other, and that a
// document can be reverted to any, to the same text everywhere.
func TestPast(t *testing.T) {
	often(t, func(t *rapid.T) {
		w := newWorld(t, 3)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			w.step()
		}
		r := w.replicas[0]
		versions, texts := []Version{r.Base(), r.Version()}, []string{"", r.String()}
		for _, other := range w.replicas[1:] {
			versions, texts = append(versions, other.Version()), append(texts, other.String())
		}
		base, err := Load(0, 0, r.AppendSnapshot(nil)) // of which d knows no text of tombstones
		if err != nil {
			t.Fatal(err)
		}
		w.heal()
		all, err := r.Operations(r.Base())
		if err != nil {
			t.Fatal(err)
		}
		if err := base.Apply(all, nil); err != nil {
			t.Fatal(err)
		}
		for i, from := range versions {
			if i == 0 && len(from) > 0 {
				continue // its text is not known to the test
			}
			for _, d := range []*Doc{r.Doc, base} {
				got, err := d.TextAt(from)
				if !from.Includes(d.Base()) {
					if !errors.Is(err, ErrBase) {
						t.Fatalf("before the base: %v", err)
					}
					continue
				}
				if err != nil || got != texts[i] {
					t.Fatalf("at %v, %q, %v; want %q", from, got, err, texts[i])
				}
				for j, to := range versions[1:] {
					if !to.Includes(d.Base()) {
						continue
					}
					edits, err := d.Diff(from, to)
					if err != nil {
						t.Fatal(err)
					}
					if got := replay(texts[i], edits); got != texts[j+1] {
						t.Fatalf("from %q by %v: %q, want %q", texts[i], edits, got, texts[j+1])
					}
				}
			}
		}
		to := 1 + w.draw(len(versions)-1, "version")
		if !versions[to].Includes(r.Base()) {
			return
		}
		before, now := r.Version(), r.String()
		ops, err := r.Revert(versions[to])
		if err != nil || r.String() != texts[to] {
			t.Fatalf("reverted to %q, %v; want %q", r.String(), err, texts[to])
		}
		other := w.replicas[1]
		if err := other.Apply(ops, nil); err != nil || !bytes.Equal(other.AppendSnapshot(nil), r.AppendSnapshot(nil)) {
			t.Fatalf("the other follows to %q, %v", other.String(), err)
		}
		if _, err := r.Revert(before); err != nil || r.String() != now {
			t.Fatalf("back at %q, %v; want %q", r.String(), err, now)
		}
	})
}

func replay(text string, edits []Edit) string {
	chars := []rune(text)
	for _, e := range edits {
		chars = slices.Replace(chars, e.Pos, e.Pos+e.Deleted, []rune(e.Text)...)
	}
	return string(chars)
}

// TestPastUnknown proves that what is not known is not made up.
func TestPastUnknown(t *testing.T) {
	d := New(1, 0)
	if _, err := d.Insert(0, "a"); err != nil {
		t.Fatal(err)
	}
	for _, v := range []Version{{1: 2}, {2: 1}} {
		if text, err := d.TextAt(v); !errors.Is(err, ErrEarly) {
			t.Errorf("%v: %q, %v", v, text, err)
		}
	}
	loaded, err := Load(2, 0, d.AppendSnapshot(nil))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := loaded.TextAt(nil); !errors.Is(err, ErrBase) {
		t.Errorf("before the base: %q, %v", text, err)
	}
}
