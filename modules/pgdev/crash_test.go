package pgdev

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestKilledUserIsCounted(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	first, second := another(t, dir), another(t, dir)
	first.kill()
	time.Sleep(100 * time.Millisecond)
	wants(t, second.url, `SELECT 'here'`, "here")
	second.kill()
	gone(t, folder(dir))
	wants(t, begin(t, dir).URL("postgres"), `SELECT 'again'`, "again")
}

func TestKilledStarter(t *testing.T) {
	t.Parallel()
	fresh := filepath.Join(tempDir(t), "pg")
	for after := 20 * time.Millisecond; after < 400*time.Millisecond; after *= 2 {
		for _, dir := range []string{fresh, newDir(t)} {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), userOf+"="+dir)
			in, err := cmd.StdinPipe()
			fatal(t, err)
			fatal(t, cmd.Start())
			time.Sleep(after)
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			_ = in.Close()
		}
	}
	c := begin(t, fresh)
	wants(t, c.URL("postgres"), `SELECT 'after all'`, "after all")
	fatal(t, c.Close())
	gone(t, folder(fresh))
}

func TestKilledPostmasterIsStartedAgain(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	c := begin(t, dir)
	url := c.URL("postgres")
	if _, err := query(url, `SELECT 1 FROM pg_sleep(0)`); err != nil {
		t.Fatal(err)
	}
	killed := folder(dir).postmaster()
	fatal(t, syscall.Kill(killed.pid, syscall.SIGKILL))
	joined := begin(t, dir) // whatever it meets, what it gets answers
	if joined.URL("postgres") != url {
		t.Errorf("the address changed from %s to %s", url, joined.URL("postgres"))
	}
	for range 6000 {
		if p := folder(dir).postmaster(); p.pid != 0 && p.pid != killed.pid {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	var err error
	for range 6000 {
		if _, err = query(url, `SELECT 1`); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error(err)
}

// Everything is killed: the user, the supervisor with it, and Postgres or not.
func TestKilledSupervisor(t *testing.T) {
	t.Parallel()
	for _, postmasterToo := range []bool{false, true} {
		dir := newDir(t)
		user := another(t, dir)
		killed := folder(dir).postmaster()
		killSupervisors(t, dir)
		if postmasterToo {
			fatal(t, syscall.Kill(killed.pid, syscall.SIGKILL))
		}
		user.kill()
		c := begin(t, dir)
		wants(t, c.URL("postgres"), `SELECT 'again'`, "again")
		if folder(dir).postmaster() == killed {
			t.Error("an orphan serves")
		}
		fatal(t, c.Close())
	}
}

// killSupervisors kills the shells whose arguments name the folder.
func killSupervisors(t *testing.T, dir string) {
	t.Helper()
	out, err := exec.Command("ps", "-A", "-o", "pid=,args=").Output()
	fatal(t, err)
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "/bin/sh -c") && strings.Contains(line, dir+"/run") {
			var pid int
			_, err := fmt.Sscan(line, &pid)
			fatal(t, err)
			fatal(t, syscall.Kill(pid, syscall.SIGKILL))
		}
	}
}

func TestStalePidFileOfAnotherProgram(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	user := another(t, dir)
	p := folder(dir).postmaster()
	file := filepath.Join(p.data, "postmaster.pid")
	text, err := os.ReadFile(file)
	fatal(t, err)
	user.leave(t)

	other := exec.Command("sleep", "60")
	fatal(t, other.Start())
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	stale := strings.Replace(string(text), fmt.Sprint(p.pid), fmt.Sprint(other.Process.Pid), 1)
	fatal(t, os.WriteFile(file, []byte(stale), 0o600))
	if os.Geteuid() == 0 {
		info, err := os.Stat(p.data)
		fatal(t, err)
		owner := info.Sys().(*syscall.Stat_t)
		fatal(t, os.Chown(file, int(owner.Uid), int(owner.Gid)))
	}
	wants(t, begin(t, dir).URL("postgres"), `SELECT 'again'`, "again")
	if !exists(other.Process.Pid) {
		t.Error("the other program was ended")
	}
}
