package document_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"rowcall/modules/document"
	"rowcall/modules/textcrdt"
)

// BenchmarkPush is operations of one character by some editors at once, of one document or each of their own: how long each waits, and how many
// commits that takes.
func BenchmarkPush(b *testing.B) {
	for _, c := range []struct{ editors, documents int }{{1, 1}, {8, 1}, {50, 1}, {8, 8}, {200, 200}} {
		b.Run(fmt.Sprintf("%d in %d", c.editors, c.documents), func(b *testing.B) {
			w := newWorld(b)
			n := w.node()
			docs := make([]uuid.UUID, c.documents)
			for i := range docs {
				docs[i] = w.create()
			}
			replicas := make([]*replica, c.editors)
			for i := range replicas {
				replicas[i] = n.open(docs[i%len(docs)], 1)
				replicas[i].push(n, replicas[i].insert(0, "x"))
			}
			before := n.Stats()
			var mu sync.Mutex
			var took []time.Duration
			b.ResetTimer()
			var clients sync.WaitGroup
			for i, r := range replicas {
				clients.Go(func() {
					var own []time.Duration
					for range b.N/c.editors + min(1, max(0, b.N%c.editors-i)) {
						batch, start := r.insert(r.Len(), "x"), time.Now()
						r.push(n, batch)
						own = append(own, time.Since(start))
					}
					mu.Lock()
					defer mu.Unlock()
					took = append(took, own...)
				})
			}
			clients.Wait()
			b.StopTimer()
			slices.Sort(took)
			s := n.Stats()
			groups := float64(max(1, s.Commits-before.Commits))
			b.ReportMetric(float64(s.Operations-before.Operations)/groups, "ops/group")
			b.ReportMetric(groups/b.Elapsed().Seconds(), "groups/s")
			b.ReportMetric(float64(s.Together-before.Together)/groups, "together")
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
		})
	}
}

// BenchmarkOpen opens a document with 10 MB of operations.
func BenchmarkOpen(b *testing.B) {
	w := newWorld(b)
	n, doc := w.node(), w.create()
	r := n.open(doc, 1)
	size := 0
	for size < 10<<20 {
		var ops []textcrdt.Op
		for range document.MaxRuns {
			op, err := r.Insert(rand.IntN(r.Len()+1), "some text")
			if err != nil {
				b.Fatal(err)
			}
			ops = append(ops, op...)
		}
		batch := textcrdt.AppendOps(nil, ops)
		r.push(n, batch)
		size += len(batch)
	}
	wait(b, "the snapshot", func() bool {
		if err := n.Compact(context.Background(), tenant, doc); err != nil { // unless it is under way
			b.Fatal(err)
		}
		return get[bool](w, `SELECT s.position = h.position FROM document_snapshot s JOIN document_head h USING (document_id)`)
	})
	r.push(n, r.insert(0, "x"))
	var took time.Duration
	for b.Loop() {
		o, err := n.Open(as(1), doc, document.OpenOptions{Site: r.site})
		if err != nil || o.Position != o.Head {
			b.Fatal(o.Position, o.Head, err)
		}
		b.StopTimer()
		start := time.Now()
		if _, err := textcrdt.Load(o.Site, o.Session, o.Snapshot); err != nil {
			b.Fatal(err)
		}
		took += time.Since(start)
		b.StartTimer()
		b.ReportMetric(float64(len(o.Snapshot)), "snapshot-bytes")
		b.ReportMetric(float64(o.Head), "operations")
	}
	b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "load-ms")
	b.ReportMetric(get[float64](w, `SELECT sum(octet_length(operations)) FROM document_history`), "history-bytes")
}

// BenchmarkTyping is 50 people who type five characters a second each in one document: how long a character takes to all others, and what a
// delivery costs of this process, which is the typists, too. N is characters.
func BenchmarkTyping(b *testing.B) {
	const typists, pause = 50, 200 * time.Millisecond
	w := newWorld(b)
	n, doc := w.node(), w.create()
	var sent sync.Map // by the position after it
	var mu sync.Mutex
	var took []time.Duration
	for range typists {
		f := &timed{deliver: func(positions []int64, at time.Time) {
			for _, p := range positions {
				if start, ok := sent.Load(p); ok {
					mu.Lock()
					took = append(took, at.Sub(start.(time.Time)))
					mu.Unlock()
				}
			}
		}}
		following, err := n.Follow(as(1), doc, 0, f)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(following.Close)
	}
	replicas := make([]*replica, typists)
	for i := range replicas {
		replicas[i] = n.open(doc, 1)
	}
	before, cpu := n.Stats(), processTime()
	b.ResetTimer()
	var clients sync.WaitGroup
	for i, r := range replicas {
		clients.Go(func() {
			time.Sleep(pause * time.Duration(i) / typists)
			ticks := time.NewTicker(pause)
			defer ticks.Stop()
			for range max(1, b.N/typists) {
				batch, start := r.insert(r.Len(), "x"), time.Now()
				sent.Store(r.push(n, batch), start)
				<-ticks.C
			}
		})
	}
	clients.Wait()
	b.StopTimer()
	used, s := processTime()-cpu, n.Stats()
	slices.Sort(took)
	b.ReportMetric(float64(s.Operations-before.Operations)/float64(s.Commits-before.Commits), "ops/commit")
	b.ReportMetric(float64(used.Nanoseconds())/1000/float64(s.Operations-before.Operations)/typists, "cpu-us/delivery")
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
}

// BenchmarkFanOut is a frame a millisecond to 50 who follow a document, and write each to a file: what a delivery costs of this process.
func BenchmarkFanOut(b *testing.B) {
	const followers = 50
	w := newWorld(b)
	n, doc := w.node(), w.create()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = null.Close() })
	frame := &document.Frame{Position: 1, Text: make([]byte, 200)}
	var delivered sync.WaitGroup
	for range followers {
		f := &timed{deliver: func([]int64, time.Time) {
			_, _ = null.Write(frame.Text)
			delivered.Done()
		}}
		following, err := n.Follow(as(1), doc, 0, f)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(following.Close)
	}
	ticks := time.NewTicker(time.Millisecond)
	defer ticks.Stop()
	cpu := processTime()
	for b.Loop() {
		delivered.Add(followers)
		n.Broadcast(tenant, doc, frame)
		delivered.Wait()
		<-ticks.C
	}
	b.ReportMetric(float64((processTime()-cpu).Nanoseconds())/1000/followers/float64(b.N), "cpu-us/delivery")
}

type timed struct {
	deliver func(positions []int64, at time.Time)
}

func (f *timed) Deliver(frames []*document.Frame) error {
	at, positions := time.Now(), make([]int64, len(frames))
	for i, frame := range frames {
		positions[i] = frame.Position
	}
	f.deliver(positions, at)
	return nil
}

func (f *timed) End(document.Ending) {}

func processTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
