package rpc

import (
	"rowcall/model"
	"rowcall/modules/apperr"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/store"
)

func apiKeyMethods(m *jsonrpc.Mux, api API) {
	n := entity[model.APIKey, int64]{api, model.APIKeys, "api_keys"}
	handle(m, api, "create_api_key", createAPIKey)
	jsonrpc.Handle(m, "list_api_keys", n.list)
	handle(m, api, "delete_api_key", n.delete)
}

type newAPIKey struct {
	model.APIKey
	Key string `json:"key"` // the key itself, in this answer only
}

func createAPIKey(tx *store.Tx, p createParams) (newAPIKey, error) {
	k, err := model.APIKeys.DecodeNew(p.Data)
	if err != nil {
		return newAPIKey{}, apperr.Under("params.data", err)
	}
	k, text, err := model.CreateAPIKey(tx, k)
	return newAPIKey{k, text}, apperr.Under("params.data", err)
}
