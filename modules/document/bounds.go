package document

import (
	"fmt"

	"rowcall/modules/apperr"
	"rowcall/modules/textcrdt"
)

// bounds are how large documents may become.
type bounds struct{ text, runs int }

// check returns an error at a path for operations that a replica has no room for. What only deletes needs no more room for its text.
func (b bounds) check(doc *textcrdt.Doc, path string, ops []textcrdt.Op) error {
	inserted := 0
	for i := range ops {
		inserted += len(ops[i].Text)
	}
	if doc.Runs() < b.runs && (inserted == 0 || doc.Bytes(doc.Len())+inserted <= b.text) {
		return nil
	}
	return apperr.Validation(apperr.Issue{
		Path:   path,
		Reason: fmt.Sprintf("are too much: a text has at most %d bytes, in at most %d runs of characters; a fork of it begins anew", b.text, b.runs),
	})
}
