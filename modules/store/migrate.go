package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"

	"github.com/lib/pq"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"rowcall/modules/apperr"
)

// minServer is the oldest Postgres that is supported, as in server_version_num.
const minServer = 150000

// Migrate brings the database of the owner's URL to the newest of the goose migrations in dir, one after another, each
// in a transaction. Servers that start together take turns. It refuses a database that is ahead of the migrations, one
// that is not UTF-8, and a Postgres before 15. It returns the version that the database has now.
func Migrate(ctx context.Context, ownerURL string, dir fs.FS) (version int64, err error) {
	db, err := openOwner(ownerURL)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := checkServer(ctx, db); err != nil {
		return 0, err
	}
	turns, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return 0, err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, dir, goose.WithSessionLocker(turns))
	if err != nil {
		return 0, fmt.Errorf("migrations: %w", err)
	}
	current, newest, err := provider.GetVersions(ctx)
	if err != nil {
		return 0, fmt.Errorf("migrations: %w", err)
	}
	if current > newest {
		return current, fmt.Errorf("migrations: the database is at version %d, ahead of this program, which knows %d: run a newer one", current, newest)
	}
	if _, err := provider.Up(ctx); err != nil {
		return current, fmt.Errorf("migrations: %w", err)
	}
	if _, err := db.ExecContext(ctx, `GRANT SELECT ON goose_db_version TO rowcall_platform`); err != nil {
		return newest, err
	}
	return newest, revokeTemporary(ctx, db)
}

// revokeTemporary takes from everybody but the owner the right to make temporary tables in the database, which the server
// has no use for: they can stand in the place of others. It belongs to a database and is not copied with it.
func revokeTemporary(ctx context.Context, owner *sql.DB) error {
	var name string
	if err := owner.QueryRowContext(ctx, `SELECT quote_ident(current_database())`).Scan(&name); err != nil {
		return err
	}
	_, err := owner.ExecContext(ctx, `REVOKE TEMPORARY ON DATABASE `+name+` FROM PUBLIC`)
	return err
}

func checkServer(ctx context.Context, db *sql.DB) error {
	var number int
	var version, encoding string
	err := db.QueryRowContext(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_version'), current_setting('server_encoding')`).
		Scan(&number, &version, &encoding)
	switch {
	case err != nil:
		return err
	case number < minServer:
		return fmt.Errorf("the server is Postgres %s; 15 or newer is needed", version)
	case encoding != "UTF8":
		return fmt.Errorf("the database has the encoding %s; UTF8 is needed", encoding)
	}
	return nil
}

// CheckVersion returns nil if the database is at the version, else UNAVAILABLE.
func (db *DB) CheckVersion(ctx context.Context, version int64) error {
	var current int64
	p := db.Platform(ctx)
	err := p.Get(&current, `SELECT version_id FROM goose_db_version WHERE is_applied ORDER BY id DESC LIMIT $1`, 1)
	if err != nil {
		return p.plainError(err)
	}
	if current != version {
		return apperr.New(apperr.Unavailable, fmt.Sprintf("The database is at version %d, not %d", current, version))
	}
	return nil
}

// openOwner opens the login that owns the tables, for what is done before the server serves.
func openOwner(url string) (*sql.DB, error) {
	c, err := pq.NewConnector(url)
	if err != nil {
		return nil, hideURL(err)
	}
	return sql.OpenDB(c), nil
}
