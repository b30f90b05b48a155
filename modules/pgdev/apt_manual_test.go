package pgdev

import ("testing";"os";"path/filepath";"os/exec";"go.uber.org/zap")

func TestAptManual(t *testing.T) {
	dir := tempDir(t)
	apt := filepath.Join(dir, "apt-get")
	fatal(t, os.WriteFile(apt, []byte("#!/bin/sh\nexec /usr/bin/apt-get -o Dir::State::status=/tmp/pgx/status \"$@\"\n"), 0o700))
	s := search{unprivileged: unprivileged, apt: true, lookPath: func(n string) (string, error) {
		if n == "apt-get" { return apt, nil }
		return "", exec.ErrNotFound
	}, cache: func() (string, error) { return dir, nil }, npm: pinned["linux/amd64"]}
	log, _ := zap.NewDevelopment()
	c, err := start(t.Context(), Config{Dir: filepath.Join(dir, "pg"), Fast: true, Log: log}, s)
	fatal(t, err)
	exe, err := os.ReadFile(filepath.Join(dir, "pg", "log"))
	t.Logf("%.300s %v", exe, err)
	wants(t, c.URL("postgres"), `SELECT 'a' < 'B' COLLATE "und-x-icu"`, "true")
	fatal(t, c.Close())
}
