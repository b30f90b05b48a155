package textcrdt

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestUndoAlone proves that undo and redo walk along the texts that there were, when nobody else edits.
func TestUndoAlone(t *testing.T) {
	often(t, func(t *rapid.T) {
		d := New(1, 0)
		if _, err := d.Insert(0, "0123456789"); err != nil {
			t.Fatal(err)
		}
		u := NewUndo(d)
		texts := []string{d.String()} // before each step, and now
		at := 0
		for range draw(t, 64, "moves") {
			switch draw(t, 6, "move") {
			case 0, 1:
				u.Add(edit(t, d))
				at++
				texts = append(texts[:at], d.String())
			case 2:
				u.Extend(edit(t, d))
				if at == 0 || at < len(texts)-1 {
					at++
				}
				texts = append(texts[:at], d.String())
			case 3, 4:
				if _, err := u.Undo(); err != nil {
					t.Fatal(err)
				}
				at = max(at-1, 0)
			case 5:
				if _, err := u.Redo(); err != nil {
					t.Fatal(err)
				}
				at = min(at+1, len(texts)-1)
			}
			if d.String() != texts[at] {
				t.Fatalf("%q, want %q, number %d of %q", d.String(), texts[at], at, texts)
			}
			if undo, redo := u.Steps(); undo != at || redo != len(texts)-1-at {
				t.Fatalf("%d and %d steps, want %d and %d", undo, redo, at, len(texts)-1-at)
			}
		}
	})
}

// edit makes a random edit.
func edit(t *rapid.T, d *Doc) []Op {
	pos := draw(t, d.Len()+1, "pos")
	if n := d.Len() - pos; n > 0 && rapid.Bool().Draw(t, "delete") {
		ops, err := d.Delete(pos, 1+draw(t, min(n, 5), "n"))
		if err != nil {
			t.Fatal(err)
		}
		return ops
	}
	ops, err := d.Insert(pos, rapid.StringOfN(rapid.RuneFrom([]rune("abcé€𝄞")), 1, 4, -1).Draw(t, "text"))
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

// TestUndoAmongOthers proves that whoever undoes all that he did leaves the edits of another, and only these: the other's characters that the other has
// not deleted, and of those that were there before, those that the other has not deleted, in their old order unless the other typed between them. (If both deleted a character, and
// the one heard of the other's deletion after he took his own back, it stays, too: nobody has deleted the new one.)
func TestUndoAmongOthers(t *testing.T) {
	often(t, func(t *rapid.T) {
		const start = "0123456789"
		mine, others := New(1, 0), New(2, 0)
		ops, err := mine.Insert(0, start)
		if err != nil {
			t.Fatal(err)
		}
		apply := func(d *Doc, ops []Op) {
			if err := d.Apply(ops, nil); err != nil {
				t.Fatal(err)
			}
		}
		apply(others, ops)
		u := NewUndo(mine)
		var toMe, toOthers []Op
		next := map[*Doc]rune{mine: 'A', others: 'α'}
		theirs := map[rune]bool{}                                                 // what was there before, and the other's
		deleted, heard, back := map[rune]bool{}, map[rune]bool{}, map[rune]bool{} // by the other, as far as I knew, and by me again
		for _, char := range start {
			theirs[char] = true
		}
		undone := func(made []Op) {
			for _, op := range made {
				for _, char := range op.Text {
					if heard[char] {
						t.Fatalf("%q comes back, which the other deleted", char)
					}
					back[char] = true
				}
			}
			toOthers = append(toOthers, made...)
		}
		for range draw(t, 64, "moves") {
			var made []Op
			switch move := draw(t, 7, "move"); move {
			case 0, 1, 2, 3:
				d := []*Doc{mine, others}[move%2]
				pos := draw(t, d.Len()+1, "pos")
				if n := min(d.Len()-pos, 3); n > 0 && rapid.Bool().Draw(t, "delete") {
					if d == others {
						for _, char := range string(d.AppendText(nil, pos, pos+n)) {
							deleted[char] = true
						}
					}
					made, err = d.Delete(pos, n)
				} else {
					made, err = d.Insert(pos, string([]rune{next[d], next[d] + 1}))
					theirs[next[d]], theirs[next[d]+1] = d == others, d == others
					next[d] += 2
				}
				if err != nil {
					t.Fatal(err)
				}
				if d == others {
					toMe = append(toMe, made...)
				} else {
					u.Add(made)
					toOthers = append(toOthers, made...)
				}
			case 4:
				apply(mine, toMe)
				apply(others, toOthers)
				toMe, toOthers = nil, nil
				heard = maps.Clone(deleted)
			case 5, 6:
				if made, err = []func() ([]Op, error){u.Undo, u.Redo}[move-5](); err != nil {
					t.Fatal(err)
				}
				undone(made)
			}
		}
		apply(mine, toMe)
		heard = maps.Clone(deleted)
		for undo, _ := u.Steps(); undo > 0; undo-- {
			made, err := u.Undo()
			if err != nil {
				t.Fatal(err)
			}
			undone(made)
		}
		apply(others, toOthers)
		if mine.String() != others.String() {
			t.Fatalf("%q and %q", mine.String(), others.String())
		}
		text := []rune(mine.String())
		var old []rune
		for _, char := range text {
			if !back[char] && (deleted[char] || !theirs[char]) {
				t.Fatalf("%q still has %q", string(text), char)
			}
			if strings.ContainsRune(start, char) {
				old = append(old, char)
			}
		}
		for char, stays := range theirs {
			if stays && !deleted[char] && !slices.Contains(text, char) {
				t.Fatalf("%q has lost %q", string(text), char)
			}
		}
		if next[others] == 'α' && !slices.IsSorted(old) {
			t.Fatalf("%q has the old characters in another order", string(text))
		}
	})
}

// TestUndoOfBackspaces pins that what was deleted character by character, as one step, comes back as one operation, and in place.
func TestUndoOfBackspaces(t *testing.T) {
	d := New(1, 0)
	typed(t, d, 0, "one two three")
	u := NewUndo(d)
	u.Add(deleted(t, d, 6, 1))
	for pos := 5; pos > 3; pos-- {
		u.Extend(deleted(t, d, pos, 1))
	}
	u.Extend(typed(t, d, 4, "2"))
	if d.String() != "one 2 three" {
		t.Fatal(d.String())
	}
	ops, err := u.Undo()
	if err != nil || d.String() != "one two three" || len(ops) != 2 || ops[1].Text != "two" {
		t.Errorf("undone: %q by %v, %v", d.String(), ops, err)
	}
	if _, err := u.Redo(); err != nil || d.String() != "one 2 three" {
		t.Errorf("redone: %q, %v", d.String(), err)
	}
	if places := u.Anchors(); len(places) != 3 {
		t.Errorf("to be kept: %v", places)
	}
	d.Purge(nil, u.Anchors())
	if _, err := u.Undo(); err != nil || d.String() != "one two three" {
		t.Errorf("undone after a purge: %q, %v", d.String(), err)
	}
	if _, err := u.Redo(); err != nil {
		t.Error(err)
	}
	d.Purge(nil, nil)
	if _, err := u.Undo(); err != nil || d.String() != "one  three" {
		t.Errorf("undone after a purge of its own places: %q, %v", d.String(), err)
	}
}

// TestUndoStops pins what happens when a site has no ids left.
func TestUndoStops(t *testing.T) {
	d := New(1, 0)
	u := NewUndo(d)
	u.Add(typed(t, d, 0, "ab"))
	d.clock = bound
	if ops, err := u.Undo(); !errors.Is(err, ErrRange) || len(ops) > 0 || d.String() != "ab" {
		t.Errorf("%v, %v: %q", ops, err, d.String())
	}
	if undo, redo := u.Steps(); undo != 1 || redo != 0 {
		t.Errorf("%d steps to undo and %d to redo", undo, redo)
	}
	if ops, err := u.Redo(); len(ops) > 0 || err != nil {
		t.Errorf("%v, %v", ops, err)
	}
	if _, err := d.Revert(nil); !errors.Is(err, ErrRange) || d.String() != "ab" {
		t.Errorf("reverted: %v, %q", err, d.String())
	}
}
