package web_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/rpc/rpctest"
)

func TestLogin(t *testing.T) {
	t.Parallel()
	s := start(t)
	a := s.post("/api/login", `{"username":"demo1","pwd":"welcome"}`)
	g := result[grant](t, a)
	if a.status != 200 || !g.Success || g.Token == "" || g.RefreshToken == "" || g.Tenant.Slug != "demo" || g.Tenant.Name != "Demo" ||
		g.User.Username != "demo1" || g.User.Role != "member" || g.User.Name != "Demo One" || g.User.ID == 0 || len(g.Tenant.ID) != 36 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if d := time.Until(g.ExpiresAt); d < 14*time.Minute || d > 15*time.Minute {
		t.Errorf("it expires in %v", d)
	}
	cookie := a.header.Get("Set-Cookie")
	for _, part := range []string{"auth-token=" + g.Token, "HttpOnly", "SameSite=Lax", "Path=/"} {
		if !strings.Contains(cookie, part) {
			t.Errorf("the cookie %q lacks %s", cookie, part)
		}
	}
	if strings.Contains(cookie, "Secure") {
		t.Errorf("the cookie is Secure on loopback: %s", cookie)
	}
	for _, headers := range [][]string{bearer(g.Token), {"Cookie", "auth-token=" + g.Token}, {"Authorization", "bearer " + g.Token}} {
		if a := s.post("/api/rpc", list, headers...); a.status != 200 || a.kind() != "" {
			t.Errorf("%v: %d %s", headers, a.status, a.body)
		}
	}
	if a := s.post("/api/login", `{"username":"demo1","pwd":"welcome","tenant":"demo"}`); a.status != 200 {
		t.Errorf("with a tenant: %d %s", a.status, a.body)
	}
}

func TestRefusedLoginsAreAlike(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.DB.Exec(t, `UPDATE account SET suspended_at = now() WHERE username = 'demo2'`)
	var first string
	for _, body := range []string{
		`{"username":"demo1","pwd":"wrong"}`, `{"username":"nobody","pwd":"welcome"}`, `{"username":"demo2","pwd":"welcome"}`,
		`{"username":"demo1","pwd":"welcome","tenant":"other"}`, `{"username":"demo1","pwd":"welcome","tenant":"nonsense"}`,
		`{"username":"demo1\u0000","pwd":"welcome"}`, `{"username":"","pwd":""}`, `{"username":"demo1","pwd":"` + strings.Repeat("x", 100_000) + `"}`,
	} {
		a := s.post("/api/login", body)
		text := strings.ReplaceAll(a.body, a.header.Get("X-Request-Id"), "")
		if first == "" {
			first = text
		}
		if a.status != http.StatusUnauthorized || a.kind() != apperr.Unauthenticated || text != first {
			t.Errorf("%.60s: %d %s, want %s", body, a.status, text, first)
		}
	}
	for _, body := range []string{`{`, `{"username":"demo1"}`, `{"username":1,"pwd":"x"}`, `{"username":"demo1","pwd":"x","more":1}`, `[]`, `null`, `{"pwd":"a","pwd":"b","username":"x"}`} {
		if a := s.post("/api/login", body); a.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
}

func TestLongNamesCanLogIn(t *testing.T) {
	t.Parallel()
	s := start(t)
	name := strings.Repeat("😀", 100)
	s.DB.Exec(t, `UPDATE account SET username = '`+name+`' WHERE username = 'demo1'`)
	s.login(name)
	if a := s.post("/api/login", `{"username":"`+name+`","pwd":"wrong"}`); a.status != http.StatusUnauthorized {
		t.Errorf("with a wrong password: %d %s", a.status, a.body)
	}
}

// A token lives as long as it says, and no longer, also where a node knows it already.
func TestTokensExpireOnTime(t *testing.T) {
	t.Parallel()
	s := start(t)
	g := s.login("demo1")
	for offset, want := range map[time.Duration]apperr.Kind{-time.Second: "", 0: apperr.Unauthenticated, time.Hour: apperr.Unauthenticated} {
		ctx := auth.WithRequest(t.Context(), &auth.Request{Now: func() time.Time { return g.ExpiresAt.Add(offset) }})
		_, err := s.Authn.ByToken(ctx, g.Token)
		if (want == "") != (err == nil) || (err != nil && apperr.From(err).Kind != want) {
			t.Errorf("%v after its end: %v", offset, err)
		}
	}
}

func TestUsersOfSeveralTenantsNameOne(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.DB.Exec(t, `INSERT INTO membership (tenant_id, user_id, role, cid, mid)
		SELECT t.id, a.id, 'owner', a.id, a.id FROM tenant t, account a WHERE t.slug = 'other' AND a.username = 'demo1'`)
	a := s.post("/api/login", `{"username":"demo1","pwd":"welcome"}`)
	if a.status != http.StatusBadRequest || a.kind() != apperr.InvalidParams || !strings.Contains(a.body, `["demo","other"]`) {
		t.Errorf("without a tenant: %d %s", a.status, a.body)
	}
	if a := s.post("/api/login", `{"username":"demo1","pwd":"wrong"}`); a.status != http.StatusUnauthorized {
		t.Errorf("with a wrong password: %d %s", a.status, a.body)
	}
	for slug, role := range map[string]string{"demo": "member", "other": "owner"} {
		g := result[grant](t, s.post("/api/login", `{"username":"demo1","pwd":"welcome","tenant":"`+slug+`"}`))
		if g.Tenant.Slug != slug || g.User.Role != role {
			t.Errorf("%s: %+v", slug, g)
		}
	}
}

func TestFailedLoginsAreLimited(t *testing.T) {
	t.Parallel()
	s := start(t)
	for i := range 10 {
		if a := s.post("/api/login", `{"username":"demo1","pwd":"wrong"}`); a.status != http.StatusUnauthorized {
			t.Fatalf("failure %d: %d %s", i, a.status, a.body)
		}
	}
	for _, pwd := range []string{"wrong", "welcome"} {
		a := s.post("/api/login", `{"username":"demo1","pwd":"`+pwd+`"}`)
		wait, err := strconv.Atoi(a.header.Get("Retry-After"))
		if a.status != http.StatusTooManyRequests || a.kind() != apperr.RateLimited || err != nil || wait < 880 || wait > 900 || !strings.Contains(a.body, `"retry_after_ms":`) {
			t.Errorf("%s: %d %s, Retry-After %d (%v)", pwd, a.status, a.body, wait, err)
		}
	}
	s.login("demo2")
	s.DB.Exec(t, `UPDATE login_failure SET at = at - interval '15 minutes'`)
	s.login("demo1")

	for i := range 50 { // of as many accounts, from one address
		if a := s.post("/api/login", fmt.Sprintf(`{"username":"nobody %d","pwd":"wrong"}`, i)); a.status != http.StatusUnauthorized {
			t.Fatalf("failure %d: %d %s", i, a.status, a.body)
		}
	}
	if a := s.post("/api/login", `{"username":"demo2","pwd":"welcome"}`); a.status != http.StatusTooManyRequests {
		t.Errorf("after 50 failures from the address: %d %s", a.status, a.body)
	}
}

func TestGuessesDoNotRacePastTheLimit(t *testing.T) {
	t.Parallel()
	s := start(t)
	refused := make(chan int, 30)
	for range cap(refused) {
		go func() { refused <- s.post("/api/login", `{"username":"demo1","pwd":"wrong"}`).status }()
	}
	tried := 0
	for range cap(refused) {
		if <-refused == http.StatusUnauthorized {
			tried++
		}
	}
	if tried != 10 {
		t.Errorf("%d guesses were tried", tried)
	}
}

func TestGuessesFromOneAddressDoNotRacePastTheLimit(t *testing.T) {
	t.Parallel()
	a := start(t)
	nodes := []*server{a, serve(t, rpctest.Over(t, a.DB))}
	statuses := make(chan int, 80)
	for i := range cap(statuses) {
		go func() {
			statuses <- nodes[i%2].post("/api/login", fmt.Sprintf(`{"username":"nobody %d","pwd":"wrong"}`, i)).status
		}()
	}
	tried := 0
	for range cap(statuses) {
		if <-statuses == http.StatusUnauthorized {
			tried++
		}
	}
	if tried != 50 {
		t.Errorf("%d guesses were tried", tried)
	}
}

// A client that stops sending, which cancels the request, may still get its answer. Each guess that it learns something of must be
// counted.
func TestGuessesOfClientsThatGoAwayCount(t *testing.T) {
	t.Parallel()
	s := start(t)
	body := `{"username":"demo1","pwd":"wrong"}`
	for answered, pause := 0, 10*time.Millisecond; answered < 10; {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(c, "POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		time.Sleep(pause)
		_ = c.(*net.TCPConn).CloseWrite()
		answer, _ := io.ReadAll(c)
		_ = c.Close()
		switch {
		case bytes.HasPrefix(answer, []byte("HTTP/1.1 401 ")):
			answered++
		case bytes.HasPrefix(answer, []byte("HTTP/1.1 429 ")): // guesses without an answer were counted, too
			return
		default: // it went away before there was an answer, maybe before there was a guess
			pause += time.Millisecond
		}
	}
	if a := s.post("/api/login", `{"username":"demo1","pwd":"welcome"}`); a.status != http.StatusTooManyRequests {
		t.Errorf("after 10 guesses: %d %s", a.status, a.body)
	}
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	s := start(t)
	refresh := func(token string) answer { return s.post("/api/refresh", `{"refresh_token":"`+token+`"}`) }
	g := s.login("demo1")
	a := refresh(g.RefreshToken)
	second := result[grant](t, a)
	if a.status != 200 || second.User != g.User || second.Tenant != g.Tenant || second.RefreshToken == g.RefreshToken || !second.Success ||
		!strings.Contains(a.header.Get("Set-Cookie"), second.Token) {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := s.post("/api/rpc", list, bearer(second.Token)...); a.kind() != "" {
		t.Errorf("the new token: %s", a.body)
	}
	if a := refresh(g.RefreshToken); a.status != http.StatusUnauthorized {
		t.Errorf("used twice: %d %s", a.status, a.body)
	}
	for name, a := range map[string]answer{
		"the family's refresh token": refresh(second.RefreshToken),
		"the first access token":     s.post("/api/rpc", list, bearer(g.Token)...),
		"the second access token":    s.post("/api/rpc", list, bearer(second.Token)...),
		"nonsense":                   refresh("nonsense"),
		"an access token":            refresh(s.login("demo1").Token),
		"a refresh token for a call": s.post("/api/rpc", list, bearer(s.login("demo1").RefreshToken)...),
	} {
		if a.status != http.StatusUnauthorized || a.kind() != apperr.Unauthenticated {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

// Two servers on one database. Each has used the token before it is revoked through the other.
func TestRevocationHoldsAtOnceOnEveryNode(t *testing.T) {
	t.Parallel()
	a := start(t)
	b := serve(t, rpctest.Over(t, a.DB))
	admin := bearer(a.login("admin").Token)
	for name, revoke := range map[string]func(g grant){
		"logoff": func(g grant) {
			if out := a.post("/api/logoff", `{"logoff":true}`, bearer(g.Token)...); out.body != `{"result":{"logged_off":true}}` {
				t.Errorf("logoff: %d %s", out.status, out.body)
			}
		},
		"suspension": func(g grant) {
			result[any](t, a.post("/api/rpc", fmt.Sprintf(`{"id":1,"method":"suspend_user","params":{"id":%d}}`, g.User.ID), admin...))
		},
		"suspension by hand": func(grant) { a.DB.Exec(t, `UPDATE account SET suspended_at = now() WHERE username = 'demo1'`) },
		"tenant":             func(grant) { a.DB.Exec(t, `UPDATE tenant SET suspended_at = now() WHERE slug = 'demo'`) },
		"password by hand":   func(grant) { a.DB.Exec(t, `UPDATE account SET pwd = pwd || 'x' WHERE username = 'demo1'`) },
		"password": func(g grant) {
			body := `{"id":1,"method":"change_password","params":{"pwd":"welcome","new_pwd":"another password"}}`
			if out := a.post("/api/rpc", body, bearer(g.Token)...); out.kind() != "" {
				t.Errorf("change_password: %s", out.body)
			}
		},
		"deletion": func(grant) {
			a.DB.Exec(t, `DELETE FROM membership WHERE role = 'member' AND tenant_id = (SELECT id FROM tenant WHERE slug = 'demo')`)
		},
	} {
		for round := range 5 {
			g := a.login("demo1")
			for _, s := range []*server{a, b, a, b} {
				if out := s.post("/api/rpc", list, bearer(g.Token)...); out.kind() != "" {
					t.Fatalf("%s: before: %s", name, out.body)
				}
			}
			revoke(g)
			for _, s := range []*server{b, a} {
				if out := s.post("/api/rpc", list, bearer(g.Token)...); out.status != http.StatusUnauthorized {
					t.Errorf("%s, round %d: afterwards: %d %s", name, round, out.status, out.body)
				}
			}
			if out := b.post("/api/refresh", `{"refresh_token":"`+g.RefreshToken+`"}`); out.status != http.StatusUnauthorized {
				t.Errorf("%s: refresh afterwards: %d %s", name, out.status, out.body)
			}
			a.DB.Exec(t, `
				UPDATE tenant SET suspended_at = NULL;
				UPDATE account a SET suspended_at = NULL, pwd = b.pwd FROM account b WHERE b.username = 'demo2';
				UPDATE membership SET suspended_at = NULL;
				INSERT INTO membership (tenant_id, user_id, role, cid, mid)
				SELECT t.id, a.id, 'member', a.id, a.id FROM tenant t, account a WHERE t.slug = 'demo' AND a.username IN ('demo1', 'demo2')
				ON CONFLICT DO NOTHING;`)
			admin = bearer(a.login("admin").Token)
		}
	}
}

func TestRolesChangeAtOnce(t *testing.T) {
	t.Parallel()
	a := start(t)
	b := serve(t, rpctest.Over(t, a.DB))
	g := a.login("demo1")
	suspend := fmt.Sprintf(`{"id":1,"method":"suspend_user","params":{"id":%d}}`, a.login("demo2").User.ID)
	if out := b.post("/api/rpc", suspend, bearer(g.Token)...); out.kind() != apperr.Forbidden {
		t.Errorf("a member: %s", out.body)
	}
	a.DB.Exec(t, `UPDATE membership SET role = 'admin' WHERE user_id = (SELECT id FROM account WHERE username = 'demo1')`)
	if out := b.post("/api/rpc", suspend, bearer(g.Token)...); out.kind() != "" {
		t.Errorf("an admin: %s", out.body)
	}
}

func TestAPIKeysActWithinTheirScopes(t *testing.T) {
	t.Parallel()
	a := start(t)
	b := serve(t, rpctest.Over(t, a.DB))
	token := bearer(a.login("demo1").Token)
	type made struct {
		Data struct {
			ID  int64  `json:"id"`
			Key string `json:"key"`
		} `json:"data"`
	}
	create := func(scope string) made {
		return result[made](t, a.post("/api/rpc", `{"id":1,"method":"create_api_key","params":{"data":{"name":"`+scope+`","scopes":["`+scope+`"]}}}`, token...))
	}
	reader, writer := create("read"), create("write")
	project := `{"id":1,"method":"create_project","params":{"data":{"name":"by a key"}}}`
	for _, s := range []*server{a, b} {
		for _, headers := range [][]string{{"X-Api-Key", reader.Data.Key}, bearer(reader.Data.Key)} {
			if out := s.post("/api/rpc", list, headers...); out.kind() != "" {
				t.Errorf("a reader lists: %s", out.body)
			}
			if out := s.post("/api/rpc", project, headers...); out.kind() != apperr.Forbidden {
				t.Errorf("a reader creates: %s", out.body)
			}
		}
	}
	if out := a.post("/api/rpc", project, bearer(writer.Data.Key)...); out.kind() != "" {
		t.Errorf("a writer creates: %s", out.body)
	}
	for name, body := range map[string]string{
		"a stronger key": `{"id":1,"method":"create_api_key","params":{"data":{"name":"x","scopes":["admin"]}}}`,
		"a new password": `{"id":1,"method":"change_password","params":{"pwd":"welcome","new_pwd":"another password"}}`,
		"somebody's end": `{"id":1,"method":"suspend_user","params":{"id":1001}}`,
	} {
		if out := a.post("/api/rpc", body, bearer(writer.Data.Key)...); out.kind() != apperr.Forbidden {
			t.Errorf("%s by a key: %s", name, out.body)
		}
	}
	if out := a.post("/api/logoff", `{"logoff":true}`, bearer(writer.Data.Key)...); out.status != http.StatusBadRequest {
		t.Errorf("logoff of a key: %d %s", out.status, out.body)
	}
	result[made](t, a.post("/api/rpc", fmt.Sprintf(`{"id":1,"method":"delete_api_key","params":{"id":%d}}`, reader.Data.ID), token...))
	if out := b.post("/api/rpc", list, bearer(reader.Data.Key)...); out.status != http.StatusUnauthorized {
		t.Errorf("a deleted key: %d %s", out.status, out.body)
	}
	a.DB.Exec(t, `UPDATE api_key SET expires_at = now() - interval '1 second'`)
	if out := b.post("/api/rpc", list, bearer(writer.Data.Key)...); out.status != http.StatusUnauthorized {
		t.Errorf("an expired key: %d %s", out.status, out.body)
	}
}

func TestCookiesAreNotTakenFromOtherOrigins(t *testing.T) {
	t.Parallel()
	s := start(t)
	g := s.login("demo1")
	cookie := []string{"Cookie", "auth-token=" + g.Token}
	for _, c := range []struct {
		headers []string
		status  int
	}{
		{[]string{"Sec-Fetch-Site", "cross-site"}, 403},
		{[]string{"Sec-Fetch-Site", "same-site"}, 403},
		{[]string{"Origin", "https://evil.example"}, 403},
		{[]string{"Origin", "null"}, 403},
		{[]string{"Sec-Fetch-Site", "same-origin", "Origin", s.url}, 200},
		{[]string{"Origin", s.url}, 200},
		{nil, 200},
	} {
		if a := s.post("/api/rpc", list, append(c.headers, cookie...)...); a.status != c.status || (c.status == 403 && a.kind() != apperr.Forbidden) {
			t.Errorf("%v: %d %s", c.headers, a.status, a.body)
		}
	}
	if a := s.post("/api/rpc", list, append(bearer(g.Token), "Sec-Fetch-Site", "cross-site")...); a.status != 200 {
		t.Errorf("a token from another origin: %d %s", a.status, a.body)
	}
	if a := s.post("/api/logoff", `{"logoff":true}`, append(cookie, "Sec-Fetch-Site", "cross-site")...); a.status != 403 {
		t.Errorf("logoff from another origin: %d %s", a.status, a.body)
	}
	if a := s.post("/api/logoff", `{"logoff":false}`, cookie...); a.body != `{"result":{"logged_off":false}}` {
		t.Errorf("logoff that does not want to: %d %s", a.status, a.body)
	}
	a := s.post("/api/logoff", `{"logoff":true}`, cookie...)
	if a.status != 200 || !strings.Contains(a.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("logoff: %d %s %s", a.status, a.body, a.header)
	}
	if a := s.post("/api/logoff", `{"logoff":true}`); a.status != 401 {
		t.Errorf("logoff of nobody: %d %s", a.status, a.body)
	}
}
