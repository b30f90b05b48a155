package filter

import (
	"errors"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
)

// fail returns INVALID_PARAMS for what was read last.
func (p *parser) fail(reason string, allowed ...string) error {
	return apperr.Invalid(apperr.Issue{Path: p.pathTo(p.dec.StackPointer()), Reason: reason, Allowed: allowed})
}

// unknown is fail for a name that was read last and is none of the allowed ones.
func (p *parser) unknown(reason, name string, allowed []string) error {
	if near := nearest(name, allowed); near != "" {
		reason += "; did you mean " + near + "?"
	}
	return p.fail(reason, slices.Clone(allowed)...)
}

// syntax returns INVALID_PARAMS for an error of the decoder. Calls have been checked before they come here; filters from
// elsewhere may not have been.
func (p *parser) syntax(err error) error {
	var se *jsontext.SyntacticError
	if errors.As(err, &se) && errors.Is(err, jsontext.ErrDuplicateName) {
		return apperr.Invalid(apperr.Issue{Path: p.pathTo(se.JSONPointer), Reason: "is given twice"})
	}
	return apperr.Invalid(apperr.Issue{Path: p.path, Reason: "is not valid JSON"})
}

// pathTo returns the path of a value inside raw, on the decoder's stack.
func (p *parser) pathTo(ptr jsontext.Pointer) string { return pathOn(p.dec, p.path, ptr) }

// pathOn continues a path by a pointer to a value on the decoder's stack.
func pathOn(d *jsontext.Decoder, path string, ptr jsontext.Pointer) string {
	level := 0
	for tok := range ptr.Tokens() {
		level++
		if level <= d.StackDepth() {
			if kind, _ := d.StackIndex(level); kind == jsontext.KindBeginArray {
				tok = "[" + tok + "]"
			}
		}
		if len(tok) > maxName {
			tok = strings.ToValidUTF8(tok[:maxName], "") + "…"
		}
		path = apperr.Join(path, tok)
	}
	return path
}

// maxName is how many bytes of a client's name are repeated to it.
const maxName = 64

// nearest returns the candidate that name is most likely a typo of: at most two edits away, and under half its length.
// It is "" if there is none.
func nearest(name string, candidates []string) string {
	best, least := "", min(3, (len(name)+1)/2)
	if len(name) > maxName {
		return ""
	}
	for _, c := range candidates {
		if d := edits(name, c); d < least {
			best, least = c, d
		}
	}
	return best
}

// edits is the Levenshtein distance of a and b in bytes.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}
