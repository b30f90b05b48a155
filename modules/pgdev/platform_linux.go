package pgdev

import (
	"os"
	"strconv"
	"syscall"
)

// inNamespace is this process's user under another number: in a user namespace where it is called uid. The files stay
// the user's own, so that this works below folders that nobody else may enter.
func inNamespace(uid, gid int) []identity {
	return []identity{{
		name: "nobody in a user namespace",
		attr: &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: gid, HostID: os.Getegid(), Size: 1}},
		},
		uid: os.Geteuid(), gid: os.Getegid(), root: os.Geteuid() == 0,
	}}
}

// isPostmaster tells whether the process is the postmaster of the data: a postmaster works in its data folder.
func isPostmaster(pid int, data string) bool {
	cwd, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/cwd")
	if err != nil {
		return false
	}
	want, err := os.Stat(data)
	if err != nil || !os.SameFile(cwd, want) {
		return false
	}
	name, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm") // a person's shell may be there too
	return err == nil && string(name) == "postgres\n"
}
