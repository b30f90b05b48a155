package rpc

import (
	"context"

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
	handleWriteInTx(m, api, "create_vault_collection", createVaultCollection, described(doc{
		entity:      d,
		summary:     "Create a vault collection",
		description: "Its owner becomes its first member, with `wrapped_key`: the key of its items, which the client has made, wrapped for the owner.",
		params:      schemas{"data": d.ref("Create"), "wrapped_key": {Type: openrpc.Types{"string"}, MinLength: new(1), MaxLength: new(8192)}},
		errors:      writeErrors,
		example:     &example{object{value("data", d.exampleNew()), value("wrapped_key", "YWdlLWVuY3J5cHRpb24ub3Jn")}, writtenOf(d.exampleRow())},
	}))
	handleWrite(m, api, "update_vault_collection", n.update, d.update())
	handleWriteInTx(m, api, "delete_vault_collection", deleteVaultCollection, d.delete())
	crud(m, api, model.VaultMembers, "vault_members")
	crud(m, api, model.VaultItems, "vault_items")
}

// handleWriteInTx is handleWrite for a method whose statements are one transaction.
func handleWriteInTx[P, R any](m *jsonrpc.Mux, api API, method string, do func(*store.Tx, P) (R, error), opts ...jsonrpc.MethodOption) {
	jsonrpc.Handle(m, method, func(ctx context.Context, p P) (result changed[R], err error) {
		err = api.DB.InTx(ctx, func(tx *store.Tx) (err error) {
			result.at = tx.Position()
			result.Data, err = do(tx, p)
			return err
		})
		return result, err
	}, opts...)
}

type newCollectionParams struct {
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
