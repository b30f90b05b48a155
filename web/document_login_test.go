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
