package web_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"rowcall/web"
)

// socket is a client's end of a WebSocket.
type socket struct {
	t testing.TB
	*websocket.Conn
}

// dial opens a WebSocket, or returns the status that it was refused with; headers are pairs of name and value.
func (s *server) dial(headers ...string) (c *socket, refused int) {
	s.t.Helper()
	header := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		header.Set(headers[i], headers[i+1])
	}
	conn, resp, err := websocket.Dial(s.t.Context(), "ws://"+s.addr+"/api/rpc", &websocket.DialOptions{HTTPHeader: header}) //nolint:bodyclose // its doc: there is no need to
	switch {
	case err == nil:
		conn.SetReadLimit(1 << 20)
		s.t.Cleanup(func() { _ = conn.CloseNow() })
		return &socket{s.t, conn}, 0
	case resp == nil:
		s.t.Fatal(err)
	}
	return nil, resp.StatusCode
}

func (s *server) connect(headers ...string) *socket {
	s.t.Helper()
	c, refused := s.dial(headers...)
	if refused != 0 {
		s.t.Fatal("refused with ", refused)
	}
	return c
}

func (c *socket) say(text string) {
	c.t.Helper()
	if err := c.Write(c.t.Context(), websocket.MessageText, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *socket) hear() string {
	c.t.Helper()
	_, text, err := c.Read(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

// ask sends a frame and returns the next one.
func (c *socket) ask(text string) answer {
	c.t.Helper()
	c.say(text)
	return answer{body: c.hear()}
}

// closed fails the test unless nothing but changes comes before the connection is closed with the code.
func (c *socket) closed(code websocket.StatusCode, reason string) {
	c.t.Helper()
	for {
		_, text, err := c.Read(c.t.Context())
		if err == nil && strings.Contains(string(text), `"method":"change"`) {
			continue
		}
		var e websocket.CloseError
		if !errors.As(err, &e) || e.Code != code || e.Reason != reason {
			c.t.Errorf("%s %v, want the code %d and %s", text, err, code, reason)
		}
		return
	}
}

type subscribed struct {
	Data struct {
		Position int64  `json:"position"`
		Epoch    string `json:"epoch"`
	} `json:"data"`
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	s := start(t)
	token := s.login("demo1").Token
	c := s.connect(bearer(token)...)

	// Calls and batches, and what is none.
	if a := c.ask(list); a.kind() != "" || !strings.Contains(a.body, `"data":`) {
		t.Error(a.body)
	}
	if a := c.ask(`[` + list + `,{"id":2,"method":"nothing"}]`); !strings.HasPrefix(a.body, `[{`) || !strings.Contains(a.body, `METHOD_NOT_FOUND`) {
		t.Error(a.body)
	}
	if a := c.ask(`{`); a.kind() != "PARSE_ERROR" {
		t.Error(a.body)
	}
	c.say(`{"method":"list_tasks"}`) // a notification, which nothing answers
	if a := c.ask(`{"id":"x","method":"unsubscribe"}`); !strings.Contains(a.body, `"id":"x","result":{"data":{"unsubscribed":false}}`) {
		t.Error(a.body)
	}

	begin := result[subscribed](t, c.ask(`{"id":1,"method":"subscribe"}`)).Data
	id := s.create(token, "by another")
	if e := changeOf(t, c.hear()); e.Position != begin.Position+1 || e.Prev != begin.Position || string(e.ID) != fmt.Sprint(id) {
		t.Errorf("%+v after %+v", e, begin)
	}
	if a := c.ask(`{"id":1,"method":"subscribe"}`); a.kind() != "INVALID_REQUEST" {
		t.Errorf("a second subscription: %s", a.body)
	}
	// One's own changes come, too, before or after the answer.
	c.say(`{"id":7,"method":"create_project","params":{"data":{"name":"own"}}}`)
	both := c.hear() + c.hear()
	if !strings.Contains(both, `"id":7`) || !strings.Contains(both, `"method":"change"`) {
		t.Error(both)
	}
	if a := c.ask(`{"id":1,"method":"unsubscribe"}`); !strings.Contains(a.body, `"unsubscribed":true`) {
		t.Error(a.body)
	}
	s.create(token, "unheard")
	if a := c.ask(list); a.kind() != "" {
		t.Error(a.body)
	}

	// From where it was, and only what is asked for. The answer comes before the first change.
	again := result[subscribed](t, c.ask(fmt.Sprintf(`{"id":1,"method":"subscribe","params":{"since":%d,"epoch":%q,"entities":["project"]}}`, begin.Position, begin.Epoch))).Data
	if again != begin {
		t.Errorf("%+v, want %+v", again, begin)
	}
	for i := range 3 {
		if e := changeOf(t, c.hear()); e.Position != begin.Position+int64(i)+1 || e.Prev != e.Position-1 {
			t.Errorf("%d: %+v", i, e)
		}
	}
	c.ask(`{"id":1,"method":"unsubscribe"}`)
	for params, kind := range map[string]string{
		`{"since":1000}`: "RESYNC_REQUIRED", `{"epoch":"x"}`: "RESYNC_REQUIRED", `{"entities":["nothing"]}`: "INVALID_PARAMS", `{"form":1}`: "INVALID_PARAMS",
	} {
		if a := c.ask(`{"id":1,"method":"subscribe","params":` + params + `}`); string(a.kind()) != kind {
			t.Errorf("%s: %s", params, a.body)
		}
	}

	// Over POST they are no methods.
	for _, method := range []string{"subscribe", "unsubscribe"} {
		if a := s.post("/api/rpc", `{"id":1,"method":"`+method+`"}`, bearer(token)...); a.kind() != "INVALID_REQUEST" {
			t.Errorf("%s: %s", method, a.body)
		}
	}
}

func TestWebSocketsAuthenticate(t *testing.T) {
	t.Parallel()
	s := start(t)
	user := s.login("demo1")
	c := s.connect("Origin", "https://elsewhere.example")
	if a := c.ask(list); a.kind() != "UNAUTHENTICATED" {
		t.Error(a.body)
	}
	if a := c.ask(`{"id":1,"method":"authenticate","params":{"token":"x"}}`); a.kind() != "UNAUTHENTICATED" {
		t.Error(a.body)
	}
	if a := c.ask(`{"id":1,"method":"authenticate","params":{"token":"` + user.Token + `"}}`); a.kind() != "" {
		t.Error(a.body)
	}
	if a := c.ask(list); a.kind() != "" {
		t.Error(a.body)
	}
	c.ask(`{"id":1,"method":"subscribe"}`)

	// A newer token keeps the connection; not somebody else's.
	newer := s.login("demo1").Token
	if a := c.ask(`{"id":1,"method":"authenticate","params":{"token":"` + s.login("demo2").Token + `"}}`); a.kind() != "FORBIDDEN" {
		t.Error(a.body)
	}
	if a := c.ask(`{"id":1,"method":"authenticate","params":{"token":"` + newer + `"}}`); a.kind() != "" {
		t.Error(a.body)
	}
	s.post("/api/logoff", `{"logoff":true}`, bearer(user.Token)...)
	s.create(newer, "the subscription goes on")
	changeOf(t, c.hear())
	s.post("/api/logoff", `{"logoff":true}`, bearer(newer)...)
	c.closed(4001, "logoff")

	if _, refused := s.dial("Origin", "https://elsewhere.example", "Cookie", "auth-token="+s.login("demo1").Token); refused != http.StatusForbidden {
		t.Errorf("the cookie from another origin: %d", refused)
	}
	s.connect("Origin", s.url, "Cookie", "auth-token="+s.login("demo1").Token)
	if _, refused := s.dial(bearer("x")...); refused != http.StatusUnauthorized {
		t.Errorf("a bad token: %d", refused)
	}
}

// Who logs in again before anything else has seen that their role is another gets nothing more by the one that they had.
func TestWebSocketsAuthenticateInAnotherRole(t *testing.T) {
	t.Parallel()
	s := start(t)
	user, newer := s.login("admin"), s.login("admin")
	c := s.connect(bearer(user.Token)...)
	if a := c.ask(`{"id":1,"method":"subscribe"}`); a.kind() != "" {
		t.Fatal(a.body)
	}
	s.DB.Exec(t, `SET session_replication_role = replica; -- no trigger tells of it
		UPDATE membership SET role = 'member' WHERE user_id = `+fmt.Sprint(user.User.ID)+`; RESET session_replication_role`)
	c.say(`{"id":2,"method":"authenticate","params":{"token":"` + newer.Token + `"}}`)
	if said := c.hear(); said != `{"jsonrpc":"2.0","method":"resync","params":{"reason":"epoch"}}` {
		t.Fatal(said)
	}
	if a := (answer{body: c.hear()}); a.kind() != "" {
		t.Error(a.body)
	}
	if a := c.ask(`{"id":3,"method":"subscribe"}`); a.kind() != "" {
		t.Error(a.body)
	}
}

func TestWebSocketsThatDoNotAuthenticate(t *testing.T) {
	defer web.SetTimes(web.Times{Authenticate: 200 * time.Millisecond, Ping: time.Hour, Slow: time.Hour, Stuck: time.Hour})()
	s := start(t)
	c := s.connect()
	c.closed(4010, "not authenticated")
}

// Who has sent a frame is there, though a ping's answer is behind it and the call takes long. Who sends nothing is not.
func TestWebSocketsThatDoNotAnswerPings(t *testing.T) {
	defer web.SetTimes(web.Times{Ping: 50 * time.Millisecond, Slow: time.Hour, Stuck: 2 * time.Second})()
	s := start(t)
	token := s.login("demo1").Token
	id := s.create(token, "busy")
	c := s.connect(bearer(token)...)
	c.ask(`{"id":1,"method":"subscribe","params":{"entities":["user"]}}`)
	owner, err := s.DB.Owner(t).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Rollback() //nolint:errcheck // of a test
	if _, err := owner.ExecContext(t.Context(), `SELECT FROM project WHERE id = $1 FOR UPDATE`, id); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // a ping has come, and the client has not read it
	c.say(fmt.Sprintf(`{"id":1,"method":"update_project","params":{"id":%d,"data":{"name":"quiet"}}}`, id))
	time.Sleep(3 * time.Second)
	if err := owner.Rollback(); err != nil {
		t.Fatal(err)
	}
	if a := (answer{body: c.hear()}); a.kind() != "" {
		t.Error(a.body)
	}
	for s.hub.Stats().Open > 0 { // the client reads nothing, so it answers no ping
		time.Sleep(time.Millisecond)
	}
}

func TestWebSocketsEndWithTheServer(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := s.connect(bearer(s.login("demo1").Token)...)
	c.ask(`{"id":1,"method":"subscribe"}`)
	s.stop()
	c.closed(websocket.StatusGoingAway, "shutdown")
}

func TestFramesAreBounded(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := s.connect(bearer(s.login("demo1").Token)...)
	c.say(`"` + strings.Repeat("x", 1<<20) + `"`)
	c.closed(websocket.StatusMessageTooBig, "read limited at 1048577 bytes")
	c = s.connect(bearer(s.login("demo1").Token)...)
	if err := c.Write(t.Context(), websocket.MessageBinary, []byte(list)); err != nil {
		t.Fatal(err)
	}
	c.closed(websocket.StatusUnsupportedData, "frames must be text")
}
