package store

import (
	"regexp"
	"strconv"
	"strings"
)

// write is SQL that changes rows and returns them as they are then, or, of deleted ones, as they were.
type write struct {
	op   operation // creating, updating, upserting or deleting
	text string
	old  string // selects the rows as they are before; "" where there are none, or where they are returned
	args int    // of text and old together
}

// Names of the parts of a statement, which no table of an entity can have.
const (
	oldRows    = "=old"
	newRows    = "=row"
	headRow    = "=head"
	entryRows  = "=entry"
	dataOfRow  = "=data"
	nothing    = "NULL::jsonb"
	entryNames = `"tenant_id", "position", "at", "actor", "method", "entity", "row_id", "op", "version", "before", "data"`
)

// newWrite returns a write of which text ends with what is returned of the rows. Its arguments are those of text and then those
// of old.
func newWrite(op operation, text, old sqlBuilder) write {
	s := write{op: op}
	s.text, s.args = buildCounting(text)
	if old != nil {
		var args int
		s.old, args = buildCounting(old)
		s.old = shift(s.old, s.args)
		s.args += args
	}
	return s
}

var placeholder = regexp.MustCompile(`\$[0-9]+`)

// shift makes room for so many arguments before those of a text.
func shift(text string, by int) string {
	return placeholder.ReplaceAllStringFunc(text, func(p string) string {
		n, _ := strconv.Atoi(p[1:]) // which are digits
		return "$" + strconv.Itoa(n+by)
	})
}

// withOld puts the rows as they are before in front of a text.
func (s write) withOld(text string) string {
	if s.old == "" {
		return text
	}
	return `WITH "` + oldRows + `" AS (` + s.old + `) ` + text
}

// collected is the text of the statement in a transaction, whose entries are appended at its end: after the columns it returns what the
// row was before, unless the columns themselves are that.
func (p *plan) collected(s write) string {
	switch s.op {
	case updating:
		return s.withOld(s.text + `, ` + p.jsonOf(oldRows) + `::text`)
	case upserting:
		return s.withOld(s.text + `, ` + p.beforeUpsert(`"`+p.table+`"`) + `::text`)
	default:
		return s.text
	}
}

// logged is the text of the statement with the append of its entries: rows, head and entries in one. Its further arguments are those of
// entryArgs. After the columns it returns the head.
//
// The head's row is locked when the rows have been written: see the migration of the change log.
func (p *plan) logged(s write) string {
	return p.loggedBy(s, s.arg, `count(*) FROM "`+newRows+`" HAVING count(*) > 0`)
}

// loggedSet is logged for rows of several calls, each of which has its own arguments for its entry: all but the tenant are arrays of
// theirs. The statement fails if a row is missing. A lock on the head is waited for as long as it takes.
func (p *plan) loggedSet(s write) string {
	of := func(i int, sqlType string) string {
		return `(` + s.arg(i, sqlType+"[]") + `)[(row_number() OVER ())::int]`
	}
	return p.loggedBy(s, of, `count(*) / (count(*) = cardinality(`+s.arg(3, "bigint[]")+`))::int FROM "`+newRows+`" `+
		`HAVING set_config('lock_timeout', (count(*) * 0)::text, true) = '0'`)
}

// arg is an argument after those of the write.
func (s write) arg(i int, sqlType string) string {
	return "$" + strconv.Itoa(s.args+i) + "::" + sqlType
}

// loggedBy is logged with what is the time, the actor and the method of an entry, and the number of rows.
func (p *plan) loggedBy(s write, of func(i int, sqlType string) string, count string) string {
	const row = `"` + newRows + `"`
	before, data, from := nothing, nothing, row+`, "`+headRow+`"`
	switch s.op {
	case creating:
		data = p.jsonOf(newRows)
	case updating:
		before, data = p.jsonOf(oldRows), p.jsonOf(newRows)
		from = row + ` JOIN "` + oldRows + `" USING ("id"), "` + headRow + `"`
	case upserting:
		before, data = p.beforeUpsert(row), p.jsonOf(newRows)
	case deleting:
		before = p.jsonOf(newRows)
	case reading:
	}
	columns := make([]string, len(p.columns))
	for i, c := range p.columns {
		columns[i] = row + `."` + c.db + `"`
	}
	with := `WITH `
	if s.old != "" {
		with += `"` + oldRows + `" AS (` + s.old + `), `
	}
	return with + row + ` AS (` + s.text + `), ` +
		`"` + headRow + `" AS (INSERT INTO "change_head" AS "h" ("tenant_id", "head") ` +
		`SELECT ` + s.arg(1, "uuid") + `, ` + count + ` ` +
		`ON CONFLICT ("tenant_id") DO UPDATE SET "head" = "h"."head" + EXCLUDED."head" RETURNING "head"), ` +
		`"` + entryRows + `" AS (INSERT INTO "change" (` + entryNames + `) ` +
		`SELECT ` + s.arg(1, "uuid") + `, "` + headRow + `"."head" - count(*) OVER () + row_number() OVER (), ` +
		of(2, "timestamptz") + `, ` + of(3, "bigint") + `, ` + of(4, "text") + `, '` + p.entity + `', ` + row + `."id"::text, ` +
		p.opOf(s.op, row) + `, ` + row + `."version"` + p.later(s.op) + `, ` + before + `, ` + data + ` FROM ` + from + `) ` +
		`SELECT ` + strings.Join(columns, ", ") + `, "` + headRow + `"."head" FROM ` + row + `, "` + headRow + `"`
}

// opOf is the entry's op. An upsert that found no row made its first version.
func (p *plan) opOf(op operation, row string) string {
	if op == upserting {
		return `CASE ` + row + `."version" WHEN 1 THEN 'create' ELSE 'update' END`
	}
	return `'` + opNames[op] + `'`
}

var opNames = map[operation]string{creating: "create", updating: "update", deleting: "delete"}

// later makes the version of a deleted row the one after its last.
func (p *plan) later(op operation) string {
	if op == deleting {
		return " + 1"
	}
	return ""
}

// jsonOf is the logged fields of a row as JSON.
func (p *plan) jsonOf(row string) string {
	fields := []string{}
	for _, c := range p.columns {
		if c.logged {
			fields = append(fields, `"`+row+`"."`+c.db+`" AS "`+c.name+`"`)
		}
	}
	return `(SELECT to_jsonb("` + dataOfRow + `") FROM (SELECT ` + strings.Join(fields, ", ") + `) AS "` + dataOfRow + `")`
}

// beforeUpsert is the row that an upsert changed, as it was before. It was not locked then, and is unknown if another transaction changed
// it meanwhile.
func (p *plan) beforeUpsert(row string) string {
	return strings.TrimSuffix(p.jsonOf(oldRows), `) AS "`+dataOfRow+`")`) +
		` FROM "` + oldRows + `" WHERE "` + oldRows + `"."version" = ` + row + `."version" - 1) AS "` + dataOfRow + `")`
}
