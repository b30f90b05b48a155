package rpc

import (
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/model"
	"rowcall/modules/apperr"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/openrpc"
	"rowcall/modules/store"
)

func vaultMethods(m *jsonrpc.Mux, api API) {
	n := entity[model.VaultCollection, uuid.UUID]{api, model.VaultCollections, "vault_collections"}
	readable(m, api, model.VaultCollections, "vault_collections")
	d := describe(model.VaultCollections, "vault_collections")
	handleWrite(m, api, "create_vault_collection", createVaultCollection, described(doc{
		entity:      d,
		summary:     "Create a vault collection",
		description: "Its owner becomes its first member, with `wrapped_key`: the key of its items, which the client has made, wrapped for the owner.",
		params:      schemas{"data": d.ref("Create"), "wrapped_key": {Type: openrpc.Types{"string"}, MinLength: new(1), MaxLength: new(8192)}},
		errors:      writeErrors,
		example:     &example{object{value("data", d.exampleNew()), value("wrapped_key", "YWdlLWVuY3J5cHRpb24ub3Jn")}, writtenOf(d.exampleRow())},
	}))
	handleWrite(m, api, "update_vault_collection", n.update, d.update())
	handleWrite(m, api, "delete_vault_collection", deleteVaultCollection, d.delete())
	crud(m, api, model.VaultMembers, "vault_members")
	crud(m, api, model.VaultItems, "vault_items")
}

type newCollectionParams struct {
	mutable
	Data       jsontext.Value `json:"data"`
	WrappedKey string         `json:"wrapped_key"`
}

func createVaultCollection(tx *store.Tx, p newCollectionParams) (model.VaultCollection, error) {
	c, err := model.VaultCollections.DecodeNew(p.Data)
	if err != nil {
		return c, apperr.Under("params.data", err)
	}
	c, err = model.CreateVaultCollection(tx, c, p.WrappedKey)
	return c, apperr.Under("params", err)
}

func deleteVaultCollection(tx *store.Tx, p deleteParams[uuid.UUID]) (model.VaultCollection, error) {
	return model.DeleteVaultCollection(tx, p.ID, store.IfVersion(p.Version))
}
