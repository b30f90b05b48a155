package filter

import (
	"maps"
	"slices"
	"strings"
)

// form is the kind of a node. Together with negation and field it determines the SQL text.
type form uint8

const (
	allOf form = iota // a group: all nodes under it hold
	anyOf             // an array of groups: one of them holds
	equal
	in
	inOrNull // in, for a list with null in it
	isNull
	isEmpty
	less
	lessEqual
	greater
	greaterEqual
	like
	likeAny
	likeAll
	likeCi
	likeAnyCi
	likeAllCi
)

// The templates of the conditions. Lists are arrays, so that the text does not depend on their length. Over an empty
// array ANY is false and ALL is true, even for NULL, hence the further test in likeAll. The patterns of the Ci forms are
// lowered once for a statement, not once for a row.
var templates = [...]string{
	equal:        `{col} = ?::{type}`,
	in:           `{col} = ANY(?::{type}[])`,
	inOrNull:     `({col} = ANY(?::{type}[]) OR {col} IS NULL)`,
	isNull:       `{col} IS NULL`,
	isEmpty:      `coalesce({col}, '') = ''`,
	less:         `{col} < ?::{type}`,
	lessEqual:    `{col} <= ?::{type}`,
	greater:      `{col} > ?::{type}`,
	greaterEqual: `{col} >= ?::{type}`,
	like:         `{col} LIKE ?::text`,
	likeAny:      `{col} LIKE ANY(?::text[])`,
	likeAll:      `({col} LIKE ALL(?::text[]) AND {col} IS NOT NULL)`,
	likeCi:       lowerCol + ` LIKE (SELECT lower(?::text COLLATE "und-x-icu"))`,
	likeAnyCi:    lowerCol + ` LIKE ANY(` + lowerArray + `)`,
	likeAllCi:    `(` + lowerCol + ` LIKE ALL(` + lowerArray + `) AND {col} IS NOT NULL)`,
}

const (
	lowerCol   = `lower({col} COLLATE "und-x-icu")`
	lowerArray = `ARRAY(SELECT lower(p COLLATE "und-x-icu") FROM unnest(?::text[]) AS p)`
)

type operator struct {
	form          form
	negated       bool
	before, after string // of the like forms: what the pattern has around the value
}

// operators is the operators of each type by name, and operatorNames their names, sorted.
var operators, operatorNames = operatorTable()

func operatorTable() (ops [len(types)]map[string]*operator, names [len(types)][]string) {
	for t := range ops {
		ops[t] = map[string]*operator{}
		add := func(verb string, op operator) {
			positive, negative := op, op
			negative.negated = true
			ops[t]["$"+strings.ToLower(verb[:1])+verb[1:]] = &positive
			ops[t]["$not"+verb] = &negative
		}
		ops[t]["$eq"] = &operator{form: equal}
		ops[t]["$not"] = &operator{form: equal, negated: true}
		ops[t]["$null"] = &operator{form: isNull}
		add("In", operator{form: in})
		if Type(t) != Bool && Type(t) != JSON {
			ops[t]["$lt"] = &operator{form: less}
			ops[t]["$lte"] = &operator{form: lessEqual}
			ops[t]["$gt"] = &operator{form: greater}
			ops[t]["$gte"] = &operator{form: greaterEqual}
		}
		if Type(t) == String {
			add("Empty", operator{form: isEmpty})
			for _, verb := range []struct{ name, before, after string }{
				{"Contains", "%", "%"}, {"StartsWith", "", "%"}, {"EndsWith", "%", ""},
			} {
				add(verb.name, operator{like, false, verb.before, verb.after})
				add(verb.name+"Ci", operator{likeCi, false, verb.before, verb.after})
				add(verb.name+"Any", operator{likeAny, false, verb.before, verb.after})
				add(verb.name+"AnyCi", operator{likeAnyCi, false, verb.before, verb.after})
			}
			add("ContainsAll", operator{likeAll, false, "%", "%"})
			add("ContainsAllCi", operator{likeAllCi, false, "%", "%"})
			add("Ilike", operator{likeCi, false, "%", "%"})
		}
		names[t] = slices.Sorted(maps.Keys(ops[t]))
	}
	return ops, names
}
