// Package auth says who is calling and proves it: the [Actor] of a request, password schemes, access and refresh tokens,
// and API keys. It keeps nothing: sessions and keys live in the application's tables.
package auth

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
)

// Role is what a member may do in a tenant. Roles are ordered: each may do all that the ones before it may.
type Role int8

// The roles of a tenant. The zero Role is no member and may do nothing.
const (
	Nobody Role = iota
	Member
	Admin
	Owner
)

var roleNames = [...]string{"", "member", "admin", "owner"}

// String returns the role as the wire and the database have it.
func (r Role) String() string {
	if r < 0 || int(r) >= len(roleNames) {
		return ""
	}
	return roleNames[r]
}

// ParseRole returns the role of that name, or Nobody and false.
func ParseRole(name string) (Role, bool) {
	i := slices.Index(roleNames[1:], name)
	return Role(i + 1), i >= 0
}

// Scope limits what a credential may do, whatever its user's role. Scopes are ordered: each includes the ones before it.
type Scope int8

// The scopes. A login has ScopeAdmin, which limits nothing; an API key has the widest of those it was made with.
const (
	ScopeNone Scope = iota
	ScopeRead
	ScopeWrite
	ScopeAdmin
)

// ScopeNames are the scopes as the wire and the database have them, narrowest first.
var ScopeNames = []string{"read", "write", "admin"}

// Actor is who makes a request: a user, acting in one tenant, by one session or API key.
type Actor struct {
	Tenant     uuid.UUID
	TenantSlug string
	User       int64
	Username   string
	Role       Role
	Scope      Scope
	Session    uuid.UUID // zero for an API key
	Key        int64     // the API key's id; 0 for a session
}

// Can returns nil if the actor has at least the role, by a credential of at least the scope, else FORBIDDEN.
func (a *Actor) Can(role Role, scope Scope) error {
	switch {
	case a.Role < role:
		return apperr.New(apperr.Forbidden, "This needs the role "+role.String())
	case a.Scope < scope:
		return apperr.New(apperr.Forbidden, "This needs a credential with the scope "+ScopeNames[scope-1])
	}
	return nil
}

// Request is what all code below the edge knows of the request that it serves. One goroutine at a time may use it.
type Request struct {
	ID      string           // as in X-Request-Id, error.data.request_id and the log line
	Actor   *Actor           // nil for an anonymous caller
	Memory  Memory           // that Actor comes from, as long as nobody has compared it with the database, as ActorFrom does; nil: Actor is proven
	Method  string           // that is being called; "" for none
	Address string           // the client's IP address
	Now     func() time.Time // the clock; nothing below reads another
	Stats   Stats
}

// Memory is what a node remembers of a login, which may have ended since. It is safe for concurrent use.
type Memory interface {
	// Tag returns a word: as long as the database's auth_tag() is the same, the login has not ended, nor has its actor changed since it was
	// recalled. False if it has expired, or is not remembered any more as it was then.
	Tag() (string, bool)

	// Prove returns the actor of the login as they are in the database at some moment after the call began; UNAUTHENTICATED if it has
	// ended. What is remembered after that is at least as new.
	Prove(ctx context.Context) (*Actor, error)
}

// Stats is what serving a request took, for its log line.
type Stats struct {
	Requested  int64         // rows that its lists could bring, before any is read
	Statements int           // sent to the database
	Rows       int           // read from it or written to it
	Database   time.Duration // spent waiting for it
}

type requestKey struct{}

// WithRequest returns a context that carries r.
func WithRequest(ctx context.Context, r *Request) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}

// RequestFrom returns the context's request; for a context without one, an anonymous one with the real clock.
func RequestFrom(ctx context.Context) *Request {
	if r, ok := ctx.Value(requestKey{}).(*Request); ok {
		return r
	}
	return &Request{Now: time.Now}
}

// ActorFrom returns the context's actor, or UNAUTHENTICATED. The first call for a request with a Memory waits until that is proven; a request whose
// login turns out to have ended has no actor from then on.
func ActorFrom(ctx context.Context) (*Actor, error) {
	r := RequestFrom(ctx)
	if r.Memory != nil {
		actor, err := r.Memory.Prove(ctx)
		if err == nil || apperr.From(err).Kind == apperr.Unauthenticated {
			r.Actor, r.Memory = actor, nil
		}
		if err != nil {
			return nil, err
		}
	}
	if r.Actor == nil {
		return nil, apperr.New(apperr.Unauthenticated, "This needs a login")
	}
	return r.Actor, nil
}
