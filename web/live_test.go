package web_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
	"rowcall/modules/limit"
	"rowcall/modules/store"
	"rowcall/modules/store/storetest"
	"rowcall/rpc/rpctest"
	"rowcall/web"
)

// event is a server-sent event.
type event struct{ name, id, data string }

// events reads a stream of them.
type events struct {
	t     testing.TB
	lines *bufio.Reader
	body  io.Closer
}

// entry is the params of a change.
type entry struct {
	Position int64          `json:"position"`
	Prev     int64          `json:"prev"`
	At       time.Time      `json:"at"`
	Actor    int64          `json:"actor"`
	Method   string         `json:"method"`
	Entity   string         `json:"entity"`
	ID       jsontext.Value `json:"id"`
	Op       string         `json:"op"`
	Version  int64          `json:"version"`
	Data     map[string]any `json:"data"`
}

// follow opens a stream.
func (s *server) follow(query string, headers ...string) *events {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+"/api/rpc"+query, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("X-Request-Id") == "" {
		text, _ := io.ReadAll(resp.Body)
		s.t.Fatalf("%d %v %s", resp.StatusCode, resp.Header, text)
	}
	return &events{s.t, bufio.NewReader(resp.Body), resp.Body}
}

// next returns the next event that is no ping; ok is false when the stream has ended.
func (e *events) next() (ev event, ok bool) {
	for {
		line, err := e.lines.ReadString('\n')
		if err != nil {
			return event{}, false
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "":
			if ev.name != "ping" {
				return ev, true
			}
			ev = event{}
		case "event":
			ev.name = value
		case "id":
			ev.id = value
		case "data":
			ev.data = value
		default:
			e.t.Fatalf("a line %q", line)
		}
	}
}

// want returns the data of the next event, which must have the name.
func (e *events) want(name string) string {
	e.t.Helper()
	ev, ok := e.next()
	if !ok || ev.name != name {
		e.t.Fatalf("%v %+v, want %s", ok, ev, name)
	}
	return ev.data
}

// change returns the entry of the next event, which must be a change.
func (e *events) change() entry {
	e.t.Helper()
	ev, ok := e.next()
	if !ok || ev.name != "change" {
		e.t.Fatalf("%v %+v, want a change", ok, ev)
	}
	c := changeOf(e.t, ev.data)
	if ev.id != fmt.Sprint(c.Position) {
		e.t.Fatalf("the id is %s of %+v", ev.id, c)
	}
	return c
}

// ended fails the test unless nothing follows.
func (e *events) ended() {
	e.t.Helper()
	if ev, ok := e.next(); ok {
		e.t.Fatalf("%+v after the end", ev)
	}
}

func changeOf(t testing.TB, notification string) entry {
	t.Helper()
	var n struct {
		JSONRPC string `json:"jsonrpc"`
		Method  string `json:"method"`
		Params  entry  `json:"params"`
	}
	if err := json.Unmarshal([]byte(notification), &n, json.RejectUnknownMembers(true)); err != nil || n.Method != "change" || n.JSONRPC != "2.0" {
		t.Fatalf("%s (%v)", notification, err)
	}
	return n.Params
}

type hello struct {
	Position   int64     `json:"position"`
	ServerTime time.Time `json:"server_time"`
	Epoch      string    `json:"epoch"`
}

func (e *events) hello() hello {
	e.t.Helper()
	var h hello
	if err := json.Unmarshal([]byte(e.want("hello")), &h, json.RejectUnknownMembers(true)); err != nil {
		e.t.Fatal(err)
	}
	return h
}

// call calls a method that must succeed.
func (s *server) call(token, method, params string) {
	s.t.Helper()
	a := s.post("/api/rpc", `{"id":1,"method":"`+method+`","params":`+params+`}`, bearer(token)...)
	if a.status != http.StatusOK || a.kind() != "" {
		s.t.Fatalf("%s: %d %s", method, a.status, a.body)
	}
}

// create creates a project, whose id it returns.
func (s *server) create(token, name string) int64 {
	s.t.Helper()
	a := s.post("/api/rpc", fmt.Sprintf(`{"id":1,"method":"create_project","params":{"data":{"name":%q}}}`, name), bearer(token)...)
	return result[struct {
		Data struct {
			ID int64 `json:"id"`
		} `json:"data"`
	}](s.t, a).Data.ID
}

type apiKey struct {
	ID  int64  `json:"id"`
	Key string `json:"key"`
}

// apiKey makes a key that can read, until it is deleted or so long.
func (s *server) apiKey(token string, lasts ...time.Duration) apiKey {
	s.t.Helper()
	expires := ""
	for _, d := range lasts {
		expires = fmt.Sprintf(`,"expires_at":%q`, time.Now().Add(d).UTC().Format("2006-01-02T15:04:05.000000Z"))
	}
	return result[struct {
		Data apiKey `json:"data"`
	}](s.t, s.post("/api/rpc", `{"id":1,"method":"create_api_key","params":{"data":{"name":"k","scopes":["read"]`+expires+`}}}`, bearer(token)...)).Data
}

// twoNodes returns two servers on one database, each with connections of its own.
func twoNodes(t testing.TB) (a, b *server) {
	t.Helper()
	first := rpctest.New(t)
	db, err := store.Open(t.Context(), store.Config{TenantURL: first.DB.TenantURL, PlatformURL: first.DB.PlatformURL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	own := *first.DB
	own.DB = db
	return serve(t, first), serve(t, rpctest.Over(t, &storetest.Database{DB: db, OwnerURL: own.OwnerURL, TenantURL: own.TenantURL, PlatformURL: own.PlatformURL}))
}

func TestEvents(t *testing.T) {
	t.Parallel()
	s := start(t)
	token := s.login("demo1").Token
	live := s.follow("", bearer(token)...)
	begin := live.hello()
	if begin.Epoch == "" || time.Since(begin.ServerTime).Abs() > time.Minute {
		t.Errorf("%+v", begin)
	}
	id := s.create(token, "one")
	s.call(token, "create_task", fmt.Sprintf(`{"data":{"project_id":%d,"title":"a"}}`, id))
	s.call(token, "update_project", fmt.Sprintf(`{"id":%d,"data":{"name":"two"}}`, id))
	var seen []entry
	for range 3 {
		seen = append(seen, live.change())
	}
	one := seen[0]
	if one.Position != begin.Position+1 || one.Prev != begin.Position || one.Entity != "project" || one.Op != "create" || one.Method != "create_project" ||
		one.Version != 1 || one.Data["name"] != "one" || one.Actor == 0 || string(one.ID) != fmt.Sprint(id) {
		t.Errorf("%+v", one)
	}
	if seen[1].Entity != "task" || seen[1].Prev != one.Position || seen[2].Op != "update" || seen[2].Version != 2 || seen[2].Prev != seen[1].Position {
		t.Errorf("%+v", seen)
	}

	only := s.follow(fmt.Sprintf("?since=%d&entities=project&epoch=%s", begin.Position, begin.Epoch), bearer(token)...)
	if h := only.hello(); h.Position != seen[2].Position {
		t.Errorf("the head is %d, want %d", h.Position, seen[2].Position)
	}
	for _, want := range []struct{ position, prev int64 }{{one.Position, begin.Position}, {seen[2].Position, one.Position}} {
		if c := only.change(); c.Position != want.position || c.Prev != want.prev {
			t.Errorf("%+v, want %v", c, want)
		}
	}

	again := s.follow("?since=0", append(bearer(token), "Last-Event-ID", fmt.Sprint(seen[1].Position))...)
	again.hello()
	if c := again.change(); c.Position != seen[2].Position || c.Prev != seen[1].Position {
		t.Errorf("after the last event's id: %+v", c)
	}

	for query, reason := range map[string]string{
		fmt.Sprintf("?since=%d", seen[2].Position+1): "ahead",
		"?epoch=another": "epoch",
	} {
		r := s.follow(query, bearer(token)...)
		if data := r.want("resync"); !strings.Contains(data, `"reason":"`+reason+`"`) || !strings.Contains(data, `"head":`) {
			t.Errorf("%s: %s", query, data)
		}
		r.ended()
	}
}

func TestStreamsThatAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t)
	token := s.login("demo1").Token
	sse := []string{"Accept", "text/event-stream"}
	for name, c := range map[string]struct {
		query   string
		headers []string
		status  int
		kind    apperr.Kind
	}{
		"anonymous":        {"", sse, 401, apperr.Unauthenticated},
		"a bad token":      {"", append(bearer("x"), sse...), 401, apperr.Unauthenticated},
		"another site":     {"", append([]string{"Cookie", "auth-token=" + token, "Sec-Fetch-Site", "cross-site"}, sse...), 403, apperr.Forbidden},
		"no integer":       {"?since=x", append(bearer(token), sse...), 400, apperr.InvalidParams},
		"no position":      {"?since=-1", append(bearer(token), sse...), 400, apperr.InvalidParams},
		"empty":            {"?since=", append(bearer(token), sse...), 400, apperr.InvalidParams},
		"a bad last id":    {"", append(bearer(token), append(sse, "Last-Event-ID", "x")...), 400, apperr.InvalidParams},
		"an unknown param": {"?form=1", append(bearer(token), sse...), 400, apperr.InvalidParams},
		"unknown entities": {"?entities=task,session", append(bearer(token), sse...), 400, apperr.InvalidParams},
		"no stream":        {"", bearer(token), 405, apperr.InvalidRequest},
		"any type":         {"", append(bearer(token), "Accept", "*/*"), 405, apperr.InvalidRequest},
	} {
		if a := s.send(http.MethodGet, "/api/rpc"+c.query, "", c.headers...); a.status != c.status || a.kind() != c.kind {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

func TestNodesServeEachOthersSubscribers(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	token := a.login("demo1").Token
	onA, onB := a.follow("", bearer(token)...), b.follow("", bearer(token)...)
	onA.hello()
	onB.hello()
	for i := range 10 {
		writer := []*server{a, b}[i%2]
		name := fmt.Sprint("project ", i)
		writer.create(token, name)
		for _, reader := range []*events{onA, onB} {
			if c := reader.change(); c.Data["name"] != name {
				t.Errorf("%+v, want %s", c, name)
			}
		}
	}
}

// Writers on two nodes, and subscribers that come at any time, from any position: each gets every entry once, in order, with the position
// of the one before it.
func TestReplayAndThenLive(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	nodes := []*server{a, b}
	token := a.login("demo1").Token
	begin := a.follow("", bearer(token)...).hello()
	const writers, each = 4, 60
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				nodes[w%2].create(token, fmt.Sprintf("project %d of %d", i, w))
			}
		})
	}
	end := begin.Position + writers*each
	for r := range 8 {
		wg.Go(func() {
			time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond) // some come later than others
			node := nodes[r%2]
			at := begin.Position
			for at < end {
				live := node.follow(fmt.Sprintf("?since=%d", at), bearer(token)...)
				live.hello()
				for range 20 + rand.IntN(60) { // and goes away, and comes back
					if at == end {
						break
					}
					c := live.change()
					if c.Position != at+1 || c.Prev != at {
						t.Errorf("%d after %d comes after %d", c.Position, c.Prev, at)
						return
					}
					at = c.Position
				}
				_ = live.body.Close()
			}
		})
	}
	wg.Wait()
}

func TestStreamsEndWithTheirLogin(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	admin := a.login("admin").Token
	user := a.login("demo1")
	follow := func(headers ...string) []*events {
		t.Helper()
		both := []*events{a.follow("", headers...), b.follow("", headers...)}
		for _, e := range both {
			e.hello()
		}
		return both
	}
	goodbye := func(what string, both []*events) {
		t.Helper()
		for _, e := range both {
			ev, ok := e.next()
			for ok && ev.name == "change" { // of what ends them
				ev, ok = e.next()
			}
			if ev.name != "bye" || ev.data != `{"reason":"logoff"}` {
				t.Errorf("%s: %+v", what, ev)
			}
			e.ended()
		}
	}
	streams := follow(bearer(user.Token)...)
	other := follow(bearer(a.login("demo1").Token)...)
	a.post("/api/logoff", `{"logoff":true}`, bearer(user.Token)...)
	goodbye("logoff", streams)

	key := a.apiKey(a.login("demo1").Token)
	streams = follow("X-Api-Key", key.Key)
	a.call(admin, "delete_api_key", fmt.Sprintf(`{"id":%d}`, key.ID))
	goodbye("a key that is deleted", streams)

	for _, e := range other { // what happened to the other logins did not end them
		for e.change().Entity != "api_key" {
		}
	}
	a.call(admin, "suspend_user", fmt.Sprintf(`{"id":%d}`, user.User.ID))
	goodbye("suspension", other)
	streams = follow(bearer(admin)...)
	a.DB.Exec(t, `UPDATE tenant SET suspended_at = now() WHERE slug = 'demo'`)
	goodbye("the tenant's suspension", streams)
}

// TestStreamsBringNothingAfterTheirLogin: what is committed after a login has ended is not for its streams, on whichever node.
func TestStreamsBringNothingAfterTheirLogin(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	admin := a.login("admin").Token
	for i := range 20 {
		user := a.login("demo1")
		streams := []*events{a.follow("", bearer(user.Token)...), b.follow("", bearer(user.Token)...)}
		for _, e := range streams {
			e.hello()
		}
		a.post("/api/logoff", `{"logoff":true}`, bearer(user.Token)...)
		a.call(admin, "create_project", fmt.Sprintf(`{"data":{"name":"after %d"}}`, i))
		for node, e := range streams {
			if ev, _ := e.next(); ev.name != "bye" {
				t.Errorf("round %d, node %d: %+v", i, node, ev)
			}
		}
	}
}

func TestStreamsEndWhenTheLoginExpires(t *testing.T) {
	t.Parallel()
	s := start(t)
	token := s.login("demo1").Token
	key := s.apiKey(token, 4*time.Second).Key
	live, c := s.follow("", "X-Api-Key", key), s.connect("X-Api-Key", key)
	live.hello()
	if data := live.want("bye"); data != `{"reason":"expired"}` {
		t.Error(data)
	}
	live.ended()
	c.closed(4001, "expired")
}

// Who gets another role sees other fields of rows that have not changed: they start over.
func TestStreamsOfAnotherRole(t *testing.T) {
	t.Parallel()
	s := start(t)
	user := s.login("demo1")
	live := s.follow("?entities=user", bearer(user.Token)...)
	live.hello()
	s.DB.Exec(t, `UPDATE account SET name = 'Somebody' WHERE username = 'demo2'`)
	if c := live.change(); c.Data["name"] != "Somebody" || c.Data["suspended"] != nil {
		t.Errorf("a member sees %v", c.Data)
	}
	s.DB.Exec(t, `UPDATE membership SET role = 'admin', version = version + 1 WHERE user_id = $1`, user.User.ID)
	for {
		ev, ok := live.next()
		if ok && ev.name == "change" && changeOf(t, ev.data).Data["suspended"] == nil {
			continue // their own membership's change may come before
		}
		if ev.name != "resync" || ev.data != `{"reason":"epoch"}` {
			t.Errorf("%+v", ev)
		}
		break
	}
	live.ended()
	live = s.follow("?entities=user", bearer(user.Token)...)
	live.hello()
	s.DB.Exec(t, `UPDATE account SET name = 'Nobody' WHERE username = 'demo2'`)
	if c := live.change(); c.Data["suspended"] != false {
		t.Errorf("an admin sees %v", c.Data)
	}
}

func TestStreamsEndWithTheServer(t *testing.T) {
	t.Parallel()
	s := start(t)
	live := s.follow("", bearer(s.login("demo1").Token)...)
	live.hello()
	s.stop()
	if data := live.want("bye"); data != `{"reason":"shutdown"}` {
		t.Error(data)
	}
	live.ended()
}

// A change of another node of which nobody tells comes with the poll.
func TestLostNotifications(t *testing.T) {
	t.Parallel()
	s := start(t)
	live := s.follow("", bearer(s.login("demo1").Token)...)
	live.hello()
	other, err := store.Open(t.Context(), store.Config{TenantURL: s.DB.TenantURL, PlatformURL: s.DB.PlatformURL}) // it has no hub
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close() //nolint:errcheck // of a test
	quiet := rpctest.Over(t, &storetest.Database{DB: other, OwnerURL: s.DB.OwnerURL, TenantURL: s.DB.TenantURL, PlatformURL: s.DB.PlatformURL})
	writer := quiet.As(t, "demo1")
	best := time.Hour // of those right after a poll; on a machine that has more to do others take longer
	for i := 0; i < 5 || best > time.Second && i < 20; i++ {
		if i == 1 { // the connection that listens is cut
			s.DB.Exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'`)
		}
		rpctest.Call[rpctest.Row](writer, "create_project", map[string]any{"data": map[string]any{"name": fmt.Sprint("project ", i)}})
		start := time.Now()
		if c := live.change(); c.Data["name"] != fmt.Sprint("project ", i) {
			t.Errorf("%+v", c)
		}
		if i > 1 {
			best = min(best, time.Since(start))
		}
	}
	if best > time.Second {
		t.Errorf("each took %v or longer", best)
	}
}

// followBadly opens a stream and reads nothing of it.
func (s *server) followBadly(token, query string) net.Conn {
	s.t.Helper()
	return s.openBadly(fmt.Sprintf("GET /api/rpc%s HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: Bearer %s\r\n\r\n", query, token))
}

// openBadly sends what makes a subscription, and reads nothing.
func (s *server) openBadly(text string) net.Conn {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		s.t.Fatal(err)
	}
	open := s.hub.Stats().Open + s.Documents.Stats().Followers
	if _, err := io.WriteString(conn, text); err != nil {
		s.t.Fatal(err)
	}
	for s.hub.Stats().Open+s.Documents.Stats().Followers == open {
		time.Sleep(time.Millisecond)
	}
	return conn
}

// createLarge creates tasks of 200 kB.
func (s *server) createLarge(token string, project int64, n int) {
	s.t.Helper()
	meta := strings.Repeat("x", 200<<10)
	for i := range n {
		s.call(token, "create_task", fmt.Sprintf(`{"data":{"project_id":%d,"title":"%d","meta":{"x":%q}}}`, project, i, meta))
	}
}

// A subscriber who never reads is cut off. The others do not notice.
func TestSubscribersThatNeverRead(t *testing.T) {
	defer web.SetTimes(web.Times{Ping: 50 * time.Millisecond, Slow: time.Hour, Stuck: 3 * time.Second})()
	s := start(t)
	token := s.login("demo1").Token
	id := s.create(token, "large tasks")
	live := s.follow("", bearer(token)...)
	live.hello()
	conn := s.followBadly(token, "")
	for range 20 {
		s.createLarge(token, id, 1)
		live.change()
	}
	for s.hub.Stats().Slow == 0 {
		time.Sleep(time.Millisecond)
	}
	if open := s.hub.Stats().Open; open != 1 {
		t.Errorf("%d are open", open)
	}
	if text, err := io.ReadAll(conn); err == nil && bytes.HasSuffix(text, []byte("\n\n")) {
		t.Error("it ended as if that were all")
	}
}

// Of what somebody does not read, little waits in the kernel, and they are cut off. The time for it is longer than the library's own
// for a ping.
func TestWebSocketsThatNeverRead(t *testing.T) {
	defer web.SetTimes(web.Times{Ping: 50 * time.Millisecond, Slow: time.Hour, Stuck: 6 * time.Second})()
	s := start(t)
	token := s.login("demo1").Token
	id := s.create(token, "large tasks")
	const body = `{"id":1,"method":"subscribe"}`
	s.openBadly(fmt.Sprintf("GET /api/rpc HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81%s\x00\x00\x00\x00%s", token, []byte{0x80 | byte(len(body))}, body))
	s.createLarge(token, id, 20)
	for s.hub.Stats().Open > 0 {
		time.Sleep(time.Millisecond)
	}
	if n := s.hub.Stats().Delivered; n > 5 {
		t.Errorf("%d changes of 200 kB have been written", n)
	}
}

// Subscribers who read too slowly are told why they have to go.
func TestSubscribersThatReadSlowly(t *testing.T) {
	defer web.SetTimes(web.Times{Ping: time.Hour, Slow: 100 * time.Millisecond, Stuck: time.Hour})()
	s := start(t)
	token := s.login("demo1").Token
	id := s.create(token, "large tasks")
	c := s.connect(bearer(token)...)
	c.ask(`{"id":1,"method":"subscribe"}`)
	conn := s.followBadly(token, "")
	s.createLarge(token, id, 40)
	time.Sleep(time.Second) // it is what the test is about
	text, err := io.ReadAll(conn)
	if err != nil || !bytes.HasSuffix(text, []byte("\n\nevent: bye\ndata: {\"reason\":\"slow\"}\n\n")) {
		t.Errorf("%d bytes, %v, and at last %s", len(text), err, text[max(0, len(text)-200):])
	}
	c.closed(4008, "slow")
	if slow := s.hub.Stats().Slow; slow != 2 {
		t.Errorf("%d were slow", slow)
	}
}

// Subscribers who read all the time are not cut off, though every ping meets a write.
func TestSubscribersThatReadAllTheTime(t *testing.T) {
	const ping, stuck, n = 50 * time.Millisecond, 3 * time.Second, 80
	defer web.SetTimes(web.Times{Ping: ping, Slow: time.Hour, Stuck: stuck})()
	s := start(t)
	token := s.login("demo1").Token
	live := s.follow("", bearer(token)...)
	since := live.hello().Position
	_ = live.body.Close()
	for s.hub.Stats().Open > 0 {
		time.Sleep(time.Millisecond)
	}
	s.createLarge(token, s.create(token, "large tasks"), n)
	conn := s.followBadly(token, fmt.Sprintf("?since=%d", since))
	began, read, found := time.Now(), make([]byte, 64<<10), 0
	for rest := []byte(nil); found < n+1; {
		got, err := conn.Read(read)
		if err != nil {
			t.Fatalf("cut off after %d of %d changes: %v", found, n+1, err)
		}
		rest = append(rest, read[:got]...)
		found += bytes.Count(rest, []byte("event: change\n"))
		rest = rest[bytes.LastIndexByte(rest, '\n')+1:]
		time.Sleep(15 * time.Millisecond) // it is what the test is about
	}
	if took := time.Since(began); took < ping+stuck {
		t.Errorf("it took %v only", took)
	}
}

func TestStreamsAreLimited(t *testing.T) {
	t.Parallel()
	s := serve(t, rpctest.New(t), func(c *web.Config) { c.Limits = limit.New(limit.Config{Streams: limit.Streams{User: 2, Tenant: 3}}) })
	one, two, other := s.login("demo1").Token, s.login("demo2").Token, s.login("other1").Token
	first := s.follow("", bearer(one)...)
	first.hello()
	s.connect(bearer(one)...)
	refused := func(token string) {
		t.Helper()
		if a := s.send(http.MethodGet, "/api/rpc", "", append(bearer(token), "Accept", "text/event-stream")...); a.status != http.StatusTooManyRequests || a.kind() != apperr.RateLimited {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	refused(one)
	s.follow("", bearer(two)...).hello()
	refused(two)
	s.follow("", bearer(other)...).hello()
	_ = first.body.Close()
	for s.hub.Stats().Open > 2 {
		time.Sleep(time.Millisecond)
	}
	again := s.follow("", bearer(two)...)
	again.hello()
}
