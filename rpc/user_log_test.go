package rpc_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"rowcall/modules/store"
	"rowcall/rpc/rpctest"
)

// userEntry is an entry of the log on a user.
type userEntry struct {
	position, actor, version int64
	method, id, op           string
	before, data             rpctest.Row
}

// userEntries returns what the log has of a tenant after a position. The positions must be dense.
func userEntries(t *testing.T, s *rpctest.Server, tenant string, after int64) (entries []userEntry) {
	t.Helper()
	rows, err := s.DB.Owner(t).QueryContext(t.Context(), `
		SELECT position, actor, version, method, row_id, op, before::text, data::text
		FROM change JOIN tenant ON tenant.id = tenant_id WHERE slug = $1 AND position > $2 AND entity = 'user' ORDER BY position`, tenant, after)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close() //nolint:errcheck // of a test
	for rows.Next() {
		var e userEntry
		var before, data *string
		if err := rows.Scan(&e.position, &e.actor, &e.version, &e.method, &e.id, &e.op, &before, &data); err != nil {
			t.Fatal(err)
		}
		for text, into := range map[*string]*rpctest.Row{before: &e.before, data: &e.data} {
			if text != nil {
				if err := json.Unmarshal([]byte(*text), into); err != nil {
					t.Fatal(err)
				}
			}
		}
		if after++; e.position != after {
			t.Errorf("position %d, want %d", e.position, after)
		}
		entries = append(entries, e)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return entries
}

// head returns the head of a tenant's log, which must be as many as it has entries.
func head(t *testing.T, s *rpctest.Server, tenant string) (head int64) {
	t.Helper()
	err := s.DB.Owner(t).QueryRowContext(t.Context(), `SELECT head FROM change_head JOIN tenant ON tenant.id = tenant_id WHERE slug = $1`, tenant).Scan(&head)
	if err != nil {
		t.Fatal(err)
	}
	return head
}

// Changes of users are logged whoever makes them: each once, with the user as get_user shows them before and after.
func TestUsersAreLogged(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	s.DB.Exec(t, `UPDATE membership SET role = 'admin' WHERE user_id = (SELECT id FROM account WHERE username = 'other1')`)
	admin, other := s.As(t, "admin"), s.As(t, "other1") // who see all of a user
	demo1 := s.As(t, "demo1").Actor
	get := func(c *rpctest.Client, id any) rpctest.Row {
		return rpctest.Call[rpctest.Row](c, "get_user", rpctest.Row{"id": id})
	}
	same := func(what string, got, want rpctest.Row) {
		t.Helper()
		got = maps.Clone(got)
		for _, name := range []string{"ctime", "mtime"} { // which JSON of Postgres writes in another way
			if got != nil {
				if fmt.Sprint(got[name])[:19] != fmt.Sprint(want[name])[:19] {
					t.Errorf("%s: %s %v, want %v", what, name, got[name], want[name])
				}
				got[name] = want[name]
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	// check does something and checks the one entry of each tenant that it makes.
	check := func(op string, id any, c *rpctest.Client, do func()) userEntry {
		t.Helper()
		after := head(t, s, c.Actor.TenantSlug)
		var before, data rpctest.Row
		if op != "create" {
			before = get(c, id)
		}
		do()
		entries := userEntries(t, s, c.Actor.TenantSlug, after)
		if len(entries) != 1 || head(t, s, c.Actor.TenantSlug) != after+1 {
			t.Fatalf("%s: %d entries: %+v", op, len(entries), entries)
		}
		e := entries[0]
		version := before["version"]
		if op != "delete" {
			data = get(c, id)
			version = data["version"]
		} else {
			version = version.(float64) + 1
		}
		same(op+" before", e.before, before)
		same(op+" data", e.data, data)
		if e.op != op || e.id != fmt.Sprint(id) || float64(e.version) != version {
			t.Errorf("%s: %+v", op, e)
		}
		return e
	}
	suspend := func(method string) func() {
		return func() {
			before := head(t, s, "demo")
			result, failed := admin.Do(method, rpctest.Row{"id": demo1.User})
			if failed != nil {
				t.Fatalf("%+v", failed)
			}
			if after := head(t, s, "demo"); (after == before) != (result.Position == nil) || result.Position != nil && *result.Position != after {
				t.Errorf("%s answers position %v, and the head is %d", method, result.Position, after)
			}
		}
	}
	if e := check("update", demo1.User, admin, suspend("suspend_user")); e.actor != admin.Actor.User || e.method != "suspend_user" {
		t.Errorf("%+v", e)
	}
	if before := head(t, s, "demo"); before != 0 {
		suspend("suspend_user")() // they are already
		if after := head(t, s, "demo"); after != before {
			t.Errorf("nothing changed, and the log went from %d to %d", before, after)
		}
	}
	var told []int64
	s.DB.OnCommit(func(_ uuid.UUID, position int64) { told = append(told, position) })
	if e := check("update", demo1.User, admin, suspend("resume_user")); e.method != "resume_user" || !slices.Equal(told, []int64{e.position}) {
		t.Errorf("%+v, and the hub was told of %v", e, told)
	}

	byHand := func(query string, args ...any) func() { return func() { s.DB.Exec(t, query, args...) } }
	member := []any{other.Actor.Tenant, demo1.User, admin.Actor.User}
	check("create", demo1.User, other, byHand(`INSERT INTO membership (tenant_id, user_id, role, cid, mid) VALUES ($1, $2, 'member', $3, $3)`, member...))
	// They are renamed in both tenants.
	check("update", demo1.User, admin, func() {
		check("update", demo1.User, other, byHand(`UPDATE account SET name = 'Renamed' WHERE id = $1`, demo1.User))
	})
	// In one transaction, by a method of which the database is told.
	e := check("update", demo1.User, other, func() {
		err := s.DB.InPlatformTx(t.Context(), func(tx *store.PlatformTx) error {
			_, err := tx.Exec(`UPDATE membership SET role = 'admin', version = version + 1, mid = $3 FROM set_config('app.method', 'promote', true)
				WHERE tenant_id = $1 AND user_id = $2`, member[0].(fmt.Stringer).String(), member[1], member[2])
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
	if e.method != "promote" {
		t.Errorf("%+v", e)
	}
	check("delete", demo1.User, other, byHand(`DELETE FROM membership WHERE tenant_id = $1 AND user_id = $2`, member[:2]...))
	before := head(t, s, "demo")
	s.DB.Exec(t, `UPDATE account SET pwd = pwd || 'x', name = name`)
	s.DB.Exec(t, `UPDATE membership SET mtime = now()`)
	if after := head(t, s, "demo"); after != before {
		t.Errorf("nothing of users changed, and the log went from %d to %d", before, after)
	}
}

// Users and keys change at once: both are in the tenant's log, and both tell the nodes what holds no more. Nobody deadlocks.
func TestUsersAndKeysChangeAtOnce(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	demo1 := s.As(t, "demo1").Actor.User
	hand := s.DB.Owner(t)
	var wg sync.WaitGroup
	for i, method := range []string{"suspend_user", "resume_user"} {
		admin, demo2 := s.As(t, "admin"), s.As(t, "demo2")
		wg.Go(func() {
			for range 25 {
				if _, failed := admin.Do(method, rpctest.Row{"id": demo1}); failed != nil {
					t.Errorf("%s: %+v", method, failed)
				}
			}
		})
		wg.Go(func() {
			for range 25 {
				made, failed := demo2.Do("create_api_key", rpctest.Row{"data": rpctest.Row{"name": fmt.Sprint("key", i), "scopes": []string{"read"}}})
				if failed != nil {
					t.Errorf("create_api_key: %+v", failed)
					return
				}
				var row rpctest.Row
				if err := json.Unmarshal(made.Data, &row); err != nil {
					t.Error(err)
				}
				if _, failed := demo2.Do("delete_api_key", rpctest.Row{"id": row["id"]}); failed != nil {
					t.Errorf("delete_api_key: %+v", failed)
				}
			}
		})
		wg.Go(func() {
			for range 25 {
				if _, err := hand.ExecContext(t.Context(), `UPDATE membership SET role = CASE role WHEN 'member' THEN 'admin' ELSE 'member' END, version = version + 1
					WHERE user_id = (SELECT id FROM account WHERE username = 'demo2')`); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
