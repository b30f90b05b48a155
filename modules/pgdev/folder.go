package pgdev

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// folder is Config.Dir, absolute. Its parts:
//
//	lock        held exclusively by whoever starts
//	shared      held by every user, only so that the last one knows that it is the last
//	url         the address of the superuser
//	log         what Postgres says
//	pg17/       the data of version 17, and its password
//	run/        of one run of the supervisor: the users' FIFO, files by which it speaks, the Unix socket
type folder string

func (f folder) lock() string       { return filepath.Join(string(f), "lock") }
func (f folder) shared() string     { return filepath.Join(string(f), "shared") }
func (f folder) url() string        { return filepath.Join(string(f), "url") }
func (f folder) log() string        { return filepath.Join(string(f), "log") }
func (f folder) run() string        { return filepath.Join(string(f), "run") }
func (f folder) users() string      { return filepath.Join(f.run(), "users") }
func (f folder) ack() string        { return filepath.Join(f.run(), "ack") }
func (f folder) failed() string     { return filepath.Join(f.run(), "failed") }
func (f folder) ready() string      { return filepath.Join(f.run(), "ready") }
func (f folder) generation() string { return filepath.Join(f.run(), "generation") }

func (f folder) home(major int) string     { return filepath.Join(string(f), "pg"+strconv.Itoa(major)) }
func (f folder) data(major int) string     { return filepath.Join(f.home(major), "data") }
func (f folder) password(major int) string { return filepath.Join(f.home(major), "password") }

// majors returns the versions that have data here.
func (f folder) majors() []int {
	files, _ := filepath.Glob(filepath.Join(string(f), "pg*", "data", "PG_VERSION")) // the pattern is good
	var majors []int
	for _, file := range files {
		name := filepath.Base(filepath.Dir(filepath.Dir(file)))
		if major, err := strconv.Atoi(strings.TrimPrefix(name, "pg")); err == nil {
			majors = append(majors, major)
		}
	}
	return majors
}

func (f folder) readURL() (*url.URL, error) {
	text, err := os.ReadFile(f.url())
	if err != nil {
		return nil, err
	}
	return url.Parse(strings.TrimSpace(string(text)))
}

// errNobody says that no supervisor reads the users' FIFO.
var errNobody = errors.New("no supervisor runs")

// join becomes a user of the running cluster, which answers. It fails with errNobody if there is none, or if it does not
// answer. The caller holds the lock.
func (f folder) join(ctx context.Context) (users int, err error) {
	users, err = syscall.Open(f.users(), syscall.O_WRONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errors.Is(err, syscall.ENXIO) || errors.Is(err, fs.ErrNotExist) {
		return -1, errNobody
	}
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: f.users(), Err: err}
	}
	if err := f.handshake(ctx, users); err != nil {
		return -1, errors.Join(err, syscall.Close(users))
	}
	u, err := f.readURL()
	if err == nil {
		err = f.await(ctx, u, users)
	}
	if err != nil && ctx.Err() == nil {
		err = errors.Join(errNobody, err) // it is of no use, and makes room for another one
	}
	if err != nil {
		return -1, errors.Join(err, syscall.Close(users))
	}
	return users, nil
}

// handshake returns nil when the reader of the FIFO cannot meet its end before users is closed.
func (f folder) handshake(ctx context.Context, users int) error {
	word := rand.Text()
	for line := word + "\n"; ; line = "\n" {
		if !alive(users, line) {
			return errNobody
		}
		if ack, err := os.ReadFile(f.ack()); err == nil && strings.TrimSpace(string(ack)) == word {
			return nil
		}
		if err := sleep(ctx, 2*time.Millisecond); err != nil {
			return err
		}
	}
}

// alive writes a line for the reader of the FIFO and tells whether there is one.
func alive(users int, line string) bool {
	for {
		_, err := syscall.Write(users, []byte(line))
		if !errors.Is(err, syscall.EINTR) {
			return err == nil || errors.Is(err, syscall.EAGAIN) // full of lines, and a reader that will come to them
		}
	}
}

// postmasterFile is what postmaster.pid says: who runs, where, and since when.
type postmasterFile struct {
	pid   int
	data  string
	start string
}

// postmaster returns what the postmaster.pid of any version says, the zero value if there is none.
func (f folder) postmaster() postmasterFile {
	for _, major := range f.majors() {
		text, err := os.ReadFile(filepath.Join(f.data(major), "postmaster.pid"))
		if err != nil {
			continue
		}
		lines := strings.Split(string(text), "\n")
		pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
		if err != nil || pid <= 1 || len(lines) < 3 {
			continue
		}
		return postmasterFile{pid: pid, data: f.data(major), start: lines[2]}
	}
	return postmasterFile{}
}

// exists tells whether the process of the number runs, whoever's it is.
func exists(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// sleep waits, and returns the context's error if it ends first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
