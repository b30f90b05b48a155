package textcrdt

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf16"

	"pgregory.net/rapid"
)

// often checks a property of four times as many worlds as rapid does by itself: they are small.
func often(t *testing.T, property func(*rapid.T)) {
	t.Helper()
	times := 4
	if racing {
		times = 1
	}
	for range times {
		rapid.Check(t, property)
	}
}

// TestConvergence proves the law of all: whatever the network does, and whoever crashes, replicas that know the same operations are the same to the
// byte, and at each step what the oracle is.
func TestConvergence(t *testing.T) {
	often(t, func(t *rapid.T) {
		w := newWorld(t, 2+draw(t, 4, "replicas"))
		for range w.draw(128, "steps") {
			w.step()
		}
		w.heal()
	})
}

// FuzzConvergence lets the fuzzer play the network, with replicas that purge.
func FuzzConvergence(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) {
		w := newWorld(t, 3)
		w.purging = deletionKnown | childrenKnown
		for range w.draw(128, "steps") {
			w.step()
		}
		w.heal()
	}))
}

// TestConvergenceOfLargeTexts proves the same of texts whose trees have two and three levels.
func TestConvergenceOfLargeTexts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		if draw(t, 16, "rarely") > 0 {
			return // they take their time
		}
		w := newWorld(t, 3)
		w.grow(200 + draw(t, 2000, "edits"))
		if coin.Draw(t, "purging") {
			w.purging = deletionKnown | childrenKnown
		}
		for range w.draw(32, "steps") {
			w.step()
		}
		w.heal()
	})
}

// TestHistory proves that a document's operations alone make the document again, with nothing early on the way, run by run.
func TestHistory(t *testing.T) {
	often(t, func(t *rapid.T) {
		w := newWorld(t, 3)
		for range w.draw(64, "steps") {
			w.step()
		}
		for _, r := range w.replicas {
			if len(r.Base()) > 0 {
				continue
			}
			ops, err := r.Operations(nil)
			if err != nil {
				t.Fatal(err)
			}
			packed, err := Pack(AppendOps(nil, ops))
			if err != nil {
				t.Fatal(err)
			}
			if ops, err = DecodeOps(packed); err != nil {
				t.Fatal(err)
			}
			copied := New(0, 0)
			for _, op := range ops {
				if err := copied.Check([]Op{op}); err != nil {
					t.Fatalf("%v: %v", op, err)
				}
				if err := copied.Apply([]Op{op}, nil); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(copied.AppendSnapshot(nil), r.AppendSnapshot(nil)) {
				t.Fatalf("%q became %q", r.String(), copied.String())
			}
		}
	})
}

// TestPositions proves the conversions of positions against Go's own.
func TestPositions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, 2)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			w.step()
		}
		for _, r := range w.replicas {
			text := []rune(r.String())
			for pos := range len(text) + 1 {
				units, size := len(utf16.Encode(text[:pos])), len(string(text[:pos]))
				if r.UTF16(pos) != units || r.FromUTF16(units) != pos || r.Bytes(pos) != size || r.FromBytes(size) != pos {
					t.Fatalf("of %q, %d: UTF-16 %d and back %d, want %d; bytes %d and back %d, want %d",
						string(text), pos, r.UTF16(pos), r.FromUTF16(units), units, r.Bytes(pos), r.FromBytes(size), size)
				}
				for to := pos; to <= len(text); to++ {
					if got := string(r.AppendText([]byte("x"), pos, to)); got != "x"+string(text[pos:to]) {
						t.Fatalf("of %q, [%d, %d) is %q", string(text), pos, to, strings.TrimPrefix(got, "x"))
					}
				}
			}
		}
	})
}
