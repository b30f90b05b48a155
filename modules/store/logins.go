package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/lib/pq"
)

// Logins makes the two logins that the server works with, where the owner of the database has not: <prefix>_tenant_login
// and <prefix>_platform_login, each a member of one of the two roles. password gives a login's password; it must be the same on
// every node. The owner needs CREATEROLE the first time and whenever the passwords change. Migrate must have run.
func Logins(ctx context.Context, ownerURL, prefix string, password func(login string) string) (tenantURL, platformURL string, err error) {
	owner, err := openOwner(ownerURL)
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, owner.Close()) }()
	urls := make([]string, 0, 2)
	for _, role := range []string{"rowcall_tenant", "rowcall_platform"} {
		login := loginName(prefix, strings.TrimPrefix(role, "rowcall")+"_login")
		u, err := withUser(ownerURL, login, password(login))
		if err != nil {
			return "", "", err
		}
		if err := ensureLogin(ctx, owner, role, login, password(login), u); err != nil {
			return "", "", fmt.Errorf("login %s: %w", login, err)
		}
		urls = append(urls, u)
	}
	return urls[0], urls[1], nil
}

// loginName keeps within the 63 bytes of a Postgres name.
func loginName(prefix, suffix string) string {
	if len(prefix)+len(suffix) > 63 {
		sum := sha256.Sum256([]byte(prefix))
		prefix = prefix[:40] + "_" + hex.EncodeToString(sum[:4])
	}
	return prefix + suffix
}

func withUser(databaseURL, user, password string) (string, error) {
	u, err := url.Parse(databaseURL)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return "", errors.New("store: the database URL must begin with postgres://")
	}
	u.User = url.UserPassword(user, password)
	return u.String(), nil
}

func ensureLogin(ctx context.Context, owner *sql.DB, role, login, password, loginURL string) error {
	denied := tryLogin(ctx, loginURL)
	if denied == nil {
		return nil
	}
	var pe *pq.Error
	if !errors.As(denied, &pe) || !strings.HasPrefix(string(pe.Code), "28") { // invalid authorization
		return denied
	}
	tx, err := owner.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	var exists, ours bool
	err = tx.QueryRowContext(ctx, `
		SELECT count(r.oid) > 0, coalesce(bool_and(pg_has_role(r.oid, $2::text, 'MEMBER') AND NOT r.rolsuper), false)
		FROM (SELECT pg_advisory_xact_lock(hashtext('rowcall logins'))) AS turns
		LEFT JOIN pg_roles r ON r.rolname = $1`, login, role).Scan(&exists, &ours)
	switch {
	case err != nil:
		return err
	case exists && !ours:
		return fmt.Errorf("there is a role of this name that is not a member of %s", role)
	}
	statement := `CREATE ROLE %s LOGIN NOCREATEDB NOCREATEROLE PASSWORD %s IN ROLE ` + pq.QuoteIdentifier(role)
	if exists {
		statement = `ALTER ROLE %s LOGIN PASSWORD %s`
	}
	_, err = tx.ExecContext(ctx, fmt.Sprintf(statement, pq.QuoteIdentifier(login), pq.QuoteLiteral(password)))
	if err != nil {
		return fmt.Errorf("%w (give the owner CREATEROLE, or make the logins yourself and set their URLs)", err)
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return tryLogin(ctx, loginURL)
}

func tryLogin(ctx context.Context, loginURL string) error {
	c, err := pq.NewConnector(loginURL)
	if err != nil {
		return hideURL(err)
	}
	cn, err := c.Connect(ctx)
	if err != nil {
		return err
	}
	return cn.Close()
}
