package main

import (
	"bytes"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"rowcall/modules/store/storetest"
	"rowcall/sqlscripts"
)

// oldEntries makes a tenant with a user, whose entry is a hundred days old.
func oldEntries(t *testing.T, db *storetest.Database) {
	t.Helper()
	db.Exec(t, `
		WITH t AS (INSERT INTO tenant (slug, name) VALUES ('a', 'A') RETURNING id),
		     a AS (INSERT INTO account (username, name, pwd) VALUES ('a', 'A', '#02#') RETURNING id)
		INSERT INTO membership (tenant_id, user_id, role, cid, mid) SELECT t.id, a.id, 'owner', a.id, a.id FROM t, a`)
	db.Exec(t, `UPDATE change SET at = now() - interval '100 days'`)
}

func TestPruneCommand(t *testing.T) {
	t.Parallel()
	db := storetest.New(t, sqlscripts.Migrations())
	oldEntries(t, db)
	environ := deployedOn(db)
	command := func(args ...string) string {
		t.Helper()
		var stdout bytes.Buffer
		if err := run(t.Context(), args, environ, &stdout, io.Discard, nil); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return stdout.String()
	}
	dir := t.TempDir()
	if got := command("prune", "--archive", dir); got != "pruned 1 entries of 1 tenants, 0 mutations and 0 replicas; wrote 1 files\n" {
		t.Error(got)
	}
	if files, err := filepath.Glob(filepath.Join(dir, "*", "*", "000000000001-000000000001.ndjson.gz")); err != nil || len(files) != 1 {
		t.Error(files, err)
	}
	if got := command("prune"); !strings.HasPrefix(got, "pruned 0 entries") {
		t.Error(got)
	}
	if first, second := command("new-epoch"), command("new-epoch"); first == second || !strings.HasPrefix(first, "the epoch is now ") {
		t.Errorf("%q, then %q", first, second)
	}
	for _, args := range [][]string{{"prune", "now"}, {"prune", "--nonsense"}, {"new-epoch", "x"}} {
		if err := run(t.Context(), args, environ, io.Discard, io.Discard, nil); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
}

// TestPruneInDevelopment: what is marked as development needs no keys, as for the server; what is not does.
func TestPruneInDevelopment(t *testing.T) {
	t.Parallel()
	db := storetest.New(t, sqlscripts.Migrations())
	oldEntries(t, db)
	environ := slices.DeleteFunc(deployedOn(db), func(v string) bool { return strings.Contains(v, "_KEY=") })
	if err := run(t.Context(), []string{"prune"}, environ, io.Discard, io.Discard, nil); err == nil || !strings.Contains(err.Error(), "ROWCALL_PASSWORD_KEY is needed") {
		t.Error(err)
	}
	db.Exec(t, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET rowcall.environment = ''development''', current_database()); END $$`)
	var stdout bytes.Buffer
	if err := run(t.Context(), []string{"prune"}, environ, &stdout, io.Discard, nil); err != nil || !strings.HasPrefix(stdout.String(), "pruned 1 entries") {
		t.Error(stdout.String(), err)
	}
}

func TestServerPrunes(t *testing.T) {
	t.Parallel()
	db := storetest.New(t, sqlscripts.Migrations())
	oldEntries(t, db)
	dir := t.TempDir()
	_, stderr, stop := startServer(t, "serve", append(deployedOn(db), "ROWCALL_PRUNE_INTERVAL=1s", "ROWCALL_LOG_ARCHIVE="+dir, "ROWCALL_ADMIN_ADDR=127.0.0.1:0")...)
	_, admin, _ := strings.Cut(stderr.String(), `profiles","address":"`)
	admin, _, _ = strings.Cut(admin, `"`)
	for metrics := ""; !strings.Contains(metrics, "rowcall_pruned_entries_total 1\n"); { // or the test does not end
		_, metrics = get(t, "http://"+admin+"/metrics")
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(stderr.String(), `"msg":"pruned","entries":1`) {
		t.Errorf("the log lacks it:\n%s", stderr)
	}
	if files, err := filepath.Glob(filepath.Join(dir, "*", "*", "*.gz")); err != nil || len(files) != 1 {
		t.Error(files, err)
	}
}
