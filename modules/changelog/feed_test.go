package changelog

import (
	"bytes"
	"runtime"
	"testing"
	"weak"

	"github.com/google/uuid"
)

// What a feed has dropped does not stay in memory, also after it has had many more entries than it has now.
func TestWhatIsDroppedIsFreed(t *testing.T) {
	t.Parallel()
	f := newFeed(nil, uuid.Nil, 0)
	row := bytes.Repeat([]byte("x"), maxTailBytes/16) // of all entries, so that the test takes no memory
	var large []weak.Pointer[item]
	for p := int64(1); p <= 2*maxTail; p++ {
		i := &item{Entry: Entry{Position: p}}
		if p > 2*maxTail-200 {
			i.Data = row
			large = append(large, weak.Make(i))
		}
		f.append([]*item{i})
	}
	runtime.GC()
	alive := 0
	for _, p := range large {
		if p.Value() != nil {
			alive++
		}
	}
	if alive > 3*16 {
		t.Errorf("%d of %d large entries are in memory, of which %d are kept", alive, len(large), len(f.items))
	}
	runtime.KeepAlive(f)
}
