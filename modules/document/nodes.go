package document

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/modules/textcrdt"
)

// Topic is the bus's for documents. A message is a word for what it is about, and then:
//
//	open                                          the node has documents open
//	head <tenant>/<document>:<position> …         there are new operations
//	who <tenant>/<document>                       a document has been opened: who is there?
//	here <tenant>/<document> <site> <user> <JSON> what a site shows
const Topic = "document"

const (
	hintEvery = 3 * time.Millisecond
	peerFor   = 4 * pollEvery // how long a node counts after it has said that it has documents open
	maxHints  = 80            // documents in one message, which the bus bounds to 7500 bytes
)

// hints are what other nodes are to be told.
type hints struct {
	peer  atomic.Int64 // when another node said that it has documents open, in Unix nanoseconds
	ready chan struct{}

	mu      sync.Mutex
	pending map[key]int64
}

// heard tells whether there is another node to hear something.
func (n *hints) heard() bool { return time.Since(time.Unix(0, n.peer.Load())) < peerFor }

func (n *hints) add(k key, position int64) {
	if !n.heard() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pending == nil {
		n.pending = map[key]int64{}
	}
	if n.pending[k] = position; len(n.pending) == 1 {
		wake(n.ready)
	}
}

// take returns a message of what has been noted, and whether that is all.
func (n *hints) take() (payload []byte, all bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	payload = []byte("head")
	words := 0
	for k, position := range n.pending {
		if words++; words > maxHints {
			return payload, false
		}
		payload = append(k.append(append(payload, ' ')), ':')
		payload = strconv.AppendInt(payload, position, 10)
		delete(n.pending, k)
	}
	return payload, true
}

func (k key) append(b []byte) []byte {
	return append(append(append(b, k.tenant.String()...), '/'), k.document.String()...)
}

func parseKey(text string) (k key, ok bool) {
	tenant, document, _ := strings.Cut(text, "/")
	var err1, err2 error
	k.tenant, err1 = uuid.Parse(tenant)
	k.document, err2 = uuid.Parse(document)
	return k, err1 == nil && err2 == nil
}

// tellNodes sends hints, what comes in a short time together.
func (h *Hub) tellNodes(ctx context.Context) {
	for {
		select {
		case <-h.hints.ready:
		case <-ctx.Done():
			return
		}
		for all := false; !all; {
			var payload []byte
			payload, all = h.hints.take()
			h.Bus.Publish(Topic, payload)
		}
		select {
		case <-time.After(hintEvery):
		case <-ctx.Done():
			return
		}
	}
}

// sendPresence tells the other nodes what a site of this one shows.
func (h *Hub) sendPresence(k key, p *Presence) {
	if !h.hints.heard() {
		return
	}
	b := append(k.append([]byte("here ")), ' ')
	b = append(strconv.AppendUint(b, uint64(p.Site), 10), ' ')
	b = append(strconv.AppendInt(b, p.User, 10), ' ')
	h.Bus.Publish(Topic, append(b, p.Presence...))
}

// askPresence asks the other nodes who is in a document that this one has not had open.
func (h *Hub) askPresence(k key) {
	if h.hints.heard() {
		h.Bus.Publish(Topic, k.append([]byte("who ")))
	}
}

// hear takes a message of another node.
func (h *Hub) hear(payload []byte) {
	what, rest, _ := strings.Cut(string(payload), " ")
	switch what {
	case "": // something may have been lost
		wake(h.polls)
	case "open":
		h.hints.peer.Store(time.Now().UnixNano())
	case "head":
		for word := range strings.FieldsSeq(rest) {
			name, text, _ := strings.Cut(word, ":")
			position, err := strconv.ParseInt(text, 10, 64)
			if r := h.room(name); r != nil && err == nil {
				r.hint(state{position: position})
			}
		}
	case "who":
		h.hints.peer.Store(time.Now().UnixNano())
		if r := h.room(rest); r != nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, s := range r.presence {
				if s.own {
					h.sendPresence(r.key, &s.Presence)
				}
			}
		}
	case "here":
		name, rest, _ := strings.Cut(rest, " ")
		siteText, rest, _ := strings.Cut(rest, " ")
		userText, text, _ := strings.Cut(rest, " ")
		presence, ok := presentable(jsontext.Value(text))
		site, err1 := strconv.ParseUint(siteText, 10, 32)
		user, err2 := strconv.ParseInt(userText, 10, 64)
		if r := h.room(name); r != nil && err1 == nil && err2 == nil && ok {
			r.show(Presence{textcrdt.Site(site), user, presence}, false)
		}
	}
}

// room returns the room of a document of that name, if there is one.
func (h *Hub) room(name string) *room {
	k, ok := parseKey(name)
	if !ok {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rooms[k]
}
