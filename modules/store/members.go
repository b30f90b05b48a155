package store

import (
	"fmt"
	"strings"

	"github.com/doug-martin/goqu/v9"
	"github.com/doug-martin/goqu/v9/exp"

	"rowcall/modules/filter"
)

// This file is about rows that not every user of a tenant reaches: Access.Own, Access.Members and Access.Writers. The filter's schema
// knows the rules by which rows are read. A write locks the membership by which it is allowed, so that it comes before the end of
// that or is refused.

const lockMember = " FOR KEY SHARE OF m"

// checkMembers panics at a rule that cannot hold.
func (p *plan) checkMembers() {
	for _, m := range []filter.Members{p.access.Members, p.access.Writers} {
		switch c := p.byDB[m.Column]; {
		case m == (filter.Members{}):
		case p.access.Members == (filter.Members{}):
			panic(fmt.Sprintf("store: entity %s: its writers are members, but not who reads it", p.entity))
		case c == nil || c.nullable || c.onUpdate:
			panic(fmt.Sprintf("store: entity %s: its access rule names %s, which is no column of a group that rows stay in", p.entity, m.Column))
		}
	}
}

// held tells whether users are held to some of the rows.
func (p *plan) held(own bool) bool {
	return p.access.Members != (filter.Members{}) || own && p.own != nil
}

// reached is the condition by which users who are held reach rows, where the table is called alias. It has one argument, the user.
func (p *plan) reached(own bool, alias string) exp.Expression {
	if !p.held(own) {
		return goqu.And()
	}
	e := p.schema.Entity()
	return goqu.L(e.Reached(`"`+alias+`"`), stand)
}

// writers is the rule by which rows are written; nil for none.
func (p *plan) writers() *filter.Members {
	switch none := (filter.Members{}); {
	case p.access.Writers != none:
		return &p.access.Writers
	case p.access.Members != none:
		return &p.access.Members
	}
	return nil
}

// leaving tells whether the operation can be the end of one's own membership.
func (p *plan) leaving(op operation) bool {
	return op == deleting && p.access.Members.Table == p.table && p.access.Writers != (filter.Members{})
}

// mayWrite is the condition, besides reached, by which rows are written. Its arguments are mayWriteArgs.
func (p *plan) mayWrite(op operation, alias string) exp.Expression {
	m := p.writers()
	if m == nil {
		return goqu.And()
	}
	row := `"` + alias + `"`
	sql := "EXISTS (SELECT FROM " + m.Rows(row+`."tenant_id"`, row+`."`+m.Column+`"`) + lockMember + ")"
	if p.leaving(op) {
		sql = "(" + sql + " OR " + row + `."` + p.access.Members.User + `" = ?)`
	}
	args := make([]any, strings.Count(sql, "?"))
	for i := range args {
		args[i] = stand
	}
	return goqu.L(sql, args...)
}

func (p *plan) mayWriteArgs(dst []any, tx *Tx, op operation) []any {
	if p.writers() != nil {
		dst = append(dst, tx.Actor.User)
	}
	if p.leaving(op) {
		dst = append(dst, tx.Actor.User)
	}
	return dst
}

// guards tells whether it is the value of the column by which a new row may be created. A row that is its own group begins it.
func (p *plan) guards(c *column) bool {
	m := p.writers()
	return m != nil && m.Column == c.db && c.db != "id"
}

// guarded is the value of a column of a new row. If that guards, it is NULL for a group that the actor may not write to, as for one that does
// not exist, and has an argument before the value, the tenant, and one after it, the actor.
func (p *plan) guarded(c *column, value any) any {
	if !p.guards(c) {
		return value
	}
	m := p.writers()
	return goqu.L(`(SELECT m."`+m.Group+`" FROM `+m.Rows("?", "?")+lockMember+")", stand, value, stand)
}
