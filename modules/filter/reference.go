package filter

import (
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

// enter makes the row at the other end of a reference the one that is asked about, until leave.
func (p *parser) enter(ref int) (leave func()) {
	s := p.schema
	r := &s.refs[ref]
	p.rights.need(r.Read, p.here)
	p.rights.need(r.To.entity.reader(), p.here)
	p.schema = r.To
	if r.Many {
		hops, schemas := p.hops, p.hopSchemas
		p.hops, p.hopSchemas = nil, nil
		return func() { p.schema, p.hops, p.hopSchemas = s, hops, schemas }
	}
	n := len(p.hops)
	p.hops, p.hopSchemas = append(p.hops, ref), append(p.hopSchemas, s)
	return func() { p.schema, p.hops, p.hopSchemas = s, p.hops[:n], p.hopSchemas[:n] }
}

// dotted reads the value of a member whose name has a dot in it, in a group at the depth.
func (p *parser) dotted(first, rest string, depth int) error {
	if i, ok := p.schema.index[first]; ok {
		if p.schema.fields[i].Type != JSON {
			return p.fail("has no fields: " + first + " is " + types[p.schema.fields[i].Type].noun)
		}
		return p.jsonPath(i, rest)
	}
	i, ok := p.schema.refIndex[first]
	switch {
	case !ok:
		return p.unknown("does not begin with a field or a reference", first, p.schema.names)
	case p.schema.refs[i].Many:
		return p.fail("goes through a list: ask " + first + " by " + strings.Join(quantifiers, ", "))
	case strings.HasPrefix(rest, "$"):
		return p.fail("must lead to a field: ask " + first + " by an object with operators")
	case depth >= maxDepth:
		return p.fail("is nested deeper than 8 levels")
	}
	defer p.enter(i)()
	return p.member([]byte(rest), depth+1)
}

var quantifiers = []string{"$every", "$none", "$some"}

// reference reads what is asked of a reference, in a group at the depth.
func (p *parser) reference(i, depth int) error {
	if p.schema.refs[i].Many {
		return p.quantified(i, depth)
	}
	defer p.enter(i)()
	if p.dec.PeekKind() != jsontext.KindNull {
		return p.group(false, depth+1)
	}
	if _, err := p.token(); err != nil {
		return err
	}
	if err := p.charge(); err != nil {
		return err
	}
	return p.emit(node{form: isNull, of: p.schema.id})
}

// quantified reads an object of quantifiers, each with a group.
func (p *parser) quantified(i, depth int) error {
	kind, err := p.token()
	switch {
	case err != nil:
		return err
	case kind != jsontext.KindBeginObject:
		return p.fail("must be an object with " + strings.Join(quantifiers, ", "))
	}
	for p.dec.PeekKind() == jsontext.KindString {
		name, err := p.text(String)
		if err != nil {
			return err
		}
		switch string(name) {
		case "$some":
			err = p.rows(i, false, false, depth)
		case "$none":
			err = p.rows(i, true, false, depth)
		case "$every":
			err = p.rows(i, true, true, depth)
		default:
			err = p.unknown("is not a quantifier", string(name), quantifiers)
		}
		if err != nil {
			return err
		}
	}
	_, err = p.token()
	return err
}

// rows reads the group of a quantifier: (no) referenced row for which it holds (or does not).
func (p *parser) rows(ref int, none, fails bool, depth int) error {
	// The steps to the row that has the list, then the one into the list: the first is the one that is negated.
	first := len(p.nodes)
	for i, hop := range p.hops {
		if err := p.step(p.hopSchemas[i], node{form: exists, of: hop}); err != nil {
			return err
		}
	}
	if err := p.step(p.schema, node{form: exists, of: ref}); err != nil {
		return err
	}
	group := len(p.nodes)
	p.nodes[first].negated = none
	leave := p.enter(ref)
	defer leave()
	if none {
		p.negations++
		defer func() { p.negations-- }()
	}
	if err := p.group(fails, depth+1); err != nil {
		return err
	}
	for at := first; at < group; at++ {
		p.nodes[at].n = len(p.nodes) - at - 1
	}
	return nil
}

// Bounds of a $search. Postgres takes quadratic time for the words, and gives up at many - in a row.
const (
	MaxSearch  = 1000 // bytes
	maxWithout = 20
)

// negations returns how often there is a - that is not inside a word.
func negations(words string) (n int) {
	inside := false
	for _, r := range words {
		if r == '-' && !inside {
			n++
		}
		inside = unicode.IsLetter(r) || unicode.IsDigit(r)
	}
	return n
}

// searchWords reads the words of a $search. ranks says whether it stands where it holds for every row of the result.
func (p *parser) searchWords(ranks bool) error {
	if p.schema.entity.Search == "" {
		return p.fail("is not an operator here: a " + p.schema.entity.Name + " cannot be searched")
	}
	if err := p.charge(); err != nil {
		return err
	}
	words, err := p.string()
	switch {
	case err != nil:
		return err
	case len(words) > MaxSearch:
		return p.fail("may be at most 1,000 bytes long")
	case negations(words) > maxWithout:
		return p.fail("has more than 20 words to be without")
	}
	if ranks && len(p.hops) == 0 {
		p.search = words
	}
	if err := p.emit(node{form: search}, words); err != nil {
		return err
	}
	p.probe(p.schema.entity.Table + "_search")
	return nil
}
