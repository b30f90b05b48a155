package pgdev

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// identity is the user that Postgres runs as. The zero value is the user of this process.
type identity struct {
	name string
	attr *syscall.SysProcAttr // nil for no change
	// The owner of the files, when this process is root's: root itself in a user namespace.
	uid, gid int
	root     bool
}

// command prepares a command that runs as the identity, outside every folder.
func (i identity) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = "/" // the working directory may be closed to the identity, and is not ours to hold
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if i.attr != nil {
		*cmd.SysProcAttr = *i.attr
	}
	return cmd
}

// own gives a file, or a folder with all that is in it, to the identity. A folder that is its own already is not looked
// into.
func (i identity) own(path string) error {
	if !i.root {
		return nil
	}
	info, err := os.Lstat(path)
	if err != nil || ownedBy(info, i.uid) {
		return err
	}
	err = filepath.WalkDir(path, func(name string, _ fs.DirEntry, err error) error {
		if err != nil || name == path {
			return err
		}
		return os.Lchown(name, i.uid, i.gid)
	})
	return errors.Join(err, os.Lchown(path, i.uid, i.gid)) // last, so that an interrupted walk is walked again
}

func ownedBy(info fs.FileInfo, uid int) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == uid
}

// unprivileged returns the user that Postgres can run as in the folder, which becomes that user's.
//
// Postgres refuses root, and a user that has no entry in the user database.
func unprivileged(dir string) (identity, error) {
	root := os.Geteuid() == 0
	if _, err := user.LookupId(strconv.Itoa(os.Geteuid())); err == nil && !root {
		return identity{}, nil
	}
	var tried error
	for _, who := range standIns(dir, root) {
		err := who.try(dir)
		if err == nil {
			return who, nil
		}
		tried = errors.Join(tried, fmt.Errorf("as %s: %w", who.name, err))
	}
	return identity{}, fmt.Errorf("Postgres does not run as this user (%d), and no other can be used in %s; "+
		"run as an ordinary user, move the folder to where others can enter, or set DATABASE_URL\n%w", os.Geteuid(), dir, tried)
}

// standIns returns whom to try, the best first.
func standIns(dir string, root bool) []identity {
	var list []identity
	if nobody, err := user.Lookup("nobody"); err == nil {
		if uid, gid, err := numbers(nobody); err == nil {
			list = append(list, inNamespace(uid, gid)...)
		}
	}
	if !root {
		return list
	}
	var owner *user.User
	if info, err := os.Stat(filepath.Dir(dir)); err == nil && !ownedBy(info, 0) {
		owner, _ = user.LookupId(strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Uid)))
	}
	nobody, _ := user.Lookup("nobody")
	for _, u := range []*user.User{owner, nobody} {
		if u == nil {
			continue
		}
		if uid, gid, err := numbers(u); err == nil {
			credential := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)} //nolint:gosec // they come from such
			list = append(list, identity{name: u.Username, attr: &syscall.SysProcAttr{Credential: credential}, uid: uid, gid: gid, root: true})
		}
	}
	return list
}

func numbers(u *user.User) (uid, gid int, err error) {
	uid, err = strconv.Atoi(u.Uid)
	if err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(u.Gid)
	return uid, gid, err
}

// try gives the folder to the identity and looks whether it can work there.
func (i identity) try(dir string) error {
	if i.root {
		if err := os.Lchown(dir, i.uid, i.gid); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := quietly(i.command(ctx, "/bin/sh", "-c", `cd "$1" && [ -w . ]`, "pgdev", dir))
	return err
}

// killWithChildren makes the end of the command's context kill the children of the command too.
func killWithChildren(cmd *exec.Cmd) {
	cmd.SysProcAttr.Setpgid = true
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
}
