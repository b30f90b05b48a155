package model_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/base64"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"rowcall/model"
	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/rpc/rpctest"
)

func request(ctx context.Context) context.Context {
	return auth.WithRequest(ctx, &auth.Request{Now: time.Now, Address: "127.0.0.1"})
}

func login(t *testing.T, s *rpctest.Server, username string) model.Grant {
	t.Helper()
	g, err := s.Authn.Login(request(t.Context()), model.Credentials{Username: username, Pwd: rpctest.Password})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// Whatever other requests load, remember and forget meanwhile, on two nodes: a token that was revoked before a request
// began does not hold in it, and what a node remembers of it is as of an older change than the newest.
func TestNoRequestThatBeganAfterALogoffIsServed(t *testing.T) {
	t.Parallel()
	a := rpctest.New(t)
	nodes := []*rpctest.Server{a, rpctest.Over(t, a.DB)}
	var tokens []string
	for range 12 {
		tokens = append(tokens, login(t, a, "demo1").Token)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := worker; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				_, err := nodes[i%2].Authn.ByToken(request(t.Context()), tokens[i%len(tokens)])
				if err != nil && apperr.From(err).Kind != apperr.Unauthenticated {
					t.Error(err)
				}
			}
		})
	}
	for i, token := range tokens {
		actor, err := nodes[i%2].Authn.ByToken(request(t.Context()), token)
		if err != nil {
			t.Fatal(err)
		}
		if err := nodes[i%2].Authn.Logoff(request(t.Context()), actor); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			for n, node := range nodes {
				if _, memory := node.Authn.Recall(request(t.Context()), token); memory != nil {
					if tag, ok := memory.Tag(); ok && tag == tagOf(t, a) {
						t.Fatalf("token %d is remembered on node %d as of the newest change after its logoff", i, n)
					}
				}
				if _, err := node.Authn.ByToken(request(t.Context()), token); apperr.From(err) == nil || apperr.From(err).Kind != apperr.Unauthenticated {
					t.Fatalf("token %d holds on node %d after its logoff (%v)", i, n, err)
				}
			}
		}
	}
	close(stop)
	wg.Wait()
}

// A password under the old scheme is stored anew at the next login, and the account's sessions go on.
func TestOldPasswordsAreUpgraded(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	before := login(t, s, "demo1")
	salt := uuid.New()
	mac := hmac.New(sha512.New, rpctest.LegacyKey)
	mac.Write([]byte(rpctest.Password))
	mac.Write(salt[:])
	weak := "#01#" + salt.String() + "$" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	s.DB.Exec(t, `BEGIN; SET LOCAL app.same_password = 'yes'; UPDATE account SET pwd = '`+weak+`' WHERE username = 'demo1'; COMMIT`)
	stored := func() (pwd string) {
		t.Helper()
		if err := s.DB.Owner(t).QueryRowContext(t.Context(), `SELECT pwd FROM account WHERE username = 'demo1'`).Scan(&pwd); err != nil {
			t.Fatal(err)
		}
		return pwd
	}
	login(t, s, "demo1")
	if pwd := stored(); pwd == weak || !strings.HasPrefix(pwd, "#02#") {
		t.Errorf("it is still stored as %.20s…", pwd)
	}
	for range 2 {
		if _, err := s.Authn.ByToken(request(t.Context()), before.Token); err != nil {
			t.Errorf("the upgrade ended a session: %v", err)
		}
		login(t, s, "demo1")
	}
}
