package rpc_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/store"
	"rowcall/modules/store/storetest"
	"rowcall/rpc/rpctest"
)

// seenEntry is an entry as sync_delta answers it.
type seenEntry struct {
	Position int64  `json:"position"`
	Entity   string `json:"entity"`
}

// Whoever reads the log sees the entries of a collection from their membership on to its end, wherever they begin to read, and of
// memberships their own.
func TestVaultEntriesAreSeenByMembersOfThatTime(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	users := []*rpctest.Client{s.As(t, "demo1"), s.As(t, "demo2"), s.As(t, "admin")}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(0, seed))
	position := func() int64 { return int64(rpctest.Call[row](users[0], "sync_head", nil)["position"].(float64)) }
	type change struct {
		position int64
		entity   string
		group    string
		by       []bool // which users see it
	}
	var log []change
	first := position()
	type group struct {
		id      string
		owner   int
		members []bool
		rows    []string // the ids of the memberships
		items   []any
	}
	var groups []*group
	var ids []string
	note := func(entity string, g *group) {
		log = append(log, change{first + int64(len(log)) + 1, entity, g.id, slices.Clone(g.members)})
	}
	for step := range 150 {
		var g *group
		if len(groups) > 0 {
			g = groups[random.IntN(len(groups))]
		}
		switch what := random.IntN(10); {
		case g == nil || what == 0 && len(groups) < 4:
			g = &group{uuid.Must(uuid.NewV7()).String(), random.IntN(3), make([]bool, 3), make([]string, 3), nil}
			newCollection(users[g.owner], g.id)
			g.members[g.owner] = true
			note("vault_collection", g)
			note("vault_member", g)
			groups, ids = append(groups, g), append(ids, g.id)
		case what < 4: // a member comes or goes
			u := random.IntN(3)
			if u == g.owner {
				continue
			}
			if !g.members[u] {
				g.rows[u] = rpctest.Call[row](users[g.owner], "create_vault_member",
					row{"data": row{"collection_id": g.id, "user_id": users[u].Actor.User, "wrapped_key": fmt.Sprint(step)}})["id"].(string)
				g.members[u] = true
				note("vault_member", g)
				continue
			}
			by := []int{u, g.owner}[random.IntN(2)]
			note("vault_member", g)
			rpctest.Call[row](users[by], "delete_vault_member", row{"id": g.rows[u]})
			g.members[u] = false
		case what == 4: // keys are changed
			key := row{"collection_id": g.id, "user_id": users[g.owner].Actor.User, "wrapped_key": fmt.Sprint(step)}
			rpctest.Call[row](users[g.owner], "upsert_vault_member", row{"data": key, "on": []string{"user_id", "collection_id"}})
			note("vault_member", g)
		case what == 5 && len(g.items) > 0:
			rpctest.Call[row](users[g.owner], "delete_vault_item", row{"id": g.items[0]})
			g.items = g.items[1:]
			note("vault_item", g)
		case what == 6 && len(g.items) == 0 && len(groups) > 1:
			byRow := []int{0, 1, 2}
			slices.SortFunc(byRow, func(a, b int) int { return strings.Compare(g.rows[a], g.rows[b]) })
			for _, u := range byRow {
				if u != g.owner && g.members[u] {
					note("vault_member", g)
					g.members[u] = false
				}
			}
			note("vault_collection", g)
			note("vault_member", g)
			rpctest.Call[row](users[g.owner], "delete_vault_collection", row{"id": g.id})
			groups = slices.DeleteFunc(groups, func(other *group) bool { return other == g })
		default:
			u := random.IntN(3)
			data := row{"collection_id": g.id, "payload": payload(step)}
			if !g.members[u] {
				users[u].Fails(apperr.BadReference, "create_vault_item", row{"data": data})
				continue
			}
			g.items = append(g.items, rpctest.Call[row](users[u], "create_vault_item", row{"data": data})["id"])
			note("vault_item", g)
		}
	}
	if head := position(); head != first+int64(len(log)) {
		t.Fatalf("the head is %d after %d entries since %d", head, len(log), first)
	}
	read := func(c *rpctest.Client, params row) (entries []seenEntry) {
		t.Helper()
		for more := true; more; {
			result, failed := c.Do("sync_delta", params)
			if failed != nil {
				t.Fatal(failed)
			}
			var page []seenEntry
			if err := json.Unmarshal(result.Data, &page); err != nil {
				t.Fatal(err)
			}
			entries = append(entries, page...)
			params["since"], more = *result.Position, result.More
		}
		return entries
	}
	for u, c := range users {
		for range 20 {
			since := first + random.Int64N(int64(len(log)))
			params := row{"since": since, "coalesce": false, "limit": 1 + random.IntN(50)}
			var only []string
			if random.IntN(2) == 0 {
				only = [][]string{{"vault_item"}, {"vault_collection", "task"}, {"vault_member"}}[random.IntN(3)]
				params["entities"] = only
			}
			var inside []string
			if random.IntN(2) == 0 {
				inside = ids[:random.IntN(len(ids))]
				params["groups"] = inside
			}
			var want, got []string
			for _, change := range log {
				if change.position > since && change.by[u] && (only == nil || slices.Contains(only, change.entity)) && (inside == nil || slices.Contains(inside, change.group)) {
					want = append(want, fmt.Sprint(change.position, change.entity))
				}
			}
			for _, e := range read(c, params) {
				got = append(got, fmt.Sprint(e.Position, e.Entity))
			}
			if !slices.Equal(got, want) {
				t.Fatalf("user %d since %d sees of %v in %v\n%v, not\n%v", u, since, only, inside, got, want)
			}
		}
	}
	// And what a copy is made of is what the lists have.
	for u, c := range users {
		for n := range len(ids) + 1 {
			inside := ids[:n]
			copied := map[string]bool{}
			for _, r := range rpctest.Call[[]row](c, "sync_bootstrap", row{"groups": inside, "entities": []string{"vault_collection", "vault_member", "vault_item"}}) {
				copied[r["entity"].(string)+r["id"].(string)] = true
			}
			listed := map[string]bool{}
			for entity, of := range map[string]string{"vault_collection": "id", "vault_member": "collection_id", "vault_item": "collection_id"} {
				for _, r := range rpctest.Call[[]row](c, "list_"+entity+"s", row{"filters": row{of: row{"$in": inside}}}) {
					listed[entity+r["id"].(string)] = true
				}
			}
			if !maps.Equal(copied, listed) {
				t.Errorf("user %d copies of %v\n%v, and lists\n%v", u, inside, copied, listed)
			}
		}
	}
}

// A copy of some collections reads their rows alone, also by a plan that Postgres has made for any.
func TestCopyOfACollectionReadsItAlone(t *testing.T) {
	t.Parallel()
	demo := rpctest.New(t)
	db, err := store.Open(t.Context(), store.Config{
		TenantURL: demo.DB.TenantURL, PlatformURL: demo.DB.PlatformURL, Session: map[string]string{"plan_cache_mode": "force_generic_plan"},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := rpctest.Over(t, &storetest.Database{DB: db}).As(t, "demo1")
	newCollection(c, collection)
	for range 3 {
		rpctest.Call[row](c, "create_vault_item", row{"data": row{"collection_id": collection, "payload": payload(3)}})
	}
	demo.DB.Exec(t, `SET session_replication_role = replica;
		INSERT INTO vault_collection (tenant_id, id, owner_id, label, version, cid, ctime, mid, mtime)
			SELECT tenant_id, gen_random_uuid(), 1e6, label, 1, 1, now(), 1, now() FROM vault_collection, generate_series(1, 1000) n;
		INSERT INTO vault_member (tenant_id, id, collection_id, user_id, wrapped_key, version, cid, ctime, mid, mtime)
			SELECT tenant_id, gen_random_uuid(), id, owner_id, 'x', 1, 1, now(), 1, now() FROM vault_collection WHERE owner_id >= 1e6;
		INSERT INTO vault_item (tenant_id, id, collection_id, payload, version, cid, ctime, mid, mtime)
			SELECT tenant_id, gen_random_uuid(), id, 'AAAA', 1, 1, now(), 1, now() FROM vault_collection, generate_series(1, 100) n WHERE owner_id >= 1e6 ORDER BY n;
		ANALYZE vault_collection, vault_member, vault_item; SELECT pg_stat_reset()`)
	rows := rpctest.Call[[]row](c, "sync_bootstrap", row{"entities": []string{"vault_item"}, "groups": []string{collection, collection}})
	if len(rows) != 3 {
		t.Errorf("%d rows of 3", len(rows))
	}
	if err := db.Close(); err != nil { // which is when connections tell what they have read
		t.Fatal(err)
	}
	owner, read := demo.DB.Owner(t), 0
	for deadline := time.Now().Add(time.Minute); read == 0 && time.Now().Before(deadline); {
		err := owner.QueryRowContext(t.Context(), `SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relname = 'vault_item'`).Scan(&read)
		if err != nil {
			t.Fatal(err)
		}
	}
	if read < 3 || read > 30 {
		t.Errorf("%d rows were read for 3", read)
	}
}
