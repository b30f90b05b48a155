// Package examples_test runs every example against the server's real program.
package examples_test

import (
	"bufio"
	"context"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"rowcall/modules/store/storetest"
	"rowcall/sqlscripts"
)

func TestMain(m *testing.M) { storetest.Main(m) }

func TestExamples(t *testing.T) {
	t.Parallel()
	server := startProgram(t)
	for _, example := range []string{"quick_dev"} {
		t.Run(example, func(t *testing.T) {
			t.Parallel()
			program := build(t, "rowcall/examples/"+example)
			out, err := exec.CommandContext(t.Context(), program, "-server", server).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, secret := range []string{"welcome"} {
				if strings.Contains(string(out), secret) {
					t.Errorf("it shows %q", secret)
				}
			}
			t.Logf("%s", out)
		})
	}
}

func TestQuickDevSaysHowToStartAServer(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), build(t, "rowcall/examples/quick_dev"), "-server", "http://127.0.0.1:1").CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "make run") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func build(t *testing.T, pkg string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), filepath.Base(pkg))
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, pkg).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

var serving = regexp.MustCompile(`serving\s+\{"address": "([^"]+)"`)

// startProgram starts rowcall dev on a development database of the test's own and returns its URL. At the end a SIGTERM
// must make it exit with 0.
func startProgram(t *testing.T) string {
	t.Helper()
	db := storetest.New(t, sqlscripts.Migrations())
	u, err := url.Parse(db.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	db.Exec(t, `ALTER DATABASE `+name+` SET rowcall.environment = 'development'`)

	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), build(t, "rowcall/web/rowcall"), "dev")
	cmd.Env = append(os.Environ(), "DATABASE_URL="+db.OwnerURL, "ROWCALL_ADDR=127.0.0.1:0",
		"ROWCALL_TENANT_DATABASE_URL="+db.TenantURL, "ROWCALL_PLATFORM_DATABASE_URL="+db.PlatformURL)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addresses := make(chan string, 1)
	var log []string
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			log = append(log, lines.Text())
			if m := serving.FindStringSubmatch(lines.Text()); m != nil {
				addresses <- m[1]
			}
		}
	}()
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		<-read
		if err := cmd.Wait(); err != nil {
			t.Errorf("after SIGTERM: %v\n%s", err, strings.Join(log, "\n"))
		}
	})
	select {
	case address := <-addresses:
		return "http://" + address
	case <-read:
		t.Fatalf("it did not start:\n%s", strings.Join(log, "\n"))
	case <-time.After(time.Minute):
		t.Fatal("it did not start within a minute")
	}
	return ""
}
