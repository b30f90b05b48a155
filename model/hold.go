package model

import (
	"context"
	"sync"
	"time"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
)

// Hold keeps a login under watch for what lasts longer than a request, as a stream. Make one with [Authn.Hold].
type Hold struct {
	authn   *Authn
	ctx     context.Context
	login   string
	user    int64
	changed func(actor *auth.Actor, expiresAt time.Time, err error)

	mu sync.Mutex // held to check, so that what is told last is what is true

	// Guarded by known.mu.
	checks  int           // that have yet to end
	certain chan struct{} // closed when there is none; nil: there is none
}

// Hold returns the actor of an access token or an API key, and when that expires, zero for never; UNAUTHENTICATED if it does not hold.
//
// From then on, until Release, changed is told the same, on a goroutine of its own, whenever something about the actor may have changed:
// an error if the login has ended. [Authn.Look] finds such changes. ctx, which has no request, must last as long.
func (a *Authn) Hold(ctx context.Context, login string, changed func(*auth.Actor, time.Time, error)) (*Hold, *auth.Actor, time.Time, error) {
	c, err := a.resolve(ctx, login)
	if err != nil {
		return nil, nil, time.Time{}, err
	}
	h := &Hold{authn: a, ctx: ctx, login: login, user: c.actor.User, changed: changed}
	a.known.hold(h)
	if c, err = a.resolve(ctx, login); err != nil { // it was revoked before it was held
		h.Release()
		return nil, nil, time.Time{}, err
	}
	return h, c.actor, c.expiresAt, nil
}

func (a *Authn) resolve(ctx context.Context, login string) (*credential, error) {
	if auth.IsAPIKey(login) {
		return a.byAPIKey(ctx, login)
	}
	return a.byToken(ctx, login)
}

// Look finds what has happened to the logins that are held. Without any it does nothing.
func (a *Authn) Look(ctx context.Context) error {
	if !a.known.holding() {
		return nil
	}
	return a.known.look(ctx)
}

// Release ends the watch.
func (h *Hold) Release() {
	k := h.authn.known
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.holds[h.user], h)
	if len(k.holds[h.user]) == 0 {
		delete(k.holds, h.user)
	}
}

// Await returns when changed has been told whatever has been found: by a [Authn.Look] that has returned, at least. It returns earlier if
// ctx ends.
func (h *Hold) Await() {
	k := h.authn.known
	k.mu.Lock()
	certain := h.certain
	k.mu.Unlock()
	if certain == nil {
		return
	}
	select {
	case <-certain:
	case <-h.ctx.Done():
	}
}

// recheckAfter is when a login is looked at again that could not be.
const recheckAfter = time.Second

func (h *Hold) check() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil {
		return
	}
	c, err := h.authn.resolve(h.ctx, h.login)
	switch {
	case err == nil:
		h.changed(c.actor, c.expiresAt, nil)
	case apperr.From(err).Kind == apperr.Unauthenticated:
		h.changed(nil, time.Time{}, err)
	default: // it is not known
		time.AfterFunc(recheckAfter, h.check)
		return
	}
	h.authn.known.checked(h)
}

func (k *known) hold(h *Hold) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.holds[h.user] == nil {
		k.holds[h.user] = map[*Hold]struct{}{}
	}
	k.holds[h.user][h] = struct{}{}
}

func (k *known) holding() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.holds) > 0
}

// recheck checks the holds of a user. k.mu is held.
func (k *known) recheck(user int64) {
	for h := range k.holds[user] {
		if h.checks++; h.checks == 1 {
			h.certain = make(chan struct{})
		}
		go h.check()
	}
}

// checked is the end of what recheck began.
func (k *known) checked(h *Hold) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h.checks--; h.checks == 0 {
		close(h.certain)
		h.certain = nil
	}
}

// recheckAll checks every hold. k.mu is held.
func (k *known) recheckAll() {
	for user := range k.holds {
		k.recheck(user)
	}
}
