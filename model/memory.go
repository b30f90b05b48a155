package model

import (
	"context"
	"encoding/hex"
	"time"

	"rowcall/modules/auth"
)

// memory is what a node remembers of a login.
type memory struct {
	authn *Authn
	login string
	key   string           // by which it is known
	now   func() time.Time // the clock of the request
	actor *auth.Actor      // as it was recalled
}

// Recall returns the actor of an access token or an API key as this node remembers them, and that memory, which has yet to be proven; nil if
// they have to be looked up. It asks nobody.
func (a *Authn) Recall(ctx context.Context, login string) (*auth.Actor, auth.Memory) {
	m := &memory{authn: a, login: login, key: login, now: auth.RequestFrom(ctx).Now}
	isKey := auth.IsAPIKey(login)
	if isKey {
		sum, err := auth.HashAPIKey(login)
		if err != nil {
			return nil, nil
		}
		m.key = hex.EncodeToString(sum)
	}
	a.known.mu.Lock()
	defer a.known.mu.Unlock()
	c := m.recall()
	if c == nil || isKey && m.now().Sub(c.usedAt) >= keyUseNoted {
		return nil, nil
	}
	m.actor = c.actor
	return m.actor, m
}

// recall returns what is remembered, if that has not expired. known.mu is held.
func (m *memory) recall() *credential {
	c := m.authn.known.actors[m.key]
	if c == nil || !c.expiresAt.IsZero() && !c.expiresAt.After(m.now()) {
		return nil
	}
	return c
}

// Tag implements auth.Memory. What has been forgotten meanwhile, and looked up again, may be of another actor: in another role, say.
func (m *memory) Tag() (string, bool) {
	m.authn.known.mu.Lock()
	defer m.authn.known.mu.Unlock()
	if c := m.recall(); c == nil || *c.actor != *m.actor {
		return "", false
	}
	return m.authn.known.tag.String(), true
}

// Prove implements auth.Memory.
func (m *memory) Prove(ctx context.Context) (*auth.Actor, error) {
	c, err := m.authn.resolve(ctx, m.login)
	if err != nil {
		return nil, err
	}
	return c.actor, nil
}
