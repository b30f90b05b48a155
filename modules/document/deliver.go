package document

import "time"

// Bounds of what waits for a follower. A frame that is larger by itself waits alone.
const (
	maxQueued      = 4096    // frames
	maxQueuedBytes = 4 << 20 // of their texts
)

// queue adds a frame to what waits for the follower; false if that is too much. r.mu is held.
func (f *Following) queue(frame *Frame) bool {
	if n := len(f.frames); n == maxQueued || n > 0 && f.size+len(frame.Text) > maxQueuedBytes {
		return false
	}
	f.frames = append(f.frames, frame)
	f.size += len(frame.Text)
	if !f.served {
		f.served = true
		f.room.waiting = append(f.room.waiting, f)
	}
	return true
}

// broadcast queues a frame for all followers. r.mu is held.
func (r *room) broadcast(frame *Frame) {
	idle := len(r.waiting) == 0
	for f := range r.followers {
		if !f.queue(frame) {
			r.hub.counts.slow.Add(1)
			r.end(f, Resync)
		}
	}
	if idle && len(r.waiting) > 0 {
		r.hub.spawn(r.deliver)
	}
}

// patience is how long one goroutine delivers to those who wait before others help it.
const patience = 5 * time.Millisecond

// deliver goes through those who wait, with one goroutine for all of them as long as each takes what it gets. A goroutine that is kept by its
// follower stays with it.
func (r *room) deliver() {
	late := time.AfterFunc(patience, r.relieve)
	defer late.Stop()
	for f := r.next(); f != nil; f = r.next() {
		f.run()
	}
}

// relieve has two more goroutines go on where one is late. Each of them does the same, so that many who are kept do not cost the others much more
// time than one.
func (r *room) relieve() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for range min(2, len(r.waiting)) {
		r.hub.spawn(r.deliver)
	}
}

// next returns who has waited the longest; nil for nobody.
func (r *room) next() (f *Following) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) > 0 {
		f, r.waiting[0] = r.waiting[0], nil
		r.waiting = r.waiting[1:]
	}
	return f
}

// run delivers until nothing waits, or the following is closed, or fails. It is called by one goroutine at a time.
func (f *Following) run() {
	if err := f.deliverAll(); err != nil {
		why := f.room.ending(err)
		f.room.mu.Lock()
		defer f.room.mu.Unlock()
		f.room.end(f, why)
	}
}

// deliverAll is run. The error is of what cannot be delivered.
func (f *Following) deliverAll() (err error) {
	defer caught(&err)
	if err := f.replay(); err != nil {
		return err
	}
	for frames := f.take(); len(frames) > 0; frames = f.take() {
		if !f.deliver(frames) {
			return nil
		}
	}
	return nil
}

// take returns what waits, in exchange for what it has returned before.
func (f *Following) take() []*Frame {
	f.room.mu.Lock()
	defer f.room.mu.Unlock()
	clear(f.taken)
	f.taken, f.frames, f.size = f.frames, f.taken[:0], 0
	f.served = len(f.taken) > 0
	return f.taken
}

func (f *Following) deliver(frames []*Frame) bool {
	if f.Closed() {
		return false
	}
	if err := f.to.Deliver(frames); err != nil {
		f.Close()
		return false
	}
	f.room.hub.counts.delivered.Add(int64(len(frames)))
	for _, frame := range frames {
		if frame.Position > 0 {
			f.position.Store(frame.Position)
		}
	}
	return true
}

// Closed tells whether the following has ended.
func (f *Following) Closed() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}
