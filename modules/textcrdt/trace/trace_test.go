package trace_test

import (
	"errors"
	"io/fs"
	"slices"
	"testing"

	"rowcall/modules/textcrdt/trace"
)

// TestRead proves that the reader understands the sequential format: its patches alone come to the end text.
func TestRead(t *testing.T) {
	tr, err := trace.Read("automerge-paper")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the traces are not here:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	text := []rune(tr.StartContent)
	for _, txn := range tr.Txns {
		for _, p := range txn.Patches {
			text = slices.Replace(text, p.Pos, p.Pos+p.Deleted, []rune(p.Text)...)
		}
	}
	if string(text) != tr.EndContent {
		t.Error("the patches do not come to the end text")
	}
}

// TestReadAbsent proves that the error tells what to do.
func TestReadAbsent(t *testing.T) {
	t.Setenv(trace.Folder, t.TempDir())
	if _, err := trace.Read("nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}
