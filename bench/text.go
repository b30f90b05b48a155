package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"rowcall/modules/textcrdt"
	"rowcall/modules/textcrdt/trace"
)

// textWorkload replays what people typed, beside a plain gap buffer to which the same edits are applied. It needs no server.
func textWorkload(rounds int) error {
	for _, name := range []string{"automerge-paper", "friendsforever-concurrent"} {
		t, err := trace.Read(name)
		if err != nil {
			return err
		}
		h, err := newHistory(t)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Printf("\n%s: %d edits by %d, %d characters inserted, %d left\n", name, len(h.ops), max(t.NumAgents, 1), h.inserted, len(t.EndContent))
		if err := h.print(rounds); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// history is a trace as operations.
type history struct {
	*trace.Trace
	merged   [][]int         // of each transaction: those that its author merges before it
	ops      [][]textcrdt.Op // of each transaction
	edits    []textcrdt.Edit // what they do to a text when applied in the order of the trace
	runs     []textcrdt.Op   // all of it
	inserted int
	snapshot []byte
	packed   []byte
}

func newHistory(t *trace.Trace) (*history, error) {
	h := &history{Trace: t, merged: t.Merged(), ops: make([][]textcrdt.Op, len(t.Txns))}
	if _, err := h.write(true); err != nil {
		return nil, err
	}
	all := textcrdt.New(0, 0)
	for _, ops := range h.ops {
		if err := all.Apply(ops, func(e textcrdt.Edit) { h.edits = append(h.edits, e) }); err != nil {
			return nil, err
		}
	}
	for _, e := range h.edits {
		h.inserted += len(e.Text)
		if len(e.Text) != len([]rune(e.Text)) {
			return nil, errors.New("the gap buffer knows ASCII only")
		}
	}
	var err error
	if h.runs, err = all.Operations(nil); err != nil {
		return nil, err
	}
	h.snapshot = all.AppendSnapshot(nil)
	h.packed, err = textcrdt.Pack(h.snapshot)
	return h, err
}

// write makes all the edits where their authors made them, and returns the last author's text: whoever merges others' edits has them applied
// first. The operations are the same each time; the first time, they are kept.
func (h *history) write(first bool) (*textcrdt.Doc, error) {
	docs := make([]*textcrdt.Doc, max(h.NumAgents, 1))
	for i := range docs {
		docs[i] = textcrdt.New(textcrdt.Site(i+1), 0)
	}
	for i, txn := range h.Txns {
		d := docs[txn.Agent]
		for _, other := range h.merged[i] {
			if err := d.Apply(h.ops[other], nil); err != nil {
				return nil, err
			}
		}
		for _, p := range txn.Patches {
			deleted, err := d.Delete(p.Pos, p.Deleted)
			if err != nil {
				return nil, err
			}
			inserted, err := d.Insert(p.Pos, p.Text)
			if err != nil {
				return nil, err
			}
			if first {
				h.ops[i] = append(append(h.ops[i], deleted...), inserted...)
			}
		}
	}
	return docs[h.Txns[len(h.Txns)-1].Agent], nil
}

// apply gives a new document all operations, a transaction at a time.
func (h *history) apply(changed func(textcrdt.Edit)) (*textcrdt.Doc, error) {
	d := textcrdt.New(0, 0)
	for _, ops := range h.ops {
		if err := d.Apply(ops, changed); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// print measures.
func (h *history) print(rounds int) error {
	ways := []struct {
		name string
		run  func() (text fmt.Stringer, err error)
	}{
		{"a gap buffer", func() (fmt.Stringer, error) {
			g := &gapBuffer{}
			for _, e := range h.edits {
				g.splice(e.Pos, e.Deleted, e.Text)
			}
			return g, nil
		}},
		{"edited where they were typed", func() (fmt.Stringer, error) { return h.write(false) }},
		{"received one by one", func() (fmt.Stringer, error) { return h.apply(nil) }},
		{"the same, places told", func() (fmt.Stringer, error) { return h.apply(func(textcrdt.Edit) {}) }},
		{"received as runs", func() (fmt.Stringer, error) {
			d := textcrdt.New(0, 0)
			return d, d.Apply(h.runs, nil)
		}},
		{"snapshot loaded", func() (fmt.Stringer, error) { return textcrdt.Load(0, 0, h.snapshot) }},
		{"packed snapshot loaded", func() (fmt.Stringer, error) { return textcrdt.Load(0, 0, h.packed) }},
	}
	took, heap := make([][]float64, len(ways)), make([]float64, len(ways))
	for range rounds {
		for i, way := range ways {
			before := heapInUse()
			start := time.Now()
			text, err := way.run()
			took[i] = append(took[i], time.Since(start).Seconds()*1000)
			if err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
			heap[i] = float64(heapInUse() - before)
			if text.String() != h.EndContent {
				return fmt.Errorf("%s: it does not come to the end text", way.name)
			}
			runtime.KeepAlive(text)
		}
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tms\tlowest\thighest\tof the gap buffer's time\theap per inserted\tof its heap\t")
	for i, way := range ways {
		ratios := make([]float64, rounds)
		for round := range ratios {
			ratios[round] = took[i][round] / took[0][round]
		}
		fmt.Fprintf(t, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.1f B\t%.1f\t\n", way.name, median(took[i]), slices.Min(took[i]), slices.Max(took[i]), median(ratios),
			heap[i]/float64(h.inserted), heap[i]/heap[0])
	}
	if err := t.Flush(); err != nil {
		return err
	}
	history, err := textcrdt.Pack(textcrdt.AppendOps(nil, h.runs))
	if err != nil {
		return err
	}
	fmt.Printf("bytes: history packed %d (%d runs), snapshot %d, packed %d; the text %d\n", len(history), len(h.runs), len(h.snapshot), len(h.packed), len(h.EndContent))
	return nil
}

// heapInUse returns the bytes of what is reachable.
func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// gapBuffer is the plainest text that is edited in one place after another: bytes, with a gap where the last edit was.
type gapBuffer struct {
	b        []byte
	gap, end int // the gap is b[gap:end]
}

func (g *gapBuffer) splice(pos, deleted int, text string) {
	if pos < g.gap {
		n := g.gap - pos
		copy(g.b[g.end-n:g.end], g.b[pos:g.gap])
		g.gap, g.end = pos, g.end-n
	} else if n := pos - g.gap; n > 0 {
		copy(g.b[g.gap:], g.b[g.end:g.end+n])
		g.gap, g.end = pos, g.end+n
	}
	g.end += deleted
	if g.end-g.gap < len(text) {
		grown := make([]byte, 2*len(g.b)+len(text)+64)
		copy(grown, g.b[:g.gap])
		end := len(grown) - (len(g.b) - g.end)
		copy(grown[end:], g.b[g.end:])
		g.b, g.end = grown, end
	}
	g.gap += copy(g.b[g.gap:], text)
}

func (g *gapBuffer) String() string { return string(g.b[:g.gap]) + string(g.b[g.end:]) }
