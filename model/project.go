package model

import (
	"rowcall/modules/auth"
	"rowcall/modules/store"
)

// Project is a named set of tasks. Its name is unique in the tenant.
type Project struct {
	store.Base[int64]
	Name    string `db:"name"     json:"name"     write:"create,update" validate:"required,max=100" example:"Moon landing"`
	OwnerID int64  `db:"owner_id" json:"owner_id" write:"create,update" validate:"min=1"            ref:"user" many:"projects"`
}

// Projects is the repository of projects.
var Projects = store.NewRepo[Project]("project", store.Access{Read: auth.Member, Write: auth.Member}, store.Unique("name"))

// PrepareCreate makes whoever creates a project its owner, unless another is named.
func (p *Project) PrepareCreate(tx *store.Tx) error {
	if p.OwnerID == 0 {
		p.OwnerID = tx.Actor.User
	}
	return nil
}
