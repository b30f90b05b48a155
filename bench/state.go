package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
)

// state is what a server tells of itself.
type state struct {
	CPU      time.Duration // it has used, by the kernel's account
	Heap     int64         // and stacks, in bytes, after a collection
	Resident int64         // bytes
	Commits  []commit      // the newest of the tenant of the rows
}

// commit is when a server knew that its entries up to a position were committed, in Unix nanoseconds.
type commit struct{ Position, At int64 }

// commits are the newest.
type commits struct {
	mu   sync.Mutex
	ring [1024]commit
	n    int
}

func (c *commits) add(tenant uuid.UUID, position int64) {
	if tenant != benchTenant {
		return
	}
	now := time.Now().UnixNano()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ring[c.n%len(c.ring)] = commit{position, now}
	c.n++
}

var benchTenant = uuid.MustParse(tenantID)

// serveState tells the state to whoever asks, with the memory if the path is /memory.
func serveState(ctx context.Context, commits *commits) (stop func(), err error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var usage syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
		st := state{CPU: time.Duration(usage.Utime.Nano() + usage.Stime.Nano())}
		if r.URL.Path == "/memory" {
			st.Heap, st.Resident = memory()
		}
		commits.mu.Lock()
		st.Commits = append(st.Commits, commits.ring[:min(commits.n, len(commits.ring))]...)
		commits.mu.Unlock()
		_ = json.NewEncoder(w).Encode(st)
	})}
	go func() { _ = s.Serve(l) }()
	fmt.Println("state=" + l.Addr().String())
	return func() { _ = s.Close() }, nil
}

// memory returns what is left when all that is not used has been given back.
func memory() (heap, resident int64) {
	runtime.GC() // twice for what lies in pools
	debug.FreeOSMemory()
	used := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(used)
	status, _ := os.ReadFile("/proc/self/status")
	_, line, _ := strings.Cut(string(status), "VmRSS:")
	var kB int64
	_, _ = fmt.Sscan(line, &kB)
	return int64(used[0].Value.Uint64() + used[1].Value.Uint64()), kB << 10
}

// state asks a server.
func (c *child) state(ctx context.Context, path string) (st state, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.says["state"]+path, nil)
	if err != nil {
		return st, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return st, err
	}
	defer resp.Body.Close() //nolint:errcheck // it has been read
	return st, json.NewDecoder(resp.Body).Decode(&st)
}
