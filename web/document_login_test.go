package web_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// Nothing is written by a login that has ended on another node, be it that the stream has not been told yet.
func TestPushesEndWithTheirLogin(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	owner, member := a.login("demo1"), a.login("demo2")
	a.document(owner, member, "editor", "begin\n")
	told := 0
	for range 10 {
		g := a.login("demo2")
		e := b.editor(g.Token)
		for range 3 {
			e.push(e.doc.Insert(0, "x"))
			for e.asked > 0 {
				e.take()
			}
		}
		a.post("/api/logoff", `{"logoff":true}`, bearer(g.Token)...)
		ops, err := e.doc.Insert(0, "never")
		if err != nil {
			t.Fatal(err)
		}
		if e.Write(t.Context(), websocket.MessageText, []byte(pushOf(e.site, ops))) != nil {
			continue // the stream has ended already
		}
		for {
			_, text, err := e.Read(t.Context())
			var closed websocket.CloseError
			if errors.As(err, &closed) && closed.Code == 4001 {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(text), `"id":"push"`) {
				continue // what the others did
			}
			if told++; (answer{body: string(text)}).kind() != "UNAUTHENTICATED" {
				t.Fatalf("after the logoff: %s", text)
			}
		}
	}
	t.Logf("%d of 10 were answered before the stream ended", told)
	if text := b.post("/api/rpc", `{"id":1,"method":"get_document_text","params":{"id":"`+documentID+`"}}`, bearer(owner.Token)...).body; strings.Contains(text, "never") {
		t.Error(text)
	}
}

// Whatever a frame holds, a login that has ended gets to know nothing but that.
func TestFramesOfEndedLogins(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	owner, member := a.login("demo1"), a.login("demo2")
	a.document(owner, member, "editor", "begin\n")
	// Nobody is told of the end: whoever wants to know has to look.
	const untold = `DO $$ BEGIN EXECUTE replace(pg_get_functiondef('note_auth_change'::regproc), $q$PERFORM pg_notify('rowcall_auth', '');$q$, ''); END $$`
	if _, err := a.DB.Owner(t).ExecContext(t.Context(), untold); err != nil {
		t.Fatal(err)
	}
	told := 0
	frames := []string{
		`{`,
		`[]`,
		`{"id":"x","method":"nothing"}`,
		`{"id":"x","method":"rpc.discover"}`,
		`{"id":"x","method":"list_tasks"}`,
		`{"id":"x","method":"push_document_operations"}`,
		`{"id":"x","method":"push_document_operations","params":{"id":1}}`,
		`{"id":"x","method":"push_document_operations","params":{"id":"` + documentID + `","site":1,"operations":"?"}}`,
		`{"id":"x","method":"push_document_operations","params":{"id":"` + documentID + `","site":1,"operations":""}}`,
		`[{"id":"x","method":"push_document_operations"},{"id":"y","method":"list_tasks"},{"id":"z","method":"nothing"}]`,
		`{"id":"x","method":"authenticate","params":{"token":"none"}}`,
	}
	for n := 0; n < len(frames) || told == 0 && n < 5*len(frames); n++ { // the stream may end first, as the frame has the node look
		frame := frames[n%len(frames)]
		g := a.login("demo2")
		c := b.connect(bearer(g.Token)...)
		for range 3 {
			if a := c.ask(`{"id":1,"method":"get_document_text","params":{"id":"` + documentID + `"}}`); a.kind() != "" {
				t.Fatal(a.body)
			}
		}
		a.post("/api/logoff", `{"logoff":true}`, bearer(g.Token)...)
		if c.Write(t.Context(), websocket.MessageText, []byte(frame)) != nil {
			continue // the stream has ended already
		}
		for {
			_, text, err := c.Read(t.Context())
			var closed websocket.CloseError
			if errors.As(err, &closed) && closed.Code == 4001 {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			told++
			if n := strings.Count(string(text), "UNAUTHENTICATED"); n == 0 || n < strings.Count(string(text), `"id"`) {
				t.Errorf("%s is answered with %.200s", frame, text)
			}
		}
	}
	if told == 0 {
		t.Error("no frame was answered")
	}
}
