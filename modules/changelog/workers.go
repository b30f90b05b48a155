package changelog

import "sync"

// maxIdle is how many goroutines wait for something to do.
const maxIdle = 512

// workers are goroutines that wait. For every delivery the stack of a new one would have to grow, which costs as much as half of the
// write.
type workers struct {
	mu    sync.Mutex
	idle  []chan func()
	ended bool
}

// spawn runs a task on a goroutine, unless the hub has ended.
func (h *Hub) spawn(task func()) {
	w := &h.workers
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	if n := len(w.idle); n > 0 {
		w.idle[n-1] <- task
		w.idle = w.idle[:n-1]
		return
	}
	h.tasks.Go(func() { h.work(task) })
}

// work runs a task, and then those that it is handed while it waits.
func (h *Hub) work(task func()) {
	next := make(chan func(), 1)
	for ok := true; ok; task, ok = <-next {
		task()
		if !h.workers.wait(next) {
			return
		}
	}
}

// wait puts a worker among those that wait; false if there are enough.
func (w *workers) wait(next chan func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended || len(w.idle) == maxIdle {
		return false
	}
	w.idle = append(w.idle, next)
	return true
}

// end lets those that wait go, and takes no more tasks.
func (w *workers) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	for _, next := range w.idle {
		close(next)
	}
	w.idle = nil
}
