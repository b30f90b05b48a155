package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"rowcall/web/webtest"
)

func TestMain(m *testing.M) { webtest.Main(m) }

// The program runs to its end, twice on one server.
func TestRun(t *testing.T) {
	server, _ := webtest.Start(t)
	program := t.TempDir() + "/offline"
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for range 2 {
		cmd := exec.CommandContext(t.Context(), program, "-server", server)
		cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "as it should be") {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Logf("%s", out)
	}
}
