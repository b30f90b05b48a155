package changelog_test

import (
	"database/sql"
	"net/url"
	"testing"

	"rowcall/modules/store"
	"rowcall/modules/store/storetest"
	"rowcall/sqlscripts"
)

// epochOf asks a database for its epoch.
func epochOf(t *testing.T, databaseURL string) (epoch string) {
	t.Helper()
	db, err := sql.Open("postgres", databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // of a test
	if err := db.QueryRowContext(t.Context(), `SELECT current_epoch()`).Scan(&epoch); err != nil {
		t.Fatal(err)
	}
	return epoch
}

func TestEpoch(t *testing.T) {
	t.Parallel()
	db := storetest.New(t, sqlscripts.Migrations())
	first := epochOf(t, db.OwnerURL)
	for _, url := range []string{db.TenantURL, db.PlatformURL, db.OwnerURL} {
		if got := epochOf(t, url); got != first || len(got) != 32 {
			t.Errorf("%q, and for the owner %q", got, first)
		}
	}
	for _, url := range []string{db.TenantURL, db.PlatformURL} {
		if _, err := store.NewEpoch(t.Context(), url); err == nil {
			t.Error("a login of the server may make a new epoch")
		}
	}
	second, err := store.NewEpoch(t.Context(), db.OwnerURL)
	if err != nil || second == first || second != epochOf(t, db.TenantURL) {
		t.Errorf("a new epoch: %q after %q (%v)", second, first, err)
	}
	t.Run("restored", func(t *testing.T) { // as by pg_restore --clean in the same database: the same row, in another table
		db.Exec(t, `CREATE TABLE restored (LIKE log_epoch INCLUDING ALL); INSERT INTO restored SELECT * FROM log_epoch;
			DROP TABLE log_epoch; ALTER TABLE restored RENAME TO log_epoch; ALTER TABLE log_epoch OWNER TO rowcall_test_owner`)
	})
	third := epochOf(t, db.TenantURL)
	if third == second {
		t.Error("tables were restored, and the epoch is the same")
	}

	u, err := url.Parse(db.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil { // nobody may be connected to what is copied
		t.Fatal(err)
	}
	original := u.Path[1:]
	u.Path = "/postgres"
	admin, err := sql.Open("postgres", u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close() //nolint:errcheck // of a test
	copied := original + "_copy"
	if _, err := admin.ExecContext(t.Context(), `CREATE DATABASE `+copied+` TEMPLATE `+original); err != nil {
		t.Fatal(err)
	}
	defer admin.ExecContext(t.Context(), `DROP DATABASE `+copied+` WITH (FORCE)`) //nolint:errcheck // of a test
	u.Path = "/" + copied
	if got := epochOf(t, u.String()); got == third || got == second || got == first {
		t.Error("a copy of the database has the epoch of the original")
	}
}
