package model

import (
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/filter"
	"rowcall/modules/store"
)

// VaultCollection is a set of items that its members encrypt, and the server cannot read. Only members know of it, whatever their role in
// the tenant.
type VaultCollection struct {
	store.Base[uuid.UUID]
	OwnerID int64  `db:"owner_id" json:"owner_id"                                                   ref:"user"`
	Label   string `db:"label"    json:"label"    write:"create,update" validate:"required,max=1000" example:"YWdlLWVuY3J5cHRpb24ub3Jn"` // a name, encrypted
}

// VaultMember is a user's membership of a collection, with the keys of its items, wrapped for that user. The owner, who is always a member, adds
// members and removes them; everybody may remove themselves.
type VaultMember struct {
	store.Base[uuid.UUID]
	CollectionID uuid.UUID `db:"collection_id" json:"collection_id" write:"create"        validate:"required"          ref:"vault_collection" many:"members"`
	UserID       int64     `db:"user_id"       json:"user_id"       write:"create"        validate:"required"          ref:"user"`
	WrappedKey   string    `db:"wrapped_key"   json:"wrapped_key"   write:"create,update" validate:"required,max=8192" example:"YWdlLWVuY3J5cHRpb24ub3Jn"`
}

// VaultItem is what a member has put into a collection. All its members read and write it.
type VaultItem struct {
	store.Base[uuid.UUID]
	CollectionID uuid.UUID `db:"collection_id" json:"collection_id" write:"create"        validate:"required"                   ref:"vault_collection" many:"items"`
	Payload      string    `db:"payload"       json:"payload"       write:"create,update" validate:"required,max=349528,base64" example:"YWdlLWVuY3J5cHRpb24ub3Jn"` // base64 of up to 256 KiB
}

// The repositories of the vault.
var (
	VaultCollections = store.NewRepo[VaultCollection]("vault_collection",
		store.Access{Read: auth.Member, Write: auth.Member, Members: vaultMembers("id"), Writers: vaultOwner("id")})
	VaultMembers = store.NewRepo[VaultMember]("vault_member",
		store.Access{Read: auth.Member, Write: auth.Member, Members: vaultMembers("collection_id"), Writers: vaultOwner("collection_id")},
		store.Unique("collection_id", "user_id"))
	VaultItems = store.NewRepo[VaultItem]("vault_item",
		store.Access{Read: auth.Member, Write: auth.Member, Members: vaultMembers("collection_id")})
)

func vaultMembers(column string) filter.Members {
	return filter.Members{Column: column, Table: "vault_member", Group: "collection_id", User: "user_id"}
}

func vaultOwner(column string) filter.Members {
	return filter.Members{Column: column, Table: "vault_collection", Group: "id", User: "owner_id"}
}

// PrepareCreate makes whoever creates a collection its owner.
func (c *VaultCollection) PrepareCreate(tx *store.Tx) error {
	c.OwnerID = tx.Actor.User
	return nil
}

// CreateVaultCollection adds a collection with its owner's membership, in one transaction. Paths of issues begin with data, of the collection, or
// are wrapped_key.
func CreateVaultCollection(tx *store.Tx, c VaultCollection, wrappedKey string) (VaultCollection, error) {
	err := tx.InTx(func(tx *store.Tx) (err error) {
		if c, err = VaultCollections.Create(tx, c); err != nil {
			return apperr.Under("data", err)
		}
		_, err = VaultMembers.Create(tx, VaultMember{CollectionID: c.ID, UserID: c.OwnerID, WrappedKey: wrappedKey})
		return err
	})
	return c, err
}

var vaultGroups = group[VaultCollection, VaultMember]{
	VaultCollections, VaultMembers, "collection_id",
	func(c VaultCollection) int64 { return c.OwnerID }, func(m VaultMember) uuid.UUID { return m.ID },
}

// DeleteVaultCollection removes a collection with its memberships, in one transaction. REFERENCED while it has items.
func DeleteVaultCollection(tx *store.Tx, id uuid.UUID, version store.Version) (VaultCollection, error) {
	return vaultGroups.delete(tx, id, version)
}
