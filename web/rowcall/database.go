package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"rowcall/modules/auth"
	"rowcall/modules/limit"
	"rowcall/modules/pgdev"
	"rowcall/modules/store"
	"rowcall/sqlscripts"
)

// database is the server's database, open, and the private cluster that it is in, if it is in one.
type database struct {
	*store.DB
	cluster *pgdev.Cluster
	version int64
	observe observer
	listen  string // URL of the login that listens to other nodes
}

// observer is store.Config's Observe.
type observer = func(context.Context, store.Statement)

// Close closes the database, and stops a private cluster that nobody else uses.
func (d *database) Close() (err error) {
	if d.DB != nil {
		err = d.DB.Close()
	}
	if d.cluster != nil {
		err = errors.Join(err, d.cluster.Close())
	}
	return err
}

// ready tells whether the database can be worked with.
func (d *database) ready(ctx context.Context) error {
	if err := d.Ping(ctx); err != nil {
		return err
	}
	return d.CheckVersion(ctx, d.version)
}

// openDatabase brings the database up to date and opens it. In development it makes what is missing: a private cluster,
// the database in it, and the demo data.
func openDatabase(ctx context.Context, cfg config, passwords *auth.Passwords, log *zap.Logger, observe observer) (*database, error) {
	d := &database{observe: observe}
	ownerURL := cfg.DatabaseURL
	if cfg.mode == modeDev {
		var err error
		if ownerURL, d.cluster, err = developmentDatabase(ctx, cfg, log); err != nil {
			return nil, err
		}
	}
	if err := d.open(ctx, cfg, ownerURL, passwords); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *database) open(ctx context.Context, cfg config, ownerURL string, passwords *auth.Passwords) (err error) {
	if d.version, err = store.Migrate(ctx, ownerURL, sqlscripts.Migrations()); err != nil {
		return err
	}
	if err := d.connect(ctx, cfg, ownerURL); err != nil {
		return err
	}
	if cfg.mode == modeDev {
		if err := seed(ctx, d.DB, passwords); err != nil {
			return fmt.Errorf("seed: %w", err)
		}
	}
	return nil
}

// connect opens a database that is up to date.
func (d *database) connect(ctx context.Context, cfg config, ownerURL string) (err error) {
	tenantURL, platformURL := cfg.TenantURL, cfg.PlatformURL
	if tenantURL == "" {
		tenantURL, platformURL, err = store.Logins(ctx, ownerURL, databaseName(ownerURL), loginPassword(cfg.PasswordKey))
		if err != nil {
			return err
		}
	}
	d.listen = platformURL
	d.DB, err = store.Open(ctx, store.Config{
		TenantURL: tenantURL, PlatformURL: platformURL, TenantConns: cfg.DBConns, CursorKey: cfg.TokenKey.Derive("cursors of lists"),
		StatementTimeout: cfg.StatementTimeout, Observe: d.observe, Aside: limit.Aside,
		Session: map[string]string{"app.vault_items": strconv.Itoa(cfg.VaultItems), "app.vault_bytes": strconv.Itoa(cfg.VaultBytes)},
	})
	return err
}

// errNotDevelopment keeps demo data, and recreate-db, away from databases with rows that somebody would miss.
var errNotDevelopment = errors.New(`this database is not marked as development; if nobody would miss its rows:
    ALTER DATABASE <name> SET rowcall.environment = 'development'`)

// developmentDatabase returns the URL of a development database that exists: in the private cluster, or the one of
// DATABASE_URL, which must be marked as development or not exist yet.
func developmentDatabase(ctx context.Context, cfg config, log *zap.Logger) (ownerURL string, cluster *pgdev.Cluster, err error) {
	if ownerURL = cfg.DatabaseURL; ownerURL == "" {
		cluster, err = pgdev.Start(ctx, pgdev.Config{Dir: filepath.Join(cfg.DataDir, "postgres"), Log: log})
		if err != nil {
			return "", nil, err
		}
		ownerURL = cluster.URL("rowcall")
		// For a person with psql.
		if err := os.WriteFile(filepath.Join(cfg.DataDir, "url"), []byte(ownerURL+"\n"), 0o600); err != nil {
			return "", nil, errors.Join(err, cluster.Close())
		}
	}
	marked, exists, err := store.Development(ctx, ownerURL)
	switch {
	case err != nil:
	case !exists:
		err = store.Recreate(ctx, ownerURL, sqlscripts.Recreate)
	case !marked:
		err = errNotDevelopment
	}
	if err != nil && cluster != nil {
		err = errors.Join(err, cluster.Close())
		cluster = nil
	}
	return ownerURL, cluster, err
}

// seed writes the demo data, where it is not there yet.
func seed(ctx context.Context, db *store.DB, passwords *auth.Passwords) error {
	pwd, err := passwords.Hash(ctx, "welcome")
	if err != nil {
		return err
	}
	return db.InPlatformTx(ctx, func(tx *store.PlatformTx) error {
		if _, err := tx.Exec(`SELECT set_config('seed.pwd', $1, true)`, pwd); err != nil {
			return err
		}
		_, err := tx.Exec(sqlscripts.Seed)
		return err
	})
}

// migrate brings the database up to date and does no more.
func migrate(ctx context.Context, environ []string, stdout io.Writer) error {
	cfg, err := loadConfig(environ, modeMigrate)
	if err != nil {
		return err
	}
	version, err := store.Migrate(ctx, cfg.DatabaseURL, sqlscripts.Migrations())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, "the database is at version", version)
	return err
}

// recreate drops the development database and makes it anew, with the demo data.
func recreate(ctx context.Context, environ []string, stdout, stderr io.Writer) (err error) {
	cfg, err := loadConfig(environ, modeDev)
	if err != nil {
		return err
	}
	log := newLog(cfg, stderr)
	ownerURL, cluster, err := developmentDatabase(ctx, cfg, log)
	if err != nil {
		return err
	}
	if cluster != nil {
		defer func() { err = errors.Join(err, cluster.Close()) }()
	}
	if err := store.Recreate(ctx, ownerURL, sqlscripts.Recreate); err != nil {
		return err
	}
	passwords, err := auth.NewPasswords(cfg.PasswordKey, cfg.LegacyPasswordKey)
	if err != nil {
		return err
	}
	d, err := openDatabase(ctx, cfg, passwords, log, nil)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, "the database has been recreated, at version", d.version)
	return errors.Join(err, d.Close())
}

func databaseName(databaseURL string) string {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(u.Path, "/")
}

// loginPassword derives the passwords of the two database logins from the password key, so that every node has the same.
func loginPassword(key auth.Key) func(login string) string {
	return func(login string) string {
		return base64.RawURLEncoding.EncodeToString(key.Derive("database login " + login))
	}
}
