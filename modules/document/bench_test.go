package document_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkPush is operations of one character by some editors of a document at once: how long each waits, and how many commits that takes.
func BenchmarkPush(b *testing.B) {
	for _, editors := range []int{1, 8, 50} {
		b.Run(fmt.Sprint(editors), func(b *testing.B) {
			w := newWorld(b)
			n, doc := w.node(), w.create()
			replicas := make([]*replica, editors)
			for i := range replicas {
				replicas[i] = n.open(doc, 1)
			}
			before := n.Stats()
			var mu sync.Mutex
			var took []time.Duration
			b.ResetTimer()
			var clients sync.WaitGroup
			for i, r := range replicas {
				clients.Go(func() {
					var own []time.Duration
					for range b.N/editors + min(1, max(0, b.N%editors-i)) {
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
			b.ReportMetric(float64(s.Operations-before.Operations)/float64(max(1, s.Commits-before.Commits)), "ops/commit")
			b.ReportMetric(float64(s.Commits-before.Commits)/b.Elapsed().Seconds(), "commits/s")
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
		})
	}
}
