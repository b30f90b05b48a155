package textcrdt

import (
	"errors"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// TestPurge proves that replicas that purge come to the same texts, step by step, as those that do not, and to the same bytes as each other.
func TestPurge(t *testing.T) {
	often(t, func(t *rapid.T) {
		w := newWorld(t, 2+draw(t, 3, "replicas"))
		w.purging = deletionKnown | childrenKnown
		for range w.draw(128, "steps") {
			w.step()
		}
		w.heal()
	})
}

// TestPurgeMutants proves that both conditions are needed: without either, TestPurge fails.
func TestPurgeMutants(t *testing.T) {
	unwatched(t)
	for name, rule := range map[string]conditions{"deletions that somebody does not know": childrenKnown, "origins of what somebody does not know": deletionKnown} {
		t.Run(name, func(t *testing.T) {
			runs, failed := 0, 0
			run := func(t *rapid.T) {
				runs++
				defer func() {
					switch p := recover(); p.(type) {
					case nil:
					case caught:
						failed++
					default:
						panic(p)
					}
				}()
				w := newWorld(t, 3)
				w.purging, w.calm, w.mutant = rule, true, true
				for range 200 {
					w.step()
				}
				w.heal()
			}
			for tries := 0; tries < 10 && failed == 0; tries++ {
				rapid.Check(t, run)
			}
			t.Logf("%d of %d runs fail", failed, runs)
			if failed == 0 {
				t.Error("no run fails")
			}
		})
	}
}

// hear applies operations.
func hear(t *testing.T, d *Doc, batches ...[]Op) {
	t.Helper()
	for _, ops := range batches {
		if err := d.Check(ops); err != nil {
			t.Fatal(err)
		}
		if err := d.Apply(ops, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func typed(t *testing.T, d *Doc, pos int, text string) []Op {
	t.Helper()
	ops, err := d.Insert(pos, text)
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

func deleted(t *testing.T, d *Doc, pos, n int) []Op {
	t.Helper()
	ops, err := d.Delete(pos, n)
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

// TestPurgeKeepsWhatStopsOthers is the least that goes wrong if a tombstone goes before everybody knows what stands behind it. In "ptnz", somebody deletes t while n and
// z, which stand behind it, are being typed. Who has heard of t's end alone types x behind p: t is what x stops at. Without it, x goes past n.
func TestPurgeKeepsWhatStopsOthers(t *testing.T) {
	for _, rule := range []conditions{deletionKnown | childrenKnown, deletionKnown} {
		a, b, c := New(1, 0), New(2, 0), New(3, 0)
		start := typed(t, a, 0, "pt")
		hear(t, b, start)
		hear(t, c, start)
		end := deleted(t, b, 1, 1)
		young := append(typed(t, a, 2, "zzz"), typed(t, a, 2, "n")...)
		hear(t, c, end)
		hear(t, a, end)
		acknowledged := map[Site]Version{1: a.Version(), 3: c.Version()}
		hear(t, b, young)
		purged := b.purge(acknowledged, nil, rule)
		x := typed(t, c, 1, "x")
		hear(t, a, x)
		hear(t, b, x)
		sound := purged == 0 && b.String() == "pxnzzz"
		mutant := purged == 1 && b.String() == "pnxzzz"
		if a.String() != "pxnzzz" || rule&childrenKnown != 0 && !sound || rule&childrenKnown == 0 && !mutant {
			t.Errorf("rule %b: %d purged, %q and %q", rule, purged, a.String(), b.String())
		}
	}
}

// TestPurgeKeepsOrigins is why the right neighbour, of which the paper speaks, is not all that counts. In "ptnm", everybody knows t's end and n, but not m, which
// stands behind t, too. Without t, whoever passes m on says that it stands behind p, and it gets there on the other side of n.
func TestPurgeKeepsOrigins(t *testing.T) {
	for _, rule := range []conditions{deletionKnown | childrenKnown, deletionKnown} {
		a, b, c, e := New(1, 0), New(2, 0), New(3, 0), New(4, 0)
		start := typed(t, a, 0, "pt")
		hear(t, b, start)
		hear(t, c, start)
		hear(t, e, start)
		m := typed(t, e, 2, "m")
		known := append(typed(t, a, 0, "___"), typed(t, a, 5, "n")...)
		hear(t, b, known)
		end := deleted(t, b, 4, 1)
		hear(t, a, end)
		hear(t, c, known, end)
		hear(t, e, known, end)
		acknowledged := map[Site]Version{1: a.Version(), 3: c.Version(), 4: e.Version()}
		hear(t, b, m)
		purged := b.purge(acknowledged, nil, rule)
		ops, err := b.Operations(c.Version())
		if err != nil {
			t.Fatal(err)
		}
		hear(t, c, ops)
		want := "___pnm"
		if rule&childrenKnown == 0 {
			want = "___pmn"
		}
		if e.String() != "___pnm" || c.String() != want || (purged == 0) != (rule&childrenKnown != 0) {
			t.Errorf("rule %b: %d purged, %q and %q", rule, purged, e.String(), c.String())
		}
	}
}

// TestPurgeKeepsAnOriginWithinARun is of an origin that is not the last of the tombstones in its run: x, typed behind the b of "ab", goes past the "cde" that its
// author did not know, and of the tombstones b, c and d, b must stay. Without it, whoever passes x on says that it stands behind a.
func TestPurgeKeepsAnOriginWithinARun(t *testing.T) {
	a, b, c := New(2, 0), New(1, 0), New(3, 0)
	start := typed(t, a, 0, "ab")
	hear(t, b, start)
	x := typed(t, b, 2, "x")
	rest, end := typed(t, a, 2, "cde"), deleted(t, a, 1, 3)
	hear(t, b, rest, end)
	hear(t, c, start, rest, end)
	acknowledged := map[Site]Version{1: b.Version(), 3: c.Version()}
	hear(t, a, x)
	if n := a.Purge(acknowledged, nil); n != 2 {
		t.Errorf("%d purged, want c and d", n)
	}
	ops, err := a.Operations(c.Version())
	if err != nil {
		t.Fatal(err)
	}
	hear(t, c, ops)
	for _, d := range []*Doc{a, b, c} {
		if got := d.String(); got != "aex" {
			t.Errorf("site %d has %q", d.Site(), got)
		}
	}
}

// TestAverages shows why sums are clocks: with the average of the neighbours' sums, which some implementations of the paper have, replicas diverge.
func TestAverages(t *testing.T) {
	clock := func(o *oracle, _, _ *node) uint32 { return o.clock + 1 }
	average := func(_ *oracle, left, right *node) uint32 {
		if right == nil {
			return left.sum + 1<<20
		}
		return (left.sum + right.sum) / 2
	}
	if n := divergences(t, clock); n != 0 {
		t.Errorf("with clocks, %d histories diverge", n)
	}
	if divergences(t, average) == 0 {
		t.Error("with averages, no history diverges")
	}
}

// divergences plays small histories of three sites that give characters the sums that they like, and returns how many come to different texts.
func divergences(t *testing.T, sum func(o *oracle, left, right *node) uint32) (n int) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	const histories = 2000
	for range histories {
		var sites [3]*oracle
		for i := range sites {
			sites[i] = newOracle()
			sites[i].trusting = true
		}
		var log []Op
		for i := range 8 {
			site := random.IntN(len(sites))
			o := sites[site]
			if random.IntN(3) == 0 {
				if err := o.apply(log); err != nil {
					t.Fatal(err)
				}
			}
			left := o.head
			for range random.IntN(len(o.text()) + 1) {
				left = left.next
			}
			op := Op{ID: ID{Site(site + 1), o.last[Site(site+1)] + 1}, Sum: sum(o, left, left.next), N: 1, Ref: left.ID, Text: string(rune('a' + i))}
			left.next = &node{ID: op.ID, sum: op.Sum, char: rune('a' + i), next: left.next} // as in the paper: a local insertion looks at nothing
			o.learn(op.ID, fact{false, 0, op.Sum})
			log = append(log, op)
		}
		texts := map[string]bool{}
		for _, o := range sites {
			if err := o.apply(log); err != nil {
				t.Fatal(err)
			}
			texts[o.text()] = true
		}
		if len(texts) > 1 {
			n++
		}
	}
	t.Logf("%d of %d histories diverge", n, histories)
	return n
}

// TestPurgeForgets pins what a purge leaves: the tombstones that somebody may need, the anchors to be kept, and history from the new base on.
func TestPurgeForgets(t *testing.T) {
	a, b := New(1, 0), New(2, 0)
	hear(t, b, typed(t, a, 0, "abcdef"))
	behindA := a.Anchor(1, false)
	first := deleted(t, a, 0, 3)
	heard := b.Version() // nothing of that
	if n := a.Purge(map[Site]Version{2: heard}, nil); n != 0 {
		t.Errorf("%d purged that b does not know to be deleted", n)
	}
	hear(t, b, first)
	second := deleted(t, b, 0, 1)
	if n := a.Purge(map[Site]Version{2: b.Version()}, nil); n != 0 {
		t.Errorf("%d purged by who knows less than the others", n)
	}
	hear(t, a, second)
	acknowledged := map[Site]Version{2: {1: 9}} // not yet the second
	if n := a.Purge(acknowledged, []Anchor{behindA}); n != 2 {
		t.Errorf("%d purged, want b and c", n)
	}
	if pos, ok := a.Resolve(behindA); pos != 0 || !ok {
		t.Errorf("the anchor to be kept is at %d, %v", pos, ok)
	}
	if base := a.Base(); len(base) != 1 || base[1] != 9 {
		t.Errorf("base %v", base)
	}
	if _, err := a.Operations(heard); !errors.Is(err, ErrBase) {
		t.Errorf("operations from before the base: %v", err)
	}
	if text, err := a.TextAt(a.Base()); err != nil || text != "def" {
		t.Errorf("at the base: %q, %v", text, err)
	}
	if n := a.Purge(acknowledged, nil); n != 1 {
		t.Errorf("%d purged, want the a that was kept", n)
	}
	if _, ok := a.Resolve(behindA); ok {
		t.Error("the anchor still has its place")
	}
	hear(t, a, first, second) // again
	if ops, err := a.Operations(Version{1: 9}); err != nil || len(ops) != 1 || !ops[0].Delete {
		t.Errorf("operations since the base: %v, %v", ops, err)
	}
	if c, err := Load(3, 0, a.AppendSnapshot(nil)); err != nil || c.String() != "ef" {
		t.Errorf("the snapshot is of %q, %v", c, err)
	}
}
