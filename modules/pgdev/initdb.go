package pgdev

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.uber.org/zap"
)

// superuser is the role of the URL.
const superuser = "postgres"

// initialize makes the data of the installation's version, unless it is there, and gives it to the identity. Data and
// password are made in a folder of another name and appear together by one rename; what an interrupted initdb left
// behind is removed.
func (l launcher) initialize(ctx context.Context, pg installation, who identity) error {
	home := l.home(pg.major)
	if _, err := os.Stat(home); err == nil {
		return who.own(home)
	}
	if others := l.majors(); len(others) > 0 {
		l.log.Warn("the data here is of other versions of Postgres, which are not installed; it is kept, and an empty cluster is made",
			zap.Ints("kept", others), zap.Int("new", pg.major))
	}
	leftovers, _ := filepath.Glob(filepath.Join(string(l.folder), "initdb-*")) // the pattern is good
	for _, leftover := range leftovers {
		_ = os.RemoveAll(leftover) // an initdb whose starter was killed may still be writing: then the next start's turn
	}
	l.log.Info("making a Postgres cluster", zap.String("dir", home), zap.String("programs", pg.bin))
	making, err := os.MkdirTemp(string(l.folder), "initdb-")
	if err != nil {
		return err
	}
	password := filepath.Join(making, "password")
	err = errors.Join(os.WriteFile(password, []byte(rand.Text()+"\n"), 0o600), who.own(making))
	if err == nil {
		err = l.initdb(ctx, pg, who, filepath.Join(making, "data"), password)
	}
	if err == nil {
		err = os.Rename(making, home)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(making))
	}
	return nil
}

func (l launcher) initdb(ctx context.Context, pg installation, who identity, data, password string) error {
	args := []string{
		"-D", data, "-U", superuser, "--pwfile", password, "-A", "scram-sha-256",
		"-E", "UTF8", "--no-locale", "--no-instructions",
	}
	if l.fast {
		args = append(args, "--no-sync")
	}
	cmd := who.command(ctx, filepath.Join(pg.bin, "initdb"), args...)
	cmd.Env = pg.environ()
	killWithChildren(cmd)
	if err := quietly(cmd); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("making a cluster: %w", err)
	}
	return nil
}

// command is how Postgres is called. The command line is stronger than postgresql.conf and ALTER SYSTEM, so these hold
// whatever a person tries out in the cluster.
func (l launcher) command(pg installation, port int, sockets string) []string {
	settings := []string{
		"listen_addresses=127.0.0.1",
		"port=" + strconv.Itoa(port),
		"unix_socket_directories=" + quoteList(sockets),
		"unix_socket_permissions=0700",
		"timezone=UTC",
		"log_timezone=UTC",
		"logging_collector=off",
		"log_destination=stderr",
		"max_connections=300", // of several test binaries at once
	}
	if l.fast {
		settings = append(settings, "fsync=off", "synchronous_commit=off", "full_page_writes=off")
	}
	args := []string{filepath.Join(pg.bin, "postgres"), "-D", l.data(pg.major)}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	return args
}

// quoteList quotes the one element of a list of folders.
func quoteList(dir string) string { return `"` + strings.ReplaceAll(dir, `"`, `""`) + `"` }
