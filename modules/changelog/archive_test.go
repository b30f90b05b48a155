package changelog_test

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/changelog"
)

// archived is a line of an archive.
type archived struct {
	Position int64          `json:"position"`
	At       time.Time      `json:"at"`
	Actor    int64          `json:"actor"`
	Method   string         `json:"method"`
	Entity   string         `json:"entity"`
	ID       string         `json:"id"`
	Op       string         `json:"op"`
	Version  int64          `json:"version"`
	Before   jsontext.Value `json:"before"`
	Data     jsontext.Value `json:"data"`
}

// readArchive returns all lines of a folder, file by file, and the files' names.
func readArchive(t *testing.T, dir string) (lines []archived, names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	for _, file := range files {
		names = append(names, filepath.Base(file))
		f, err := os.Open(file) //nolint:gosec // of a test
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		scanner := bufio.NewScanner(z)
		for scanner.Scan() {
			var a archived
			if err := json.Unmarshal(scanner.Bytes(), &a, json.RejectUnknownMembers(true)); err != nil {
				t.Fatalf("%s: %v", scanner.Bytes(), err)
			}
			lines = append(lines, a)
		}
		if err := scanner.Err(); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	return lines, names
}

func TestArchive(t *testing.T) {
	l := newLogs(t)
	tenant, _ := l.tenant("a")
	l.append(tenant, 249, 2*day)
	l.Exec(t, `UPDATE change SET op = 'update', version = 2, before = '{"x": null}', at = '2025-01-02T03:04:05.678901Z' WHERE position = 3`)
	dir := filepath.Join(t.TempDir(), "archive")
	keep := changelog.Retention{Age: day, Archive: dir}

	// The folder cannot be made: nothing goes.
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if done, err := changelog.Prune(t.Context(), l.DB, keep); err == nil || done != (changelog.PruneStats{}) {
		t.Errorf("without the archive it pruned %+v (%v)", done, err)
	}
	l.want(tenant, 250, 0)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}

	// It ends after the archive was written, and the next time after the tail was raised.
	l.Exec(t, `CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'a crash'; END $$`)
	for _, on := range []string{`UPDATE ON change_head`, `DELETE ON change`} {
		l.Exec(t, `CREATE TRIGGER fail BEFORE `+on+` FOR EACH ROW EXECUTE FUNCTION fail()`)
		if done, err := changelog.Prune(t.Context(), l.DB, keep); err == nil || done.Entries != 0 {
			t.Errorf("pruned %+v (%v)", done, err)
		}
		l.Exec(t, `DROP TRIGGER fail ON `+strings.Fields(on)[2])
	}
	folder, err := filepath.Glob(filepath.Join(dir, tenant.String(), "*"))
	if err != nil || len(folder) != 1 {
		t.Fatal(folder, err)
	}
	if err := os.WriteFile(filepath.Join(folder[0], ".part-123"), []byte("half a line"), 0o600); err != nil {
		t.Fatal(err)
	}
	if done := l.prune(keep); done.Entries != 250 || done.Archived != 0 {
		t.Errorf("pruned %+v", done)
	}
	l.want(tenant, 250, 250)
	l.append(tenant, 5, 2*day)
	l.append(tenant, 1, 0)
	if done := l.prune(keep); done.Entries != 5 || done.Archived != 1 {
		t.Errorf("pruned %+v", done)
	}
	l.want(tenant, 256, 255)

	lines, names := readArchive(t, dir)
	if fmt.Sprint(names) != "[000000000001-000000000250.ndjson.gz 000000000251-000000000255.ndjson.gz]" {
		t.Errorf("files %v", names)
	}
	if len(lines) != 255 {
		t.Fatalf("%d lines", len(lines))
	}
	for i, a := range lines {
		if a.Position != int64(i+1) {
			t.Errorf("line %d has position %d", i+1, a.Position)
		}
	}
	got := lines[2]
	want := archived{
		3, time.Date(2025, 1, 2, 3, 4, 5, 678901000, time.UTC), 7, "create_task", "task", "2", "update", 2,
		jsontext.Value(`{"x": null}`), jsontext.Value(`{"id": 2, "title": "a\né"}`),
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || string(got.Data) != string(want.Data) {
		t.Errorf("%+v\n%s, want %+v", got, got.Data, want)
	}
	if lines[0].Entity != "user" || lines[0].Before.Kind() != 'n' {
		t.Errorf("%+v", lines[0])
	}
}

// What has been archived of another epoch is another thing, though its positions are the same.
func TestArchiveByEpoch(t *testing.T) {
	l := newLogs(t)
	tenant, _ := l.tenant("a")
	keep := changelog.Retention{Age: day, Archive: t.TempDir()}
	l.prune(keep)
	l.Exec(t, `CALL new_epoch()`)
	l.Exec(t, `UPDATE change_head SET head = 0, tail = 0`)
	l.append(tenant, 1, 2*day)
	l.prune(keep)
	if lines, _ := readArchive(t, keep.Archive); len(lines) != 2 || lines[0].Position != 1 || lines[1].Position != 1 {
		t.Errorf("%+v", lines)
	}
}
