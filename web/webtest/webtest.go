// Package webtest runs the server's real program for tests: its binary, built and started as a developer would.
package webtest

import (
	"bufio"
	"context"
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

// Main is storetest.Main.
func Main(m *testing.M) { storetest.Main(m) }

// Build builds a program of Rowcall, with the versions that Rowcall's go.mod pins, and returns where it is.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	root, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "rowcall").Output()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", program, pkg)
	cmd.Dir = strings.TrimSpace(string(root))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

var serving = regexp.MustCompile(`serving\s+\{"address": "([^"]+)"`)

// Start starts rowcall dev on a database of the test's own, with the demo data, and returns its URL. At the end of the test
// a SIGTERM must make it exit with 0.
func Start(t testing.TB) (string, *storetest.Database) {
	t.Helper()
	db := storetest.New(t, sqlscripts.Migrations())
	u, err := url.Parse(db.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	db.Exec(t, `ALTER DATABASE `+strings.TrimPrefix(u.Path, "/")+` SET rowcall.environment = 'development'`)

	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), Build(t, "rowcall/web/rowcall"), "dev")
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
		return "http://" + address, db
	case <-read:
		t.Fatalf("it did not start:\n%s", strings.Join(log, "\n"))
	case <-time.After(time.Minute):
		t.Fatal("it did not start within a minute")
	}
	return "", nil
}
