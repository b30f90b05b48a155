package rpcclient_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/rpcclient"
)

func hello(position int) string {
	return fmt.Sprintf("id: %d\nevent: hello\ndata: {\"position\":%[1]d,\"epoch\":\"e1\",\"server_time\":\"2026-01-01T00:00:00Z\"}\n\n", position)
}

func changed(position, prev int) string {
	return fmt.Sprintf("id: %d\nevent: change\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"change\",\"params\":{\"position\":%[1]d,\"prev\":%d,\"at\":\"2026-01-01T00:00:00Z\",\"entity\":\"task\",\"id\":7,\"op\":\"delete\",\"data\":null}}\n\n",
		position, prev)
}

func ping(position int) string {
	return fmt.Sprintf(": comment\nid: %d\nevent: ping\ndata: {\"position\":%[1]d}\n\n", position)
}

const bye = "event: bye\ndata: {\"reason\":\"shutdown\"}\n\n"

// take returns the positions of the changes up to the nth, or up to an error.
func take(ctx context.Context, c *rpcclient.Client, f rpcclient.Follow, n int) (positions []int64, err error) {
	for change, err := range c.Changes(ctx, f) {
		if err != nil {
			return positions, err
		}
		if positions = append(positions, change.Position); len(positions) == n {
			break
		}
	}
	return positions, nil
}

func TestChangesGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		replies := []reply{
			{200, hello(5) + changed(6, 5) + changed(8, 6) + bye},
			{},
			{-1, ""},
			refuse(503, apperr.Unavailable, ""),
			{502, "<html>"},
			{200, hello(8) + ping(11)},
			{200, hello(11) + changed(12, 11) + changed(15, 13)}, // 13 is missing
			{200, hello(12) + stillOpen},                         // silent
			{200, hello(12) + changed(13, 12) + changed(15, 13) + stillOpen},
		}
		s, c := newClient(func(_ request, n int) reply { return replies[n] })
		var greeted []int64
		got, err := take(t.Context(), c, rpcclient.Follow{Entities: []string{"task", "user"}, OnHello: func(h rpcclient.Hello) { greeted = append(greeted, h.Position) }}, 5)
		if fmt.Sprint(got) != "[6 8 12 13 15]" || err != nil {
			t.Errorf("%v (%v)", got, err)
		}
		const of = "/api/rpc?entities=task%2Cuser"
		want := []string{of}
		for _, since := range []int{8, 8, 8, 8, 8, 11, 12, 12} {
			want = append(want, fmt.Sprintf("/api/rpc?entities=task%%2Cuser&epoch=e1&since=%d", since))
		}
		if paths := s.paths(); !slices.Equal(paths, want) {
			t.Errorf("asked %v", paths)
		}
		if fmt.Sprint(greeted) != "[5 8 11 12 12]" {
			t.Errorf("greeted %v", greeted)
		}
	})
}

func TestChangesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, data := range []string{`{"reason":"pruned"}`, `{"reason":"pruned","head":9,"tail":7}`} {
			s, c := newClient(func(request, int) reply { return reply{200, hello(3) + "event: resync\ndata: " + data + "\n\n"} })
			_, err := take(t.Context(), c, rpcclient.Follow{Since: new(int64(3)), Epoch: "e0"}, 1)
			var refused *rpcclient.Error
			if !errors.As(err, &refused) || refused.Data.Kind != apperr.ResyncRequired || refused.Data.Reason != "pruned" {
				t.Errorf("%v", err)
			}
			if paths := s.paths(); !slices.Equal(paths, []string{"/api/rpc?epoch=e0&since=3"}) {
				t.Errorf("asked %v", paths)
			}
		}
		for _, kind := range []apperr.Kind{apperr.InvalidParams, apperr.Unauthenticated} {
			s, c := newClient(func(request, int) reply { return refuse(400, kind, "") })
			if _, err := take(t.Context(), c, rpcclient.Follow{}, 1); rpcclient.KindOf(err) != kind || len(s.paths()) != 1 {
				t.Errorf("%v", err)
			}
		}
		_, c := newClient(func(request, int) reply { return reply{404, "<html>"} })
		var other *rpcclient.HTTPError
		if _, err := take(t.Context(), c, rpcclient.Follow{}, 1); !errors.As(err, &other) || other.Status != 404 {
			t.Errorf("%v", err)
		}
		for _, events := range []string{hello(1) + stillOpen, ""} { // while it reads, and while it waits
			_, c := newClient(func(request, int) reply { return reply{200, events} })
			if events == "" {
				_, c = newClient(func(request, int) reply { return reply{} })
			}
			ctx, cancel := context.WithTimeoutCause(t.Context(), 2*time.Second, errors.New("enough"))
			if _, err := take(ctx, c, rpcclient.Follow{}, 1); err == nil || err.Error() != "enough" {
				t.Errorf("%v", err)
			}
			cancel()
		}
	})
}

func TestChangesRenewTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sessions := &sessions{}
		_, c := newClient(func(r request, n int) reply {
			if !strings.HasPrefix(r.path, "/api/rpc") {
				return sessions.answer(r, n)
			}
			if sessions.answer(request{path: "/api/rpc", token: r.token}, n).status != 200 {
				return refuse(401, apperr.Unauthenticated, "")
			}
			return reply{200, hello(n) + changed(n+1, n) + bye}
		})
		if _, err := c.Login(t.Context(), "demo1", "welcome", ""); err != nil {
			t.Fatal(err)
		}
		first := c.Session().Token
		n := 0
		for _, err := range c.Changes(t.Context(), rpcclient.Follow{}) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == 2 {
				break
			}
			time.Sleep(24 * time.Hour) // the token does not hold any more
		}
		if c.Session().Token == first {
			t.Error("the session was not renewed")
		}
	})
}

func TestWritesThatHappenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		once := rpcclient.Method[any, rpcclient.Data[row]]{Name: "set_row", Once: true}
		s, c := newClient(func(r request, n int) reply {
			if n < 2 {
				return []reply{{}, {502, ""}}[n]
			}
			return succeed(r)
		})
		ids := func() (ids []string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, r := range s.requests {
				var in struct {
					Params struct {
						MutationID string `json:"mutation_id"`
						ID         int64  `json:"id"`
					} `json:"params"`
				}
				if err := json.Unmarshal([]byte(r.body), &in); err != nil || in.Params.ID != 1 {
					t.Errorf("%s: %v", r.body, err)
				}
				ids = append(ids, in.Params.MutationID)
			}
			return ids
		}
		if _, err := once.Call(t.Context(), c, params{1}); err != nil {
			t.Fatal(err)
		}
		made := ids()
		if id, err := uuid.Parse(made[0]); err != nil || id.Version() != 7 || len(made) != 3 || made[1] != made[0] || made[2] != made[0] {
			t.Errorf("%v (%v)", made, err)
		}
		if _, err := once.Call(t.Context(), c, map[string]any{"id": 1, "mutation_id": "mine"}); err != nil || ids()[3] != "mine" {
			t.Errorf("%v (%v)", ids(), err)
		}
		for _, c := range []struct {
			writes bool
			want   int
		}{{false, 2}, {true, 1}} {
			s, client := newClient(func(r request, n int) reply {
				if n == 0 {
					return reply{}
				}
				return succeed(r)
			})
			var b rpcclient.Batch
			read.In(&b, params{1})
			once.In(&b, params{1})
			if c.writes {
				write.In(&b, params{1})
			}
			if err := b.Run(t.Context(), client); (err == nil) != (c.want == 2) {
				t.Error(err)
			}
			if bodies := s.requests; len(bodies) != c.want || bodies[0].body != bodies[len(bodies)-1].body || !strings.Contains(bodies[0].body, `"mutation_id":"`) {
				t.Errorf("%v", bodies)
			}
		}
	})
}
