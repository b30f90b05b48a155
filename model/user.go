// Package model holds the application's entities, one file each: the struct, its rules and its hand-written queries; and
// who may log in, and how ([Authn]).
package model

import (
	"rowcall/modules/auth"
	"rowcall/modules/store"
)

// User is a member of the tenant: a membership and the account behind it.
type User struct {
	store.Base[int64]
	Username  string `db:"username"  json:"username"  example:"demo1"`
	Name      string `db:"name"      json:"name"      example:"Demo One"`
	Role      string `db:"role"      json:"role"      validate:"oneof=member admin owner"`
	Suspended bool   `db:"suspended" json:"suspended" read:"admin"`
}

// Users is the repository of the tenant's users. It only reads.
var Users = store.NewRepo[User]("user", store.Access{Read: auth.Member}, store.Table("tenant_user"))
