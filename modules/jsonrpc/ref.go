package jsonrpc

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
)

// Bounds of what the references of a batch may do. Without them, calls that each refer twice to the one before would double
// the params a hundred times.
const (
	maxPlaced   = 1 << 20 // bytes of the values that stand for references
	maxSearched = 4 << 20 // bytes that are read to find them; an object or array is read once
)

// refs puts what they refer to in the place of references: objects like {"$ref": "0.id"}, in an atomic batch.
type refs struct {
	results  []*part // of the calls that have run
	placed   int
	searched int
}

func (rs *refs) add(result jsontext.Value) { rs.results = append(rs.results, &part{text: result}) }

// resolve returns params with each reference replaced; as they are, if there is none. A reference that leads nowhere, or to
// too much, is INVALID_PARAMS with its path. What is put in its place is not searched for references again.
func (rs *refs) resolve(params jsontext.Value, maxDepth int) (jsontext.Value, error) {
	r := newReader(params, decoding)
	defer r.release()
	var resolved []byte
	var issues []apperr.Issue
	copied := 0
	for {
		token, err := r.ReadToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if token.Kind() != jsontext.KindBeginObject {
			continue
		}
		start := int(r.InputOffset()) - len("{")
		target, is, err := r.reference()
		if err != nil {
			return nil, err
		}
		if !is {
			continue
		}
		value, reason := rs.find(target)
		if reason != "" {
			if len(issues) < maxIssues {
				issues = append(issues, apperr.Issue{Path: r.path(), Reason: reason})
			}
			continue
		}
		resolved = append(append(resolved, params[copied:start]...), value...)
		copied = int(r.InputOffset())
	}
	if len(issues) > 0 {
		return nil, apperr.Invalid(issues...)
	}
	if copied == 0 {
		return params, nil
	}
	resolved = append(resolved, params[copied:]...)
	if nestsDeeper(resolved, maxDepth) {
		return nil, apperr.Invalid(apperr.Issue{Path: "params", Reason: fmt.Sprintf("are nested deeper than %d, with what they refer to", maxDepth)})
	}
	return resolved, nil
}

// reference tells whether the object that was begun is a reference, and to what. It reads to the object's end if so, and
// otherwise no further than into its first member.
func (r *reader) reference() (target string, is bool, err error) {
	if r.PeekKind() != jsontext.KindString {
		return "", false, nil
	}
	name, err := r.name()
	if err != nil || string(name) != "$ref" || r.PeekKind() != jsontext.KindString {
		return "", false, err
	}
	text, err := r.name()
	if err != nil || r.PeekKind() != jsontext.KindEndObject {
		return "", false, err
	}
	_, err = r.ReadToken()
	return string(text), true, err
}

// find returns the value that a reference leads to, or why there is none.
func (rs *refs) find(target string) (value jsontext.Value, reason string) {
	name, rest, more := strings.Cut(target, ".")
	index, err := strconv.Atoi(name)
	if err != nil || index < 0 || index >= len(rs.results) || strconv.Itoa(index) != name {
		return nil, `must refer to an earlier call of the batch by its position, as in "0.id"`
	}
	p := rs.member(rs.results[index], "data")
	for more && p != nil {
		name, rest, more = strings.Cut(rest, ".")
		p = rs.member(p, name)
	}
	switch {
	case rs.searched > maxSearched:
		return nil, "refers to results that are too large"
	case p == nil:
		return nil, fmt.Sprintf("refers to %s, which the result of that call does not have", cut(target))
	}
	if rs.placed += len(p.text); rs.placed > maxPlaced {
		return nil, "refers to too much: a batch may refer to 1 MiB"
	}
	return p.text, ""
}

// part is a part of a result.
type part struct {
	text    jsontext.Value
	read    bool
	members map[string]jsontext.Value // of an object
	items   []jsontext.Value          // of an array
	known   map[string]*part          // those of its parts that were asked for
}

// member returns a member of an object, or the item at a position of an array; nil if there is none, or if too much has been
// searched.
func (rs *refs) member(p *part, name string) *part {
	if m := p.known[name]; m != nil {
		return m
	}
	if !p.read {
		if rs.searched += len(p.text); rs.searched > maxSearched {
			return nil
		}
		p.open()
	}
	text := p.members[name]
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(p.items) && strconv.Itoa(i) == name {
		text = p.items[i]
	}
	if text == nil {
		return nil
	}
	if p.known == nil {
		p.known = map[string]*part{}
	}
	m := &part{text: text}
	p.known[name] = m
	return m
}

// open reads what an object or array holds. It does not fail: a result was encoded here.
func (p *part) open() {
	p.read = true
	r := newReader(p.text, decoding)
	defer r.release()
	switch r.PeekKind() {
	case jsontext.KindBeginArray:
		for _, err := r.ReadToken(); err == nil && more(r.PeekKind()); {
			var item jsontext.Value
			item, err = r.value()
			p.items = append(p.items, item)
		}
	case jsontext.KindBeginObject:
		p.members = map[string]jsontext.Value{}
		for _, err := r.ReadToken(); err == nil && more(r.PeekKind()); {
			var name []byte
			if name, err = r.name(); err == nil {
				p.members[string(name)], err = r.value()
			}
		}
	}
}
