package textcrdt_test

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"

	"rowcall/modules/textcrdt"
	"rowcall/modules/textcrdt/trace"
)

// TestTraces proves that what people really typed comes to their end texts, where it was typed, at another replica, and from the packed history, whose
// size is part of the promise.
func TestTraces(t *testing.T) {
	for name, most := range map[string]int{"automerge-paper": 100_000, "friendsforever-concurrent": 20_000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr, err := trace.Read(name)
			if errors.Is(err, fs.ErrNotExist) {
				t.Skip("the traces are not here:", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			docs := make([]*textcrdt.Doc, max(tr.NumAgents, 1))
			for i := range docs {
				docs[i] = textcrdt.New(textcrdt.Site(i+1), 0)
			}
			other := textcrdt.New(0, 0)
			apply := func(d *textcrdt.Doc, ops []textcrdt.Op) {
				if err := d.Apply(ops, nil); err != nil {
					t.Fatal(err)
				}
			}
			ops, merged := make([][]textcrdt.Op, len(tr.Txns)), tr.Merged()
			for i, txn := range tr.Txns {
				d := docs[txn.Agent]
				for _, at := range merged[i] {
					apply(d, ops[at])
				}
				for _, p := range txn.Patches {
					deleted, err := d.Delete(p.Pos, p.Deleted)
					if err != nil {
						t.Fatal(err)
					}
					inserted, err := d.Insert(p.Pos, p.Text)
					if err != nil {
						t.Fatal(err)
					}
					ops[i] = append(append(ops[i], deleted...), inserted...)
				}
				if err := other.Check(ops[i]); err != nil {
					t.Fatal(err)
				}
				apply(other, ops[i])
			}
			if other.String() != tr.EndContent {
				t.Fatal("another replica has another text")
			}
			want := other.AppendSnapshot(nil)
			for _, d := range docs {
				missing, err := other.Operations(d.Version())
				if err != nil {
					t.Fatal(err)
				}
				apply(d, missing)
				if !bytes.Equal(d.AppendSnapshot(nil), want) {
					t.Error("an author has another text")
				}
			}
			history, err := other.Operations(nil)
			if err != nil {
				t.Fatal(err)
			}
			packed, err := textcrdt.Pack(textcrdt.AppendOps(nil, history))
			if err != nil {
				t.Fatal(err)
			}
			if len(packed) > most {
				t.Errorf("the packed history takes %d bytes", len(packed))
			}
			if history, err = textcrdt.DecodeOps(packed); err != nil {
				t.Fatal(err)
			}
			again := textcrdt.New(0, 0)
			apply(again, history)
			if !bytes.Equal(again.AppendSnapshot(nil), want) {
				t.Error("the history makes another text")
			}
			loaded, err := textcrdt.Load(0, 0, want)
			if err != nil || !bytes.Equal(loaded.AppendSnapshot(nil), want) || loaded.String() != tr.EndContent {
				t.Error("the snapshot makes another text:", err)
			}
		})
	}
}
