package document_test

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"rowcall/modules/document"
)

// crowd is a document that is followed without a database, by which a test would have to wait.
type crowd struct {
	*document.Hub
	doc  uuid.UUID
	head int64
}

func newCrowd() *crowd {
	return &crowd{Hub: document.NewHub(document.Config{Logger: zap.NewNop()}), doc: uuid.New()}
}

// send sends the next frame.
func (c *crowd) send() {
	c.head++
	c.Broadcast(tenant, c.doc, &document.Frame{Prev: c.head - 1, Position: c.head, Text: []byte("{}")})
}

// one is a follower of a crowd.
type one struct {
	*document.Following
	t       *testing.T
	deliver func() error // before what has come is counted
	at      atomic.Int64
	busy    atomic.Bool
	ended   atomic.Bool
}

func (c *crowd) follow(t *testing.T, deliver func() error) *one {
	o := &one{t: t, deliver: deliver}
	o.at.Store(c.head)
	o.Following = c.Admit(tenant, c.doc, o)
	return o
}

func (o *one) Deliver(frames []*document.Frame) error {
	if o.busy.Swap(true) {
		o.t.Error("it is delivered to twice at once")
	}
	defer o.busy.Store(false)
	if err := o.deliver(); err != nil {
		return err
	}
	for _, f := range frames {
		if f.Prev != o.at.Load() {
			o.t.Errorf("after %d comes what follows %d", o.at.Load(), f.Prev)
		}
		o.at.Store(f.Position)
	}
	return nil
}

func (o *one) End(document.Ending) { o.ended.Store(true) }

func have(all []*one, position int64) (n int) {
	for _, o := range all {
		if o.at.Load() == position {
			n++
		}
	}
	return n
}

// However many followers do not take what they get, the others wait some milliseconds once, and then not at all.
func TestKept(t *testing.T) {
	t.Parallel()
	for _, kept := range []int{1, 8, 50} {
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd()
			release := make(chan struct{})
			var takes, blocks []*one
			for range kept {
				takes = append(takes, c.follow(t, func() error { return nil }))
				blocks = append(blocks, c.follow(t, func() error { <-release; return nil }))
			}
			synctest.Wait()
			c.send()
			time.Sleep(6 * document.Patience)
			synctest.Wait()
			if n := have(takes, 1); n != kept {
				t.Errorf("%d of %d have what came while %d others blocked", n, kept, kept)
			}
			for range 3 {
				c.send()
				if synctest.Wait(); have(takes, c.head) != kept {
					t.Errorf("%d of %d have frame %d at once", have(takes, c.head), kept, c.head)
				}
			}
			if n := have(blocks, 0); n != kept {
				t.Errorf("%d of %d block", n, kept)
			}
			close(release)
			if synctest.Wait(); have(blocks, c.head) != kept {
				t.Errorf("%d of %d have all at the end", have(blocks, c.head), kept)
			}
			c.send()
			if synctest.Wait(); have(blocks, c.head) != kept {
				t.Errorf("%d of %d have what comes after that", have(blocks, c.head), kept)
			}
		})
	}
}

// Everybody gets everything once and in order, whoever comes, goes, fails or is slow.
func TestCrowd(t *testing.T) {
	t.Parallel()
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd()
			var stay []*one
			var clients sync.WaitGroup
			for range 30 {
				slow := rand.N(30 * time.Millisecond)
				stay = append(stay, c.follow(t, func() error { return nil }), c.follow(t, func() error {
					time.Sleep(rand.N(slow + 1))
					return nil
				}))
				var closed atomic.Bool
				var after atomic.Int64
				leaves := c.follow(t, func() error {
					if closed.Load() && after.Add(1) > 1 { // one may have been under way
						t.Error("something is delivered after the end")
					}
					time.Sleep(rand.N(slow + 1))
					return nil
				})
				clients.Go(func() {
					time.Sleep(rand.N(300 * time.Millisecond))
					leaves.Close()
					closed.Store(true)
				})
			}
			fails := c.follow(t, func() error { return errors.New("it is gone") })
			panics := c.follow(t, func() error { panic("a follower's") })
			for range 100 {
				c.send()
				time.Sleep(rand.N(6 * time.Millisecond))
				if len(stay) < 70 {
					stay = append(stay, c.follow(t, func() error { return nil }))
				}
			}
			clients.Wait()
			time.Sleep(time.Second)
			synctest.Wait()
			if n := have(stay, c.head); n != len(stay) {
				t.Errorf("%d of %d have all", n, len(stay))
			}
			if s := c.Stats(); s.Followers != int64(len(stay)) || fails.ended.Load() || !panics.ended.Load() {
				t.Errorf("%d follow, want %d; the end of who fails: %t, of who panics: %t", s.Followers, len(stay), fails.ended.Load(), panics.ended.Load())
			}
		})
	}
}
