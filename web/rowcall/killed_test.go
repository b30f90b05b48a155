package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"rowcall/clients/go/api"
	"rowcall/modules/auth"
	"rowcall/modules/rpcclient"
	"rowcall/modules/store/storetest"
	"rowcall/sqlscripts"
)

// serverOf is the environment variable that makes the test binary a server, which can be killed.
const serverOf = "TEST_SERVER"

func init() {
	if os.Getenv(serverOf) == "" {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	var environ []string
	for _, e := range os.Environ() {
		if strings.HasPrefix(e, "ROWCALL_") || strings.HasPrefix(e, "DATABASE_URL=") {
			environ = append(environ, e)
		}
	}
	err := run(ctx, []string{"serve"}, environ, io.Discard, os.Stderr, func(a net.Addr) { fmt.Println(a) })
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// process is a server in a process of its own.
type process struct {
	address string
	cmd     *exec.Cmd
}

func startProcess(t *testing.T, address string, environ []string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), serverOf+"=1", "ROWCALL_ADDR="+address, "ROWCALL_LOG_LEVEL=error"), environ...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd}
	t.Cleanup(p.kill)
	if _, err := fmt.Fscanln(out, &p.address); err != nil {
		t.Fatalf("the server did not start: %v", err)
	}
	return p
}

// kill ends the process at once.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// addDemo adds the tenant demo with demo1 and admin, and returns what a server on the database needs.
func addDemo(t *testing.T, db *storetest.Database) (environ []string) {
	t.Helper()
	key := auth.NewKey()
	parsed, err := auth.ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	passwords, err := auth.NewPasswords(parsed, nil)
	if err != nil {
		t.Fatal(err)
	}
	pwd, err := passwords.Hash(t.Context(), "welcome")
	if err != nil {
		t.Fatal(err)
	}
	db.Exec(t, `SET seed.pwd = '`+pwd+`'; `+sqlscripts.Seed)
	return []string{
		"DATABASE_URL=" + db.OwnerURL, "ROWCALL_TOKEN_KEY=" + auth.NewKey(), "ROWCALL_PASSWORD_KEY=" + key,
		"ROWCALL_TENANT_DATABASE_URL=" + db.TenantURL, "ROWCALL_PLATFORM_DATABASE_URL=" + db.PlatformURL,
		"ROWCALL_ADDRESS_CALLS=off", "ROWCALL_USER_CALLS=off", "ROWCALL_ADDRESS_COST=off", "ROWCALL_USER_COST=off",
	}
}

// Servers that are killed under load lose nothing that they acknowledged, and what is in the log is there once, in order, for all to see.
func TestKilledServers(t *testing.T) {
	t.Parallel()
	db := storetest.New(t, sqlscripts.Migrations())
	environ := addDemo(t, db)
	nodes := []*process{startProcess(t, "127.0.0.1:0", environ), startProcess(t, "127.0.0.1:0", environ)}
	urls := []string{"http://" + nodes[0].address, "http://" + nodes[1].address} // also of those that come after them
	login := func(ctx context.Context, i int) (*rpcclient.Client, error) {
		c := rpcclient.New(urls[i%len(urls)])
		_, err := c.Login(ctx, "demo1", "welcome", "demo")
		return c, err
	}
	ctx := t.Context()
	first, err := login(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	project, err := api.CreateProject.Call(ctx, first, api.CreateProjectParams{Data: api.ProjectCreate{Name: "p", OwnerID: new(int64(1000))}})
	if err != nil {
		t.Fatal(err)
	}
	writers := startWriters(t, project.Data.ID, login)
	var followers [2]follower
	for i := range followers {
		c, err := login(ctx, i)
		if err != nil {
			t.Fatal(err)
		}
		followers[i].start(t, c)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 5 {
		for before := writers.count(); writers.count() < before+30; {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
		i := random.IntN(len(nodes))
		nodes[i].kill()
		nodes[i] = startProcess(t, nodes[i].address, environ)
	}
	writers.stop()
	for i := range followers {
		followers[i].check(t, db.Owner(t))
	}
	writers.check(t, db.Owner(t))
}

// Postgres that is killed under load loses nothing that was acknowledged, and the server goes on.
func TestKilledPostgres(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs Postgres")
	}
	dir := filepath.Join(t.TempDir(), "data")
	url, _, _ := startServer(t, "dev", "ROWCALL_DATA_DIR="+dir)
	login := func(ctx context.Context, _ int) (*rpcclient.Client, error) {
		c := rpcclient.New(url)
		_, err := c.Login(ctx, "demo1", "welcome", "demo")
		return c, err
	}
	c, err := login(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	project, err := api.CreateProject.Call(t.Context(), c, api.CreateProjectParams{Data: api.ProjectCreate{Name: "p"}})
	if err != nil {
		t.Fatal(err)
	}
	writers := startWriters(t, project.Data.ID, login)
	for range 2 {
		before := writers.count()
		time.Sleep(200 * time.Millisecond)
		killPostgres(t, dir, url)
		for start := time.Now(); writers.count() < before+100; time.Sleep(time.Millisecond) {
			if time.Since(start) > 2*time.Minute {
				t.Fatal("nobody writes any more")
			}
		}
	}
	writers.stop()
	text, err := os.ReadFile(filepath.Join(dir, "url"))
	if err != nil {
		t.Fatal(err)
	}
	owner, err := sql.Open("postgres", strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close() //nolint:errcheck // of a test
	writers.check(t, owner)
}

// follower keeps what a client gets who follows the log from its beginning.
type follower struct {
	mu   sync.Mutex
	got  []rpcclient.Change
	end  context.CancelFunc
	done chan struct{}
}

func (f *follower) start(t *testing.T, c *rpcclient.Client) {
	ctx, end := context.WithCancel(t.Context())
	f.end, f.done = end, make(chan struct{})
	go func() {
		defer close(f.done)
		for change, err := range c.Changes(ctx, rpcclient.Follow{Since: new(int64(0))}) {
			if err != nil {
				if ctx.Err() == nil {
					t.Error(err)
				}
				return
			}
			f.mu.Lock()
			f.got = append(f.got, change)
			f.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		end()
		<-f.done
	})
}

// check waits until the follower has come to the head, and compares what it has with the log.
func (f *follower) check(t *testing.T, owner *sql.DB) {
	t.Helper()
	var head int64
	if err := owner.QueryRowContext(t.Context(), `SELECT max(head) FROM change_head`).Scan(&head); err != nil {
		t.Fatal(err)
	}
	last := func() int64 {
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.got) == 0 {
			return 0
		}
		return f.got[len(f.got)-1].Position
	}
	for start := time.Now(); last() < head; time.Sleep(time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatalf("a follower is at %d, the head at %d", last(), head)
		}
	}
	f.end()
	<-f.done
	rows, err := owner.QueryContext(t.Context(), `SELECT position, row_id, coalesce(data ->> 'title', '') FROM change
		WHERE tenant_id = (SELECT id FROM tenant WHERE slug = 'demo') ORDER BY position`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close() //nolint:errcheck // of a test
	for i, change := range f.got {
		var row struct {
			Title string `json:"title"`
		}
		if err := json.Unmarshal(change.Data, &row); err != nil {
			t.Fatal(err)
		}
		var position int64
		var id, title string
		if !rows.Next() {
			t.Fatalf("the log does not have %+v", change)
		}
		if err := rows.Scan(&position, &id, &title); err != nil {
			t.Fatal(err)
		}
		if change.Position != position || change.Prev != int64(i) || string(change.ID) != id || row.Title != title {
			t.Fatalf("the entry %d is of %s, %q; a follower has %+v", position, id, title, change)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// writers create tasks, as fast as they can, with whatever server answers.
type writers struct {
	end  context.CancelFunc
	done sync.WaitGroup

	mu           sync.Mutex
	acknowledged map[string]int64 // title -> position
}

func startWriters(t *testing.T, project int64, login func(ctx context.Context, i int) (*rpcclient.Client, error)) *writers {
	ctx, end := context.WithCancel(t.Context())
	w := &writers{end: end, acknowledged: map[string]int64{}}
	for i := range 8 {
		w.done.Go(func() {
			for n := 0; ctx.Err() == nil; {
				c, err := login(ctx, i)
				for err == nil && ctx.Err() == nil {
					title := fmt.Sprint(i, " ", n)
					n++
					var made rpcclient.Written[api.Task]
					made, err = api.CreateTask.Call(ctx, c, api.CreateTaskParams{Data: api.TaskCreate{ProjectID: project, Title: title}})
					if err == nil {
						w.mu.Lock()
						w.acknowledged[title] = *made.Position
						w.mu.Unlock()
					}
				}
				if e := (*rpcclient.Error)(nil); errors.As(err, &e) && e.Data.Kind != "UNAVAILABLE" && e.Data.Kind != "ABORTED" {
					t.Errorf("%v", err)
					return
				}
			}
		})
	}
	return w
}

func (w *writers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acknowledged)
}

func (w *writers) stop() {
	w.end()
	w.done.Wait()
}

// check compares what was acknowledged with the log, and the log with the tasks.
func (w *writers) check(t *testing.T, owner *sql.DB) {
	t.Helper()
	// One snapshot: what was cancelled may still be committing.
	tx, err := owner.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // it only reads
	rows, err := tx.QueryContext(t.Context(), `SELECT c.position, c.data ->> 'title', t.id IS NOT NULL
		FROM change c LEFT JOIN task t ON t.tenant_id = c.tenant_id AND t.id::text = c.row_id AND t.title = c.data ->> 'title'
		WHERE c.entity = 'task' AND c.op = 'create' ORDER BY c.position`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close() //nolint:errcheck // of a test
	logged := map[string]int64{}
	last := int64(0)
	for rows.Next() {
		var position int64
		var title string
		var there bool
		if err := rows.Scan(&position, &title, &there); err != nil {
			t.Fatal(err)
		}
		if last > 0 && position != last+1 {
			t.Errorf("%d comes after %d", position, last)
		}
		last = position
		if logged[title] != 0 || !there {
			t.Errorf("the entry %d of %q: another one is %d, the row is there: %v", position, title, logged[title], there)
		}
		logged[title] = position
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for title, position := range w.acknowledged {
		if logged[title] != position {
			t.Errorf("%q was acknowledged at %d and is at %d", title, position, logged[title])
		}
	}
	var tasks int
	if err := tx.QueryRowContext(t.Context(), `SELECT count(*) FROM task`).Scan(&tasks); err != nil || tasks != len(logged) || len(w.acknowledged) < 100 {
		t.Errorf("%d tasks, %d of them in the log, %d acknowledged (%v)", tasks, len(logged), len(w.acknowledged), err)
	}
}
