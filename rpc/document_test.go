package rpc_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/rpc/rpctest"
)

const document = "01890a5d-ac96-774b-bcce-b302099a8058"

func newDocument(c *rpctest.Client, id string) row {
	return rpctest.Call[row](c, "create_document", row{"data": row{"id": id, "title": "main.go"}})
}

// documentsOf makes a document for each number, as no user is a member of one twice, and returns the one for a number.
func documentsOf(c *rpctest.Client, numbers ...int) func(n int) string {
	ids := map[int]string{}
	for _, n := range numbers {
		ids[n] = uuid.Must(uuid.NewV7()).String()
		newDocument(c, ids[n])
	}
	return func(n int) string { return ids[n] }
}

func TestDocumentMember(t *testing.T) {
	var in func(int) string
	var user int64
	rpctest.CRUD(t, rpctest.Entity{
		Name: "document_member", Plural: "document_members",
		Before: func(c *rpctest.Client) {
			numbers := []int{200, 300, 301, 302, 303, 304}
			for n := range 20 {
				numbers = append(numbers, n, 100+n)
			}
			in = documentsOf(c, numbers...)
			user = int64(rpctest.Call[[]row](c, "list_users", row{"filters": row{"username": "demo2"}})[0]["id"].(float64))
		},
		New:    func(n int) row { return row{"document_id": in(n), "user_id": user, "role": "reader"} },
		Change: row{"role": "editor"},
		Wrong:  row{"role": 1, "document_id": 1},
		Rules:  row{"role": "owner", "document_id": uuid.Nil},
	})
}

func TestDocumentComment(t *testing.T) {
	rpctest.CRUD(t, rpctest.Entity{
		Name: "document_comment", Plural: "document_comments",
		Before: func(c *rpctest.Client) { newDocument(c, document) },
		New: func(n int) row {
			return row{"document_id": document, "start": "1.1b", "end": "4294967295.2147483647a", "body": rpctest.Name("comment", n)}
		},
		Change: row{"body": "what else", "resolved": true},
		Wrong:  row{"body": 1, "start": 1},
		Rules:  row{"body": strings.Repeat("x", 10001), "document_id": uuid.Nil, "start": "1.1", "end": "1.01a"},
	})
}

func TestDocumentVersion(t *testing.T) {
	rpctest.CRUD(t, rpctest.Entity{
		Name: "document_version", Plural: "document_versions",
		Before: func(c *rpctest.Client) { newDocument(c, document) },
		New:    func(n int) row { return row{"document_id": document, "name": rpctest.Name("version", n)} },
		Change: row{"name": "better"},
		Wrong:  row{"name": 1, "position": "1"},
		Rules:  row{"name": strings.Repeat("x", 101), "document_id": uuid.Nil, "position": -1},
	})
}

// cast is users of the demo tenant by what they are to the document.
type cast struct {
	server                                            *rpctest.Server
	owner, editor, commenter, reader, outsider, admin *rpctest.Client
	members                                           map[string]row // by role, and the owner's
}

func newCast(t *testing.T) cast {
	t.Helper()
	s := rpctest.New(t)
	s.DB.Exec(t, `
		INSERT INTO account (username, name, pwd) SELECT 'demo' || n, 'Demo', pwd FROM account, generate_series(3, 5) n WHERE username = 'demo1';
		INSERT INTO membership (tenant_id, user_id, role, cid, mid)
			SELECT t.id, a.id, 'member', a.id, a.id FROM tenant t, account a WHERE t.slug = 'demo' AND a.username IN ('demo3', 'demo4', 'demo5')`)
	c := cast{s, s.As(t, "demo1"), s.As(t, "demo2"), s.As(t, "demo3"), s.As(t, "demo4"), s.As(t, "demo5"), s.As(t, "admin"), map[string]row{}}
	newDocument(c.owner, document)
	c.members["owner"] = rpctest.Call[[]row](c.owner, "list_document_members", nil)[0]
	for role, member := range map[string]*rpctest.Client{"editor": c.editor, "commenter": c.commenter, "reader": c.reader} {
		c.members[role] = rpctest.Call[row](c.owner, "create_document_member", row{"data": row{"document_id": document, "user_id": member.Actor.User, "role": role}})
	}
	return c
}

func TestDocumentRoles(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	comment := func(by *rpctest.Client, more row) row {
		data := row{"document_id": document, "body": "why?"}
		for name, value := range more {
			data[name] = value
		}
		return rpctest.Call[row](by, "create_document_comment", row{"data": data})
	}
	version := func(by *rpctest.Client, name string) row {
		return rpctest.Call[row](by, "create_document_version", row{"data": row{"document_id": document, "name": name}})
	}
	first, byEditor := comment(c.commenter, nil), comment(c.editor, row{"start": "0.0a", "end": "0.0b"})
	named := version(c.editor, "one")

	// Everybody reads.
	for _, by := range []*rpctest.Client{c.owner, c.editor, c.commenter, c.reader} {
		got := rpctest.Call[row](by, "get_document", row{"id": document, "include": row{"members": row{}, "comments": row{"include": row{"replies": row{}}}, "versions": row{}, "owner": row{}}})
		if len(got["members"].([]any)) != 4 || len(got["comments"].([]any)) != 2 || len(got["versions"].([]any)) != 1 || got["owner"].(map[string]any)["username"] != "demo1" {
			t.Errorf("a member reads %v", got)
		}
	}
	refused := map[string]struct {
		by     []*rpctest.Client
		kind   apperr.Kind
		params row
	}{
		"update_document":         {[]*rpctest.Client{c.commenter, c.reader}, apperr.Forbidden, row{"id": document, "data": row{"title": "x"}}},
		"delete_document":         {[]*rpctest.Client{c.editor, c.commenter, c.reader}, apperr.Forbidden, row{"id": document}},
		"create_document_comment": {[]*rpctest.Client{c.reader}, apperr.BadReference, row{"data": row{"document_id": document, "body": "x"}}},
		"update_document_comment": {[]*rpctest.Client{c.reader}, apperr.Forbidden, row{"id": first["id"], "data": row{"resolved": true}}},
		"delete_document_comment": {[]*rpctest.Client{c.editor, c.reader}, apperr.Forbidden, row{"id": first["id"]}},
		"create_document_version": {[]*rpctest.Client{c.commenter, c.reader}, apperr.BadReference, row{"data": row{"document_id": document, "name": "x"}}},
		"update_document_version": {[]*rpctest.Client{c.commenter, c.reader}, apperr.Forbidden, row{"id": named["id"], "data": row{"name": "x"}}},
		"delete_document_version": {[]*rpctest.Client{c.commenter, c.reader}, apperr.Forbidden, row{"id": named["id"]}},
		"create_document_member": {[]*rpctest.Client{c.editor, c.commenter, c.reader}, apperr.BadReference,
			row{"data": row{"document_id": document, "user_id": c.outsider.Actor.User, "role": "reader"}}},
		"update_document_member": {[]*rpctest.Client{c.editor, c.commenter, c.reader}, apperr.Forbidden, row{"id": c.members["reader"]["id"], "data": row{"role": "editor"}}},
		"delete_document_member": {[]*rpctest.Client{c.commenter, c.reader}, apperr.Forbidden, row{"id": c.members["editor"]["id"]}},
	}
	for method, r := range refused {
		for _, by := range r.by {
			by.Fails(r.kind, method, r.params)
		}
	}
	rpctest.Call[row](c.editor, "update_document", row{"id": document, "data": row{"title": "other.go", "language": "go"}, "version": 1})
	c.editor.FailsAt(apperr.InvalidParams, "params.data.position", "update_document", row{"id": document, "data": row{"position": 1}})

	// Comments: others than the author resolve them, and leave what they say.
	for _, by := range []*rpctest.Client{c.editor, c.owner, c.commenter} {
		rpctest.Call[row](by, "update_document_comment", row{"id": byEditor["id"], "data": row{"resolved": true}})
		rpctest.Call[row](by, "update_document_comment", row{"id": byEditor["id"], "data": row{"resolved": false, "body": "why?"}})
	}
	for _, by := range []*rpctest.Client{c.owner, c.commenter} {
		by.Fails(apperr.Forbidden, "update_document_comment", row{"id": byEditor["id"], "data": row{"body": "x"}})
		by.Fails(apperr.Forbidden, "update_document_comments", row{"filters": row{}, "data": row{"body": "x"}})
		push := row{"mutation_id": uuid.Must(uuid.NewV7()), "op": "update", "entity": "document_comment", "id": byEditor["id"], "data": row{"body": "x"}}
		if done := rpctest.Call[[]row](by, "sync_push", row{"mutations": []row{push}})[0]; done["status"] != "rejected" {
			t.Errorf("a push of what another's comment says: %v", done)
		}
	}
	rpctest.Call[row](c.editor, "update_document_comment", row{"id": byEditor["id"], "data": row{"body": "because"}})
	answer := comment(c.owner, row{"parent_id": first["id"]})
	c.owner.FailsAt(apperr.ValidationFailed, "params.data.parent_id", "create_document_comment", row{"data": row{"document_id": document, "body": "x", "parent_id": answer["id"]}})
	c.owner.FailsAt(apperr.ValidationFailed, "params.data.start", "create_document_comment", row{"data": row{"document_id": document, "body": "x", "parent_id": first["id"], "start": "1.1a", "end": "1.1b"}})
	c.owner.FailsAt(apperr.ValidationFailed, "params.data.end", "create_document_comment", row{"data": row{"document_id": document, "body": "x", "start": "1.1a"}})
	c.owner.FailsAt(apperr.ValidationFailed, "params.data.end", "create_document_comment", row{"data": row{"document_id": document, "body": "x", "start": "1.1a", "end": "4294967296.1a"}})
	c.owner.Fails(apperr.BadReference, "create_document_comment", row{"data": row{"document_id": document, "body": "x", "parent_id": uuid.Must(uuid.NewV7())}})
	elsewhere := uuid.Must(uuid.NewV7()).String()
	newDocument(c.owner, elsewhere)
	c.owner.Fails(apperr.BadReference, "create_document_comment", row{"data": row{"document_id": elsewhere, "body": "x", "parent_id": first["id"]}})
	if threads := rpctest.Call[[]row](c.reader, "list_document_comments", row{"filters": row{"document_id": document, "parent_id": nil}, "list_options": row{"include": row{"replies": row{}}}}); len(threads) != 2 || len(threads[0]["replies"].([]any)) != 1 {
		t.Errorf("the threads are %v", threads)
	}
	c.commenter.Fails(apperr.Referenced, "delete_document_comment", row{"id": first["id"]})
	rpctest.Call[row](c.owner, "delete_document_comment", row{"id": answer["id"]})
	rpctest.Call[row](c.commenter, "delete_document_comment", row{"id": first["id"]})

	// Versions have a name of their own in their document.
	c.editor.Fails(apperr.AlreadyExists, "create_document_version", row{"data": row{"document_id": document, "name": "one"}})
	rpctest.Call[row](c.owner, "create_document_version", row{"data": row{"document_id": elsewhere, "name": "one"}})
	rpctest.Call[row](c.owner, "upsert_document_version", row{"data": row{"document_id": document, "name": "one"}, "on": []string{"document_id", "name"}})

	// The owner stays a member and an editor, others go and change.
	c.owner.FailsAt(apperr.ValidationFailed, "params.data.role", "update_document_member", row{"id": c.members["owner"]["id"], "data": row{"role": "reader"}})
	c.owner.Fails(apperr.Referenced, "delete_document_member", row{"id": c.members["owner"]["id"]})
	rpctest.Call[row](c.owner, "update_document_member", row{"id": c.members["reader"]["id"], "data": row{"role": "commenter"}})
	comment(c.reader, nil)
	rpctest.Call[row](c.reader, "delete_document_member", row{"id": c.members["reader"]["id"]})
	c.reader.Fails(apperr.NotFound, "get_document", row{"id": document})
	if n := rpctest.Call[row](c.reader, "count_document_comments", nil); n["count"] != 0.0 {
		t.Errorf("who was a member counts %v", n)
	}
}

// Nobody but its members learns of a document, by any method; an admin reads no more in the log than others.
func TestDocumentIsItsMembersAlone(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	rows := map[string]any{
		"document": document, "document_member": c.members["owner"]["id"],
		"document_comment": rpctest.Call[row](c.editor, "create_document_comment", row{"data": row{"document_id": document, "body": "x"}})["id"],
		"document_version": rpctest.Call[row](c.editor, "create_document_version", row{"data": row{"document_id": document, "name": "x"}})["id"],
	}
	changes := map[string]row{"document": {"title": "x"}, "document_member": {"role": "reader"}, "document_comment": {"body": "x"}, "document_version": {"name": "x"}}
	nowhere := uuid.Must(uuid.NewV7()).String()
	for _, by := range []*rpctest.Client{c.outsider, c.admin} {
		for entity, id := range rows {
			for method, params := range map[string]row{"get_": {}, "update_": {"data": changes[entity]}, "delete_": {}} {
				params["id"] = id
				here := by.Fails(apperr.NotFound, method+entity, params)
				params["id"] = nowhere
				if there := by.Fails(apperr.NotFound, method+entity, params); there.Message != here.Message {
					t.Errorf("%s%s: %q, and of what is not there %q", method, entity, here.Message, there.Message)
				}
			}
			if all := rpctest.Call[[]row](by, "list_"+entity+"s", row{"list_options": row{"total": true}}); len(all) > 0 {
				t.Errorf("%s: %v", entity, all)
			}
			if n := rpctest.Call[row](by, "count_"+entity+"s", row{"filters": row{"id": id}}); n["count"] != 0.0 {
				t.Errorf("%s: counted %v", entity, n)
			}
			if found := rpctest.Call[[]row](by, "aggregate_"+entity+"s", row{"aggregates": row{"n": "count"}}); found[0]["n"] != 0.0 {
				t.Errorf("%s: aggregated %v", entity, found)
			}
			if copied := rpctest.Call[[]row](by, "sync_bootstrap", row{"entities": []string{entity}}); len(copied) > 0 {
				t.Errorf("%s: copied %v", entity, copied)
			}
			if entries := rpctest.Call[[]row](by, "sync_delta", row{"since": 1, "entities": []string{entity}, "coalesce": false}); len(entries) > 0 {
				t.Errorf("%s: read in the log %v", entity, entries)
			}
		}
		for _, id := range []string{document, nowhere} {
			for entity, data := range map[string]row{
				"document_comment": {"body": "x"}, "document_version": {"name": "x"}, "document_member": {"user_id": by.Actor.User, "role": "editor"},
			} {
				data["document_id"] = id
				if failed := by.Fails(apperr.BadReference, "create_"+entity, row{"data": data}); failed.Data.Field != "document_id" {
					t.Errorf("create_%s: %+v", entity, failed.Data)
				}
			}
		}
		// An own comment leads to no other.
		mine := uuid.Must(uuid.NewV7()).String()
		newDocument(by, mine)
		for _, parent := range []any{rows["document_comment"], nowhere} {
			if failed := by.Fails(apperr.BadReference, "create_document_comment", row{"data": row{"document_id": mine, "body": "x", "parent_id": parent}}); failed.Data.Field != "document_id,parent_id" {
				t.Errorf("an answer to what is elsewhere: %+v", failed.Data)
			}
		}
		rpctest.Call[row](by, "delete_document", row{"id": mine})
	}
	audit := row{"filters": row{"entity": row{"$startsWith": "document"}}}
	if n := rpctest.Call[row](c.admin, "count_changes", audit); n["count"] != 0.0 {
		t.Errorf("the audit counts %v", n)
	}
	if entries := rpctest.Call[[]row](c.reader, "sync_delta", row{"since": 1, "coalesce": false, "groups": []string{document}}); len(entries) < 3 {
		t.Errorf("a reader reads %v", entries)
	}
}

// With a document goes everything below it.
func TestDocumentIsDeletedWhole(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	parent := rpctest.Call[row](c.editor, "create_document_comment", row{"data": row{"document_id": document, "body": "x"}})["id"]
	rpctest.Call[row](c.commenter, "create_document_comment", row{"data": row{"document_id": document, "body": "x", "parent_id": parent}})
	rpctest.Call[row](c.editor, "create_document_version", row{"data": row{"document_id": document, "name": "x"}})
	since := rpctest.Call[row](c.owner, "sync_head", nil)["position"]
	c.owner.Fails(apperr.Conflict, "delete_document", row{"id": document, "version": 2})
	rpctest.Call[row](c.owner, "delete_document", row{"id": document, "version": 1})
	for _, entity := range []string{"document", "document_member", "document_comment", "document_version"} {
		for _, by := range []*rpctest.Client{c.owner, c.editor} {
			if n := rpctest.Call[row](by, "count_"+entity+"s", nil); n["count"] != 0.0 {
				t.Errorf("%s: %v are left", entity, n)
			}
		}
	}
	for _, by := range []*rpctest.Client{c.owner, c.reader} { // who are told by the end of their membership
		entries := rpctest.Call[[]row](by, "sync_delta", row{"since": since, "coalesce": false, "entities": []string{"document_member"}})
		if len(entries) == 0 || entries[len(entries)-1]["op"] != "delete" {
			t.Errorf("a member sees %v", entries)
		}
	}
	newDocument(c.owner, document) // nor is anything in the way of another
}

// Who writes below a document locks their membership, and then the document. Whoever deletes it does so in that order, too, so that they do not
// wait for each other, also if they are the same user.
func TestDeletingADocumentLocksTheMembershipFirst(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c := s.As(t, "demo1")
	newDocument(c, document)
	writer, err := s.DB.Owner(t).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Rollback() //nolint:errcheck // it may be over
	if _, err := writer.ExecContext(t.Context(), `SELECT FROM document_member WHERE document_id = $1 FOR SHARE`, document); err != nil {
		t.Fatal(err)
	}
	var deleted sync.WaitGroup
	deleted.Go(func() { rpctest.Call[row](c, "delete_document", row{"id": document}) })
	for waiting, end := 0, time.Now().Add(time.Minute); waiting == 0; {
		err := writer.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_locks WHERE NOT granted AND transactionid = pg_current_xact_id()::xid`).Scan(&waiting)
		if err != nil || time.Now().After(end) {
			t.Fatal("nobody waits: ", err)
		}
	}
	if _, err := writer.ExecContext(t.Context(), `SELECT FROM document WHERE id = $1 FOR KEY SHARE NOWAIT`, document); err != nil {
		t.Error("it has the document already: ", err)
	}
	if err := writer.Rollback(); err != nil {
		t.Fatal(err)
	}
	deleted.Wait()
}
