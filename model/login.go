package model

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strings"
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
	var found []candidate
	err := a.db.Platform(ctx).Select(&found, `
		SELECT t.id AS tenant_id, t.slug, t.name AS tenant_name, a.id AS user_id, a.username, a.name, m.role, a.pwd, a.pwd_version
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
	ok, upgrade, err := a.attempt(ctx, c.Username, stored, c.Pwd)
	switch {
	case err != nil:
		return Grant{}, err
	case !ok:
		return Grant{}, auth.Denied(errWrong)
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
	return a.begin(ctx, &found[0], pwd)
}

var errWrong = errors.New("wrong name, password or tenant, or suspended")

// begin makes the session, and stores the password as pwd if that is not "". What has happened to the password or the
// membership since they were read holds for the session too.
func (a *Authn) begin(ctx context.Context, c *candidate, pwd string) (g Grant, err error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Grant{}, err
	}
	now := auth.RequestFrom(ctx).Now().UTC().Truncate(time.Microsecond)
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
		made, err := tx.Exec(`
			INSERT INTO session (tenant_id, id, user_id, generation, pwd_version, ctime, expires_at)
			SELECT tenant_id, $2, user_id, $4, $5, $6, $7 FROM membership
			WHERE tenant_id = $1 AND user_id = $3 AND suspended_at IS NULL FOR SHARE`,
			s.TenantID.String(), s.ID.String(), s.UserID, s.Generation, s.PwdVersion, now, s.ExpiresAt)
		if err != nil {
			return err
		}
		if made == 0 {
			return auth.Denied(errWrong)
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
//
// At the end of its transaction it calls keep, of which an error undoes it.
func (a *Authn) ChangePassword(ctx context.Context, actor *auth.Actor, old, fresh string, keep func(*store.PlatformTx) error) error {
	if actor.Key != 0 {
		return apperr.New(apperr.Forbidden, "An API key cannot change a password")
	}
	if err := auth.CheckNew(fresh); err != nil {
		return err
	}
	var stored string
	if err := a.db.Platform(ctx).Get(&stored, `SELECT pwd FROM account WHERE id = $1`, actor.User); err != nil {
		return err
	}
	ok, _, err := a.attempt(ctx, actor.Username, stored, old)
	if err != nil {
		return err
	}
	if !ok {
		return apperr.New(apperr.Forbidden, "The old password is wrong")
	}
	pwd, err := a.passwords.Hash(ctx, fresh)
	if err != nil {
		return err
	}
	return a.db.InPlatformTx(ctx, func(tx *store.PlatformTx) error {
		changed, err := tx.Exec(`UPDATE account SET pwd = $3 WHERE id = $1 AND pwd = $2`, actor.User, stored, pwd)
		switch {
		case err != nil:
			return err
		case changed == 0:
			return apperr.New(apperr.Aborted, "The password has just been changed by another call")
		}
		return keep(tx)
	})
}

// attempt tells whether pwd is the password that is stored, and counts it as a failure if not; RATE_LIMITED if the account or
// the address has failed too often. The failure is noted before the password is looked at and taken back if it is right,
// so that neither many attempts at once, on any number of nodes, nor one whose client goes away, escape the count. Few
// attempts run at once on a node, because those that turn out to be right count for as long as they run.
func (a *Authn) attempt(ctx context.Context, username, stored, pwd string) (ok, upgrade bool, err error) {
	select {
	case a.attempts <- struct{}{}:
		defer func() { <-a.attempts }()
	case <-ctx.Done():
		return false, false, ctx.Err()
	}
	now := auth.RequestFrom(ctx).Now().UTC().Truncate(time.Microsecond)
	account, address := accountSubject(username), addressSubject(ctx)
	if err := a.noteFailure(ctx, now, account, address); err != nil {
		return false, false, err
	}
	if ok, upgrade, err = a.passwords.Verify(ctx, stored, pwd); err != nil || !ok {
		return false, false, err
	}
	_, err = a.db.Platform(ctx).Exec(`
		DELETE FROM login_failure WHERE subject = $1
			OR ctid = (SELECT ctid FROM login_failure WHERE subject = $2 AND at = $3 LIMIT 1)`, account, address, now)
	return err == nil, upgrade, err
}

// noteFailure notes a failure of both subjects, unless one of them has too many: then it is RATE_LIMITED. What no longer
// counts is forgotten.
func (a *Authn) noteFailure(ctx context.Context, now time.Time, account, address string) error {
	return a.db.InPlatformTx(ctx, func(tx *store.PlatformTx) error {
		// The one transaction at a time that these locks let through sees what the ones before it have noted.
		_, err := tx.Exec(`SELECT pg_advisory_xact_lock(hashtextextended(subject, 0))
			FROM (SELECT subject FROM unnest(ARRAY[$1, $2]) AS s (subject) ORDER BY subject) AS s`, account, address)
		if err != nil {
			return err
		}
		var failed []time.Time // of each subject with too many, the failure that must leave the window first
		err = tx.Select(&failed, `
			SELECT f.at FROM (VALUES ($1, $2::int), ($3, $4::int)) AS s (subject, most)
			CROSS JOIN LATERAL (
				SELECT f.at FROM login_failure f WHERE f.subject = s.subject AND f.at > $5
				ORDER BY f.at DESC OFFSET s.most - 1 LIMIT 1) AS f`,
			account, accountLimit, address, addressLimit, now.Add(-loginWindow))
		if err != nil {
			return err
		}
		if len(failed) > 0 {
			last := slices.MaxFunc(failed, time.Time.Compare)
			return apperr.Limited("Too many failed logins: try again later", last.Add(loginWindow).Sub(now))
		}
		if _, err := tx.Exec(`DELETE FROM login_failure WHERE at <= $1`, now.Add(-loginWindow)); err != nil {
			return err
		}
		_, err = tx.Exec(`INSERT INTO login_failure (subject, at) VALUES ($1, $3), ($2, $3)`, account, address, now)
		return err
	})
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

// addressSubject names the client's address that failed: of IPv6 the network, of which one client has 2^64 addresses.
func addressSubject(ctx context.Context) string {
	address := auth.RequestFrom(ctx).Address
	if ip, err := netip.ParseAddr(address); err == nil && ip.Is6() && !ip.Is4In6() {
		if network, err := ip.WithZone("").Prefix(64); err == nil {
			address = network.String()
		}
	}
	return "address:" + address
}

// storable makes of what somebody typed a text that Postgres can compare and keep.
func storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
