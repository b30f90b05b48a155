package store

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"strings"

	"github.com/lib/pq"
)

// Development tells whether the database of the URL is marked as one whose rows nobody would miss, and whether it exists.
// The mark is a setting of the database: rowcall.environment = 'development'.
func Development(ctx context.Context, ownerURL string) (marked, exists bool, err error) {
	db, err := openOwner(ownerURL)
	if err != nil {
		return false, false, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.QueryRowContext(ctx, `SELECT coalesce(current_setting('rowcall.environment', true) = 'development', false)`).Scan(&marked)
	var pe *pq.Error
	if errors.As(err, &pe) && pe.Code == "3D000" { // invalid_catalog_name
		return false, false, nil
	}
	return marked, err == nil, err
}

// Recreate runs a script that drops and creates the database of the URL, from the database "postgres" beside it. The
// script's :"db" is the database's name, as psql has it. Connections to the database are ended. The caller has made sure
// that nobody will miss the rows.
func Recreate(ctx context.Context, ownerURL, script string) (err error) {
	u, err := url.Parse(ownerURL)
	if err != nil {
		return hideURL(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	u.Path = "/postgres"
	db, err := openOwner(u.String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return runEach(ctx, db, strings.ReplaceAll(script, `:"db"`, pq.QuoteIdentifier(name)))
}

// runEach runs a script's statements one by one, as psql does.
func runEach(ctx context.Context, db *sql.DB, script string) error {
	for _, statement := range strings.Split(script, ";\n") {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// NewEpoch makes the positions of all tenants' change logs those of another epoch, so that whoever has followed one starts over,
// and returns it.
func NewEpoch(ctx context.Context, ownerURL string) (epoch string, err error) {
	db, err := openOwner(ownerURL)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, `CALL new_epoch()`); err != nil {
		return "", err
	}
	err = db.QueryRowContext(ctx, `SELECT current_epoch()`).Scan(&epoch)
	return epoch, err
}
