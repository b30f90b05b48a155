package rpc

import (
	"context"
	"time"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/changelog"
	"rowcall/modules/jsonrpc"
)

// Connection is the WebSocket that a call came by.
type Connection interface {
	// Authenticate makes the connection the caller's, by an access token or an API key, until the time that it returns, zero for any
	// number of years.
	Authenticate(ctx context.Context, token string) (expiresAt time.Time, err error)

	// Subscribe begins a subscription, which brings nothing before the answer to the call. The position is where it begins.
	Subscribe(ctx context.Context, of changelog.Interest) (position int64, epoch string, err error)

	// Unsubscribe ends it, and tells whether there was one. Nothing comes after the answer to the call.
	Unsubscribe() bool

	// Follow begins to bring a document's operations after a position, none before the answer to the call. INVALID_REQUEST for one that is
	// followed, or one too many.
	Follow(ctx context.Context, document uuid.UUID, since int64) error

	// Unfollow ends it, and tells whether it was followed. Nothing of it comes after the answer to the call.
	Unfollow(document uuid.UUID) bool
}

type connectionKey struct{}

// WithConnection returns a context for calls that came by c.
func WithConnection(ctx context.Context, c Connection) context.Context {
	return context.WithValue(ctx, connectionKey{}, c)
}

func connectionFrom(ctx context.Context) (Connection, error) {
	if c, ok := ctx.Value(connectionKey{}).(Connection); ok {
		return c, nil
	}
	return nil, apperr.New(apperr.InvalidRequest, "This method can be called on a WebSocket only")
}

// liveMethods are those of a WebSocket itself.
func liveMethods(m *jsonrpc.Mux, api API) {
	const onlyThere = "On a WebSocket only, at `GET /api/rpc`."
	jsonrpc.Handle(m, "authenticate", authenticate, jsonrpc.Public(), described(doc{
		tag:         "live",
		summary:     "Log in on a WebSocket whose handshake had no credential, or go on with a newer token",
		description: onlyThere + " A newer token must be of the same user and tenant.",
		errors:      []apperr.Kind{apperr.InvalidRequest, apperr.Unauthenticated, apperr.Forbidden},
		example: &example{
			object{value("token", "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.…")},
			dataOf(object{value("authenticated", true), value("expires_at", "2026-03-02T09:15:00.000000Z")}),
		},
	}))
	jsonrpc.Handle(m, "subscribe", subscribe, described(doc{
		tag:     "live",
		summary: "Get the tenant's changes as notifications",
		description: onlyThere + " After the answer, every change after `since` (default: the head) comes as a notification of the method `change`, " +
			"with the entry as its params. The notification `resync`, with a `reason`, ends the subscription: then start over with `sync_bootstrap`.",
		params:  api.views.syncParams(),
		errors:  append([]apperr.Kind{apperr.InvalidRequest}, syncErrors...),
		example: &example{object{value("since", 42)}, dataOf(object{value("position", 42), value("epoch", exampleEpoch)})},
	}))
	jsonrpc.Handle(m, "unsubscribe", unsubscribe, described(doc{
		tag:         "live",
		summary:     "Get no more changes",
		description: onlyThere,
		errors:      []apperr.Kind{apperr.InvalidRequest},
		example:     &example{nil, dataOf(object{value("unsubscribed", true)})},
	}))
}

type authenticateParams struct {
	Token string `json:"token"` // an access token or an API key
}

type authenticated struct {
	Authenticated bool       `json:"authenticated"`
	ExpiresAt     *time.Time `json:"expires_at"` // when the connection is closed, unless there is a newer token by then; null: never
}

func authenticate(ctx context.Context, p authenticateParams) (data[authenticated], error) {
	c, err := connectionFrom(ctx)
	if err != nil {
		return data[authenticated]{}, err
	}
	expiresAt, err := c.Authenticate(ctx, p.Token)
	if err != nil {
		return data[authenticated]{}, err
	}
	result := authenticated{Authenticated: true}
	if !expiresAt.IsZero() {
		result.ExpiresAt = &expiresAt
	}
	return data[authenticated]{result}, nil
}

type subscribeParams struct {
	Since    *int64      `json:"since,omitzero"`
	Epoch    *string     `json:"epoch,omitzero"`
	Entities []string    `json:"entities,omitzero"` // none: all
	Groups   []uuid.UUID `json:"groups,omitzero"`
}

type subscribed struct {
	Position int64  `json:"position"` // after which the changes come
	Epoch    string `json:"epoch"`
}

func subscribe(ctx context.Context, p subscribeParams) (data[subscribed], error) {
	c, err := connectionFrom(ctx)
	if err != nil {
		return data[subscribed]{}, err
	}
	if err := atMost("params.groups", len(p.Groups)); err != nil {
		return data[subscribed]{}, err
	}
	of := changelog.Interest{Since: p.Since, Entities: p.Entities, Groups: p.Groups}
	if p.Epoch != nil {
		of.Epoch = *p.Epoch
	}
	position, epoch, err := c.Subscribe(ctx, of)
	return data[subscribed]{subscribed{position, epoch}}, apperr.Under("params", err)
}

type unsubscribed struct {
	Unsubscribed bool `json:"unsubscribed"` // false: there was no subscription
}

func unsubscribe(ctx context.Context, _ struct{}) (data[unsubscribed], error) {
	c, err := connectionFrom(ctx)
	if err != nil {
		return data[unsubscribed]{}, err
	}
	return data[unsubscribed]{unsubscribed{c.Unsubscribe()}}, nil
}
