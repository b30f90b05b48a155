package textcrdt_test

import (
	"fmt"

	"rowcall/modules/textcrdt"
)

// Two people edit a text without hearing each other. Then they do, and one undoes what he did.
func Example() {
	ann, bob := textcrdt.New(1, 0), textcrdt.New(2, 0)
	start, _ := ann.Insert(0, "a text")
	_ = bob.Apply(start, nil)

	undo := textcrdt.NewUndo(bob)
	fromAnn, _ := ann.Insert(6, " of Ann's")
	fromBob, _ := bob.Insert(2, "small ")
	undo.Add(fromBob)

	_ = bob.Apply(fromAnn, func(e textcrdt.Edit) { fmt.Printf("at %d: %q\n", e.Pos, e.Text) })
	_ = ann.Apply(fromBob, nil)
	fmt.Println(ann.String() == bob.String(), ann)

	back, _ := undo.Undo()
	_ = ann.Apply(back, nil)
	fmt.Println(ann)
	// Output:
	// at 12: " of Ann's"
	// true a small text of Ann's
	// a text of Ann's
}
