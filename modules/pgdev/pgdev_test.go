package pgdev

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// userOf names the folder of which a test binary that is started again is to be a user, until its input ends.
const userOf = "PGDEV_TEST_USER_OF"

func TestMain(m *testing.M) {
	if dir := os.Getenv(userOf); dir != "" {
		os.Exit(beUser(dir))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if removeAtEnd != "" {
			_ = os.RemoveAll(removeAtEnd)
		}
		os.Exit(code)
	}))
}

func beUser(dir string) int {
	c, err := Start(context.Background(), Config{Dir: dir, Fast: true})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(c.URL("postgres"))
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := c.Close(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// process is another process that is a user.
type process struct {
	cmd *exec.Cmd
	in  io.Closer
	url string
}

// another starts one; it returns when Postgres answers it.
func another(t *testing.T, dir string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), userOf+"="+dir)
	in, err := cmd.StdinPipe()
	fatal(t, err)
	out, err := cmd.StdoutPipe()
	fatal(t, err)
	fatal(t, cmd.Start())
	p := &process{cmd: cmd, in: in}
	t.Cleanup(p.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if p.url = strings.TrimSpace(line); err != nil || !strings.HasPrefix(p.url, "postgres://") {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func (p *process) leave(t *testing.T) {
	t.Helper()
	fatal(t, p.in.Close())
	fatal(t, p.cmd.Wait())
}

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newDir copies a folder with data that initdb made once, so that a test need not wait for it.
func newDir(t *testing.T) string {
	t.Helper()
	made, err := template()
	fatal(t, err)
	dir := filepath.Join(tempDir(t), "pg")
	fatal(t, os.Mkdir(dir, 0o700))
	out, err := exec.Command("sh", "-c", `cp -pR "$1"/pg* "$2"`, "sh", made, dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%s", out)
	}
	t.Cleanup(func() { gone(t, folder(dir)) })
	return dir
}

var template = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "pgdev-template-")
	if err != nil {
		return "", err
	}
	removeAtEnd = dir
	c, err := Start(context.Background(), Config{Dir: filepath.Join(dir, "pg"), Fast: true})
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "pg"), c.Close()
})

var removeAtEnd string

// tempDir has a short name, and its parents can be entered by any user.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgdev-")
	fatal(t, err)
	fatal(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { fatal(t, os.RemoveAll(dir)) })
	return dir
}

// gone waits until no Postgres runs, and fails if one goes on.
func gone(t testing.TB, f folder) {
	t.Helper()
	for range 6000 {
		p := f.postmaster()
		if p.pid == 0 || !isPostmaster(p.pid, p.data) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("Postgres still runs in %s", f)
}

func begin(t *testing.T, dir string) *Cluster {
	t.Helper()
	c, err := Start(t.Context(), Config{Dir: dir, Fast: true})
	fatal(t, err)
	t.Cleanup(func() { fatal(t, c.Close()) })
	return c
}

func query(url, text string) (string, error) {
	db, err := sql.Open("postgres", url)
	if err != nil {
		return "", err
	}
	defer db.Close() //nolint:errcheck // of a test
	var value string
	err = db.QueryRow(text).Scan(&value)
	return value, err
}

func wants(t *testing.T, url, text, want string) {
	t.Helper()
	got, err := query(url, text)
	if err != nil || got != want {
		t.Errorf("%s: %q, %v; want %q", text, got, err, want)
	}
}

func TestFirstAndSecondStart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(tempDir(t), "deep", "pg")
	for _, what := range []string{"first", "second"} {
		began := time.Now()
		c, err := Start(t.Context(), Config{Dir: dir})
		fatal(t, err)
		t.Logf("%s start: %s", what, time.Since(began).Round(time.Millisecond))
		url := c.URL("postgres")
		wants(t, url, `SHOW server_encoding`, "UTF8")
		wants(t, url, `SELECT datcollate FROM pg_database WHERE datname = 'template1'`, "C")
		wants(t, url, `SHOW timezone`, "UTC")
		wants(t, url, `SHOW fsync`, "on")
		wants(t, url, `SELECT 'a' < 'B' COLLATE "und-x-icu"`, "true")
		wants(t, url, `SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'`, "0")

		text, err := os.ReadFile(filepath.Join(dir, "url"))
		fatal(t, err)
		if strings.TrimSpace(string(text)) != url {
			t.Errorf("the file says %s, want %s", text, url)
		}
		for _, file := range []string{"url", filepath.Join(filepath.Base(folder(dir).home(folder(dir).majors()[0])), "password")} {
			if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", file, info.Mode(), err)
			}
		}
		fatal(t, c.Close())
		fatal(t, c.Close())
		if p := folder(dir).postmaster(); p.pid != 0 {
			t.Errorf("after the %s Close Postgres runs as %d", what, p.pid)
		}
	}
}

func TestPasswordIsAskedFor(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	c := begin(t, dir)
	right, _ := c.base.User.Password()
	for _, url := range []string{
		strings.Replace(c.URL("postgres"), right, "wrong", 1),
		fmt.Sprintf("host=%s port=%s user=postgres password=wrong dbname=postgres sslmode=disable", folder(dir).run(), c.base.Port()),
	} {
		if _, err := query(url, `SELECT 1`); err == nil || !strings.Contains(err.Error(), "password") {
			t.Errorf("%s: %v", url, err)
		}
	}
	socket := fmt.Sprintf("host=%s port=%s user=postgres password=%s dbname=postgres sslmode=disable", folder(dir).run(), c.base.Port(), right)
	wants(t, socket, `SELECT 'in'`, "in")
}

func TestUsersShareAndTheLastStops(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	first := another(t, dir)
	began := time.Now()
	second := begin(t, dir)
	t.Logf("sharing a running one: %s", time.Since(began).Round(time.Millisecond))
	if second.URL("postgres") != first.url {
		t.Errorf("%s and %s", first.url, second.URL("postgres"))
	}
	began = time.Now()
	first.leave(t)
	if took := time.Since(began); took >= stopTimeout {
		t.Errorf("who is not the last waited %s", took)
	}
	wants(t, second.URL("postgres"), `SELECT 'here'`, "here")
	fatal(t, second.Close())
	if p := folder(dir).postmaster(); p.pid != 0 {
		t.Error("Postgres runs without a user")
	}
}

func TestManyStartAndLeaveAtOnce(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	var wg sync.WaitGroup
	for n := range 6 {
		wg.Go(func() {
			for range 3 {
				c, err := Start(t.Context(), Config{Dir: dir, Fast: true})
				if err != nil {
					t.Error(err)
					return
				}
				wants(t, c.URL("postgres"), `SELECT 'here'`, "here")
				time.Sleep(time.Duration(n) * time.Millisecond)
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	defer wg.Wait()
	for range 4 {
		p := another(t, dir)
		wg.Go(func() { wants(t, p.url, `SELECT 'here'`, "here"); p.kill() })
	}
}

func TestCancelledStart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(tempDir(t), "pg")
	for _, after := range []time.Duration{0, 50 * time.Millisecond, 300 * time.Millisecond} { // on the way, in initdb
		ctx, cancel := context.WithTimeout(t.Context(), after)
		c, err := Start(ctx, Config{Dir: dir, Fast: true})
		cancel()
		if err == nil {
			fatal(t, c.Close())
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %s: %v", after, err)
		}
		gone(t, folder(dir))
	}
	dir = newDir(t)
	for after := 5 * time.Millisecond; after < 150*time.Millisecond; after += 36 * time.Millisecond { // while it starts
		ctx, cancel := context.WithTimeout(t.Context(), after)
		c, err := Start(ctx, Config{Dir: dir, Fast: true})
		cancel()
		if err == nil {
			fatal(t, c.Close())
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %s: %v", after, err)
		}
	}
	wants(t, begin(t, dir).URL("postgres"), `SELECT 'after all'`, "after all")
}

func TestDeepFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(tempDir(t), strings.Repeat("long name, 'deep'/", 8), "pg")
	c := begin(t, dir)
	sockets, err := query(c.URL("postgres"), `SHOW unix_socket_directories`)
	fatal(t, err)
	if sockets = strings.Trim(sockets, `"`); strings.Contains(sockets, "long name") {
		t.Errorf("the socket is in %s", sockets)
	}
	fatal(t, c.Close())
	for range 6000 {
		if _, err = os.Stat(sockets); errors.Is(err, os.ErrNotExist) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%s stays", sockets)
}

func TestPostgresThatCannotStartIsExplained(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	f := folder(dir)
	conf, err := os.OpenFile(filepath.Join(f.data(f.majors()[0]), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	fatal(t, err)
	_, err = conf.WriteString("no_such_setting = 1\n")
	fatal(t, errors.Join(err, conf.Close()))
	if _, err = Start(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("the error is %v", err)
	}
}
