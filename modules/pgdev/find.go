package pgdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"
)

// oldest is the first version of Postgres that will do.
const oldest = 15

// installation is a folder of Postgres programs that run here.
type installation struct {
	bin     string
	major   int
	library string // a folder of shared libraries that the programs need, or empty
}

// environ is the whole environment of the programs. Nothing of the caller's PG… names and locale comes through.
func (i installation) environ() []string {
	env := []string{"LC_ALL=C", "PATH=" + i.bin + ":/usr/bin:/bin"}
	if i.library != "" {
		env = append(env, "LD_LIBRARY_PATH="+i.library)
	}
	return env
}

// search says where Postgres may be found, from where it may be fetched, and who may run it.
type search struct {
	unprivileged func(dir string) (identity, error)
	lookPath     func(name string) (string, error)
	folders      []string               // patterns of folders of programs
	cache        func() (string, error) // the folder for what is fetched
	npm          npmPackage
	apt          bool
}

// machine is the search of this machine.
func machine() search {
	return search{
		unprivileged: unprivileged,
		lookPath:     exec.LookPath,
		folders: []string{
			"/usr/lib/postgresql/*/bin",                          // Debian
			"/usr/pgsql-*/bin",                                   // Red Hat, from the project's repository
			"/opt/homebrew/opt/postgresql@*/bin",                 // Homebrew
			"/usr/local/opt/postgresql@*/bin",                    // Homebrew on Intel
			"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",    // Homebrew on Linux
			"/Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
			"/usr/libexec/postgresql*",                           // Alpine
		},
		cache: os.UserCacheDir,
		npm:   pinned[runtime.GOOS+"/"+runtime.GOARCH],
		apt:   os.Geteuid() == 0,
	}
}

// find returns the Postgres to run: of the versions that already have data if it can be, the newest otherwise. It fetches
// one if there is none.
func (s search) find(ctx context.Context, who identity, have []int, log *zap.Logger) (installation, error) {
	cache, cacheErr := s.cacheFor(who)
	installed := probeAll(ctx, who, s.installed(ctx))
	fetched := probeAll(ctx, who, cached(cache, s.npm))
	for _, pg := range slices.Concat(installed, fetched) {
		if slices.Contains(have, pg.major) {
			return pg, nil
		}
	}
	if all := slices.Concat(installed, fetched); len(all) > 0 {
		return all[0], nil
	}
	if err := ctx.Err(); err != nil {
		return installation{}, err
	}
	var err error
	if err = cacheErr; err == nil {
		log.Info("no Postgres is installed; fetching one", zap.String("into", cache))
		err = s.fetch(ctx, cache)
	}
	if err == nil {
		if fetched = probeAll(ctx, who, cached(cache, s.npm)); len(fetched) > 0 {
			return fetched[0], nil
		}
		err = errors.New("what was fetched does not run on this machine")
	}
	if ctx.Err() != nil {
		return installation{}, ctx.Err()
	}
	return installation{}, fmt.Errorf("there is no Postgres %d or newer; install it (Debian and Ubuntu: apt-get install postgresql; "+
		"Fedora: dnf install postgresql-server; Alpine: apk add postgresql; macOS: brew install postgresql@17), "+
		"or set DATABASE_URL to a running one\n%w", oldest, err)
}

// cacheFor returns the folder for what is fetched. One who is not this process's user cannot enter its home.
func (s search) cacheFor(who identity) (string, error) {
	if who.attr != nil && who.attr.Credential != nil {
		return "/var/cache/rowcall", nil
	}
	dir, err := s.cache()
	return filepath.Join(dir, "rowcall"), err
}

// installed returns the folders of the machine that may hold Postgres.
func (s search) installed(ctx context.Context) []installation {
	var bins []string
	if postgres, err := s.lookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(postgres); err == nil { // its share folder is found from the real place
			postgres = real
		}
		bins = append(bins, filepath.Dir(postgres))
	}
	if config, err := s.lookPath("pg_config"); err == nil {
		if out, err := exec.CommandContext(ctx, config, "--bindir").Output(); err == nil {
			bins = append(bins, strings.TrimSpace(string(out)))
		}
	}
	for _, pattern := range s.folders {
		found, _ := filepath.Glob(pattern) // the patterns are good
		bins = append(bins, found...)
	}
	var list []installation
	for _, bin := range bins {
		list = append(list, installation{bin: bin})
	}
	return list
}

var versionOf = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// probeAll returns those that run as the identity and are new enough, the newest first.
func probeAll(ctx context.Context, who identity, list []installation) []installation {
	var good []installation
	seen := map[string]bool{}
	for _, pg := range list {
		if _, err := os.Stat(filepath.Join(pg.bin, "initdb")); err != nil || seen[pg.bin] {
			continue
		}
		seen[pg.bin] = true
		cmd := who.command(ctx, filepath.Join(pg.bin, "postgres"), "--version")
		cmd.Env = pg.environ()
		out, err := cmd.Output()
		if err != nil {
			continue
		}
		if match := versionOf.FindSubmatch(out); match != nil {
			pg.major, _ = strconv.Atoi(string(match[1])) // digits
		}
		if pg.major >= oldest {
			good = append(good, pg)
		}
	}
	slices.SortStableFunc(good, func(a, b installation) int { return b.major - a.major })
	return good
}
