// Package interop_test runs JSON-RPC clients that others wrote against the server's real program: those of Go here, those
// of npm in the *.test.mjs beside it. What they can and cannot do is in docs/methods.md.
package interop_test

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"rowcall/modules/rpcclient"
	"rowcall/modules/store/storetest"
	"rowcall/web/webtest"
)

func TestMain(m *testing.M) { webtest.Main(m) }

// server is a running server with a project of one task, and a user of it who is logged in.
type server struct {
	url, endpoint string
	token         string
	project, task int64
	db            *storetest.Database
	own           *rpcclient.Client // to look at what the others did
}

func TestClients(t *testing.T) {
	s := &server{}
	s.url, s.db = webtest.Start(t)
	s.endpoint = s.url + "/api/rpc"
	s.own = rpcclient.New(s.url)
	grant, err := s.own.Login(t.Context(), "demo1", "welcome", "")
	if err != nil {
		t.Fatal(err)
	}
	s.token = grant.Token
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	s.project = s.create(t, "project", map[string]any{"name": "interop"})
	s.task = s.create(t, "task", map[string]any{"project_id": s.project, "title": "the task"})

	t.Run("creachadair/jrpc2", func(t *testing.T) { testJRPC2(t, s) })
	t.Run("ethereum/go-ethereum", func(t *testing.T) { testGoEthereum(t, s) })
	t.Run("npm", func(t *testing.T) { testNode(t, s) })
}

// testNode runs the tests of clients from npm, which find the server in the environment.
func testNode(t *testing.T, s *server) {
	if _, err := os.Stat("node_modules"); err != nil {
		t.Fatal("the clients are not here: run make interop, or npm ci in this folder")
	}
	files, err := filepath.Glob("*.test.mjs")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests: %v", err)
	}
	s.lock(t, `SELECT FROM task WHERE id = $1 FOR UPDATE`, s.task)
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "node", "--test", "--test-reporter=spec", "--test-timeout=120000", file)
			cmd.Env = append(os.Environ(), "ROWCALL_URL="+s.url, "ROWCALL_LOCKED_TASK="+strconv.FormatInt(s.task, 10))
			out, err := cmd.CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// lock takes a lock for as long as the test runs, or until it is released: calls that need it do not end before.
func (s *server) lock(t *testing.T, statement string, args ...any) (release func()) {
	t.Helper()
	tx, err := s.db.Owner(t).BeginTx(context.WithoutCancel(t.Context()), nil) // which ends before the Cleanup
	if err != nil {
		t.Fatal(err)
	}
	release = func() {
		if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
			t.Error(err)
		}
	}
	t.Cleanup(release)
	if _, err := tx.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
	return release
}

// row is what the tests look at of a project or a task.
type row struct {
	ID      int64  `json:"id"`
	Version int64  `json:"version"`
	Title   string `json:"title"`
}

type result[T any] struct {
	Data T `json:"data"`
}

// failure is the data of an error.
type failure struct {
	Kind      string `json:"kind"`
	RequestID string `json:"request_id"`
	Entity    string `json:"entity"`
	Issues    []struct {
		Path string `json:"path"`
	} `json:"issues"`
}

func (s *server) create(t *testing.T, entity string, data any) int64 {
	t.Helper()
	var made result[row]
	if err := s.own.Call(t.Context(), "create_"+entity, map[string]any{"data": data}, &made); err != nil {
		t.Fatal(err)
	}
	return made.Data.ID
}

func (s *server) get(t *testing.T, id int64) row {
	t.Helper()
	var got result[row]
	if err := s.own.Call(t.Context(), "get_task", map[string]any{"id": id}, &got); err != nil {
		t.Fatal(err)
	}
	return got.Data
}

func readFailure(t *testing.T, data any) (f failure) {
	t.Helper()
	text, ok := data.([]byte)
	if !ok { // a client that decodes it
		var err error
		if text, err = json.Marshal(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if f.RequestID == "" {
		t.Errorf("no request_id in %s", text)
	}
	return f
}

// soon is when a call that waits for a lock is given up.
const soon = time.Second
