package changelog

import (
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/google/uuid"

	"rowcall/modules/auth"
)

// Bounds of what a feed keeps in memory, and of what it reads at once.
const (
	maxTail      = 4096    // entries
	maxTailBytes = 8 << 20 // of their rows
	pageEntries  = 1024
)

// feed is the newest entries of one tenant's log, for its subscribers on this node.
type feed struct {
	hub     *Hub
	tenant  uuid.UUID
	loading sync.Mutex // held to read old entries: whoever waits for it may find them in memory then

	mu      sync.Mutex
	items   []*item // entries without a gap, up to last
	size    int     // of items, in bytes
	dropped int     // bytes of items that the slice's array may still hold
	last    int64   // position up to which has been read
	hinted  int64   // position that somebody has spoken of
	reading bool
	subs    map[*Subscription]struct{}
}

func newFeed(h *Hub, tenant uuid.UUID, head int64) *feed {
	return &feed{hub: h, tenant: tenant, last: head, hinted: head, subs: map[*Subscription]struct{}{}}
}

// item is an entry that is encoded once for all who see the same of it.
type item struct {
	Entry
	shown [auth.Owner + 1][Gone + 1]shown
}

// shown is an entry as a role sees it.
type shown struct {
	once sync.Once
	text []byte
	err  error
}

func (i *item) text(views Views, role auth.Role, sight Sight) ([]byte, error) {
	s := &i.shown[role][sight]
	s.once.Do(func() { s.text, s.err = views.Append(nil, &i.Entry, role, sight) })
	return s.text, s.err
}

func (i *item) size() int { return len(i.Before) + len(i.Data) }

// hint lets the feed be read, unless that has come to the position or is on its way to it.
func (f *feed) hint(position int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hinted = max(f.hinted, position)
	if !f.reading && f.hinted > f.last {
		f.reading = true
		f.hub.reads.add(f)
	}
}

// position returns the position up to which has been read.
func (f *feed) position() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// subscriptions returns those that there are now.
func (f *feed) subscriptions() []*Subscription {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.subs))
}

// page reads at most so many old entries after a position.
func (f *feed) page(since int64, limit int) ([]*item, error) {
	tx, err := f.hub.session(f.tenant)
	if err != nil {
		return nil, err
	}
	page, err := f.hub.Log.After(tx, since, limit, nil)
	if err == nil && len(page.Entries) > 0 && f.hub.Revoked != nil {
		err = f.hub.Revoked(f.hub.ctx) // as for new ones
	}
	if err != nil {
		return nil, err
	}
	items := make([]*item, len(page.Entries))
	for i, e := range page.Entries {
		items[i] = &item{Entry: e}
	}
	return items, nil
}

// append adds new entries to the tail, and drops the oldest for them. f.mu is held.
func (f *feed) append(items []*item) {
	if len(items) == 0 {
		return
	}
	if items[0].Position != f.last+1 { // what is between has been pruned
		f.items, f.size, f.dropped = nil, 0, 0
	}
	f.items = append(f.items, items...)
	f.last = items[len(items)-1].Position
	for _, i := range items {
		f.size += i.size()
	}
	drop := 0
	for ; len(f.items)-drop > maxTail || f.size > maxTailBytes; drop++ {
		size := f.items[drop].size()
		f.size, f.dropped = f.size-size, f.dropped+size
	}
	f.items = f.items[drop:]
	if f.dropped > maxTailBytes {
		f.items, f.dropped = slices.Clone(f.items), 0
	}
}

// prepend adds old entries before the tail, if they reach up to it and there is room.
func (f *feed) prepend(items []*item) {
	f.mu.Lock()
	defer f.mu.Unlock()
	size := 0
	for _, i := range items {
		size += i.size()
	}
	if items[len(items)-1].Position == f.last-int64(len(f.items)) && len(items)+len(f.items) <= maxTail && size+f.size <= maxTailBytes {
		f.items, f.size, f.dropped = slices.Concat(items, f.items), f.size+size, 0
	}
}

// cached returns the entries after a position that are in memory; behind is how many there are after it, and missing how many of
// these are older than the ones in memory.
func (f *feed) cached(since int64) (items []*item, behind, missing int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := int64(len(f.items))
	behind = f.last - since
	if behind > 0 && behind <= n {
		items = f.items[n-behind:]
	}
	return items, behind, behind - n
}

// errPruned is the error of reading on where nothing is left.
var errPruned = errors.New("the entries after the position have been pruned")

// next returns entries after a position, without a gap, and how many there are after it; none if there is nothing newer.
func (f *feed) next(since int64) (items []*item, behind int64, err error) {
	items, behind, missing := f.cached(since)
	if missing <= 0 || behind <= 0 {
		return items, behind, nil
	}
	f.loading.Lock()
	defer f.loading.Unlock()
	items, behind, missing = f.cached(since)
	if missing <= 0 {
		return items, behind, nil
	}
	f.hub.replays <- struct{}{}
	defer func() { <-f.hub.replays }()
	f.hub.counts.replays.Add(1)
	items, err = f.page(since, int(min(pageEntries, missing)))
	switch {
	case err != nil:
		return nil, behind, err
	case len(items) == 0 || items[0].Position != since+1:
		return nil, behind, errPruned
	}
	f.prepend(items)
	return items, behind, nil
}
