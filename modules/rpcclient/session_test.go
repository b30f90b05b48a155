package rpcclient_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rowcall/modules/apperr"
	"rowcall/modules/rpcclient"
)

// withSession returns a client that has just logged in, for a minute. refresh answers a refresh; status 1 leaves that to sessions.
func withSession(t *testing.T, refresh func() reply) (*server, *sessions, *rpcclient.Client) {
	t.Helper()
	ss := &sessions{}
	s, c := newClient(func(r request, n int) reply {
		if r.path == "/api/refresh" {
			if a := refresh(); a.status != 1 {
				return a
			}
		}
		return ss.answer(r, n)
	})
	if _, err := c.Login(t.Context(), "demo1", "welcome", ""); err != nil {
		t.Fatal(err)
	}
	s.paths()
	return s, ss, c
}

// A token that holds serves on when its renewal fails, which is tried again where that is safe.
func TestEarlyRenewalFails(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]reply{
		"refused for now": refuse(503, apperr.Unavailable, ""),
		"wrong":           refuse(500, apperr.Internal, ""),
		"no connection":   {status: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				answer := failure
				s, _, c := withSession(t, func() reply { return answer })
				time.Sleep(50 * time.Second)
				for range 2 {
					if _, err := write.Call(t.Context(), c, params{7}); err != nil {
						t.Errorf("while the token holds: %v", err)
					}
				}
				if got := s.paths(); !slices.Equal(got, []string{"/api/refresh", "/api/rpc", "/api/rpc"}) {
					t.Errorf("sent %v", got)
				}
				time.Sleep(6 * time.Second) // half of what was left
				answer = reply{status: 1}
				if _, err := write.Call(t.Context(), c, params{7}); err != nil || c.Session().RefreshToken != "r2" {
					t.Errorf("later: %v, %+v", err, c.Session())
				}
			})
		})
	}
}

func TestRenewalFailsAfterTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _, c := withSession(t, func() reply { return reply{status: -1} })
		time.Sleep(2 * time.Minute)
		if _, err := write.Call(t.Context(), c, params{7}); err == nil || rpcclient.KindOf(err) != "" || c.Session() == nil {
			t.Errorf("%v, session %v", err, c.Session())
		}
		if got := s.paths(); !slices.Equal(got, []string{"/api/refresh"}) {
			t.Errorf("sent %v", got)
		}
	})
}

// A refresh token that is used twice ends its session on the server, so one whose answer was lost is not sent again.
func TestRefreshThatWasLost(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]reply{
		"a broken connection": {},
		"a proxy's page":      {502, "<html>"},
		"half an answer":      {200, `{"result":{"tok`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, _, c := withSession(t, func() reply { return lost })
				told := 0
				c.OnSession = func(s *rpcclient.Session) {
					if told++; s != nil {
						t.Errorf("told of %+v", s)
					}
				}
				time.Sleep(50 * time.Second)
				var wg sync.WaitGroup
				for range 20 {
					wg.Go(func() {
						if _, err := read.Call(t.Context(), c, params{7}); err != nil {
							t.Errorf("while the token holds: %v", err)
						}
					})
				}
				wg.Wait()
				time.Sleep(11 * time.Second)
				for range 20 {
					wg.Go(func() {
						if _, err := read.Call(t.Context(), c, params{7}); rpcclient.KindOf(err) != apperr.Unauthenticated {
							t.Errorf("after its end: %v", err)
						}
					})
				}
				wg.Wait()
				if got := s.paths(); got[0] != "/api/refresh" || slices.Contains(got[1:], "/api/refresh") {
					t.Errorf("sent %v", got)
				}
				if c.Session() != nil || told != 1 {
					t.Errorf("told %d times, session %+v", told, c.Session())
				}
			})
		})
	}
}

func TestCancelledCallBeginsNoRenewal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _, c := withSession(t, func() reply { return reply{status: 1} })
		time.Sleep(50 * time.Second)
		ctx, cancel := context.WithCancelCause(t.Context())
		late := errors.New("too late")
		cancel(late)
		_, err := read.Call(ctx, c, params{7})
		synctest.Wait()
		if got := s.paths(); !errors.Is(err, late) || len(got) != 0 {
			t.Errorf("%v, sent %v", err, got)
		}
	})
}
