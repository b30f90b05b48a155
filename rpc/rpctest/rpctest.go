// Package rpctest runs methods against a database of a test's own, without HTTP, and holds the suite of rules that the
// generic methods of every entity keep.
package rpctest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"rowcall/model"
	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/bus"
	"rowcall/modules/changelog"
	"rowcall/modules/document"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/limit"
	"rowcall/modules/store"
	"rowcall/modules/store/storetest"
	"rowcall/rpc"
	"rowcall/sqlscripts"
)

// Server is the methods over a database of the test's own, with the demo data.
type Server struct {
	DB    *storetest.Database
	Authn *model.Authn
	Mux   *jsonrpc.Mux
	Views changelog.Views

	Bus       bus.Bus // that nobody runs
	Documents *document.Hub
}

// Main is storetest.Main.
func Main(m *testing.M) { storetest.Main(m) }

// Password is the one of every demo user.
const Password = "welcome"

// LegacyKey is the key of passwords with the old scheme.
var LegacyKey = testKey("legacy passwords")

// New returns a Server.
func New(t testing.TB) *Server {
	t.Helper()
	db := storetest.New(t, sqlscripts.Migrations())
	passwords, err := auth.NewPasswords(testKey("passwords"), LegacyKey)
	if err != nil {
		t.Fatal(err)
	}
	pwd, err := passwords.Hash(t.Context(), Password)
	if err != nil {
		t.Fatal(err)
	}
	err = db.InPlatformTx(t.Context(), func(tx *store.PlatformTx) error {
		if _, err := tx.Exec(`SELECT set_config('seed.pwd', $1, true)`, pwd); err != nil {
			return err
		}
		_, err := tx.Exec(sqlscripts.Seed)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return Over(t, db)
}

// Over returns another Server on the same database, as another node would be.
func Over(t testing.TB, db *storetest.Database) *Server {
	t.Helper()
	passwords, err := auth.NewPasswords(testKey("passwords"), LegacyKey)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{DB: db}
	s.Authn = model.NewAuthn(db.DB, passwords, auth.NewTokens(testKey("tokens"), 15*time.Minute), 720*time.Hour)
	s.Mux = jsonrpc.New(jsonrpc.Options{Log: zap.NewNop(), Limit: limit.Call, Timeout: 30 * time.Second, Atomic: db.Atomic, Guard: rpc.Guard})
	s.Bus = bus.NewPostgres(db.DB, db.PlatformURL, zap.NewNop())
	s.Documents = document.NewHub(document.Config{DB: db.DB, Bus: s.Bus, Touch: model.TouchDocument, Revoked: s.Authn.Look, Logger: zap.NewNop()})
	run(t, s.Documents.Run)
	s.Views = rpc.Register(s.Mux, rpc.API{
		DB: db.DB, Authn: s.Authn, Replicas: changelog.Replicas{Lease: time.Hour}, Documents: s.Documents,
	})
	return s
}

// run runs something until the end of the test.
func run(t testing.TB, part func(context.Context)) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		part(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func testKey(name string) auth.Key {
	return auth.Key(fmt.Sprintf("%-32s", "a key for tests: "+name))
}

// Client calls methods as one actor.
type Client struct {
	t     testing.TB
	s     *Server
	Actor *auth.Actor
}

// As returns a client that is logged in as a demo user.
func (s *Server) As(t testing.TB, username string) *Client {
	t.Helper()
	ctx := auth.WithRequest(t.Context(), &auth.Request{Now: time.Now, Address: "127.0.0.1"})
	grant, err := s.Authn.Login(ctx, model.Credentials{Username: username, Pwd: Password})
	if err != nil {
		t.Fatal(err)
	}
	actor, err := s.Authn.ByToken(ctx, grant.Token)
	if err != nil {
		t.Fatal(err)
	}
	return &Client{t: t, s: s, Actor: actor}
}

// Error is the error of an answer.
type Error struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    struct {
		Kind      apperr.Kind    `json:"kind"`
		RequestID string         `json:"request_id"`
		Issues    []apperr.Issue `json:"issues"`
		Entity    string         `json:"entity"`
		Field     string         `json:"field"`
		Fields    []string       `json:"fields"`
		ID        jsontext.Value `json:"id"`
		Current   map[string]any `json:"current"`
		Head      *int64         `json:"head"`
		Tail      *int64         `json:"tail"`
	} `json:"data"`
}

// Result is the result of an answer.
type Result struct {
	Data       jsontext.Value `json:"data"`
	NextCursor *string        `json:"next_cursor"`
	Total      *int64         `json:"total"`
	Position   *int64         `json:"position"`
	More       bool           `json:"more"`
	Epoch      string         `json:"epoch"`
}

// Row is an entity's row as the wire has it.
type Row = map[string]any

// Do calls a method; one of the two results is nil. What comes of the call must be as the method is described.
func (c *Client) Do(method string, params any) (*Result, *Error) {
	c.t.Helper()
	given := jsontext.Value("{}")
	if params != nil {
		var err error
		if given, err = json.Marshal(params); err != nil {
			c.t.Fatal(err)
		}
	}
	body, err := json.Marshal(map[string]any{"id": 1, "method": method, "params": given})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx := auth.WithRequest(c.t.Context(), &auth.Request{ID: uuid.NewString(), Now: time.Now, Actor: c.Actor, Address: "127.0.0.1"})
	reply := c.s.Mux.Serve(ctx, auth.RequestFrom(ctx).ID, body)
	var answer struct {
		Result *Result `json:"result"`
		Error  *Error  `json:"error"`
	}
	if err := json.Unmarshal(reply.Body, &answer); err != nil {
		c.t.Fatalf("%s: %v", reply.Body, err)
	}
	if (answer.Result == nil) == (answer.Error == nil) {
		c.t.Fatalf("neither or both of result and error: %s", reply.Body)
	}
	var raw struct {
		Result jsontext.Value `json:"result"`
		Error  struct {
			Data jsontext.Value `json:"data"`
		} `json:"error"`
	}
	if err := json.Unmarshal(reply.Body, &raw); err != nil {
		c.t.Fatal(err)
	}
	kind := apperr.Kind("")
	if answer.Error != nil {
		kind = answer.Error.Data.Kind
	}
	c.check(method, given, raw.Result, raw.Error.Data, kind)
	return answer.Result, answer.Error
}

// Call calls a method that must succeed and returns its data.
func Call[T any](c *Client, method string, params any) (data T) {
	c.t.Helper()
	result, failed := c.Do(method, params)
	if failed != nil {
		c.t.Fatalf("%s %v: %+v", method, params, failed)
	}
	if err := json.Unmarshal(result.Data, &data); err != nil {
		c.t.Fatalf("%s: %s: %v", method, result.Data, err)
	}
	return data
}

// Fails calls a method that must fail with the kind.
func (c *Client) Fails(kind apperr.Kind, method string, params any) *Error {
	c.t.Helper()
	result, failed := c.Do(method, params)
	if failed == nil {
		c.t.Fatalf("%s %v: should be %s, and is %s", method, params, kind, result.Data)
	}
	if failed.Data.Kind != kind || failed.Code != kind.Code() {
		c.t.Fatalf("%s %v: should be %s, and is %+v", method, params, kind, failed)
	}
	return failed
}

// FailsAt calls a method that must fail with the kind, and with an issue at the path.
func (c *Client) FailsAt(kind apperr.Kind, path, method string, params any) {
	c.t.Helper()
	failed := c.Fails(kind, method, params)
	for _, issue := range failed.Data.Issues {
		if issue.Path == path {
			return
		}
	}
	c.t.Fatalf("%s %v: no issue at %s in %+v", method, params, path, failed.Data.Issues)
}

// Name returns a name that no other number has.
func Name(what string, n int) string { return fmt.Sprintf("%s %04d", what, n) }
