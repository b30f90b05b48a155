package model

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/store"
)

// Authn knows who is logged in: it turns names and passwords into sessions, and sessions and API keys into actors. It is
// safe for concurrent use; any number of servers may work on one database.
type Authn struct {
	db         *store.DB
	passwords  *auth.Passwords
	tokens     *auth.Tokens
	refreshTTL time.Duration
	known      *known
	attempts   chan struct{} // holds one for each attempt at a password that runs
}

// NewAuthn returns an Authn whose sessions end refreshTTL after their last refresh.
func NewAuthn(db *store.DB, passwords *auth.Passwords, tokens *auth.Tokens, refreshTTL time.Duration) *Authn {
	return &Authn{db: db, passwords: passwords, tokens: tokens, refreshTTL: refreshTTL, known: newKnown(db),
		attempts: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// Grant is what a login or a refresh gives.
type Grant struct {
	Token        string    `json:"token"`
	ExpiresAt    time.Time `json:"expires_at"` // of Token
	RefreshToken string    `json:"refresh_token"`
	Tenant       struct {
		ID   uuid.UUID `json:"id"`
		Slug string    `json:"slug"`
		Name string    `json:"name"`
	} `json:"tenant"`
	User struct {
		ID       int64  `json:"id"`
		Username string `json:"username"`
		Name     string `json:"name"`
		Role     string `json:"role"`
	} `json:"user"`
}

var (
	errEnded  = errors.New("the session has ended")
	errReused = errors.New("a refresh token was used twice; its session has been ended")
)

// session is a row that says who may act, in which tenant, and until when.
type session struct {
	ID         uuid.UUID `db:"id"`
	Generation int64     `db:"generation"`
	PwdVersion int64     `db:"pwd_version"`
	TenantID   uuid.UUID `db:"tenant_id"`
	Slug       string    `db:"slug"`
	TenantName string    `db:"tenant_name"`
	UserID     int64     `db:"user_id"`
	Username   string    `db:"username"`
	Name       string    `db:"name"`
	Role       string    `db:"role"`
	ExpiresAt  time.Time `db:"expires_at"`
}

// sessionSQL selects sessions that hold: not ended, of accounts, memberships and tenants that are not suspended.
const sessionSQL = `
	SELECT s.id, s.generation, s.tenant_id, t.slug, t.name AS tenant_name, s.user_id, a.username, a.name, m.role, s.expires_at
	FROM session s
	JOIN tenant t ON t.id = s.tenant_id AND t.suspended_at IS NULL
	JOIN account a ON a.id = s.user_id AND a.suspended_at IS NULL AND a.pwd_version = s.pwd_version
	JOIN membership m ON m.tenant_id = s.tenant_id AND m.user_id = s.user_id AND m.suspended_at IS NULL
	WHERE s.ended_at IS NULL AND s.expires_at > $1 AND s.id = $2`

func (s *session) actor(scope auth.Scope) *auth.Actor {
	role, _ := auth.ParseRole(s.Role) // the table knows no others
	return &auth.Actor{
		Tenant: s.TenantID, TenantSlug: s.Slug, User: s.UserID, Username: s.Username,
		Role: role, Scope: scope, Session: s.ID,
	}
}

// grant makes the tokens of a session.
func (a *Authn) grant(s *session, now time.Time) (g Grant, err error) {
	g.Token, g.ExpiresAt, err = a.tokens.Access(auth.AccessClaims{User: s.UserID, Tenant: s.TenantID, Session: s.ID}, now)
	if err != nil {
		return Grant{}, err
	}
	g.RefreshToken, err = a.tokens.Refresh(auth.RefreshClaims{Session: s.ID, Generation: s.Generation}, now, s.ExpiresAt)
	if err != nil {
		return Grant{}, err
	}
	g.Tenant.ID, g.Tenant.Slug, g.Tenant.Name = s.TenantID, s.Slug, s.TenantName
	g.User.ID, g.User.Username, g.User.Name, g.User.Role = s.UserID, s.Username, s.Name, s.Role
	return g, nil
}

// Refresh gives new tokens for a refresh token, once. A token that was used before ends its session, with all its tokens.
func (a *Authn) Refresh(ctx context.Context, token string) (Grant, error) {
	now := auth.RequestFrom(ctx).Now().UTC().Truncate(time.Microsecond)
	claims, err := a.tokens.ParseRefresh(token, now)
	if err != nil {
		return Grant{}, err
	}
	var g Grant
	var reused bool
	err = a.db.InPlatformTx(ctx, func(tx *store.PlatformTx) error {
		turned, err := tx.Exec(`UPDATE session SET generation = generation + 1, expires_at = $3
			WHERE id = $1 AND generation = $2 AND ended_at IS NULL AND expires_at > $4`,
			claims.Session.String(), claims.Generation, now.Add(a.refreshTTL), now)
		if err != nil {
			return err
		}
		if turned == 0 {
			ended, err := tx.Exec(`UPDATE session SET ended_at = $3 WHERE id = $1 AND generation > $2 AND ended_at IS NULL`,
				claims.Session.String(), claims.Generation, now)
			reused = ended > 0
			return err
		}
		var held []session
		if err := tx.Select(&held, sessionSQL, now, claims.Session.String()); err != nil {
			return err
		}
		if len(held) == 0 {
			return auth.Denied(nil)
		}
		g, err = a.grant(&held[0], now)
		return err
	})
	if err == nil && g.Token == "" {
		cause := errEnded
		if reused {
			cause = errReused
		}
		return Grant{}, auth.Denied(cause)
	}
	return g, err
}

// Logoff ends the actor's session: its tokens stop working at once, on every node. An API key has no session to end.
func (a *Authn) Logoff(ctx context.Context, actor *auth.Actor) error {
	ended, err := a.db.Platform(ctx).Exec(`UPDATE session SET ended_at = $3 WHERE tenant_id = $1 AND id = $2 AND ended_at IS NULL`,
		actor.Tenant.String(), actor.Session.String(), auth.RequestFrom(ctx).Now())
	if err == nil && ended == 0 {
		return apperr.New(apperr.InvalidRequest, "There is no session to end")
	}
	return err
}

// Conceal is that of the passwords.
func (a *Authn) Conceal(digest []byte) []byte { return a.passwords.Conceal(digest) }

// SetSuspended takes a user's access to the actor's tenant away, or gives it back. Their sessions and keys stop working
// at once, on every node. NOT_FOUND for a user of other tenants; FORBIDDEN for oneself, and for users whose role is not
// below the actor's, unless the actor is an owner.
//
// At the end of its transaction it calls keep with the user as they are then and the position of the change in the tenant's log; 0 if they
// were so already. An error of keep undoes it.
func (a *Authn) SetSuspended(ctx context.Context, id int64, suspended bool, keep func(tx *store.PlatformTx, user User, position int64) error) error {
	tx, err := a.db.Session(ctx)
	if err != nil {
		return err
	}
	actor := tx.Actor
	if err := actor.Can(auth.Admin, auth.ScopeAdmin); err != nil {
		return err
	}
	user, err := Users.Get(tx, id)
	if err != nil {
		return err
	}
	role, _ := auth.ParseRole(user.Role)
	if id == actor.User || (role >= actor.Role && actor.Role != auth.Owner) {
		return apperr.New(apperr.Forbidden, "You cannot suspend or resume this user")
	}
	var position int64
	err = a.db.InPlatformTx(ctx, func(tx *store.PlatformTx) (err error) {
		if position, err = setSuspended(ctx, tx, actor, id, suspended); err != nil {
			return err
		}
		err = tx.Get(&user, `
			SELECT a.id, a.username, a.name, m.role, m.suspended_at IS NOT NULL OR a.suspended_at IS NOT NULL AS suspended,
			       m.version, m.cid, m.ctime, m.mid, m.mtime
			FROM membership m JOIN account a ON a.id = m.user_id WHERE m.tenant_id = $1 AND m.user_id = $2`, actor.Tenant.String(), id)
		if err != nil {
			return err
		}
		return keep(tx, user, position)
	})
	if err == nil && position > 0 {
		a.db.Committed(actor.Tenant, position)
	}
	return err
}

// setSuspended returns the position of the change; 0 if there was nothing to change.
func setSuspended(ctx context.Context, tx *store.PlatformTx, actor *auth.Actor, id int64, suspended bool) (position int64, err error) {
	changed, err := tx.Exec(`
		UPDATE membership SET suspended_at = CASE WHEN $3 THEN $4::timestamptz END,
		       version = version + 1, mid = $5, mtime = $4
		FROM set_config('app.method', $6, true)
		WHERE tenant_id = $1 AND user_id = $2 AND (suspended_at IS NOT NULL) <> $3`,
		actor.Tenant.String(), id, suspended, tx.Now(), actor.User, auth.RequestFrom(ctx).Method)
	if err != nil || changed == 0 {
		return 0, err
	}
	if suspended { // Else what the user is logged in with now would work again after they are resumed.
		if _, err := tx.Exec(`UPDATE session SET ended_at = $3 WHERE tenant_id = $1 AND user_id = $2 AND ended_at IS NULL`,
			actor.Tenant.String(), id, tx.Now()); err != nil {
			return 0, err
		}
	}
	if _, err := tx.Exec(`SET CONSTRAINTS append_user_update IMMEDIATE`); err != nil {
		return 0, err
	}
	err = tx.Get(&position, `SELECT head FROM change_head WHERE tenant_id = $1`, actor.Tenant.String())
	return position, err
}
