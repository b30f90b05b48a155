package filter

import "strings"

// Members is the rule that an entity's rows belong to groups, as items do to a collection or messages to a room, and that only the
// members of a row's group reach it, whatever their role. The zero Members is no rule.
type Members struct {
	Column string // of a row: its group
	Table  string // of the memberships
	Group  string // its column that is equal to Column
	User   string // its column with the id of a member

	Role  string   // its column with a member's role there; "": the rule is for all members
	Roles []string // that the rule is for
}

// IsZero tells whether it is no rule.
func (m Members) IsZero() bool { return m.Table == "" }

// Rows returns the FROM and WHERE of the memberships by which a user, for whose id there is a placeholder, reaches a row of the tenant
// and of the group.
func (m *Members) Rows(tenant, group string) string {
	rows := `"` + m.Table + `" AS m WHERE m."tenant_id" = ` + tenant + ` AND m."` + m.Group + `" = ` + group + ` AND m."` + m.User + `" = ?`
	if m.Role != "" {
		rows += ` AND m."` + m.Role + `" IN ('` + strings.Join(m.Roles, "', '") + `')`
	}
	return rows
}

// Held tells whether there are rows of the entity that users do not reach. own says whether the rule Own holds for them.
func (e *Entity) Held(own bool) bool { return !e.Members.IsZero() || own && e.Own != "" }

// Reached returns the condition by which a user reaches the entity's rows that have the name, quoted, in a statement: for whoever is
// [Entity.Held], and with one placeholder, for the user's id.
func (e *Entity) Reached(row string) string {
	if !e.Members.IsZero() {
		return "EXISTS (SELECT FROM " + e.Members.Rows(row+`."tenant_id"`, row+`."`+e.Members.Column+`"`) + ")"
	}
	return row + `."` + e.Own + `" = ?`
}
