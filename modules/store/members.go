package store

import (
	"fmt"
	"strings"

	"github.com/doug-martin/goqu/v9"
	"github.com/doug-martin/goqu/v9/exp"

	"rowcall/modules/filter"
)

// This file is about rows that not every user of a tenant reaches: Access.Own, Members, Writers and Deleters. The filter's schema
// knows the rules by which rows are read. A write locks the membership by which it is allowed, so that it comes before the end of
// that or is refused.

// lockOf is the lock on the membership. The weaker one does not keep the role from being changed.
func lockOf(m *filter.Members) string {
	if m.Role != "" {
		return " FOR SHARE OF m"
	}
	return " FOR KEY SHARE OF m"
}

// checkMembers panics at a rule that cannot hold.
func (p *plan) checkMembers() {
	if p.access.Members.Role != "" {
		panic(fmt.Sprintf("store: entity %s: it is read by members with some roles only, which the change log does not know", p.entity))
	}
	for _, m := range append([]filter.Members{p.access.Members, p.access.Writers}, p.access.Deleters...) {
		switch c := p.byDB[m.Column]; {
		case m.IsZero():
		case p.access.Members.IsZero():
			panic(fmt.Sprintf("store: entity %s: its writers are members, but not who reads it", p.entity))
		case c == nil || c.nullable || c.onUpdate:
			panic(fmt.Sprintf("store: entity %s: its access rule names %s, which is no column of a group that rows stay in", p.entity, m.Column))
		}
	}
}

// held tells whether users are held to some of the rows.
func (p *plan) held(own bool) bool {
	return !p.access.Members.IsZero() || own && p.own != nil
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
	switch {
	case !p.access.Writers.IsZero():
		return &p.access.Writers
	case !p.access.Members.IsZero():
		return &p.access.Members
	}
	return nil
}

// changers are the rules of which one lets users change a row by the operation; none: everybody may.
func (p *plan) changers(op operation) []filter.Members {
	writers, members := p.writers(), p.access.Members
	switch {
	case op == deleting && p.access.Deleters != nil:
		return p.access.Deleters
	case writers == nil:
		return nil
	case op == deleting && members.Table == p.table && !p.access.Writers.IsZero(): // the end of the own membership
		return []filter.Members{*writers, {Column: "id", Table: p.table, Group: "id", User: members.User}}
	}
	return []filter.Members{*writers}
}

// mayWrite is the condition, besides reached, by which rows are written. Its arguments are mayWriteArgs.
func (p *plan) mayWrite(op operation, alias string) exp.Expression {
	var ways []string
	var args []any
	for _, m := range p.changers(op) {
		row := `"` + alias + `"`
		way := "EXISTS (SELECT FROM " + m.Rows(row+`."tenant_id"`, row+`."`+m.Column+`"`) + lockOf(&m) + ")"
		if m.Table == p.table && m.Group == m.Column { // it is the row itself that says whose it is
			way = row + `."` + m.User + `" = ?`
		}
		ways, args = append(ways, way), append(args, stand)
	}
	if ways == nil {
		return goqu.And()
	}
	return goqu.L("("+strings.Join(ways, " OR ")+")", args...)
}

func (p *plan) mayWriteArgs(dst []any, tx *Tx, op operation) []any {
	for range p.changers(op) {
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
	return goqu.L(`(SELECT m."`+m.Group+`" FROM `+m.Rows("?", "?")+lockOf(m)+")", stand, value, stand)
}
