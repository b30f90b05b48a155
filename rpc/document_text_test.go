package rpc_test

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/textcrdt"
	"rowcall/rpc/rpctest"
)

// opened is what open_document answers.
type opened struct {
	Document         row                      `json:"document"`
	Role             string                   `json:"role"`
	Site             textcrdt.Site            `json:"site"`
	Session          uint32                   `json:"session"`
	Snapshot         *[]byte                  `json:"snapshot"`
	SnapshotPosition int64                    `json:"snapshot_position"`
	Operations       []byte                   `json:"operations"`
	Position         int64                    `json:"position"`
	More             bool                     `json:"more"`
	Version          map[textcrdt.Site]uint32 `json:"version"`
	Presence         []row                    `json:"presence"`
}

// documentReplica is a client's copy of a document.
type documentReplica struct {
	*rpctest.Client
	t        *testing.T
	id       string
	doc      *textcrdt.Doc
	site     textcrdt.Site
	position int64
}

func openDocument(t *testing.T, c *rpctest.Client, id string) *documentReplica {
	t.Helper()
	o := rpctest.Call[opened](c, "open_document", row{"id": id})
	r := &documentReplica{c, t, id, textcrdt.New(o.Site, o.Session), o.Site, o.Position}
	if o.Snapshot != nil {
		var err error
		if r.doc, err = textcrdt.Load(o.Site, o.Session, *o.Snapshot); err != nil {
			t.Fatal(err)
		}
	}
	r.apply(o.Operations)
	for o.More {
		o = rpctest.Call[opened](c, "read_document_operations", row{"id": id, "since": r.position})
		r.apply(o.Operations)
		r.position = o.Position
	}
	return r
}

func (r *documentReplica) apply(operations []byte) {
	r.t.Helper()
	if len(operations) == 0 {
		return
	}
	ops, err := textcrdt.DecodeOps(operations)
	if err == nil {
		err = r.doc.Apply(ops, nil)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// catchUp applies what there is by now.
func (r *documentReplica) catchUp() string {
	r.t.Helper()
	for more := true; more; {
		page := rpctest.Call[opened](r.Client, "read_document_operations", row{"id": r.id, "since": r.position, "limit": 2})
		r.apply(page.Operations)
		r.position, more = page.Position, page.More
	}
	return r.doc.String()
}

// insert is the params that push an insertion.
func (r *documentReplica) insert(at int, text string) row {
	r.t.Helper()
	ops, err := r.doc.Insert(at, text)
	if err != nil {
		r.t.Fatal(err)
	}
	return row{"id": r.id, "site": r.site, "operations": base64.StdEncoding.EncodeToString(textcrdt.AppendOps(nil, ops))}
}

func textOf(c *rpctest.Client, params row) string {
	params["id"] = document
	return rpctest.Call[row](c, "get_document_text", params)["text"].(string)
}

// Replicas push and read, and come to the same text, whoever repeats what.
func TestDocumentReplicas(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	a, b := openDocument(t, c.owner, document), openDocument(t, c.editor, document)
	if a.site == b.site {
		t.Fatal("two replicas write as the same site")
	}
	first := a.insert(0, "héllo 🚀")
	for range 3 { // as if nobody knew of the outcome
		if at := rpctest.Call[row](c.owner, "push_document_operations", first)["position"]; at != 1.0 {
			t.Errorf("pushed at %v", at)
		}
	}
	b.catchUp()
	rpctest.Call[row](c.owner, "push_document_operations", a.insert(7, "!"))
	rpctest.Call[row](c.editor, "push_document_operations", b.insert(0, "> "))
	if x, y := a.catchUp(), b.catchUp(); x != y || x != "> héllo 🚀!" && x != "> héllo !🚀" {
		t.Errorf("%q, %q", x, y)
	}
	o := rpctest.Call[opened](c.reader, "open_document", row{"id": document})
	if o.Role != "reader" || o.Position != 3 || o.More || o.Document["id"] != document || o.Version[a.site] != 8 || o.Version[b.site] != 2 {
		t.Errorf("a reader opens %+v", o)
	}
	back := rpctest.Call[opened](c.owner, "open_document", row{"id": document, "site": a.site, "since": 2})
	if back.Site != a.site || back.Snapshot != nil || back.Position != 3 {
		t.Errorf("who comes back opens %+v", back)
	}
	c.editor.Fails(apperr.Forbidden, "open_document", row{"id": document, "site": a.site})
	if failed := c.owner.Fails(apperr.ResyncRequired, "open_document", row{"id": document, "since": 4}); *failed.Data.Head != 3 {
		t.Errorf("ahead: %+v", failed.Data)
	}
	c.owner.Fails(apperr.ResyncRequired, "read_document_operations", row{"id": document, "since": 4})
	for path, params := range map[string]row{
		"params.since": {"since": -1}, "params.limit": {"since": 0, "limit": 10_001}, "params.id": {"since": 0, "id": 7},
	} {
		all := row{"id": document}
		for name, value := range params {
			all[name] = value
		}
		c.owner.FailsAt(apperr.InvalidParams, path, "read_document_operations", all)
	}
}

// A push is refused whole, and says what is wrong.
func TestDocumentPushesAreRefused(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	a, commenter := openDocument(t, c.owner, document), openDocument(t, c.commenter, document)
	push := func(ops ...textcrdt.Op) row {
		site := a.site
		return row{"id": document, "site": site, "operations": base64.StdEncoding.EncodeToString(textcrdt.AppendOps(nil, ops))}
	}
	good := textcrdt.Op{ID: textcrdt.ID{Site: a.site, Seq: 1}, Session: 1, Sum: 1, N: 1, Text: "x"}
	early := textcrdt.Op{ID: textcrdt.ID{Site: a.site, Seq: 2}, Session: 1, Sum: 2, N: 1, Ref: textcrdt.ID{Site: 9, Seq: 9}, Text: "y"}
	other := good
	other.Site++
	c.owner.FailsAt(apperr.ValidationFailed, "params.operations[1]", "push_document_operations", push(good, early))
	c.owner.FailsAt(apperr.ValidationFailed, "params.operations[0]", "push_document_operations", push(early))
	c.owner.FailsAt(apperr.ValidationFailed, "params.operations[0]", "push_document_operations", push(other))
	for _, text := range []string{"", "AA", "cmNvAQ==", exampleJunk} {
		c.owner.Fails(map[bool]apperr.Kind{true: apperr.InvalidParams, false: apperr.ValidationFailed}[text == "AA"], "push_document_operations",
			row{"id": document, "site": a.site, "operations": text})
	}
	runs := make([]textcrdt.Op, 2001)
	for i := range runs {
		runs[i] = textcrdt.Op{ID: textcrdt.ID{Site: a.site, Seq: uint32(i + 1)}, Session: 1, Sum: uint32(i + 1), N: 1, Text: "x"}
	}
	c.owner.FailsAt(apperr.ValidationFailed, "params.operations", "push_document_operations", push(runs...))
	long := good
	long.N = 256<<10 + 1
	long.Text = strings.Repeat("x", long.N)
	c.owner.FailsAt(apperr.ValidationFailed, "params.operations", "push_document_operations", push(long))

	c.editor.Fails(apperr.Forbidden, "push_document_operations", push(good)) // the owner's site
	c.commenter.Fails(apperr.Forbidden, "push_document_operations", commenter.insert(0, "x"))
	c.outsider.Fails(apperr.NotFound, "push_document_operations", push(good))
	if text := textOf(c.reader, row{}); text != "" {
		t.Errorf("something was kept: %q", text)
	}
	rpctest.Call[row](c.owner, "push_document_operations", push(good))
}

const exampleJunk = "cmNvAQEBAQFAAGhp"

// Whoever has no replica reads, edits, names, restores and forks texts.
func TestDocumentTexts(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	const other = "01890a5d-ac96-774b-bcce-b302099a8060"
	made := rpctest.Call[row](c.owner, "create_document", row{"data": row{"id": other, "title": "x"}, "text": "Hello 🚀"})
	if made["title"] != "x" || made["position"] != 1.0 {
		t.Errorf("made %v", made)
	}
	if text := rpctest.Call[row](c.owner, "get_document_text", row{"id": other}); text["text"] != "Hello 🚀" || text["position"] != 1.0 {
		t.Errorf("it begins with %v", text)
	}
	edit := func(by *rpctest.Client, position any, edits ...row) float64 {
		t.Helper()
		params := row{"id": document, "edits": edits}
		if position != nil {
			params["position"] = position
		}
		return rpctest.Call[row](by, "edit_document", params)["position"].(float64)
	}
	one := edit(c.editor, nil, row{"at": 0, "insert": "abc🚀def"})
	version := rpctest.Call[row](c.editor, "create_document_version", row{"data": row{"document_id": document, "name": "one"}})
	if version["position"] != one {
		t.Errorf("the version is at %v, not %v", version["position"], one)
	}
	c.editor.FailsAt(apperr.ValidationFailed, "params.data.position", "create_document_version", row{"data": row{"document_id": document, "name": "two", "position": one + 1}})
	two := edit(c.owner, nil, row{"at": 3, "delete": 1, "insert": "-"}, row{"at": 7, "insert": "!"}, row{"at": 0, "insert": ">"})
	if text := textOf(c.reader, row{}); text != ">abc-def!" {
		t.Errorf("it is %q", text)
	}
	edit(c.editor, one, row{"at": 4, "delete": 3, "insert": "xyz"}) // of what there was before the two edits
	if text := textOf(c.reader, row{}); text != ">abc-xyz!" {
		t.Errorf("it is %q", text)
	}
	for text, place := range map[string]row{"abc🚀def": {"version_id": version["id"]}, ">abc-def!": {"position": two}, "": {"position": 0}} {
		if got := textOf(c.reader, place); got != text {
			t.Errorf("at %v it was %q", place, got)
		}
	}
	forked := rpctest.Call[row](c.reader, "fork_document", row{"id": document, "position": two, "data": row{"title": "mine"}})
	if text := rpctest.Call[row](c.reader, "get_document_text", row{"id": forked["id"]}); text["text"] != ">abc-def!" || forked["owner_id"] != float64(c.reader.Actor.User) {
		t.Errorf("forked %v, %v", forked, text)
	}
	rpctest.Call[row](c.editor, "restore_document", row{"id": document, "version_id": version["id"]})
	if text := textOf(c.reader, row{}); text != "abc🚀def" {
		t.Errorf("restored %q", text)
	}

	for _, by := range []*rpctest.Client{c.commenter, c.reader} {
		by.Fails(apperr.Forbidden, "edit_document", row{"id": document, "edits": []row{{"at": 0, "insert": "x"}}})
		by.Fails(apperr.Forbidden, "restore_document", row{"id": document, "position": 1})
	}
	for _, id := range []any{document, uuid.Must(uuid.NewV7())} {
		for method, params := range map[string]row{
			"open_document": {}, "read_document_operations": {"since": 0}, "get_document_text": {}, "edit_document": {"edits": []row{{"at": 0, "insert": "x"}}},
			"restore_document": {"position": 1}, "fork_document": {"data": row{"title": "x"}}, "show_presence": {"site": 1, "presence": nil},
		} {
			params["id"] = id
			for _, by := range []*rpctest.Client{c.outsider, c.admin} {
				if failed := by.Fails(apperr.NotFound, method, params); failed.Message != "There is no such document" || failed.Data.Entity != "document" {
					t.Errorf("%s: %+v", method, failed)
				}
			}
		}
	}
	// A version of another document is none of this one.
	theirs := rpctest.Call[row](c.owner, "create_document_version", row{"data": row{"document_id": other, "name": "one"}})
	c.owner.Fails(apperr.NotFound, "get_document_text", row{"id": document, "version_id": theirs["id"]})
	c.reader.Fails(apperr.NotFound, "get_document_text", row{"id": document, "version_id": theirs["id"]})
	for path, params := range map[string]row{
		"params.position":   {"position": 1000},
		"params.version_id": {"position": 1, "version_id": version["id"]},
	} {
		params["id"] = document
		c.owner.FailsAt(apperr.InvalidParams, path, "get_document_text", params)
		c.owner.FailsAt(apperr.InvalidParams, path, "restore_document", params)
	}
	c.owner.FailsAt(apperr.InvalidParams, "params", "restore_document", row{"id": document})
	for i, edits := range [][]row{{{"at": 8}, {"at": 0}}, {{"at": 0}, {"at": -1}}, {{"at": 6, "delete": 3}}, {{"at": 0, "delete": 2}, {"at": 1}}} {
		if failed := c.owner.Fails(apperr.ValidationFailed, "edit_document", row{"id": document, "edits": edits}); !strings.HasPrefix(failed.Data.Issues[0].Path, "params.edits[") {
			t.Errorf("%d: %+v", i, failed.Data.Issues)
		}
	}
	c.owner.FailsAt(apperr.InvalidParams, "params.edits", "edit_document", row{"id": document, "edits": slices.Repeat([]row{{"at": 0}}, 1001)})
}

// Presence is checked, as pages show what others say.
func TestPresence(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	r := openDocument(t, c.reader, document)
	show := func(presence any) row { return row{"id": document, "site": r.site, "presence": presence} }
	for path, presence := range map[string]any{
		"params.presence": 1, "params.presence.nonsense": row{"nonsense": 1}, "params.presence.name": row{"name": 1},
		"params.presence.selection.head": row{"selection": row{"anchor": "1.1a", "head": "1.1"}}, "params.presence.selection.anchor": row{"selection": row{"head": "1.1a"}},
	} {
		c.reader.FailsAt(apperr.InvalidParams, path, "show_presence", show(presence))
	}
	c.reader.FailsAt(apperr.ValidationFailed, "params.presence.name", "show_presence", show(row{"name": strings.Repeat("é", 101)}))
	for _, color := range []string{"red;background:url(x)", `"`, "</style>", strings.Repeat("x", 51)} {
		c.reader.FailsAt(apperr.ValidationFailed, "params.presence.color", "show_presence", show(row{"color": color}))
	}
	c.editor.Fails(apperr.Forbidden, "show_presence", show(nil)) // not their site
	here := row{"name": strings.Repeat("é", 100), "color": "hsl(10.5, 50%, 50%)", "selection": row{"anchor": "0.0a", "head": fmt.Sprint(r.site, ".1b")}}
	rpctest.Call[row](c.reader, "show_presence", show(here))
	o := rpctest.Call[opened](c.owner, "open_document", row{"id": document})
	if len(o.Presence) != 1 || fmt.Sprint(o.Presence[0]["presence"]) != fmt.Sprint(here) || o.Presence[0]["user_id"] != float64(c.reader.Actor.User) {
		t.Errorf("the owner sees %v", o.Presence)
	}
	rpctest.Call[row](c.reader, "show_presence", show(nil))
	if o := rpctest.Call[opened](c.owner, "open_document", row{"id": document}); len(o.Presence) != 0 {
		t.Errorf("the owner still sees %v", o.Presence)
	}
	for _, method := range []string{"follow_document", "unfollow_document"} {
		params := row{"id": document}
		if method == "follow_document" {
			params["since"] = 0
		}
		c.owner.Fails(apperr.InvalidRequest, method, params)
	}
}

// What changes a text is done once, also if it is asked for on two nodes at the same time, and answered alike.
func TestDocumentMutations(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	nodes := []*rpctest.Server{c.server, rpctest.Over(t, c.server.DB)}
	a := openDocument(t, c.owner, document)
	rpctest.Call[row](c.owner, "push_document_operations", a.insert(0, "abc"))
	for _, call := range []struct {
		method string
		params row
		text   string
	}{
		{"edit_document", row{"id": document, "edits": []row{{"at": 3, "insert": "d"}}}, "abcd"},
		{"edit_document", row{"id": document, "edits": []row{{"at": 9, "insert": "x"}}}, "abcd"}, // is refused
		{"push_document_operations", a.insert(0, "!"), "!abcd"},
		{"restore_document", row{"id": document, "position": 1}, "abc"},
		{"restore_document", row{"id": document, "position": 2}, "abcd"},
	} {
		params := named(call.params)
		answers := make([]string, 8)
		var all sync.WaitGroup
		for i := range answers {
			all.Go(func() {
				answers[i] = answered(t, nodes[i%2], c.owner.Actor, call.method, params)
			})
		}
		all.Wait()
		if slices.Sort(answers); answers[0] != answers[7] {
			t.Errorf("%s: answered\n%s\nand\n%s", call.method, answers[0], answers[7])
		}
		if text := textOf(c.owner, row{}); text != call.text {
			t.Errorf("%s: %q, want %q", call.method, text, call.text)
		}
		other := maps.Clone(params)
		other["id"] = uuid.Must(uuid.NewV7())
		c.owner.FailsAt(apperr.ValidationFailed, "params.mutation_id", call.method, other)
	}
	c.reader.Fails(apperr.Forbidden, "edit_document", named(row{"id": document, "edits": []row{{"at": 0, "insert": "x"}}}))
	c.outsider.Fails(apperr.NotFound, "restore_document", named(row{"id": document, "position": 1}))
	if text := textOf(c.owner, row{}); text != "abcd" {
		t.Errorf("%q", text)
	}
}
