package web_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
	"rowcall/modules/textcrdt"
	"rowcall/web"
)

const documentID = "01890a5d-ac96-774b-bcce-b302099a8057"

// documentOf makes a document of demo1, with demo2 in the role, and returns the id of that membership.
func (s *server) document(owner, member grant, role, text string) string {
	s.t.Helper()
	s.call(owner.Token, "create_document", fmt.Sprintf(`{"data":{"id":%q,"title":"x"},"text":%q}`, documentID, text))
	const seat = "01890a5d-ac96-774b-bcce-b302099a8059"
	s.call(owner.Token, "create_document_member", fmt.Sprintf(`{"data":{"id":%q,"document_id":%q,"user_id":%d,"role":%q}}`, seat, documentID, member.User.ID, role))
	return seat
}

func (s *server) edit(token, text string) {
	s.t.Helper()
	s.call(token, "edit_document", fmt.Sprintf(`{"id":%q,"edits":[{"at":0,"insert":%q}]}`, documentID, text))
}

// notification is what comes of a document.
type notification struct {
	Method string `json:"method"`
	Params struct {
		DocumentID string         `json:"document_id"`
		Prev       int64          `json:"prev"`
		Position   int64          `json:"position"`
		Operations []byte         `json:"operations"`
		Site       textcrdt.Site  `json:"site"`
		UserID     int64          `json:"user_id"`
		Presence   jsontext.Value `json:"presence"`
		Reason     string         `json:"reason"`
	} `json:"params"`
}

func notificationOf(t testing.TB, text string) (n notification) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &n); err != nil || n.Params.DocumentID != documentID {
		t.Fatalf("%s: %v", text, err)
	}
	return n
}

// editor is a replica at the end of a WebSocket.
type editor struct {
	*socket
	doc      *textcrdt.Doc
	site     textcrdt.Site
	position int64
	presence map[textcrdt.Site]string
	asked    int
}

type openedDocument struct {
	Data struct {
		Site       textcrdt.Site `json:"site"`
		Session    uint32        `json:"session"`
		Snapshot   *[]byte       `json:"snapshot"`
		Operations []byte        `json:"operations"`
		Position   int64         `json:"position"`
		More       bool          `json:"more"`
	} `json:"data"`
}

// editor opens the document and follows it.
func (s *server) editor(token string) *editor {
	s.t.Helper()
	c := s.connect(bearer(token)...)
	o := result[openedDocument](s.t, c.ask(fmt.Sprintf(`{"id":1,"method":"open_document","params":{"id":%q}}`, documentID))).Data
	e := &editor{socket: c, doc: textcrdt.New(o.Site, o.Session), site: o.Site, position: o.Position, presence: map[textcrdt.Site]string{}}
	if o.Snapshot != nil || o.More {
		s.t.Fatal("the document is too large for this test")
	}
	e.apply(o.Operations)
	if a := c.ask(fmt.Sprintf(`{"id":2,"method":"follow_document","params":{"id":%q,"since":%d}}`, documentID, o.Position)); a.kind() != "" {
		s.t.Fatal(a.body)
	}
	return e
}

func (e *editor) apply(operations []byte) {
	e.t.Helper()
	if len(operations) == 0 {
		return
	}
	ops, err := textcrdt.DecodeOps(operations)
	if err == nil {
		err = e.doc.Apply(ops, nil)
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

// push sends operations, and does not wait for the answer.
func (e *editor) push(ops []textcrdt.Op, err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
	e.asked++
	e.say(pushOf(e.site, ops))
}

func pushOf(site textcrdt.Site, ops []textcrdt.Op) string {
	return fmt.Sprintf(`{"id":"push","method":"push_document_operations","params":{"id":%q,"site":%d,"operations":%q}}`,
		documentID, site, base64.StdEncoding.EncodeToString(textcrdt.AppendOps(nil, ops)))
}

// take takes one frame.
func (e *editor) take() {
	e.t.Helper()
	text := e.hear()
	if strings.Contains(text, `"id":"push"`) {
		if !strings.Contains(text, `"result"`) {
			e.t.Fatal(text)
		}
		e.asked--
		return
	}
	switch n := notificationOf(e.t, text); n.Method {
	case "document_operations":
		if n.Params.Prev != e.position || n.Params.Position <= n.Params.Prev {
			e.t.Fatalf("after %d comes %s", e.position, text)
		}
		e.apply(n.Params.Operations)
		e.position = n.Params.Position
	case "document_presence":
		e.presence[n.Params.Site] = string(n.Params.Presence)
	default:
		e.t.Fatal(text)
	}
}

// Editors on two nodes type at once, and come to the same text.
func TestEditorsOnTwoNodes(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	owner, member := a.login("demo1"), b.login("demo2")
	a.document(owner, member, "editor", "begin\n")
	editors := []*editor{a.editor(owner.Token), b.editor(member.Token), b.editor(owner.Token)}
	const each = 40
	var all sync.WaitGroup
	for i, e := range editors {
		all.Go(func() {
			for n := range each {
				if n%5 == 4 {
					e.push(e.doc.Delete(e.doc.Len()/2, 1))
				} else {
					e.push(e.doc.Insert((n*7)%(e.doc.Len()+1), fmt.Sprint(i)))
				}
				for e.asked > 0 {
					e.take()
				}
			}
			for e.position < 1+each*3 {
				e.take()
			}
		})
	}
	all.Wait()
	kept := result[struct {
		Data struct {
			Text string `json:"text"`
		} `json:"data"`
	}](t, a.post("/api/rpc", fmt.Sprintf(`{"id":1,"method":"get_document_text","params":{"id":%q}}`, documentID), bearer(owner.Token)...)).Data.Text
	for _, e := range editors {
		if text := e.doc.String(); text != kept || len(text) < each {
			t.Errorf("one has\n%q, the server\n%q", text, kept)
		}
	}

	// Who shows where they are is seen on the other node, and by who comes later. What is shown before the nodes know of each other is shown again.
	show := fmt.Sprintf(`{"id":%q,"site":%d,"presence":{"name":"Ann","selection":{"anchor":"0.0a","head":"0.0b"}}}`, documentID, editors[0].site)
	for seen := false; !seen; {
		a.call(owner.Token, "show_presence", show)
		answer := b.post("/api/rpc", fmt.Sprintf(`{"id":1,"method":"open_document","params":{"id":%q}}`, documentID), bearer(member.Token)...)
		seen = strings.Contains(answer.body, `"name":"Ann"`)
	}
	want := `{"name":"Ann","selection":{"anchor":"0.0a","head":"0.0b"}}`
	late := b.editor(member.Token)
	for _, e := range append(editors, late) {
		for e.presence[editors[0].site] != want {
			e.take()
		}
	}
}

// A socket follows each document once, brings nothing before the answer, and nothing after the answer to unfollow_document.
func TestFollowingDocuments(t *testing.T) {
	t.Parallel()
	s := start(t)
	owner, member := s.login("demo1"), s.login("demo2")
	seat := s.document(owner, member, "reader", "one")
	s.edit(owner.Token, "two")
	c := s.connect(bearer(member.Token)...)
	params := func(id string, since int) string { return fmt.Sprintf(`"params":{"id":%q,"since":%d}}`, id, since) }
	follow := `{"id":1,"method":"follow_document",` + params(documentID, 0)
	unfollow := fmt.Sprintf(`{"id":1,"method":"unfollow_document","params":{"id":%q}}`, documentID)
	for n := range 20 {
		if a := c.ask(`[` + follow + `,{"id":2,"method":"list_documents"}]`); !strings.HasPrefix(a.body, `[{"jsonrpc":"2.0","id":1,"result"`) {
			t.Fatal(a.body)
		}
		if got := notificationOf(t, c.hear()); got.Method != "document_operations" || got.Params.Prev != 0 || got.Params.Position != int64(2+n) {
			t.Fatalf("%+v", got)
		}
		if a := c.ask(unfollow); a.body != `{"jsonrpc":"2.0","id":1,"result":{"data":{"unfollowed":true}}}` {
			t.Fatal(a.body)
		}
		s.edit(owner.Token, "x")
	}
	if a := c.ask(unfollow); !strings.Contains(a.body, `"unfollowed":false`) {
		t.Error(a.body)
	}
	for text, kind := range map[string]apperr.Kind{
		`{"id":1,"method":"follow_document",` + params(documentID, 23):                            apperr.ResyncRequired,
		`{"id":1,"method":"follow_document",` + params(documentID, -1):                            apperr.InvalidParams,
		`{"id":1,"method":"follow_document",` + params("01890a5d-ac96-774b-bcce-b302099a8058", 0): apperr.NotFound,
	} {
		if a := c.ask(text); a.kind() != kind {
			t.Errorf("%s: %s", text, a.body)
		}
	}
	c.ask(`{"id":1,"method":"follow_document",` + params(documentID, 22))
	if a := c.ask(follow); a.kind() != apperr.InvalidRequest {
		t.Errorf("twice: %s", a.body)
	}

	// The end of the membership is the end; who is a member again can go on.
	s.call(owner.Token, "delete_document_member", fmt.Sprintf(`{"id":%q}`, seat))
	s.edit(owner.Token, "secret")
	if n := notificationOf(t, c.hear()); n.Method != "document_closed" || n.Params.Reason != "forbidden" {
		t.Errorf("who is no member gets %+v", n)
	}
	if a := c.ask(follow); a.kind() != apperr.NotFound {
		t.Error(a.body)
	}
	s.call(owner.Token, "create_document_member", fmt.Sprintf(`{"data":{"document_id":%q,"user_id":%d,"role":"reader"}}`, documentID, member.User.ID))
	c.ask(`{"id":1,"method":"follow_document",` + params(documentID, 23))
	s.call(owner.Token, "delete_document", fmt.Sprintf(`{"id":%q}`, documentID))
	if n := notificationOf(t, c.hear()); n.Method != "document_closed" || n.Params.Reason != "deleted" {
		t.Errorf("of a deleted document comes %+v", n)
	}

	// A connection follows so many documents, and not one more.
	var documents []string
	for i := range 101 {
		id := fmt.Sprintf("01890a5d-ac96-774b-bcce-b302099a9%03d", i)
		documents = append(documents, id)
		s.call(owner.Token, "create_document", fmt.Sprintf(`{"data":{"id":%q,"title":"x"}}`, id))
	}
	c = s.connect(bearer(owner.Token)...)
	for i, id := range documents {
		if a := c.ask(`{"id":1,"method":"follow_document",` + params(id, 0)); (a.kind() == apperr.InvalidRequest) != (i == 100) {
			t.Errorf("%d: %s", i, a.body)
		}
	}
}

func (e *events) document(name string, position int64) notification {
	e.t.Helper()
	ev, ok := e.next()
	if id := fmt.Sprint(position); !ok || ev.name != name || ev.id != id && position != 0 || ev.id != "" && position == 0 {
		e.t.Fatalf("%v %+v, want %s at %d", ok, ev, name, position)
	}
	return notificationOf(e.t, ev.data)
}

func TestEventsOfADocument(t *testing.T) {
	t.Parallel()
	s := start(t)
	owner, member := s.login("demo1"), s.login("demo2")
	seat := s.document(owner, member, "reader", "one")
	query := func(since int) string { return fmt.Sprintf("?document=%s&since=%d", documentID, since) }
	live := s.follow(query(0), bearer(member.Token)...)
	live.hello()
	doc := textcrdt.New(0, 0)
	take := func(e *events, prev, position int64) {
		t.Helper()
		n := e.document("operations", position)
		ops, err := textcrdt.DecodeOps(n.Params.Operations)
		if err == nil {
			err = doc.Apply(ops, nil)
		}
		if err != nil || n.Method != "document_operations" || n.Params.Prev != prev || n.Params.Position != position {
			t.Fatalf("%+v, %v", n, err)
		}
	}
	take(live, 0, 1)
	s.edit(owner.Token, "two, ")
	take(live, 1, 2)
	s.edit(owner.Token, "three, ")
	again := s.follow(query(0), append(bearer(member.Token), "Last-Event-ID", "2")...) // as a browser comes back
	again.hello()
	take(again, 2, 3)
	if text := doc.String(); text != "three, two, one" {
		t.Errorf("it is %q", text)
	}
	site := result[openedDocument](t, s.post("/api/rpc", fmt.Sprintf(`{"id":1,"method":"open_document","params":{"id":%q}}`, documentID), bearer(owner.Token)...)).Data.Site
	s.call(owner.Token, "show_presence", fmt.Sprintf(`{"id":%q,"site":%d,"presence":{"name":"Ann"}}`, documentID, site))
	if n := again.document("presence", 0); n.Method != "document_presence" || n.Params.Site != site || n.Params.UserID != owner.User.ID || string(n.Params.Presence) != `{"name":"Ann"}` {
		t.Errorf("%+v", n)
	}

	ahead := s.follow(query(4), bearer(member.Token)...)
	if data := ahead.want("resync"); !strings.Contains(data, `"reason":"ahead"`) || !strings.Contains(data, `"head":3`) {
		t.Error(data)
	}
	ahead.ended()
	sse := append(bearer(member.Token), "Accept", "text/event-stream")
	for query, status := range map[string]int{
		"?document=x&since=0": 400, "?document=" + documentID: 400, query(0) + "&entities=task": 400, query(-1): 400, query(0) + "&since=1": 400,
		"?document=01890a5d-ac96-774b-bcce-b302099a8058&since=0": 404,
	} {
		if a := s.send(http.MethodGet, "/api/rpc"+query, "", sse...); a.status != status {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
	if a := s.send(http.MethodGet, "/api/rpc"+query(0), "", append(bearer(s.login("admin").Token), "Accept", "text/event-stream")...); a.status != 404 || a.kind() != apperr.NotFound {
		t.Errorf("an admin: %d %s", a.status, a.body)
	}

	bye := func(e *events, reason string) {
		t.Helper()
		for {
			ev, ok := e.next()
			if ev.name == "operations" || ev.name == "presence" {
				continue
			}
			if !ok || ev.name != "bye" || ev.data != fmt.Sprintf(`{"reason":%q}`, reason) {
				t.Errorf("%+v, want %s", ev, reason)
			}
			e.ended()
			return
		}
	}
	other := s.login("demo1")
	ownerLive, otherLive := s.follow(query(3), bearer(owner.Token)...), s.follow(query(3), bearer(other.Token)...)
	ownerLive.hello()
	otherLive.hello()
	c := s.connect(bearer(other.Token)...)
	c.ask(fmt.Sprintf(`{"id":1,"method":"follow_document","params":{"id":%q,"since":3}}`, documentID))
	if n := notificationOf(t, c.hear()); n.Method != "document_presence" {
		t.Errorf("%+v", n)
	}
	s.post("/api/logoff", `{"logoff":true}`, bearer(other.Token)...)
	bye(otherLive, "logoff")
	c.closed(4001, "logoff")
	s.call(owner.Token, "delete_document_member", fmt.Sprintf(`{"id":%q}`, seat))
	bye(live, "forbidden")
	bye(again, "forbidden")
	s.call(owner.Token, "delete_document", fmt.Sprintf(`{"id":%q}`, documentID))
	bye(ownerLive, "deleted")

	const next = "01890a5d-ac96-774b-bcce-b302099a8060"
	s.call(owner.Token, "create_document", fmt.Sprintf(`{"data":{"id":%q,"title":"x"}}`, next))
	live = s.follow("?since=0&document="+next, bearer(owner.Token)...)
	live.hello()
	s.stop()
	bye(live, "shutdown")
}

// Who follows a document is told that their login has ended, on whichever node, and gets nothing that is committed after that.
func TestFollowingADocumentEndsWithTheLogin(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	owner, admin, member := a.login("demo1").Token, a.login("admin").Token, a.login("demo2")
	a.document(a.login("demo1"), member, "reader", "one")
	since := 1
	ends := func(what string, end func(), headers ...string) {
		t.Helper()
		var streams []*events
		var sockets []*socket
		for _, node := range []*server{a, b} {
			e, c := node.follow(fmt.Sprintf("?document=%s&since=%d", documentID, since), headers...), node.connect(headers...)
			e.hello()
			if f := c.ask(fmt.Sprintf(`{"id":1,"method":"follow_document","params":{"id":%q,"since":%d}}`, documentID, since)); f.kind() != "" {
				t.Fatal(f.body)
			}
			streams, sockets = append(streams, e), append(sockets, c)
		}
		end()
		a.edit(owner, "secret")
		since++
		for i, e := range streams {
			if ev, _ := e.next(); ev.name != "bye" || ev.data != `{"reason":"logoff"}` {
				t.Errorf("%s, node %d: %+v", what, i, ev)
			}
			e.ended()
			sockets[i].closed(4001, "logoff")
		}
	}
	for range 10 {
		user := a.login("demo2").Token
		ends("logoff", func() { a.post("/api/logoff", `{"logoff":true}`, bearer(user)...) }, bearer(user)...)
		key := a.apiKey(member.Token)
		ends("a key that is deleted", func() { a.call(admin, "delete_api_key", fmt.Sprintf(`{"id":%d}`, key.ID)) }, "X-Api-Key", key.Key)
	}
	ends("suspension", func() { a.call(admin, "suspend_user", fmt.Sprintf(`{"id":%d}`, member.User.ID)) }, bearer(member.Token)...)
}

func TestFollowingADocumentEndsWhenTheLoginExpires(t *testing.T) {
	t.Parallel()
	s := start(t)
	owner, member := s.login("demo1"), s.login("demo2")
	s.document(owner, member, "reader", "one")
	key := s.apiKey(member.Token, 4*time.Second).Key
	live, c := s.follow(fmt.Sprintf("?document=%s&since=1", documentID), "X-Api-Key", key), s.connect("X-Api-Key", key)
	live.hello()
	if f := c.ask(fmt.Sprintf(`{"id":1,"method":"follow_document","params":{"id":%q,"since":1}}`, documentID)); f.kind() != "" {
		t.Fatal(f.body)
	}
	if data := live.want("bye"); data != `{"reason":"expired"}` {
		t.Error(data)
	}
	live.ended()
	c.closed(4001, "expired")
	s.edit(owner.Token, "nobody follows any more")
}

// Who reads slowly is let go, and nobody waits for them.
func TestReadersOfADocumentThatReadSlowly(t *testing.T) {
	defer web.SetTimes(web.Times{Ping: 50 * time.Millisecond, Slow: time.Hour, Stuck: 3 * time.Second})()
	s := start(t)
	owner, member := s.login("demo1"), s.login("demo2")
	s.document(owner, member, "reader", "")
	stuck := s.followBadly(member.Token, fmt.Sprintf("?document=%s&since=0", documentID))
	live := s.follow(fmt.Sprintf("?document=%s&since=0", documentID), bearer(owner.Token)...)
	live.hello()
	text := strings.Repeat("x", 200<<10)
	for position := int64(0); s.Documents.Stats().Followers == 2; {
		s.edit(owner.Token, text)
		ev, ok := live.next()
		n := notificationOf(t, ev.data)
		if !ok || n.Params.Prev != position {
			t.Fatalf("%+v after %d", ev, position)
		}
		if position = n.Params.Position; position > 10_000 {
			t.Fatal("nobody is let go")
		}
	}
	_, _ = io.Copy(io.Discard, stuck) // which ends
}

// An atomic batch keeps what it does to texts, or does not, with the rest.
func TestAtomicBatchOfTexts(t *testing.T) {
	t.Parallel()
	s := start(t)
	owner, member := s.login("demo1"), s.login("demo2")
	s.document(owner, member, "editor", "one\n")
	e := s.editor(member.Token)
	edit := fmt.Sprintf(`{"id":0,"method":"edit_document","params":{"id":%q,"edits":[{"at":4,"insert":"two\n"}]}}`, documentID)
	version := fmt.Sprintf(`{"id":1,"method":"create_document_version","params":{"data":{"document_id":%q,"name":"two","position":{"$ref":"0.position"}}}}`, documentID)
	restore := fmt.Sprintf(`{"id":2,"method":"restore_document","params":{"id":%q,"position":0}}`, documentID)
	const fails = `{"id":3,"method":"get_task","params":{"id":999999}}`
	kinds(t, s.atomic(owner.Token, edit, version, restore, fails), "ABORTED ABORTED ABORTED NOT_FOUND")
	kinds(t, s.atomic(owner.Token, edit, version, restore), "OK OK OK")
	for e.position < 4 { // two runs are deleted
		e.take()
	}
	if text := e.doc.String(); text != "" || e.position != 4 {
		t.Errorf("at %d a follower has %q", e.position, text)
	}
	s.call(owner.Token, "restore_document", fmt.Sprintf(`{"id":%q,"position":2}`, documentID))
	for e.position < 5 {
		e.take()
	}
	if text := e.doc.String(); text != "one\ntwo\n" {
		t.Errorf("restored %q", text)
	}
}
