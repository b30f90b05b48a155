package rpc

import (
	"rowcall/model"
	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/openrpc"
	"rowcall/modules/store"
)

func apiKeyMethods(m *jsonrpc.Mux, api API) {
	n := entity[model.APIKey, int64]{api, model.APIKeys, "api_keys"}
	d := describe(model.APIKeys, "api_keys")
	d.fields = schemas{"scopes": {
		Description: "Each includes the ones before it: read, write, admin.",
		Type:        openrpc.Types{"array"}, Items: openrpc.Enum(auth.ScopeNames...), MinItems: new(1), Examples: []any{[]string{"read"}},
	}}
	handleWrite(m, api, "create_api_key", createAPIKey, described(doc{
		entity:  d,
		summary: "Create an API key",
		description: "The answer has the key itself in `key`: the only time that it is shown. A call that is repeated with " +
			"its mutation_id is answered without it.",
		params: schemas{"data": d.ref("Create")},
		errors: writeErrors,
		example: &example{
			object{value("data", d.exampleNew())},
			writtenOf(append(d.exampleRow(), value("key", "rck_4Zb0bV0m6Qw1yWc5eT2kL9pX7sR3uNfH"))),
		},
	}))
	jsonrpc.Handle(m, "list_api_keys", n.list, d.list())
	handleWrite(m, api, "delete_api_key", n.delete, d.delete())
	follow(api, model.APIKeys)
}

type newAPIKey struct {
	model.APIKey
	Key string `json:"key,omitzero"` // the key itself, in this answer only
}

// forget implements forgetful: a call that is repeated does not show the key again.
func (k *newAPIKey) forget() { k.Key = "" }

func createAPIKey(tx *store.Tx, p createParams) (newAPIKey, error) {
	k, err := model.APIKeys.DecodeNew(p.Data)
	if err != nil {
		return newAPIKey{}, apperr.Under("params.data", err)
	}
	k, text, err := model.CreateAPIKey(tx, k)
	return newAPIKey{k, text}, apperr.Under("params.data", err)
}
