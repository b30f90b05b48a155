// Package rpc holds the methods of the one endpoint, one file per entity. [Register] lists them all.
package rpc

import (
	"context"
	"time"

	"rowcall/model"
	"rowcall/modules/auth"
	"rowcall/modules/changelog"
	"rowcall/modules/document"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/ledger"
	"rowcall/modules/store"
)

// API is what the methods work with.
type API struct {
	DB        *store.DB
	Authn     *model.Authn
	Replicas  changelog.Replicas
	Documents *document.Hub

	MutationRetention time.Duration // how long mutations are remembered; 0 for ledger.MinRetention

	ledger  *ledger.Ledger
	writers map[string]writer // of the entities that sync_push writes, by their names
	views   views             // of the entities whose changes clients can follow
}

// Guard is the guard of a Mux with these methods: a call needs an actor, unless its method is public. What it changes is logged under
// the method's name.
func Guard(ctx context.Context, method string) error {
	r := auth.RequestFrom(ctx)
	if r.Method = method; method == pushOperations && r.Memory != nil {
		return nil // it is proven by the commit, with those of others
	}
	_, err := auth.ActorFrom(ctx)
	return err
}

// Register adds every method to m, and last the one that describes them. It returns how the entities look whose changes clients can follow.
func Register(m *jsonrpc.Mux, api API) changelog.Views {
	api.ledger, api.writers, api.views = ledger.New(api.DB, api.MutationRetention), map[string]writer{}, views{}
	projectMethods(m, api)
	taskMethods(m, api)
	userMethods(m, api)
	apiKeyMethods(m, api)
	vaultMethods(m, api)
	documentMethods(m, api)
	syncMethods(m, api)
	liveMethods(m, api)
	replicaMethods(m, api)
	changeMethods(m, api)
	pushMethod(m, api) // when all entities that it writes are there
	discover(m, api)
	return api.views
}
