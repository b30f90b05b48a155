package store_test

import (
	"database/sql"
	"fmt"
	"sync"
	"testing"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/store"
)

func TestTenantsDoNotMeet(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	a, b := session(t, db, tenantA), session(t, db, tenantB)
	made := must[thing](t)(things.Create(a, thing{Label: "a"}))

	wantKind(t, apperr.NotFound, second(things.Get(b, made.ID)))
	wantKind(t, apperr.NotFound, second(things.Update(b, made.ID, store.Set{"label": "b"}, store.IfVersion(new(int64(1))))))
	wantKind(t, apperr.NotFound, second(things.Delete(b, made.ID, store.Version{})))
	wantKind(t, apperr.NotFound, second(things.DeleteAll(b, []int64{made.ID})))
	wantKind(t, apperr.BadReference, second(things.Create(b, thing{Label: "b", Boss: &made.ID})))
	must[thing](t)(things.Create(b, thing{Label: "a"})) // unique in each tenant only
	if n := must[int64](t)(things.Count(b, nil)); n != 1 {
		t.Fatalf("tenant b counts %d rows", n)
	}
}

// The second fence: statements that do not name the tenant at all.
func TestRowLevelSecurityStandsByItself(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	a, b := session(t, db, tenantA), session(t, db, tenantB)
	made := must[thing](t)(things.Create(a, thing{Label: "a"}))

	var n int
	for tx, want := range map[*store.Tx]int{a: 1, b: 0} {
		if err := tx.Get(&n, `SELECT count(*) FROM thing`); err != nil || n != want {
			t.Errorf("a bare count sees %d rows, want %d (%v)", n, want, err)
		}
	}
	if touched, err := b.Exec(`UPDATE thing SET label = 'stolen' WHERE id = $1`, made.ID); err != nil || touched != 0 {
		t.Errorf("a bare update touched %d rows (%v)", touched, err)
	}
	if touched, err := b.Exec(`DELETE FROM thing WHERE id = $1`, made.ID); err != nil || touched != 0 {
		t.Errorf("a bare delete touched %d rows (%v)", touched, err)
	}
	if _, err := b.Exec(`INSERT INTO thing (tenant_id, label, owner, seal, version, cid, ctime, mid, mtime)
		VALUES ($1, 'planted', 1, '', 1, 1, now(), 1, now())`, tenantA.String()); err == nil {
		t.Error("a row was planted in another tenant")
	}

	unset, err := sql.Open("postgres", db.TenantURL)
	if err != nil {
		t.Fatal(err)
	}
	defer unset.Close() //nolint:errcheck // of a test
	if err := unset.QueryRowContext(t.Context(), `SELECT count(*) FROM thing`).Scan(&n); err != nil || n != 0 {
		t.Errorf("a connection without a tenant sees %d rows (%v)", n, err)
	}
	for _, raise := range []string{
		`SET ROLE rowcall_platform`, `SET SESSION AUTHORIZATION postgres`, `ALTER ROLE CURRENT_USER BYPASSRLS`,
		`ALTER TABLE thing DISABLE ROW LEVEL SECURITY`, `DROP POLICY tenant ON thing`, `GRANT rowcall_platform TO CURRENT_USER`,
		`SELECT * FROM account`, `SELECT * FROM session`, `SELECT * FROM auth_change`, `SELECT * FROM login_failure`,
		`UPDATE membership SET role = 'owner'`, `CALL tenant_table('thing')`, `CREATE TABLE mine (x int)`,
		`CREATE TEMPORARY TABLE auth_head (x int)`, `CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'`,
	} {
		if _, err := unset.ExecContext(t.Context(), raise); err == nil {
			t.Errorf("the tenants' login may %s", raise)
		}
	}
}

// A connection's tenant changes with the work that it does, also after errors, and in transactions.
func TestConnectionsChangeTenants(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	var wg sync.WaitGroup
	for worker := range 16 {
		tenant, other := tenantA, tenantB
		if worker%2 == 1 {
			tenant, other = other, tenant
		}
		ctx := as(t.Context(), tenant, int64(worker), auth.Member)
		wg.Go(func() {
			for i := range 20 {
				label := fmt.Sprint(worker, "-", i)
				err := db.InTx(ctx, func(tx *store.Tx) error {
					if _, err := things.Create(tx, thing{Label: label}); err != nil {
						return err
					}
					if i%3 == 0 {
						return fmt.Errorf("undo")
					}
					return nil
				})
				if err != nil && i%3 != 0 {
					t.Error(err)
				}
				tx, err := db.Session(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				var foreign int
				if err := tx.Get(&foreign, `SELECT count(*) FROM thing WHERE tenant_id <> $1`, tenant.String()); err != nil || foreign != 0 {
					t.Errorf("%d rows of %s are visible (%v)", foreign, other, err)
				}
				_, _ = tx.Exec(`SELECT 1/0`)
			}
		})
	}
	wg.Wait()
}

// Every table with a tenant has both fences, and its keys include the tenant; every other one is closed to tenants.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	owner := newDB(t).Owner(t)
	rows, err := owner.QueryContext(t.Context(), `
		SELECT c.relname,
		       EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.attnotnull) AS tenant,
		       c.relrowsecurity AND c.relforcerowsecurity AS fenced,
		       (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid AND p.polpermissive AND 0 = ANY(p.polroles)
		            AND pg_get_expr(p.polqual, p.polrelid) LIKE '(tenant_id = ( SELECT (NULLIF(current_setting(''app.tenant_id''%)'
		            AND pg_get_expr(p.polwithcheck, p.polrelid) = pg_get_expr(p.polqual, p.polrelid)) AS tenant_policies,
		       (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid
		            AND NOT (p.polname = 'owner_reads' AND p.polcmd = 'r' AND p.polroles = ARRAY[c.relowner])) AS policies,
		       (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid AND p.polroles = ARRAY['rowcall_platform'::regrole::oid]) AS platform_policies,
		       coalesce((SELECT bool_and((SELECT attnum FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id') = ANY(k.conkey))
		            FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p'), false) AS keyed,
		       coalesce((SELECT bool_and((SELECT attnum FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id') = ANY(k.conkey))
		            FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f'
		            AND EXISTS (SELECT FROM pg_attribute fa WHERE fa.attrelid = k.confrelid AND fa.attname = 'tenant_id')), true) AS referring,
		       has_table_privilege('rowcall_tenant', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
		            OR has_any_column_privilege('rowcall_tenant', c.oid, 'SELECT, INSERT, UPDATE, REFERENCES') AS open
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'm', 'f')
		ORDER BY c.relname`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close() //nolint:errcheck // of a test
	seen := map[string]bool{}
	for rows.Next() {
		var name string
		var tenant, fenced, keyed, referring, open bool
		var tenantPolicies, policies, platformPolicies int
		if err := rows.Scan(&name, &tenant, &fenced, &tenantPolicies, &policies, &platformPolicies, &keyed, &referring, &open); err != nil {
			t.Fatal(err)
		}
		seen[name] = true
		switch {
		case !tenant && open:
			t.Errorf("%s has no tenant_id and is open to the tenants' login", name)
		case tenant && (!fenced || tenantPolicies != 1 || platformPolicies != 1 || policies != 2):
			t.Errorf("%s is not fenced: CALL tenant_table('%[1]s')", name)
		case tenant && !keyed:
			t.Errorf("the primary key of %s does not include tenant_id", name)
		case tenant && !referring:
			t.Errorf("a foreign key of %s does not include tenant_id", name)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"task", "project", "membership", "session", "api_key", "thing", "note", "account"} {
		if !seen[name] {
			t.Errorf("the walk did not see %s", name)
		}
	}
}

// What runs with its owner's rights must not take a caller's temporary tables for its own.
func TestDefinersFunctionsLookForTemporaryTablesLast(t *testing.T) {
	t.Parallel()
	var functions, wrong int
	err := newDB(t).Owner(t).QueryRowContext(t.Context(), `
		SELECT count(*), count(*) FILTER (WHERE NOT coalesce('search_path=public, pg_temp' = ANY(proconfig), false))
		FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace`).Scan(&functions, &wrong)
	if err != nil || functions == 0 || wrong != 0 {
		t.Errorf("%d of %d functions (%v)", wrong, functions, err)
	}
}

func TestOpenRefusesLoginsThatGetAroundTheFence(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	for _, cfg := range []store.Config{
		{TenantURL: db.OwnerURL, PlatformURL: db.PlatformURL},
		{TenantURL: db.PlatformURL, PlatformURL: db.PlatformURL},
		{TenantURL: db.TenantURL, PlatformURL: db.TenantURL},
	} {
		if opened, err := store.Open(t.Context(), cfg); err == nil {
			t.Errorf("it was opened: %+v", cfg)
			_ = opened.Close()
		}
	}
}
