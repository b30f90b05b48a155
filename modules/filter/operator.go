package filter

import (
	"maps"
	"slices"
	"strings"
)

// form is the kind of a node. Together with negation and field it determines the SQL text.
type form uint8

const (
	allOf  form = iota // a group: all nodes under it hold
	anyOf              // an array of groups: one of them holds
	exists             // a step through a reference: the node under it holds for a row that it leads to
	search
	searchFound // the same, of rows that the index has found
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

	// What is asked of the value at a path in a JSON column.
	jsonEqual
	jsonContains // the column contains an object with the value at the path: what an index can find
	jsonFound    // the same, of rows that the index has found
	jsonIn
	jsonInOrNull
	jsonNull
	jsonEmpty
	jsonHas
	jsonLess // than a number; the same order as of less and so on
	jsonLessEqual
	jsonGreater
	jsonGreaterEqual
	jsonText // and the forms from less on, of the value at the path if that is a string

	forms = jsonText + likeAllCi - less + 1
)

// asText returns the form that asks the string at a path what f asks a string.
func (f form) asText() form { return jsonText + f - less }

// holdsForNull tells whether the form, not negated, holds where the value is NULL.
func (f form) holdsForNull() bool {
	return slices.Contains([]form{inOrNull, isNull, isEmpty, jsonInOrNull, jsonNull, jsonEmpty}, f)
}

// The templates of the conditions. Lists are arrays, so that the text does not depend on their length. Over an empty
// array ANY is false and ALL is true, even for NULL, hence the further test in likeAll. The patterns of the Ci forms are
// lowered once for a statement, not once for a row.
var templates = withText([forms]string{
	search:       `{matches}({search}, ?::text)`,
	searchFound:  `({row}."id" = ANY(?::{id}[]) AND {matches}({search}, ?::text))`,
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

	jsonEqual:        `{col} #> {path} = ?::jsonb`,
	jsonContains:     `{col} @> ?::jsonb`,
	jsonFound:        `({row}."id" = ANY(?::{id}[]) AND {col} @> ?::jsonb)`,
	jsonIn:           `{col} #> {path} = ANY(?::jsonb[])`,
	jsonInOrNull:     `({col} #> {path} = ANY(?::jsonb[]) OR coalesce({col} #> {path}, 'null') = 'null')`,
	jsonNull:         `coalesce({col} #> {path}, 'null') = 'null'`,
	jsonEmpty:        `coalesce({col} #> {path}, 'null') IN ('null', '""')`,
	jsonHas:          `(jsonb_typeof({col} #> {path}) IN ('object', 'array') AND jsonb_exists({col} #> {path}, ?::text))`,
	jsonLess:         `(jsonb_typeof({col} #> {path}) = 'number' AND {col} #> {path} < ?::jsonb)`,
	jsonLessEqual:    `(jsonb_typeof({col} #> {path}) = 'number' AND {col} #> {path} <= ?::jsonb)`,
	jsonGreater:      `(jsonb_typeof({col} #> {path}) = 'number' AND {col} #> {path} > ?::jsonb)`,
	jsonGreaterEqual: `(jsonb_typeof({col} #> {path}) = 'number' AND {col} #> {path} >= ?::jsonb)`,
})

// withText adds the templates of the strings in JSON, from those of strings.
func withText(t [forms]string) [forms]string {
	for f := less; f <= likeAllCi; f++ {
		t[f.asText()] = strings.NewReplacer(
			"{col}", `CASE WHEN jsonb_typeof({col} #> {path}) = 'string' THEN ({col} #>> {path}) COLLATE "C" END`,
			"{type}", "text").Replace(t[f])
	}
	return t
}

// pathPlaceholder is what stands for {path} in a statement.
const pathPlaceholder = "?::text[]"

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
		if Type(t) == JSON {
			add("Has", operator{form: jsonHas})
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

// pathOperators are the operators of what a path in a JSON column leads to: those of every type that JSON has.
var pathOperators, pathOperatorNames = pathOperatorTable()

func pathOperatorTable() (map[string]*operator, []string) {
	ops := maps.Clone(operators[String])
	maps.Copy(ops, operators[JSON])
	return ops, slices.Sorted(maps.Keys(ops))
}
