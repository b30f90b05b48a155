package rpc

import (
	"context"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/changelog"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/openrpc"
	"rowcall/modules/store"
)

// A replica is a client's copy of a tenant's rows. What it says of itself lets the log be pruned when everybody has seen it.
func replicaMethods(m *jsonrpc.Mux, api API) {
	const id = "0192f0c4-7f3a-7cc1-b0a4-6b8f0d6a2f11"
	name := &openrpc.Schema{Type: openrpc.Types{"string"}, MinLength: new(1), MaxLength: new(100), Examples: []any{"phone"}}
	entities := openrpc.Nullable(openrpc.ArrayOf(&openrpc.Schema{Type: openrpc.Types{"string"}}))
	entities.Description = "The names of the entities that it follows; null for all."
	replica := object{
		value("replica_id", id), value("name", "phone"), value("entities", nil), value("position", 42),
		value("ctime", "2026-11-21T09:00:00.000000Z"), value("seen_at", "2026-11-21T09:30:00.000000Z"),
	}
	jsonrpc.Handle(m, "register_replica", api.registerReplica, described(doc{
		tag:     "sync",
		summary: "Register a replica",
		description: "Entries that no registered replica has left to see may be pruned sooner than others. A replica that acknowledges " +
			"no position for a time that the server sets expires; a user may have 100 in a tenant.",
		params:  schemas{"name": name, "entities": entities},
		errors:  []apperr.Kind{apperr.Forbidden, apperr.ValidationFailed},
		example: &example{object{value("name", "phone")}, append(dataOf(object{value("replica_id", id)}), value("replica_id", id))},
	}))
	handle(m, api, "ack_replica", api.ackReplica, described(doc{
		tag:        "sync",
		idempotent: true,
		summary:    "Acknowledge a position of the log for a replica",
		description: "It says that the replica needs no entry up to the position any more, and keeps it from expiring. The position never goes " +
			"back, and not past the head. NOT_FOUND for a replica that has expired: register it anew.",
		errors:  []apperr.Kind{apperr.Forbidden, apperr.NotFound},
		example: &example{object{value("replica_id", id), value("position", 42)}, dataOf(replica)},
	}))
	handle(m, api, "list_replicas", api.listReplicas, described(doc{
		tag: "sync", safe: true, summary: "List one's replicas that have not expired",
		errors:  []apperr.Kind{apperr.Forbidden},
		example: &example{nil, dataOf([]any{replica})},
	}))
	handle(m, api, "delete_replica", api.deleteReplica, described(doc{
		tag: "sync", summary: "Forget a replica",
		errors:  []apperr.Kind{apperr.Forbidden, apperr.NotFound},
		example: &example{object{value("replica_id", id)}, dataOf(object{value("deleted", true)})},
	}))
}

type (
	registerReplicaParams struct {
		Name     string   `json:"name"`
		Entities []string `json:"entities,omitzero"`
	}
	// registered has the id in its data, and beside it.
	registered struct {
		Data byReplicaID `json:"data"`
		byReplicaID
	}
	byReplicaID struct {
		ReplicaID uuid.UUID `json:"replica_id"`
	}
	ackReplicaParams struct {
		ReplicaID uuid.UUID `json:"replica_id"`
		Position  int64     `json:"position"`
	}
	deleted struct {
		Deleted bool `json:"deleted"`
	}
)

func (api API) registerReplica(ctx context.Context, p registerReplicaParams) (r registered, err error) {
	if err := changelog.CheckEntities(api.views, p.Entities, "params.entities"); err != nil {
		return r, err
	}
	err = api.DB.InTx(ctx, func(tx *store.Tx) error {
		r.ReplicaID, err = api.Replicas.Register(tx, p.Name, p.Entities)
		r.Data = r.byReplicaID
		return apperr.Under("params", err)
	})
	return r, err
}

func (api API) ackReplica(tx *store.Tx, p ackReplicaParams) (changelog.Replica, error) {
	replica, err := api.Replicas.Ack(tx, p.ReplicaID, p.Position)
	return replica, apperr.Under("params", err)
}

func (api API) listReplicas(tx *store.Tx, _ struct{}) ([]changelog.Replica, error) {
	return api.Replicas.List(tx)
}

func (api API) deleteReplica(tx *store.Tx, p byReplicaID) (deleted, error) {
	err := api.Replicas.Delete(tx, p.ReplicaID)
	return deleted{err == nil}, err
}
