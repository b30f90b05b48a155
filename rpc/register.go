// Package rpc holds the methods of the one endpoint, one file per entity. [Register] lists them all.
package rpc

import (
	"rowcall/model"
	"rowcall/modules/changelog"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/store"
)

// API is what the methods work with.
type API struct {
	DB    *store.DB
	Authn *model.Authn
}

// Register adds every method to m, and last the one that describes them.
func Register(m *jsonrpc.Mux, api API) {
	projectMethods(m, api)
	taskMethods(m, api)
	userMethods(m, api)
	apiKeyMethods(m, api)
	syncMethods(m, api)
	discover(m)
}

// Views are the entities that clients can follow by the change log.
func Views() changelog.Views { return followed }

var followed = newViews(
	viewOf(model.Projects),
	viewOf(model.Tasks),
	viewOf(model.Users),
	viewOf(model.APIKeys),
)
