package rpc_test

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"rowcall/model"
	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/store"
	"rowcall/modules/store/storetest"
	"rowcall/rpc/rpctest"
)

type row = rpctest.Row

const collection = "01890a5d-ac96-774b-bcce-b302099a8057"

func payload(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }

func TestVaultItem(t *testing.T) {
	rpctest.CRUD(t, rpctest.Entity{
		Name: "vault_item", Plural: "vault_items",
		Before: func(c *rpctest.Client) { newCollection(c, collection) },
		New: func(n int) row {
			return row{"id": uuid.Must(uuid.NewV7()).String(), "collection_id": collection, "payload": payload(n)}
		},
		Change: row{"payload": payload(9)},
		Wrong:  row{"payload": 1, "id": uuid.NewString()},
		Rules:  row{"payload": "no base64", "collection_id": uuid.Nil},
	})
}

func newCollection(c *rpctest.Client, id string) row {
	return rpctest.Call[row](c, "create_vault_collection", row{"data": row{"id": id, "label": "bGFiZWw="}, "wrapped_key": "a2V5"})
}

func TestVaultPayloads(t *testing.T) {
	t.Parallel()
	c := rpctest.New(t).As(t, "demo1")
	newCollection(c, collection)
	item := func(payload any) row { return row{"data": row{"collection_id": collection, "payload": payload}} }
	for _, p := range []string{"", " ", "=", "====", "YQ", "YQ=", "YQ==\n", "Y Q=", "YQ==YQ==", "-_-_", "\x00", payload(256<<10) + "AAAA"} {
		c.FailsAt(apperr.ValidationFailed, "params.data.payload", "create_vault_item", item(p))
	}
	for _, p := range []any{nil, 1, true, []int{1}, row{"a": 1}} {
		if _, failed := c.Do("create_vault_item", item(p)); failed == nil || failed.Data.Issues[0].Path != "params.data.payload" {
			t.Errorf("%v: %+v", p, failed)
		}
	}
	largest := payload(256 << 10)
	if made := rpctest.Call[row](c, "create_vault_item", item(largest)); made["payload"] != largest {
		t.Error("the largest payload is not what was stored")
	}
	c.FailsAt(apperr.ValidationFailed, "params.wrapped_key", "create_vault_collection", row{"data": row{"label": "x"}, "wrapped_key": ""})
	c.FailsAt(apperr.ValidationFailed, "params.wrapped_key", "create_vault_collection", row{"data": row{"label": "x"}, "wrapped_key": strings.Repeat("x", 8193)})
	c.FailsAt(apperr.ValidationFailed, "params.data.label", "create_vault_collection", row{"data": row{}, "wrapped_key": "x"})
	c.FailsAt(apperr.InvalidParams, "params.data.id", "create_vault_collection", row{"data": row{"label": "x", "id": uuid.NewString()}, "wrapped_key": "x"})
	c.FailsAt(apperr.InvalidParams, "params.data.owner_id", "create_vault_collection", row{"data": row{"label": "x", "owner_id": 1}, "wrapped_key": "x"})
	c.Fails(apperr.AlreadyExists, "create_vault_collection", row{"data": row{"id": collection, "label": "x"}, "wrapped_key": "x"})
}

// Nobody but the members of a collection learns of it, by any method: not even an admin, whose answers are those for a collection that does not exist.
func TestVaultIsItsMembersAlone(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	owner, member, admin := s.As(t, "demo1"), s.As(t, "demo2"), s.As(t, "admin")
	newCollection(owner, collection)
	item := rpctest.Call[row](owner, "create_vault_item", row{"data": row{"collection_id": collection, "payload": "YQ=="}})
	mine := rpctest.Call[[]row](owner, "list_vault_members", nil)[0]
	nowhere := uuid.Must(uuid.NewV7()).String()

	learnsNothing := func(c *rpctest.Client) {
		t.Helper()
		for entity, id := range map[string]any{"vault_item": item["id"], "vault_member": mine["id"], "vault_collection": collection} {
			change := row{"vault_item": row{"payload": "YQ=="}, "vault_member": row{"wrapped_key": "x"}, "vault_collection": row{"label": "x"}}[entity]
			for method, params := range map[string]row{"get_": {"include": row{}}, "update_": {"data": change}, "delete_": {}} {
				method += entity
				c.Fails(apperr.NotFound, "get_"+entity, row{"id": id})
				params["id"] = id
				here := c.Fails(apperr.NotFound, method, params)
				params["id"] = nowhere
				if there := c.Fails(apperr.NotFound, method, params); there.Message != here.Message {
					t.Errorf("%s: %q, and of what is not there %q", method, here.Message, there.Message)
				}
				if !strings.HasPrefix(method, "get_") {
					params["id"], params["version"] = id, 1
					c.Fails(apperr.NotFound, method, params)
				}
			}
			for _, params := range []row{
				{}, {"filters": row{"id": id}, "list_options": row{"total": true}}, {"filters": row{"$not": row{"id": nowhere}}},
			} {
				if rows := rpctest.Call[[]row](c, "list_"+entity+"s", params); len(rows) > 0 {
					t.Errorf("%s: %v", entity, rows)
				}
			}
			if n := rpctest.Call[row](c, "count_"+entity+"s", row{"filters": row{"id": id}}); n["count"] != 0.0 {
				t.Errorf("%s: counted %v", entity, n)
			}
			if rows := rpctest.Call[[]row](c, "aggregate_"+entity+"s", row{"aggregates": row{"n": "count"}}); rows[0]["n"] != 0.0 {
				t.Errorf("%s: aggregated %v", entity, rows)
			}
			if entity == "vault_collection" {
				continue
			}
			for method, params := range map[string]row{
				"update_": {"filters": row{"id": id}, "data": change}, "delete_": {"filters": row{"id": id}},
			} {
				if rows := rpctest.Call[[]row](c, method+entity+"s", params); len(rows) > 0 {
					t.Errorf("%s%ss: %v", method, entity, rows)
				}
			}
			c.Fails(apperr.NotFound, "delete_"+entity+"s", row{"ids": []any{id}})
		}
		for _, group := range []string{collection, nowhere} {
			for method, data := range map[string]row{"vault_item": {"payload": "YQ=="}, "vault_member": {"user_id": c.Actor.User, "wrapped_key": "x"}} {
				data["collection_id"] = group
				for _, failed := range []*rpctest.Error{
					c.Fails(apperr.BadReference, "create_"+method, row{"data": data}),
					c.Fails(apperr.BadReference, "create_"+method+"s", row{"data": []row{data}}),
				} {
					if failed.Data.Entity != method || failed.Data.Field != "collection_id" {
						t.Errorf("create_%s: %+v", method, failed.Data)
					}
				}
			}
			c.Fails(apperr.BadReference, "upsert_vault_member", row{"data": row{"collection_id": group, "user_id": owner.Actor.User, "wrapped_key": "x"}, "on": []string{"collection_id", "user_id"}})
		}
	}
	learnsNothing(member)
	learnsNothing(admin)
	audit := row{"filters": row{"entity": row{"$startsWith": "vault"}}}
	if entries := rpctest.Call[[]row](admin, "list_changes", audit); len(entries) > 0 {
		t.Errorf("the audit shows %v", entries)
	}
	if n := rpctest.Call[row](admin, "count_changes", audit); n["count"] != 0.0 {
		t.Errorf("the audit counts %v", n)
	}

	// A member reads and writes items, and nothing else but the end of the own membership.
	theirs := rpctest.Call[row](owner, "create_vault_member", row{"data": row{"collection_id": collection, "user_id": member.Actor.User, "wrapped_key": "Yg=="}})
	learnsNothing(admin)
	with := rpctest.Call[row](member, "get_vault_item", row{"id": item["id"], "include": row{"collection": row{"include": row{"members": row{}, "owner": row{}}}}})
	if members := with["collection"].(map[string]any)["members"].([]any); len(members) != 2 {
		t.Errorf("a member sees the members %v", members)
	}
	rpctest.Call[row](member, "update_vault_item", row{"id": item["id"], "data": row{"payload": "Yg=="}, "version": 1})
	conflict := member.Fails(apperr.Conflict, "update_vault_item", row{"id": item["id"], "data": row{"payload": "Yg=="}, "version": 1})
	if conflict.Data.Current["payload"] != "Yg==" {
		t.Errorf("the conflict is with %v", conflict.Data.Current)
	}
	member.Fails(apperr.Forbidden, "update_vault_collection", row{"id": collection, "data": row{"label": "x"}})
	member.Fails(apperr.Forbidden, "delete_vault_collection", row{"id": collection})
	member.Fails(apperr.Forbidden, "update_vault_member", row{"id": theirs["id"], "data": row{"wrapped_key": "x"}})
	member.Fails(apperr.Forbidden, "delete_vault_member", row{"id": mine["id"]})
	member.Fails(apperr.BadReference, "create_vault_member", row{"data": row{"collection_id": collection, "user_id": admin.Actor.User, "wrapped_key": "x"}})
	owner.Fails(apperr.InvalidParams, "update_vault_item", row{"id": item["id"], "data": row{"collection_id": nowhere}})
	rpctest.Call[row](member, "delete_vault_member", row{"id": theirs["id"]})
	learnsNothing(member)

	// The owner stays a member until the collection is gone, which is when it has no items.
	owner.Fails(apperr.Referenced, "delete_vault_member", row{"id": mine["id"]})
	owner.Fails(apperr.Referenced, "delete_vault_collection", row{"id": collection})
	rpctest.Call[[]row](owner, "delete_vault_items", row{"filters": row{"collection_id": collection}})
	rpctest.Call[row](owner, "create_vault_member", row{"data": row{"collection_id": collection, "user_id": member.Actor.User, "wrapped_key": "Yg=="}})
	owner.Fails(apperr.Conflict, "delete_vault_collection", row{"id": collection, "version": 2})
	rpctest.Call[row](owner, "delete_vault_collection", row{"id": collection, "version": 1})
	for _, c := range []*rpctest.Client{owner, member} {
		if rows := rpctest.Call[[]row](c, "list_vault_members", nil); len(rows) > 0 {
			t.Errorf("memberships are left: %v", rows)
		}
	}
	newCollection(owner, collection) // nor is anything in the way of another
}

// Quotas hold to the last item and byte, however many write at once, and what is taken away counts no more.
func TestVaultQuotas(t *testing.T) {
	t.Parallel()
	demo := rpctest.New(t)
	const items, bytes = 20, 400
	db, err := store.Open(t.Context(), store.Config{
		TenantURL: demo.DB.TenantURL, PlatformURL: demo.DB.PlatformURL,
		Session: map[string]string{"app.vault_items": strconv.Itoa(items), "app.vault_bytes": strconv.Itoa(bytes)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s := rpctest.Over(t, &storetest.Database{DB: db})
	owner, member := s.As(t, "demo1"), s.As(t, "demo2")
	var collections []string
	for range 3 {
		id := uuid.Must(uuid.NewV7()).String()
		newCollection(owner, id)
		rpctest.Call[row](owner, "create_vault_member", row{"data": row{"collection_id": id, "user_id": member.Actor.User, "wrapped_key": "Yg=="}})
		collections = append(collections, id)
	}
	used := func() (n int, size int) {
		for _, item := range rpctest.Call[[]row](owner, "list_vault_items", nil) {
			n, size = n+1, size+len(item["payload"].(string))
		}
		return n, size
	}
	var over atomic.Int64
	race := func(call func(c *rpctest.Client, i int) *rpctest.Error) {
		var all sync.WaitGroup
		for i := range 60 {
			all.Go(func() {
				c := map[bool]*rpctest.Client{true: owner, false: member}[i%2 == 0]
				if failed := call(c, i); failed != nil {
					over.Add(1)
					if failed.Data.Kind != apperr.ValidationFailed || !strings.Contains(failed.Data.Issues[0].Reason, "most") {
						t.Errorf("refused with %+v", failed)
					}
				}
			})
		}
		all.Wait()
	}
	race(func(c *rpctest.Client, i int) *rpctest.Error {
		_, failed := c.Do("create_vault_item", row{"data": row{"collection_id": collections[i%3], "payload": "YWFh"}})
		return failed
	})
	if n, _ := used(); n != items || over.Load() != 60-items {
		t.Fatalf("%d items, %d refused", n, over.Load())
	}
	owner.FailsAt(apperr.ValidationFailed, "params.data[0].collection_id", "create_vault_items", row{"data": []row{{"collection_id": collections[0], "payload": "YWFh"}}})
	rpctest.Call[[]row](member, "delete_vault_items", row{"filters": row{"collection_id": collections[1]}})
	n, size := used()
	rpctest.Call[[]row](member, "create_vault_items", row{"data": []row{{"collection_id": collections[0], "payload": payload(150)}}})
	owner.FailsAt(apperr.ValidationFailed, "params.data.payload", "create_vault_item", row{"data": row{"collection_id": collections[0], "payload": payload(150)}})
	n, size = n+1, size+200

	// Updates grow until the bytes are used up.
	over.Store(0)
	all := rpctest.Call[[]row](owner, "list_vault_items", row{"filters": row{"payload": "YWFh"}})
	race(func(c *rpctest.Client, i int) *rpctest.Error {
		if i >= len(all) {
			return nil
		}
		_, failed := c.Do("update_vault_item", row{"id": all[i]["id"], "data": row{"payload": payload(30)}})
		return failed
	})
	fit := (bytes - size) / 36
	if m, now := used(); m != n || now != size+36*fit || int(over.Load()) != len(all)-fit {
		t.Errorf("%d items of %d, %d bytes of %d, %d refused", m, n, now, size+36*fit, over.Load())
	}
	owner.FailsAt(apperr.ValidationFailed, "params.data.payload", "update_vault_items", row{"filters": row{}, "data": row{"payload": payload(30)}})
	rpctest.Call[[]row](owner, "update_vault_items", row{"filters": row{}, "data": row{"payload": "YQ=="}})
	var counted struct{ Items, Bytes int }
	if err := demo.DB.Owner(t).QueryRowContext(t.Context(), `SELECT sum(items), sum(bytes) FROM vault_usage`).Scan(&counted.Items, &counted.Bytes); err == nil {
		if m, now := used(); counted.Items != m || counted.Bytes != now {
			t.Errorf("counted %+v of %d items, %d bytes", counted, m, now)
		}
	} else {
		t.Error(err)
	}
}

// A collection can be deleted while a member leaves.
func TestVaultCollectionIsDeletedWhileAMemberLeaves(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	owner, member := s.As(t, "demo1"), s.As(t, "demo2")
	newCollection(owner, collection)
	theirs := rpctest.Call[row](owner, "create_vault_member", row{"data": row{"collection_id": collection, "user_id": member.Actor.User, "wrapped_key": "Yg=="}})
	ctx := auth.WithRequest(t.Context(), &auth.Request{ID: "leave", Now: time.Now, Actor: member.Actor})
	deleted := make(chan *rpctest.Error, 1)
	err := s.DB.InTx(ctx, func(tx *store.Tx) error {
		if _, err := model.VaultMembers.Delete(tx, uuid.MustParse(theirs["id"].(string)), store.Version{}); err != nil {
			return err
		}
		go func() {
			_, failed := owner.Do("delete_vault_collection", row{"id": collection})
			deleted <- failed
		}()
		for waiting, deadline := 0, time.Now().Add(time.Minute); waiting == 0; {
			if time.Now().After(deadline) {
				return errors.New("the deletion does not wait for the member")
			}
			if err := tx.Get(&waiting, `SELECT count(*) FROM pg_locks WHERE NOT granted AND transactionid = pg_current_xact_id()::xid`); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if failed := <-deleted; failed != nil {
		t.Errorf("it is not deleted: %+v", failed)
	}
}

// What a member was given is of no use when the membership has ended, and ids that others use tell of no collection.
func TestVaultAfterTheMembership(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	owner, member := s.As(t, "demo1"), s.As(t, "demo2")
	newCollection(owner, collection)
	theirs := rpctest.Call[row](owner, "create_vault_member", row{"data": row{"collection_id": collection, "user_id": member.Actor.User, "wrapped_key": "Yg=="}})
	var items []row
	for n := range 4 {
		items = append(items, rpctest.Call[row](owner, "create_vault_item", row{"data": row{"collection_id": collection, "payload": payload(n + 1)}}))
	}
	pages := map[string]row{
		"list_vault_items": {"filters": row{}, "list_options": row{"limit": 1, "order_bys": "payload"}},
		"sync_bootstrap":   {"entities": []string{"vault_item"}, "limit": 1, "groups": []string{collection}},
	}
	for method, params := range pages {
		page, failed := member.Do(method, params)
		if failed != nil || page.NextCursor == nil {
			t.Fatalf("%s: %+v", method, failed)
		}
		if options, ok := params["list_options"].(row); ok {
			options["cursor"] = *page.NextCursor
		} else {
			params["cursor"] = *page.NextCursor
		}
		if rows := rpctest.Call[[]row](member, method, params); len(rows) != 1 {
			t.Errorf("%s: a member gets %v", method, rows)
		}
	}
	rpctest.Call[row](owner, "delete_vault_member", row{"id": theirs["id"]})
	for method, params := range pages {
		if rows := rpctest.Call[[]row](member, method, params); len(rows) > 0 {
			t.Errorf("%s: who was a member gets %v", method, rows)
		}
	}
	mine := uuid.Must(uuid.NewV7()).String()
	newCollection(member, mine)
	nowhere := uuid.Must(uuid.NewV7()).String()
	for _, id := range []any{items[0]["id"], nowhere} {
		for _, group := range []string{collection, nowhere} {
			data := row{"id": id, "collection_id": group, "payload": "YQ=="}
			member.Fails(apperr.BadReference, "create_vault_item", row{"data": data})
			member.Fails(apperr.BadReference, "create_vault_items", row{"data": []row{{"collection_id": mine, "payload": "YQ=="}, data}})
			push := row{"mutation_id": uuid.Must(uuid.NewV7()).String(), "op": "create", "entity": "vault_item", "data": data}
			if done := rpctest.Call[[]row](member, "sync_push", row{"mutations": []row{push}})[0]; done["status"] != "rejected" {
				t.Errorf("a push to %s: %v", group, done)
			}
		}
		for _, op := range []string{"update", "delete"} {
			push := row{"mutation_id": uuid.Must(uuid.NewV7()).String(), "op": op, "entity": "vault_item", "id": id, "version": 1}
			if op == "update" {
				push["data"] = row{"payload": "YQ=="}
			}
			if done := rpctest.Call[[]row](member, "sync_push", row{"mutations": []row{push}})[0]; done["status"] != "conflict" || done["current"] != nil {
				t.Errorf("a push of %s %v: %v", op, id, done)
			}
		}
	}
	if n := rpctest.Call[row](member, "count_vault_items", nil); n["count"] != 0.0 {
		t.Errorf("something was created: %v", n)
	}
}
