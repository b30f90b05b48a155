package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rowcall/modules/auth"
	"rowcall/modules/store"
	"rowcall/modules/store/storetest"
	"rowcall/sqlscripts"
)

func TestMain(m *testing.M) { storetest.Main(m, mayStay...) }

// mayStay are goroutines that libraries start once.
var mayStay []goleak.Option

// log is where a server under test writes.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startServer runs a command as main does and returns its address and how to stop it.
func startServer(t *testing.T, command string, environ ...string) (url string, stderr *log, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	stderr = &log{}
	addresses := make(chan net.Addr, 1)
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{command}, append(environ, "ROWCALL_ADDR=127.0.0.1:0"), io.Discard, stderr, func(a net.Addr) { addresses <- a })
	}()
	stop = sync.OnceValue(func() error {
		cancel()
		defer http.DefaultClient.CloseIdleConnections()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	select {
	case a := <-addresses:
		return "http://" + a.String(), stderr, stop
	case err := <-done:
		done <- err
		t.Fatalf("%s did not start: %v\n%s", command, err, stderr)
		return "", nil, nil
	}
}

func post(t *testing.T, url, body string) (int, string) {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // of a test
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

const demoLogin = `{"username":"demo1","pwd":"welcome"}`

// The first minute of a new user: nothing is there, then a server with demo data; and the second start.
func TestDevOnAPrivateCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Postgres")
	}
	dir := filepath.Join(t.TempDir(), "data")
	for round := range 2 {
		url, stderr, stop := startServer(t, "dev", "ROWCALL_DATA_DIR="+dir)
		if status, body := post(t, url+"/api/login", demoLogin); status != http.StatusOK {
			t.Fatalf("round %d: login: %d %s", round, status, body)
		}
		if round == 0 {
			killPostgres(t, dir, url)
		}
		if err := stop(); err != nil {
			t.Fatalf("round %d: %v\n%s", round, err, stderr)
		}
		if logged := stderr.String(); strings.Contains(logged, "welcome\"") || strings.Contains(logged, "postgres://") {
			t.Errorf("a secret is logged:\n%s", logged)
		}
	}
	var stdout bytes.Buffer
	if err := run(t.Context(), []string{"recreate-db"}, []string{"ROWCALL_DATA_DIR=" + dir}, &stdout, io.Discard, nil); err != nil {
		t.Fatal(err)
	}
}

// killPostgres kills the postmaster under load. Calls may fail, as UNAVAILABLE only, and then are served again.
func killPostgres(t *testing.T, dir, url string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "postgres", "pg*", "data", "postmaster.pid"))
	if err != nil || len(found) != 1 {
		t.Fatalf("postmaster.pid: %v (%v)", found, err)
	}
	postmaster := func() int {
		text, _ := os.ReadFile(found[0]) // there is none while Postgres starts
		first, _, _ := strings.Cut(string(text), "\n")
		pid, _ := strconv.Atoi(first)
		return pid
	}
	killed := postmaster()
	if killed == 0 {
		t.Fatal("the postmaster is not known")
	}
	if err := syscall.Kill(killed, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		again := postmaster() != killed
		status, body := post(t, url+"/api/login", demoLogin)
		switch {
		case status == http.StatusOK && again:
			return
		case status == http.StatusOK:
		case status == http.StatusServiceUnavailable && strings.Contains(body, "UNAVAILABLE"):
			failed++
		default:
			t.Errorf("a call failed with %d %s", status, body)
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %d failed calls it does not come back", failed)
		}
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	db := storetest.New(t, sqlscripts.Migrations())
	environ := []string{
		"DATABASE_URL=" + db.OwnerURL, "ROWCALL_TOKEN_KEY=" + auth.NewKey(), "ROWCALL_PASSWORD_KEY=" + auth.NewKey(),
		"ROWCALL_TENANT_DATABASE_URL=" + db.TenantURL, "ROWCALL_PLATFORM_DATABASE_URL=" + db.PlatformURL,
	}
	url, stderr, stop := startServer(t, "serve", environ...)
	if status, body := post(t, url+"/api/login", demoLogin); status != http.StatusUnauthorized {
		t.Errorf("there are demo users: %d %s", status, body)
	}
	if status, body := post(t, url+"/api/rpc", `{"id":7,"method":"list_tasks"}`); status != http.StatusOK || !strings.Contains(body, "UNAUTHENTICATED") {
		t.Errorf("an anonymous call: %d %s", status, body)
	}
	resp, err := http.Get(url + "/readyz")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("readyz: %v %v", resp, err)
	}
	_ = resp.Body.Close()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"method":"list_tasks"`, `"rpc_id":"7"`, `"kind":"UNAUTHENTICATED"`, `"request_id":"`, `"status":401`, `"db":`, `"rows":`, `"took":`, `"msg":"stopped"`} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, stderr)
		}
	}
	if strings.Contains(stderr.String(), "welcome") {
		t.Errorf("a password is logged:\n%s", stderr)
	}
}

// The limits that are set hold for requests, and for the calls of a batch.
func TestServeWithLimits(t *testing.T) {
	t.Parallel()
	db := storetest.New(t, sqlscripts.Migrations())
	url, _, _ := startServer(t, "serve",
		"DATABASE_URL="+db.OwnerURL, "ROWCALL_TOKEN_KEY="+auth.NewKey(), "ROWCALL_PASSWORD_KEY="+auth.NewKey(),
		"ROWCALL_TENANT_DATABASE_URL="+db.TenantURL, "ROWCALL_PLATFORM_DATABASE_URL="+db.PlatformURL, "ROWCALL_ADDRESS_COST=1:60")
	batch := "[" + strings.Repeat(`{"id":7,"method":"list_tasks"},`, 99) + `{"id":7,"method":"list_tasks"}]`
	if status, body := post(t, url+"/api/rpc", batch); status != http.StatusOK || !strings.Contains(body, "UNAUTHENTICATED") || !strings.HasSuffix(body, `]`) || !strings.Contains(body, "RATE_LIMITED") {
		t.Errorf("a wide batch: %d %s", status, body)
	}
	for range 3 { // the first may pass the door, and is what costs most
		post(t, url+"/api/login", demoLogin)
	}
	if status, body := post(t, url+"/api/rpc", batch); status != http.StatusTooManyRequests || !strings.Contains(body, "RATE_LIMITED") {
		t.Errorf("another: %d %s", status, body)
	}
}

// Without logins of their own, the server makes the two that it needs.
func TestServeMakesItsLogins(t *testing.T) {
	t.Parallel()
	db := storetest.New(t, sqlscripts.Migrations())
	name := databaseName(db.OwnerURL)
	t.Cleanup(func() {
		db.Exec(t, `DROP OWNED BY `+name+`_tenant_login, `+name+`_platform_login; DROP ROLE `+name+`_tenant_login; DROP ROLE `+name+`_platform_login`)
	})
	environ := []string{"DATABASE_URL=" + db.OwnerURL, "ROWCALL_TOKEN_KEY=" + auth.NewKey(), "ROWCALL_PASSWORD_KEY=" + auth.NewKey()}
	for range 2 {
		_, _, stop := startServer(t, "serve", environ...)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestServeRefuses(t *testing.T) {
	t.Parallel()
	db := storetest.New(t, sqlscripts.Migrations())
	keys := []string{"ROWCALL_TOKEN_KEY=" + auth.NewKey(), "ROWCALL_PASSWORD_KEY=" + auth.NewKey(), "DATABASE_URL=" + db.OwnerURL}
	refuse := func(want string, args []string, environ ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		err := run(ctx, args, environ, io.Discard, io.Discard, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", args, err, want)
		}
	}
	refuse("no such command", nil)
	refuse("no such command", []string{"nonsense"})
	refuse("ROWCALL_TOKEN_KEY", []string{"serve"}, "DATABASE_URL="+db.OwnerURL)
	refuse("ROWCALL_NONSENSE", []string{"serve"}, append(keys, "ROWCALL_NONSENSE=1")...)
	refuse("not marked as development", []string{"dev"}, "DATABASE_URL="+db.OwnerURL)
	refuse("not marked as development", []string{"recreate-db"}, "DATABASE_URL="+db.OwnerURL)
	refuse("", []string{"recreate-db"}, "DATABASE_URL=postgres://someone@database.example/app")
	db.Exec(t, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)`)
	refuse("ahead", []string{"serve"}, keys...)
	refuse("ahead", []string{"migrate"}, keys...)
}

func TestRecreateDropsWhatIsMarked(t *testing.T) {
	t.Parallel()
	db := storetest.New(t, sqlscripts.Migrations())
	name := databaseName(db.OwnerURL)
	db.Exec(t, `ALTER DATABASE `+name+` SET rowcall.environment = 'development'`)
	db.Exec(t, `CREATE TABLE relic (x int)`)
	if err := run(t.Context(), []string{"recreate-db"}, []string{"DATABASE_URL=" + db.OwnerURL}, io.Discard, io.Discard, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		db.Exec(t, `DROP OWNED BY `+name+`_tenant_login, `+name+`_platform_login; DROP ROLE `+name+`_tenant_login; DROP ROLE `+name+`_platform_login`)
	})
	var relic, users int
	err := db.Owner(t).QueryRowContext(t.Context(), `SELECT count(to_regclass('relic')), (SELECT count(*) FROM account) FROM (SELECT) AS x`).Scan(&relic, &users)
	if err != nil || relic != 0 || users != 4 {
		t.Errorf("%d relics, %d users (%v)", relic, users, err)
	}
	if marked, exists, err := store.Development(t.Context(), db.OwnerURL); !marked || !exists || err != nil {
		t.Errorf("marked %v, exists %v (%v)", marked, exists, err)
	}
}

func TestHelpAndKeys(t *testing.T) {
	t.Parallel()
	var help, key bytes.Buffer
	if err := run(t.Context(), []string{"help"}, nil, &help, io.Discard, nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ROWCALL_ADDR", "ROWCALL_DATA_DIR", ".data", "ROWCALL_LOG_LEVEL", "DATABASE_URL", "PORT", "serve", "migrate", "recreate-db", "gen-key", "dev"} {
		if !strings.Contains(help.String(), want) {
			t.Errorf("help lacks %s:\n%s", want, &help)
		}
	}
	if err := run(t.Context(), []string{"gen-key"}, nil, &key, io.Discard, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := auth.ParseKey(strings.TrimSpace(key.String())); err != nil {
		t.Error(err)
	}
}
