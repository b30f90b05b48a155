package document

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/store"
	"rowcall/modules/textcrdt"
)

const (
	presenceFor   = 30 * time.Second
	presenceEvery = 50 * time.Millisecond // for one site: of what comes sooner only the last is told
	maxPresent    = 500                   // sites of a document
)

// presence is who is in a document, as the sites last said.
type presence map[textcrdt.Site]*shown

type shown struct {
	Presence
	own     bool // of this node's, which tells the others
	expires time.Time
	told    time.Time // when it was told to the followers last
	waits   bool      // until it may be told again
}

// Show tells those who follow a document, on all nodes, where the site of the caller is in it: an object of up to MaxPresence bytes, which
// expires after 30 seconds, or nil when it has left. FORBIDDEN for a site of somebody else, VALIDATION at "presence".
func (h *Hub) Show(ctx context.Context, document uuid.UUID, site textcrdt.Site, presence jsontext.Value) error {
	actor, err := h.actor(ctx, auth.ScopeRead)
	if err != nil {
		return err
	}
	presence, ok := presentable(presence)
	if !ok {
		return apperr.Validation(apperr.Issue{
			Path: "presence", Reason: "must be null or an object of up to " + strconv.Itoa(MaxPresence) + " bytes",
		})
	}
	r := h.enter(key{actor.Tenant, document})
	return r.ask(ctx, false, func(tx *store.Tx) error { //nolint:contextcheck // the room works with a context of its own
		if r.members[actor.User] == "" {
			if err := r.catchUp(tx); err != nil {
				return err
			}
		}
		if r.members[actor.User] == "" {
			return noDocument(document)
		}
		if err := r.knowSites(tx, site); err != nil {
			return err
		}
		if !r.owns(actor.User, site) {
			return errSite
		}
		if r.show(Presence{site, actor.User, presence}, true) {
			return nil
		}
		return apperr.New(apperr.Unavailable, "Too many have the document open to show them all")
	})
}

// presentable returns what a site says in the one form that followers get; not ok if it may not say that.
func presentable(presence jsontext.Value) (compact jsontext.Value, ok bool) {
	if presence = presence.Clone(); len(presence) == 0 {
		presence = jsontext.Value("null")
	}
	ok = presence.IsValid() && presence.Compact() == nil && len(presence) <= MaxPresence
	return presence, ok && (presence.Kind() == '{' || presence.Kind() == 'n')
}

// show takes what a site says, of this node or another. False if there are too many.
func (r *room) show(p Presence, own bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.presence[p.Site]
	if s == nil {
		if p.gone() {
			return true
		}
		if len(r.presence) == maxPresent {
			return false
		}
		s = &shown{}
		if r.presence == nil {
			r.presence = presence{}
		}
		r.presence[p.Site] = s
	}
	now := time.Now()
	s.Presence, s.own, s.expires, r.used = p, own, now.Add(presenceFor), now
	switch {
	case p.gone() || now.Sub(s.told) >= presenceEvery:
		r.tell(s)
	case !s.waits:
		s.waits = true
		time.AfterFunc(presenceEvery-now.Sub(s.told), func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			if s.waits && !r.closed {
				r.tell(s)
			}
		})
	}
	return true
}

func (p *Presence) gone() bool { return p.Presence.Kind() == 'n' }

func (s *shown) leave() *shown {
	s.Presence.Presence = jsontext.Value("null")
	return s
}

// tell sends what a site says to the followers, and to the other nodes if it is this one's. r.mu is held.
func (r *room) tell(s *shown) {
	s.told, s.waits = time.Now(), false
	if s.gone() {
		delete(r.presence, s.Site)
	}
	r.broadcast(presenceFrame(r.document, &s.Presence))
	if s.own {
		r.hub.sendPresence(r.key, &s.Presence)
	}
}

// expire lets those go who have said nothing for long. r.mu is held.
func (r *room) expire(now time.Time) {
	for _, s := range r.presence {
		if now.After(s.expires) {
			r.tell(s.leave())
		}
	}
}

func presenceFrame(document uuid.UUID, p *Presence) *Frame {
	b := append(append([]byte(`{"document_id":"`), document.String()...), `","site":`...)
	b = append(strconv.AppendUint(b, uint64(p.Site), 10), `,"user_id":`...)
	b = append(strconv.AppendInt(b, p.User, 10), `,"presence":`...)
	return &Frame{Text: append(append(b, p.Presence...), '}')}
}

// frames are for who comes.
func (p presence) frames(document uuid.UUID) []*Frame {
	var frames []*Frame
	for _, s := range p.list() {
		frames = append(frames, presenceFrame(document, &s))
	}
	return frames
}

// list returns who is there, by their sites.
func (p presence) list() []Presence {
	list := make([]Presence, 0, len(p))
	for _, s := range p {
		list = append(list, s.Presence)
	}
	slices.SortFunc(list, func(a, b Presence) int { return int(a.Site) - int(b.Site) })
	return list
}
