package model

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/store"
)

// Failed logins are counted over loginWindow. Once an account or an address has as many as its limit, every login of it is
// refused, a right password's too, until the oldest of them has left the window.
const (
	loginWindow  = 15 * time.Minute
	accountLimit = 10
	addressLimit = 50
)

// Credentials are what a login gives.
type Credentials struct {
	Username string
	Pwd      string
	Tenant   string // slug; "" for the user's only one
}

// candidate is a membership that a login may be for.
type candidate struct {
	session
	Pwd string `db:"pwd"`
}

// Login begins a session. A wrong name or password, an unknown tenant, and a suspended user, membership or tenant all
// give the same UNAUTHENTICATED after the same work. RATE_LIMITED after too many failures; INVALID_PARAMS, only to the
// right password, if no tenant is named and there are several.
func (a *Authn) Login(ctx context.Context, c Credentials) (Grant, error) {
	defer a.attempts.lock(c.Username)()
	now := auth.RequestFrom(ctx).Now().UTC().Truncate(time.Microsecond)
	if err := a.checkAttempts(ctx, now, c.Username); err != nil {
		return Grant{}, err
	}
	p := a.db.Platform(ctx)
	var found []candidate
	err := p.Select(&found, `
		SELECT t.id AS tenant_id, t.slug, t.name AS tenant_name, a.id AS user_id, a.username, a.name, m.role, a.pwd
		FROM account a
		JOIN membership m ON m.user_id = a.id AND m.suspended_at IS NULL
		JOIN tenant t ON t.id = m.tenant_id AND t.suspended_at IS NULL AND ($2 = '' OR t.slug = $2)
		WHERE a.username = $1 AND a.suspended_at IS NULL
		ORDER BY t.slug`, storable(c.Username), storable(c.Tenant))
	if err != nil {
		return Grant{}, err
	}
	stored := ""
	if len(found) > 0 {
		stored = found[0].Pwd
	}
	ok, upgrade, err := a.passwords.Verify(ctx, stored, c.Pwd)
	switch {
	case err != nil:
		return Grant{}, err
	case !ok:
		return Grant{}, errors.Join(auth.Denied(errWrong), a.noteFailure(ctx, now, c.Username))
	case len(found) > 1:
		slugs := make([]string, len(found))
		for i := range found {
			slugs[i] = found[i].Slug
		}
		return Grant{}, apperr.Invalid(apperr.Issue{Path: "tenant", Reason: "is required for a user of several tenants", Allowed: slugs})
	}
	var pwd string
	if upgrade {
		if pwd, err = a.passwords.Hash(ctx, c.Pwd); err != nil {
			return Grant{}, err
		}
	}
	return a.begin(ctx, now, &found[0], pwd)
}

var errWrong = errors.New("wrong name, password or tenant, or suspended")

// begin makes the session, and stores the password as pwd if that is not "".
func (a *Authn) begin(ctx context.Context, now time.Time, c *candidate, pwd string) (g Grant, err error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Grant{}, err
	}
	s := c.session
	s.ID, s.Generation, s.ExpiresAt = id, 1, now.Add(a.refreshTTL)
	err = a.db.InPlatformTx(ctx, func(tx *store.PlatformTx) error {
		if pwd != "" {
			// Only the storage changes, not the password, so the account's sessions go on.
			_, err := tx.Exec(`WITH same AS MATERIALIZED (SELECT set_config('app.same_password', 'yes', true))
				UPDATE account SET pwd = $3 FROM same WHERE id = $1 AND pwd = $2`, s.UserID, c.Pwd, pwd)
			if err != nil {
				return err
			}
		}
		_, err := tx.Exec(`INSERT INTO session (tenant_id, id, user_id, generation, ctime, expires_at) VALUES ($1, $2, $3, $4, $5, $6)`,
			s.TenantID.String(), s.ID.String(), s.UserID, s.Generation, now, s.ExpiresAt)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM login_failure WHERE subject = $1`, accountSubject(s.Username)); err != nil {
			return err
		}
		_, err = tx.Exec(`DELETE FROM session WHERE expires_at < $1`, now)
		return err
	})
	if err != nil {
		return Grant{}, err
	}
	return a.grant(&s, now)
}

// ChangePassword gives the actor's account a new password and ends all of its sessions, the actor's too. FORBIDDEN for a
// wrong old password, which counts as a failed login, and for API keys; VALIDATION for a new one that is too weak.
func (a *Authn) ChangePassword(ctx context.Context, actor *auth.Actor, old, fresh string) error {
	if actor.Key != 0 {
		return apperr.New(apperr.Forbidden, "An API key cannot change a password")
	}
	if err := auth.CheckNew(fresh); err != nil {
		return err
	}
	defer a.attempts.lock(actor.Username)()
	now := auth.RequestFrom(ctx).Now()
	if err := a.checkAttempts(ctx, now, actor.Username); err != nil {
		return err
	}
	p := a.db.Platform(ctx)
	var stored string
	if err := p.Get(&stored, `SELECT pwd FROM account WHERE id = $1`, actor.User); err != nil {
		return err
	}
	ok, _, err := a.passwords.Verify(ctx, stored, old)
	if err != nil {
		return err
	}
	if !ok {
		return errors.Join(apperr.New(apperr.Forbidden, "The old password is wrong"), a.noteFailure(ctx, now, actor.Username))
	}
	pwd, err := a.passwords.Hash(ctx, fresh)
	if err != nil {
		return err
	}
	changed, err := p.Exec(`UPDATE account SET pwd = $3 WHERE id = $1 AND pwd = $2`, actor.User, stored, pwd)
	if err == nil && changed == 0 {
		return apperr.New(apperr.Aborted, "The password has just been changed by another call")
	}
	return err
}

// accountSubject names an account that failed, whether it exists or not. A long name is kept as its hash.
func accountSubject(name string) string {
	const most = 200
	if name = storable(name); len(name) > most {
		sum := sha256.Sum256([]byte(name))
		name = hex.EncodeToString(sum[:])
	}
	return "account:" + name
}

func addressSubject(ctx context.Context) string { return "address:" + auth.RequestFrom(ctx).Address }

// storable makes of what somebody typed a text that Postgres can compare and keep.
func storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// checkAttempts returns RATE_LIMITED if the account or the address has failed too often.
func (a *Authn) checkAttempts(ctx context.Context, now time.Time, username string) error {
	var failed []time.Time // of each subject, the failure that must leave the window first
	err := a.db.Platform(ctx).Select(&failed, `
		SELECT at FROM (VALUES ($1, $2::int), ($3, $4::int)) AS s (subject, most)
		CROSS JOIN LATERAL (
			SELECT f.at FROM login_failure f WHERE f.subject = s.subject AND f.at > $5
			ORDER BY f.at DESC OFFSET s.most - 1 LIMIT 1) AS f`,
		accountSubject(username), accountLimit, addressSubject(ctx), addressLimit, now.Add(-loginWindow))
	if err != nil || len(failed) == 0 {
		return err
	}
	last := slices.MaxFunc(failed, time.Time.Compare)
	return apperr.Limited("Too many failed logins: try again later", last.Add(loginWindow).Sub(now))
}

// noteFailure counts a failed login, and forgets those that no longer count.
func (a *Authn) noteFailure(ctx context.Context, now time.Time, username string) error {
	_, err := a.db.Platform(ctx).Exec(`
		WITH old AS (DELETE FROM login_failure WHERE at <= $4)
		INSERT INTO login_failure (subject, at) VALUES ($1, $3), ($2, $3)`,
		accountSubject(username), addressSubject(ctx), now, now.Add(-loginWindow))
	return err
}

// keyedMutex lets one login of an account at a time be tried on a node, so that guesses cannot race past the limit. The
// zero keyedMutex is ready.
type keyedMutex struct {
	mu   sync.Mutex
	held map[string]*keyLock
}

type keyLock struct {
	mu    sync.Mutex
	users int
}

// lock blocks until the key is free and returns what frees it again.
func (k *keyedMutex) lock(key string) (unlock func()) {
	k.mu.Lock()
	if k.held == nil {
		k.held = map[string]*keyLock{}
	}
	l := k.held[key]
	if l == nil {
		l = &keyLock{}
		k.held[key] = l
	}
	l.users++
	k.mu.Unlock()
	l.mu.Lock()
	return func() {
		l.mu.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(k.held, key)
		}
	}
}
