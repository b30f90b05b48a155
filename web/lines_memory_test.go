package web_test

import (
	"runtime"
	"testing"
	"time"
)

// A stream costs the server no more memory than a few of its parts, however much it has and however slowly it is read.
func TestStreamsTakeLittleMemory(t *testing.T) { // not parallel: it looks at the heap
	s := start(t)
	const rows, size = 60_000, 1000
	if most := s.readSlowly(t, rows, size); most > rows*size/4 {
		t.Errorf("the heap grows by %d KB while %d KB are sent", most>>10, rows*size>>10)
	}
}

// BenchmarkStream sends b.N rows to a slow reader: -benchtime 1000000x for a million.
func BenchmarkStream(b *testing.B) {
	s := start(b)
	most := s.readSlowly(b, b.N, 100)
	b.ReportMetric(float64(most)/(1<<20), "heap-MB")
}

// readSlowly streams n tasks of more than so many bytes, and returns by how much the live heap of this process, which is the server's and
// the reader's, grew at most meanwhile.
func (s *server) readSlowly(tb testing.TB, n, bytes int) (most uint64) {
	tb.Helper()
	s.addTasks(n, bytes)
	lines := s.stream(bootstrap, s.login("demo1").Token)
	before := liveHeap()
	if b, ok := tb.(*testing.B); ok {
		b.ResetTimer()
	}
	for read := 0; ; read++ {
		l := lines.next()
		if l.Entity == "" {
			if !l.End || read < n {
				tb.Errorf("after %d rows: %+v", read, l)
			}
			return most
		}
		if read%2000 == 0 {
			time.Sleep(5 * time.Millisecond) // the server gets ahead, as far as it can
			if now := liveHeap(); now > before {
				most = max(most, now-before)
			}
		}
	}
}

func liveHeap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
