package pgdev

import (
	"context"
	"crypto/rand"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "github.com/lib/pq" // the driver by which await connects
	"go.uber.org/zap"
)

//go:embed supervise.sh
var supervise string

const (
	// maxSocketPath is the longest path that sun_path holds, everywhere: 104 bytes on macOS, 108 on Linux, with the NUL.
	maxSocketPath = 103
	// maxLog is the size from which the log is begun anew.
	maxLog = 16 << 20
	// answerTimeout bounds the wait for a Postgres that neither answers nor ends, as in a long recovery.
	answerTimeout = time.Minute
	// launchRetries bounds the attempts when something passes that stands in the way, for ten seconds together.
	launchRetries = 25
)

// launcher starts a supervisor. The caller holds the lock, and nobody reads the FIFO.
type launcher struct {
	folder
	fast   bool
	log    *zap.Logger
	search search
}

// launch returns a first user of a new supervisor.
func (l launcher) launch(ctx context.Context) (users int, err error) {
	began := time.Now()
	if err := os.RemoveAll(l.run()); err != nil { // an older supervisor that still lives is superseded by this
		return -1, err
	}
	stale, err := l.sweep(ctx)
	if err != nil {
		return -1, err
	}
	who, err := l.search.unprivileged(string(l.folder))
	if err != nil {
		return -1, err
	}
	pg, err := l.search.find(ctx, who, l.majors(), l.log)
	if err != nil {
		return -1, err
	}
	if err := l.initialize(ctx, pg, who); err != nil {
		return -1, err
	}
	for attempt := 1; ; attempt++ {
		users, err = l.attempt(ctx, pg, who, stale)
		if err == nil {
			l.log.Info("Postgres runs", zap.String("dir", string(l.folder)), zap.Int("version", pg.major), zap.Duration("took", time.Since(began)))
			return users, nil
		}
		if ctx.Err() != nil || attempt == launchRetries || !passes(err) {
			return -1, err
		}
		if err := sleep(ctx, 400*time.Millisecond); err != nil {
			return -1, err
		}
		if stale, err = l.sweep(ctx); err != nil {
			return -1, err
		}
	}
}

// passes tells of the reasons that end by themselves: backends that outlive a killed postmaster for a moment, a port
// that another program was faster to take, an old supervisor's last try.
func passes(err error) bool {
	for _, reason := range []string{"shared memory block", "could not create any TCP/IP sockets", `lock file "postmaster.pid"`} {
		if strings.Contains(err.Error(), reason) {
			return true
		}
	}
	return false
}

// sweep stops a Postgres of this data that has no supervisor. If instead postmaster.pid names a process that is no
// Postgres of this data, its number is returned.
func (l launcher) sweep(ctx context.Context) (stale string, err error) {
	p := l.postmaster()
	if p.pid == 0 || !exists(p.pid) {
		return "", nil // and if there is a file, Postgres itself will see that it is stale
	}
	if !isPostmaster(p.pid, p.data) {
		return strconv.Itoa(p.pid), nil
	}
	l.log.Info("stopping a Postgres without a supervisor", zap.Int("pid", p.pid))
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		_ = syscall.Kill(p.pid, signal) // if it ended just now, all the better
		for range 500 {
			if !isPostmaster(p.pid, p.data) {
				return "", nil
			}
			if err := sleep(ctx, 10*time.Millisecond); err != nil {
				return "", err
			}
		}
	}
	return "", fmt.Errorf("the Postgres that runs in %s (process %d) cannot be stopped", p.data, p.pid)
}

// attempt starts a supervisor once. If it fails, the supervisor stops by itself, since it has no user.
func (l launcher) attempt(ctx context.Context, pg installation, who identity, stale string) (users int, err error) {
	password, err := os.ReadFile(l.password(pg.major))
	if err != nil {
		return -1, err
	}
	port, err := l.freePort(ctx)
	if err != nil {
		return -1, err
	}
	base := &url.URL{
		Scheme: "postgres", User: url.UserPassword(superuser, strings.TrimSpace(string(password))),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: "/postgres", RawQuery: "sslmode=disable",
	}
	if err := os.RemoveAll(l.run()); err != nil {
		return -1, err
	}
	if err := os.Mkdir(l.run(), 0o700); err != nil {
		return -1, err
	}
	sockets, err := l.sockets(port, who)
	if err != nil {
		return -1, err
	}
	generation := rand.Text()
	if err := errors.Join(
		os.WriteFile(l.generation(), []byte(generation+"\n"), 0o600),
		writeNew(l.url(), base.String()+"\n"),
		syscall.Mkfifo(l.users(), 0o600),
		who.own(l.run()), who.own(l.url()),
	); err != nil {
		return -1, err
	}
	// The reader's end is made here and inherited: however early this process is killed, the supervisor, if it came to
	// be, meets the end of the FIFO.
	reader, err := os.OpenFile(l.users(), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	defer reader.Close() //nolint:errcheck // nothing was written
	if users, err = syscall.Open(l.users(), syscall.O_WRONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0); err != nil {
		return -1, err
	}
	if err := syscall.SetNonblock(int(reader.Fd()), false); err != nil { // the shell expects to wait for input
		return -1, errors.Join(err, syscall.Close(users))
	}
	logged, err := l.spawn(ctx, pg, who, reader, append([]string{generation, stale, sockets}, l.command(pg, port, sockets)...))
	if err == nil {
		_ = reader.Close() // so that the supervisor has the only one
		err = l.await(ctx, base, users)
	}
	if err == nil {
		err = os.WriteFile(l.ready(), nil, 0o600)
	}
	if err != nil {
		return -1, errors.Join(l.explain(err, logged), syscall.Close(users))
	}
	return users, nil
}

// spawn starts the supervisor, in a session of its own, and returns how long the log was before.
func (l launcher) spawn(ctx context.Context, pg installation, who identity, reader *os.File, args []string) (logged int64, err error) {
	if info, err := os.Stat(l.folder.log()); err == nil && info.Size() > maxLog {
		_ = os.Truncate(l.folder.log(), 0) // a long log harms nobody
	}
	log, err := os.OpenFile(l.folder.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	defer log.Close() //nolint:errcheck // the supervisor has its own
	if info, err := log.Stat(); err == nil {
		logged = info.Size()
	}
	// The shell returns at once and leaves the supervisor to init, so that nobody here need wait for it.
	cmd := who.command(context.WithoutCancel(ctx), "/bin/sh", append([]string{"-c", supervise, "pgdev", l.run()}, args...)...)
	cmd.Env = pg.environ()
	cmd.SysProcAttr.Setsid = true
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{reader} // descriptor 3
	if err := cmd.Run(); err != nil {
		return logged, fmt.Errorf("starting the supervisor: %w", err)
	}
	return logged, nil
}

// errDied says that Postgres ended instead of answering.
var errDied = errors.New("Postgres does not start")

// await returns when Postgres answers at the address.
func (f folder) await(ctx context.Context, address *url.URL, users int) error {
	db, err := sql.Open("postgres", address.String())
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // the answer is known by then
	for deadline := time.Now().Add(answerTimeout); ; {
		err := db.PingContext(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(deadline):
			return fmt.Errorf("Postgres does not answer: %w", err)
		}
		if _, failed := os.Stat(f.failed()); failed == nil || !alive(users, "\n") {
			return errDied
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// explain adds the end of what was logged from the offset on.
func (l launcher) explain(err error, offset int64) error {
	text, readErr := os.ReadFile(l.folder.log())
	if readErr != nil || offset >= int64(len(text)) || !errors.Is(err, errDied) {
		return err
	}
	said := text[max(offset, int64(len(text))-2000):]
	return fmt.Errorf("%w:\n%s", err, strings.TrimSpace(string(said)))
}

// freePort prefers the last run's port, so that an address stays good.
func (l launcher) freePort(ctx context.Context) (int, error) {
	last := "0"
	if u, err := l.readURL(); err == nil {
		last = u.Port()
	}
	var lc net.ListenConfig
	lis, err := lc.Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", last))
	if err != nil {
		if lis, err = lc.Listen(ctx, "tcp4", "127.0.0.1:0"); err != nil {
			return 0, err
		}
	}
	return lis.Addr().(*net.TCPAddr).Port, lis.Close()
}

// sockets returns the folder for the Unix socket: the run's, or a private one with a shorter name.
func (l launcher) sockets(port int, who identity) (string, error) {
	fits := func(dir string) bool {
		return len(filepath.Join(dir, ".s.PGSQL."+strconv.Itoa(port))) <= maxSocketPath
	}
	if fits(l.run()) {
		return l.run(), nil
	}
	for _, parent := range []string{os.TempDir(), "/tmp"} {
		if !fits(filepath.Join(parent, "rowcall-1234567890")) {
			continue
		}
		dir, err := os.MkdirTemp(parent, "rowcall-")
		if err != nil {
			return "", err
		}
		return dir, who.own(dir)
	}
	return "", fmt.Errorf("the path of %s is too long for a Unix socket, and so is that of the temporary folder", l.folder)
}

// writeNew replaces a file at once and never shows a half-written one.
func writeNew(path, text string) error {
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// quietly runs a command and returns an error with what it said.
func quietly(cmd *exec.Cmd) error {
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, strings.TrimSpace(said.String()))
	}
	return nil
}
