// Package storetest gives each test a database of its own: migrated, without rows, on a real Postgres.
//
// The Postgres is the one at DATABASE_URL, whose login must be a superuser, or else a private cluster below .data/test,
// which the test binaries that run at the same time share. Without either, tests fail; with -short they are skipped.
package storetest

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"go.uber.org/goleak"

	"rowcall/modules/pgdev"
	"rowcall/modules/store"
)

// Database is a test's own database.
type Database struct {
	*store.DB
	OwnerURL    string // of a superuser
	TenantURL   string
	PlatformURL string
}

// Main runs a package's tests, stops what they used, and looks for goroutines that were left behind, but for some that may be. Call it
// in TestMain.
func Main(m *testing.M, mayStay ...goleak.Option) {
	code := m.Run()
	if err := server.close(); err != nil {
		fmt.Fprintln(os.Stderr, "storetest:", err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(mayStay...); err != nil {
			fmt.Fprintln(os.Stderr, "storetest:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// New returns a new database with the migrations applied, open, for as long as the test runs.
func New(t testing.TB, migrations fs.FS) *Database {
	t.Helper()
	if testing.Short() {
		t.Skip("needs Postgres")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	d, err := server.create(ctx, migrations)
	if err != nil {
		t.Fatal("storetest: ", err)
	}
	name := databaseName(d.OwnerURL)
	t.Cleanup(func() {
		if err := errors.Join(d.Close(), server.drop(context.WithoutCancel(t.Context()), name)); err != nil {
			t.Error("storetest: ", err)
		}
	})
	return d
}

// Exec runs statements as the owner, around the fences.
func (d *Database) Exec(t testing.TB, query string, args ...any) {
	t.Helper()
	owner := d.Owner(t)
	if _, err := owner.ExecContext(context.WithoutCancel(t.Context()), query, args...); err != nil { // also in a Cleanup
		t.Fatal(err)
	}
}

// Owner opens the owner's login, for as long as the test runs.
func (d *Database) Owner(t testing.TB) *sql.DB {
	t.Helper()
	owner, err := sql.Open("postgres", d.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = owner.Close() })
	return owner
}

// server is the Postgres of this test binary.
var server postgres

type postgres struct {
	mu          sync.Mutex
	cluster     *pgdev.Cluster
	url         func(database string) string
	admin       *sql.DB
	template    string
	tenantURL   string
	platformURL string
}

func (p *postgres) create(ctx context.Context, migrations fs.FS) (*Database, error) {
	if err := p.start(ctx, migrations); err != nil {
		return nil, err
	}
	name := "test_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	if _, err := p.admin.ExecContext(ctx, fmt.Sprintf(`CREATE DATABASE %s TEMPLATE %s STRATEGY file_copy`, name, p.template)); err != nil {
		return nil, err
	}
	if _, err := p.admin.ExecContext(ctx, `REVOKE TEMPORARY ON DATABASE `+name+` FROM PUBLIC`); err != nil { // as Migrate does
		return nil, err
	}
	d := &Database{OwnerURL: p.url(name), TenantURL: withDatabase(p.tenantURL, name), PlatformURL: withDatabase(p.platformURL, name)}
	db, err := store.Open(ctx, store.Config{TenantURL: d.TenantURL, PlatformURL: d.PlatformURL})
	if err != nil {
		return nil, errors.Join(err, p.drop(ctx, name))
	}
	d.DB = db
	return d, nil
}

func (p *postgres) drop(ctx context.Context, name string) error {
	_, err := p.admin.ExecContext(ctx, `DROP DATABASE IF EXISTS `+pq.QuoteIdentifier(name)+` WITH (FORCE)`)
	return err
}

// start makes the template once, whichever test binary comes first.
func (p *postgres) start(ctx context.Context, migrations fs.FS) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.template != "" {
		return nil
	}
	if err := p.connect(ctx); err != nil {
		return err
	}
	sum, err := digest(migrations)
	if err != nil {
		return err
	}
	template := "rowcall_template_" + sum
	cn, err := p.admin.Conn(ctx)
	if err != nil {
		return err
	}
	defer cn.Close() //nolint:errcheck // it goes back to the pool
	if _, err := cn.ExecContext(ctx, `SELECT pg_advisory_lock(hashtext('rowcall storetest'))`); err != nil {
		return err
	}
	defer cn.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock_all()`) //nolint:errcheck // as the session ends
	var exists bool
	if err := cn.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, template).Scan(&exists); err != nil {
		return err
	}
	making := template
	if !exists {
		making += "_making"
		ownerURL, err := p.owner(ctx, making)
		if err != nil {
			return err
		}
		for _, statement := range []string{`DROP DATABASE IF EXISTS ` + making, `CREATE DATABASE ` + making + ` OWNER ` + ownerRole} {
			if _, err := cn.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		if _, err := store.Migrate(ctx, ownerURL, migrations); err != nil {
			return err
		}
	}
	p.tenantURL, p.platformURL, err = store.Logins(ctx, p.url(making), "rowcall_test", func(login string) string { return login })
	if err != nil {
		return err
	}
	if !exists {
		if _, err := cn.ExecContext(ctx, `ALTER DATABASE `+making+` RENAME TO `+template); err != nil {
			return err
		}
	}
	p.template = template
	return nil
}

// ownerRole applies the migrations. Like the owner of a database in production it is no superuser, so that what the tables'
// owner may not do is not taken for granted.
const ownerRole = "rowcall_test_owner"

func (p *postgres) owner(ctx context.Context, database string) (url string, err error) {
	_, err = p.admin.ExecContext(ctx, `DO $$ BEGIN
		IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '`+ownerRole+`') THEN
			CREATE ROLE `+ownerRole+` LOGIN CREATEROLE PASSWORD '`+ownerRole+`';
		END IF; END $$`)
	return withUser(p.url(database), ownerRole), err
}

func (p *postgres) connect(ctx context.Context) error {
	if p.admin != nil {
		return nil
	}
	base := os.Getenv("DATABASE_URL")
	if base == "" {
		root, err := moduleRoot()
		if err != nil {
			return err
		}
		if p.cluster, err = pgdev.Start(ctx, pgdev.Config{Dir: filepath.Join(root, ".data", "test"), Fast: true}); err != nil {
			return err
		}
		base = p.cluster.URL("postgres")
	}
	p.url = func(database string) string { return withDatabase(base, database) }
	admin, err := sql.Open("postgres", p.url("postgres"))
	p.admin = admin
	return err
}

func (p *postgres) close() error {
	var err error
	if p.admin != nil {
		err = p.admin.Close()
	}
	if p.cluster != nil {
		err = errors.Join(err, p.cluster.Close())
	}
	return err
}

// digest tells templates of different migrations apart.
func digest(migrations fs.FS) (string, error) {
	h := sha256.New()
	err := fs.WalkDir(migrations, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(migrations, path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(text), text)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)[:6]), err
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = up
	}
}

func withDatabase(rawURL, database string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return rawURL // and connecting says what is wrong with it
	}
	u.Path = "/" + database
	query := u.Query()
	query.Set("connect_timeout", "60") // a login takes long where all tests run at once on a small machine
	u.RawQuery = query.Encode()
	return u.String()
}

// withUser returns the URL for a test's role, whose password is its name.
func withUser(rawURL, role string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return rawURL // and connecting says what is wrong with it
	}
	u.User = url.UserPassword(role, role)
	return u.String()
}

func databaseName(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(u.Path, "/")
}
