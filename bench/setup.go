package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"rowcall/modules/pgdev"
	"rowcall/modules/rpcclient"
	"rowcall/modules/store"
	"rowcall/sqlscripts"
)

// What is measured, with a table of rowsInAll tasks in projects of rowsEach.
const (
	serverConns = 8
	rowsInAll   = 101_000
	rowsEach    = 1_000
	rowsListed  = 20
	tenantID    = "00000000-0000-4000-8000-000000000001"
	userID      = 1000
	databaseFor = "rowcall_bench"
)

// workload is one thing to do, and the ways to do it: Rowcall's first.
type workload struct {
	name, what string
	ways       func(*bench) ([]contender, error)
	print      func(b *bench, ctx context.Context, rounds int) error // instead of ways, for what is more than a rate
}

var workloads = []workload{
	{
		name: "list_tasks",
		what: fmt.Sprintf("list_tasks: %d of %d rows, filtered by project and title, ordered by title", rowsListed, rowsInAll),
		ways: func(b *bench) ([]contender, error) {
			return b.besideOthers(list(""), `\set project random(1000, 1099)
\set digit random(0, 9)
SELECT `+taskColumns+` FROM task WHERE tenant_id = '`+tenantID+`' AND project_id = :project AND title LIKE '%' || :digit || '%'
ORDER BY title ASC, id ASC LIMIT `+strconv.Itoa(rowsListed)+` OFFSET 0;`), nil
		},
	},
	{
		name: "create_task",
		what: "create_task: one row, durable before it is answered",
		ways: func(b *bench) ([]contender, error) {
			return b.besideOthers(func(r *rand.Rand) []byte {
				return fmt.Appendf(nil, `{"id":1,"method":"create_task","params":{"data":{"project_id":%d,"title":"a new task"}}}`, 2000+r.IntN(100))
			}, `\set project random(2000, 2099)
INSERT INTO task (tenant_id, cid, ctime, mid, mtime, version, project_id, title, done, due, meta)
VALUES ('`+tenantID+`', 1000, now(), 1000, now(), 1, :project, 'a new task', false, NULL, '{}') RETURNING `+taskColumns+`;`), nil
		},
	},
	{
		name: "log",
		what: fmt.Sprintf("a task created, in one of %d tenants: the statement alone", spread),
		ways: logWays,
	},
	{
		name: "include",
		what: fmt.Sprintf("the same list of %d tasks, each with its project", rowsListed),
		ways: func(b *bench) ([]contender, error) {
			return []contender{
				b.rowcallWay("with the projects", 1, list(`,"include":["project"]`)),
				b.rowcallWay("without", 1, list("")),
			}, nil
		},
	},
	{
		name: "fields",
		what: fmt.Sprintf("the same list of %d tasks, of two fields", rowsListed),
		ways: func(b *bench) ([]contender, error) {
			return []contender{
				b.rowcallWay("two fields", 1, list(`,"fields":["id","title"]`)),
				b.rowcallWay("all fields", 1, list("")),
			}, nil
		},
	},
	{
		name: "page",
		what: fmt.Sprintf("a page of %d rows of all tasks by project and title, %d rows deep", rowsListed, deep),
		ways: func(b *bench) ([]contender, error) {
			cursor, err := b.cursorAt(deep)
			if err != nil {
				return nil, err
			}
			return []contender{
				b.rowcallWay("by its cursor", 1, page(`,"cursor":"`+cursor+`"`)),
				b.rowcallWay("the first page", 1, page("")),
				b.rowcallWay("by its offset", 1, page(fmt.Sprintf(`,"offset":%d`, deep))),
			}, nil
		},
	},
	{
		name: "batch",
		what: fmt.Sprintf("get_task, %d in a request", inBatch),
		ways: func(b *bench) ([]contender, error) {
			get := func(r *rand.Rand) []byte {
				return fmt.Appendf(nil, `{"id":1,"method":"get_task","params":{"id":%d}}`, 1000+r.IntN(rowsInAll))
			}
			return []contender{
				b.rowcallWay("in batches", inBatch, func(r *rand.Rand) []byte {
					body := []byte{'['}
					for i := range inBatch {
						if i > 0 {
							body = append(body, ',')
						}
						body = append(body, get(r)...)
					}
					return append(body, ']')
				}),
				b.rowcallWay("one by one", 1, get),
			}, nil
		},
	},
	groupWorkload(1, 1), groupWorkload(1, spread),
	groupWorkload(16, 1), groupWorkload(16, spread),
	groupWorkload(64, 1), groupWorkload(64, spread),
	{name: "live", what: fmt.Sprintf("%d subscribers of a tenant, %d creates a second", subscribers, writesPerSecond), print: (*bench).live},
	{name: "idle", what: fmt.Sprintf("%d subscribers while nothing happens", idlers), print: (*bench).idle},
	{name: "storm", what: fmt.Sprintf("%d subscribers come back at once, %d entries behind", stormers, behind), print: (*bench).storm},
	{name: "writers", what: fmt.Sprintf("create_task in %d tenants, on a server without subscribers", spread), ways: writersWays},
	typingWorkload(1, 50, 5), typingWorkload(1, 2, 5), typingWorkload(1_000, 2, 0.5),
	{name: "paste", what: "a paste of 1 MiB, and a document with a long history", print: (*bench).paste},
}

// What the workloads of pages and batches have.
const (
	deep    = 100_000
	inBatch = 50
)

// list is the list that is compared with others, with further options.
func list(options string) func(*rand.Rand) []byte {
	return func(r *rand.Rand) []byte {
		return fmt.Appendf(nil, `{"id":1,"method":"list_tasks","params":{"filters":{"project_id":%d,"title":{"$contains":"%d"}},"list_options":{"order_bys":"title","limit":%d%s}}}`,
			1000+r.IntN(100), r.IntN(10), rowsListed, options)
	}
}

// page is a page of all tasks, with further options.
func page(options string) func(*rand.Rand) []byte {
	return func(*rand.Rand) []byte {
		return fmt.Appendf(nil, `{"id":1,"method":"list_tasks","params":{"list_options":{"order_bys":["project_id","title"],"limit":%d%s}}}`, rowsListed, options)
	}
}

// bench is a database with rows, and the two servers on it.
type bench struct {
	cluster           *pgdev.Cluster
	url               string
	rowcall, baseline *child
	others            []*child // further nodes, if there are any
	token             string
	projects          map[string]int64 // of the tenants that writers are spread over
}

func setUp(ctx context.Context, profile string) (b *bench, err error) {
	b = &bench{}
	defer func() {
		if err != nil {
			b.tearDown()
			b = nil
		}
	}()
	b.cluster, err = pgdev.Start(ctx, pgdev.Config{Dir: filepath.Join("..", ".data", "bench")})
	if err != nil {
		return b, err
	}
	b.url = b.cluster.URL(databaseFor)
	if err := store.Recreate(ctx, b.url, sqlscripts.Recreate); err != nil {
		return b, err
	}
	if _, err := store.Migrate(ctx, b.url, sqlscripts.Migrations()); err != nil {
		return b, err
	}
	if err := fill(ctx, b.url); err != nil {
		return b, err
	}
	if b.baseline, err = startChild(ctx, "baseline", b.url, ""); err != nil {
		return b, err
	}
	if b.rowcall, err = startChild(ctx, "rowcall", b.url, profile); err != nil {
		return b, err
	}
	return b, b.logIn(ctx)
}

// logIn logs in to the tenant of the rows.
func (b *bench) logIn(ctx context.Context) error {
	db, err := pgxpool.New(ctx, b.url)
	if err != nil {
		return err
	}
	defer db.Close()
	b.token, err = newToken(ctx, db, tenantID)
	return err
}

func (b *bench) tearDown() {
	for _, c := range append(b.others, b.rowcall, b.baseline) {
		if c != nil {
			c.stop()
		}
	}
	if b.cluster != nil {
		if err := b.cluster.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}
}

// fill writes the rows, with the visibility map and statistics as in a table that has been there for a while.
func fill(ctx context.Context, url string) (err error) {
	db, err := sql.Open("pgx", url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for _, statement := range []string{
		`INSERT INTO tenant (id, slug, name) VALUES ('` + tenantID + `', 'bench', 'Bench')`,
		`INSERT INTO account (id, username, name, pwd) VALUES (1000, 'bench', 'Bench', '')`,
		`INSERT INTO membership (tenant_id, user_id, role, cid, mid) VALUES ('` + tenantID + `', 1000, 'member', 1000, 1000)`,
		`INSERT INTO project (tenant_id, id, name, owner_id, version, cid, ctime, mid, mtime)
		 SELECT '` + tenantID + `', n, 'project ' || n, 1000, 1, 1000, now(), 1000, now()
		 FROM (SELECT generate_series(1000, 1100) UNION ALL SELECT generate_series(2000, 2099)) AS p (n)`,
		fmt.Sprintf(`INSERT INTO task (tenant_id, id, project_id, title, done, due, meta, version, cid, ctime, mid, mtime)
		 SELECT '`+tenantID+`', 1000 + n, 1000 + n / %d, 'task ' || md5(n::text), n %% 3 = 0,
		        CASE WHEN n %% 2 = 0 THEN now() END, '{"color": "red"}', 1, 1000, now(), 1000, now()
		 FROM generate_series(0, %d) AS n`, rowsEach, rowsInAll-1),
		`ALTER TABLE task ALTER COLUMN id RESTART WITH 1000000`,
		`VACUUM ANALYZE`,
		`CHECKPOINT`,
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// besideOthers is Rowcall and what it is compared with.
func (b *bench) besideOthers(body func(*rand.Rand) []byte, statement string) []contender {
	all := []contender{
		b.rowcallWay("Rowcall", 1, body),
		{"net/http + pgx by hand", func(ctx context.Context, d time.Duration) (float64, error) {
			return load(ctx, b.baseline.says["address"], as("", body), d)
		}},
	}
	path, err := pgbenchPath()
	if err != nil {
		fmt.Println("pgbench is left out:", err)
		return all
	}
	return append(all, contender{"pgbench -M prepared", func(ctx context.Context, d time.Duration) (float64, error) {
		return pgbench(ctx, path, b.url, statement, d)
	}})
}

// rowcallWay is a way to use Rowcall, of which each request has so many calls.
func (b *bench) rowcallWay(name string, calls float64, body func(*rand.Rand) []byte) contender {
	return contender{name, func(ctx context.Context, d time.Duration) (float64, error) {
		rate, err := load(ctx, b.rowcall.says["address"], as(b.token, body), d)
		return rate * calls, err
	}}
}

// cursorAt walks over so many rows and returns the cursor there.
func (b *bench) cursorAt(rows int) (string, error) {
	client := rpcclient.New("http://" + b.rowcall.says["address"])
	client.SetToken(b.token)
	cursor := ""
	for at := 0; at < rows; at += 5000 {
		options := map[string]any{"order_bys": []string{"project_id", "title"}, "limit": 5000, "fields": []string{"id"}}
		if cursor != "" {
			options["cursor"] = cursor
		}
		var answer struct {
			NextCursor string `json:"next_cursor"`
		}
		if err := client.Call(context.Background(), "list_tasks", map[string]any{"list_options": options}, &answer); err != nil {
			return "", err
		}
		cursor = answer.NextCursor
	}
	return cursor, nil
}

func pgbenchPath() (string, error) {
	if path, err := exec.LookPath("pgbench"); err == nil {
		return path, nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench")
	if err == nil && len(found) > 0 {
		return found[len(found)-1], nil
	}
	return "", errors.New("it is not installed (it comes with Postgres's packages)")
}

var tps = regexp.MustCompile(`tps = ([0-9.]+)`)

func pgbench(ctx context.Context, path, url, script string, d time.Duration) (float64, error) {
	file := filepath.Join(os.TempDir(), fmt.Sprintf("rowcall-bench-%d.sql", os.Getpid()))
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		return 0, err
	}
	defer os.Remove(file) //nolint:errcheck // it is in the temporary folder
	seconds := strconv.Itoa(max(1, int(d.Seconds())))
	out, err := exec.CommandContext(ctx, path, "-n", "-M", "prepared", "-c", strconv.Itoa(serverConns), "-j", "2", "-T", seconds, "-f", file, url).CombinedOutput()
	m := tps.FindSubmatch(out)
	if err != nil || m == nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

// child is this program again, as a server.
type child struct {
	cmd  *exec.Cmd
	says map[string]string // what it announced
}

// startChild starts it as a command's, if there is one.
func startChild(ctx context.Context, role, url, profile string, under ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := append(under, self, role, url) //nolint:gocritic // each call has its own
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "ROWCALL_BENCH_PROFILE="+profile)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, says: map[string]string{}}
	lines := bufio.NewScanner(out)
	for c.says["address"] == "" && lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), "=")
		c.says[name] = value
	}
	if c.says["address"] == "" {
		return nil, fmt.Errorf("%s did not start: %w", role, cmd.Wait())
	}
	return c, nil
}

func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	_ = c.cmd.Wait()
}

// announceAndServe is a child's server: it says its address and serves until it is told to stop.
func announceAndServe(ctx context.Context, serve func(context.Context, net.Listener) error) error {
	ctx, stop := notifyTerminated(ctx)
	defer stop()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("address=" + l.Addr().String())
	return serve(ctx, l)
}
