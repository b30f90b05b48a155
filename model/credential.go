package model

import (
	"context"
	"database/sql"
	"encoding/hex"
	"time"

	"github.com/go-json-experiment/json"

	"rowcall/modules/auth"
)

// ByToken returns the actor of an access token; UNAUTHENTICATED if the token or its session does not hold.
func (a *Authn) ByToken(ctx context.Context, token string) (*auth.Actor, error) {
	c, err := a.byToken(ctx, token)
	if err != nil {
		return nil, err
	}
	return c.actor, nil
}

func (a *Authn) byToken(ctx context.Context, token string) (*credential, error) {
	now := auth.RequestFrom(ctx).Now()
	return a.known.get(ctx, token, now, func() (*credential, error) { return a.loadSession(ctx, token, now) })
}

func (a *Authn) loadSession(ctx context.Context, token string, now time.Time) (*credential, error) {
	claims, err := a.tokens.ParseAccess(token, now)
	if err != nil {
		return nil, err
	}
	var held []session
	if err := a.db.Platform(ctx).Select(&held, sessionSQL, now, claims.Session.String()); err != nil {
		return nil, err
	}
	if len(held) == 0 {
		return nil, auth.Denied(errEnded)
	}
	expiresAt := claims.ExpiresAt
	if held[0].ExpiresAt.Before(expiresAt) {
		expiresAt = held[0].ExpiresAt
	}
	return &credential{actor: held[0].actor(auth.ScopeAdmin), expiresAt: expiresAt}, nil
}

// heldKey is an API key in the place of a session.
type heldKey struct {
	session
	KeyID      int64        `db:"key_id"`
	Scopes     []byte       `db:"scopes"`
	KeyExpiry  sql.NullTime `db:"key_expiry"`
	LastUsedAt sql.NullTime `db:"last_used_at"`
}

// ByAPIKey returns the actor of an API key; UNAUTHENTICATED if the key does not hold. Its use is noted, once a minute at
// the most.
func (a *Authn) ByAPIKey(ctx context.Context, text string) (*auth.Actor, error) {
	c, err := a.byAPIKey(ctx, text)
	if err != nil {
		return nil, err
	}
	return c.actor, nil
}

func (a *Authn) byAPIKey(ctx context.Context, text string) (*credential, error) {
	now := auth.RequestFrom(ctx).Now()
	sum, err := auth.HashAPIKey(text)
	if err != nil {
		return nil, err
	}
	hash := hex.EncodeToString(sum)
	c, err := a.known.get(ctx, hash, now, func() (*credential, error) { return a.loadKey(ctx, hash, now) })
	if err != nil {
		return nil, err
	}
	return c, a.noteUse(ctx, c, hash, now)
}

func (a *Authn) loadKey(ctx context.Context, hash string, now time.Time) (*credential, error) {
	var held []heldKey
	err := a.db.Platform(ctx).Select(&held, `
		SELECT k.id AS key_id, k.scopes, k.expires_at AS key_expiry, k.last_used_at,
		       k.tenant_id, t.slug, t.name AS tenant_name, k.user_id, a.username, a.name, m.role
		FROM api_key k
		JOIN tenant t ON t.id = k.tenant_id AND t.suspended_at IS NULL
		JOIN account a ON a.id = k.user_id AND a.suspended_at IS NULL
		JOIN membership m ON m.tenant_id = k.tenant_id AND m.user_id = k.user_id AND m.suspended_at IS NULL
		WHERE k.hash = $1 AND (k.expires_at IS NULL OR k.expires_at > $2)`, hash, now)
	if err != nil {
		return nil, err
	}
	if len(held) == 0 {
		return nil, auth.Denied(errEnded)
	}
	k := held[0]
	var names []string
	if err := json.Unmarshal(k.Scopes, &names); err != nil {
		return nil, err
	}
	scope, err := auth.ParseScopes(names)
	if err != nil {
		return nil, auth.Denied(err)
	}
	actor := k.actor(scope)
	actor.Key = k.KeyID
	return &credential{actor: actor, expiresAt: k.KeyExpiry.Time, usedAt: k.LastUsedAt.Time}, nil
}

// keyUseNoted is how exactly an API key's last use is known.
const keyUseNoted = time.Minute

func (a *Authn) noteUse(ctx context.Context, c *credential, hash string, now time.Time) error {
	a.known.mu.Lock()
	due := now.Sub(c.usedAt) >= keyUseNoted
	if due {
		c.usedAt = now
	}
	a.known.mu.Unlock()
	if !due {
		return nil
	}
	_, err := a.db.Platform(ctx).Exec(`UPDATE api_key SET last_used_at = $2 WHERE hash = $1`, hash, now)
	return err
}
