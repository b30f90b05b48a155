package rpcclient

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/go-json-experiment/json"

	"rowcall/modules/apperr"
)

// Session is what a login gives. It is for one client only, because a refresh token works once.
type Session struct {
	Token        string    `json:"token"`
	ExpiresAt    time.Time `json:"expires_at"`
	RefreshToken string    `json:"refresh_token"`
	Tenant       struct {
		ID   string `json:"id"`
		Slug string `json:"slug"`
		Name string `json:"name"`
	} `json:"tenant"`
	User struct {
		ID       int64  `json:"id"`
		Username string `json:"username"`
		Name     string `json:"name"`
		Role     string `json:"role"`
	} `json:"user"`
}

// renewTimeout bounds the renewal of a session, which does not end with the call that needs it.
const renewTimeout = 30 * time.Second

// renewal is a renewal of the session that is under way.
type renewal struct {
	done chan struct{} // closed at its end
	err  error         // set before
}

// Login makes the client act as the user. tenant may be "" for a user of one tenant only. The session is renewed as long as
// the client is used.
func (c *Client) Login(ctx context.Context, username, pwd, tenant string) (*Session, error) {
	in := map[string]string{"username": username, "pwd": pwd}
	if tenant != "" {
		in["tenant"] = tenant
	}
	s, err := c.grant(ctx, "/api/login", in, "pwd")
	if err == nil {
		c.change(nil, s, true)
	}
	return s, err
}

// Resume goes on with a session of an earlier client.
func (c *Client) Resume(s *Session) { c.change(nil, s, true) }

// Session returns the session as it is now; nil before a login and after its end.
func (c *Client) Session() *Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// Logoff ends the session, on the server too. One that has ended already is what was wanted.
func (c *Client) Logoff(ctx context.Context) error {
	err := c.authorized(ctx, func(token string) error {
		_, err := c.post(ctx, request{path: "/api/logoff", body: []byte(`{"logoff":true}`), token: token})
		return err
	})
	if err != nil && KindOf(err) != apperr.Unauthenticated {
		return err
	}
	c.change(nil, nil, true)
	return nil
}

// authorized runs an exchange with a token that holds: a session that is about to end is renewed before, and one that has
// ended after the server's refusal, once.
func (c *Client) authorized(ctx context.Context, exchange func(token string) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.mu.Lock()
	s, token := c.session, c.token
	due := s != nil && (c.renewing != nil || !c.renewAt.IsZero() && time.Now().After(c.renewAt))
	c.mu.Unlock()
	if due {
		switch next, err := c.renew(ctx, s); {
		case err == nil:
			s = next
		case ctx.Err() != nil || KindOf(err) == apperr.Unauthenticated || !time.Now().Before(s.ExpiresAt):
			return err
		}
	}
	if s != nil {
		token = s.Token
	}
	err := exchange(token)
	if s == nil || KindOf(err) != apperr.Unauthenticated {
		return err
	}
	// The server runs nothing of a request that it refuses so, whatever the request would do.
	next, renewErr := c.renew(ctx, s)
	switch {
	case renewErr != nil:
		return renewErr
	case next == s:
		c.change(s, nil, false)
		return err
	}
	return exchange(next.Token)
}

// renew returns the session that follows stale. All that need it wait for the same renewal, and for nothing if it has
// happened already. A session whose refresh token is spent is returned as it is.
func (c *Client) renew(ctx context.Context, stale *Session) (*Session, error) {
	c.mu.Lock()
	r := c.renewing
	if r == nil && c.session == stale && !c.spent {
		r = &renewal{done: make(chan struct{})}
		c.renewing = r
		// A refresh token works once, so whoever waits may leave, and the answer must still be waited for.
		go c.refresh(context.WithoutCancel(ctx), stale, r)
	}
	c.mu.Unlock()
	if r != nil {
		select {
		case <-r.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if r.err != nil {
			return nil, r.err
		}
	}
	if s := c.Session(); s != nil {
		return s, nil
	}
	return nil, &Error{
		Code: apperr.Unauthenticated.Code(), Message: "The session has ended", Data: ErrorData{Kind: apperr.Unauthenticated},
	}
}

func (c *Client) refresh(ctx context.Context, stale *Session, r *renewal) {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	s, err := c.grant(ctx, "/api/refresh", map[string]string{"refresh_token": stale.RefreshToken}, "refresh_token")
	switch {
	case err == nil:
		c.change(stale, s, false)
	case KindOf(err) == apperr.Unauthenticated:
		c.change(stale, nil, false)
	default:
		c.postpone(stale, err)
	}
	r.err = err
	c.mu.Lock()
	c.renewing = nil
	c.mu.Unlock()
	close(r.done)
}

// postpone lets a renewal that failed be tried again when half of what is left of the token's life is over. But if the refresh
// token may have reached the server, it is not sent again, which would end the session there: the token serves to its end.
func (c *Client) postpone(s *Session, err error) {
	var refused *Error
	var conn *net.OpError
	again := errors.As(err, &refused) || errors.As(err, &conn) && conn.Op == "dial"
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.session != s:
	case !again:
		c.spent, c.renewAt = true, time.Time{}
	case !c.renewAt.IsZero():
		c.renewAt = time.Now().Add(max(askedWait(err), time.Until(s.ExpiresAt)/2))
	}
}

// grant asks for a session. The member called secret is not shown to Trace.
func (c *Client) grant(ctx context.Context, path string, in map[string]string, secret string) (*Session, error) {
	body, err := json.Marshal(in, json.Deterministic(true))
	if err != nil {
		return nil, err
	}
	in[secret] = "…"
	shown, err := json.Marshal(in, json.Deterministic(true))
	if err != nil {
		return nil, err
	}
	a, err := c.post(ctx, request{path: path, body: body, shown: shown})
	if err != nil {
		return nil, err
	}
	var s Session
	if err := a.decode(&s); err != nil {
		return nil, err
	}
	return &s, nil
}

// change makes s the session, if that is still the one given or if it must be.
func (c *Client) change(from, s *Session, always bool) {
	c.telling.Lock()
	defer c.telling.Unlock()
	c.mu.Lock()
	if !always && c.session != from {
		c.mu.Unlock()
		return
	}
	c.session, c.renewAt, c.spent = s, time.Time{}, false
	if s != nil {
		// A fifth of its life before its end. By a clock that is far off there is no telling: then the server's refusal does.
		if life := time.Until(s.ExpiresAt); life > 0 {
			c.renewAt = time.Now().Add(life / 5 * 4)
		}
	}
	c.mu.Unlock()
	if c.OnSession != nil {
		c.OnSession(s)
	}
}
