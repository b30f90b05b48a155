// Package examples_test runs every example against the server's real program.
package examples_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"rowcall/web/webtest"
)

func TestMain(m *testing.M) { webtest.Main(m) }

func TestExamples(t *testing.T) {
	t.Parallel()
	server, _ := webtest.Start(t)
	for _, example := range []string{"quick_dev"} {
		t.Run(example, func(t *testing.T) {
			t.Parallel()
			program := webtest.Build(t, "rowcall/examples/"+example)
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
	out, err := exec.CommandContext(t.Context(), webtest.Build(t, "rowcall/examples/quick_dev"), "-server", "http://127.0.0.1:1").CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "make run") {
		t.Fatalf("%v\n%s", err, out)
	}
}
