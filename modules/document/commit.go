package document

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"go.uber.org/zap"

	"rowcall/modules/apperr"
	"rowcall/modules/store"
	"rowcall/modules/textcrdt"
)

// attempts is how often a room tries to commit a group. Each but the first follows something that has changed: the members, or where a site is
// whose user writes on two nodes.
const attempts = 8

// commit commits the pushes of a batch, and answers them.
func (r *room) commit(tx *store.Tx, b *batch) error {
	fresh := false  // whether the room has caught up since the pushes came
	looked := false // whether the node has looked since then whose logins have changed
	for range attempts {
		if len(b.pushes) == 0 {
			return nil
		}
		if r.doc == nil {
			if err := r.load(tx); err != nil {
				return err
			}
		}
		tag, err := r.screen(tx, b)
		if err != nil {
			return err
		}
		if r.doc == nil {
			continue
		}
		g, err := r.stage(b, fresh)
		var position int64
		switch {
		case err == nil && len(g.ops) == 0: // all of it is committed
			b.returnUnproven()
			b.acknowledge(r.position)
			return nil
		case err == nil:
			w := write{document: r.document, membersVersion: r.membersVersion, tag: tag, group: &g}
			r.hub.write(tx, &w)
			position, err = w.position, w.err
		}
		switch {
		case errors.Is(err, errStale):
		case violated(err): // another node has these operations
		case err != nil && passing(err): // perhaps they are committed: the rows say so
			r.hub.Logger.Warn("it is not known whether a document was written", zap.Stringer("document", r.document), zap.Error(err))
			r.doc = nil
		case err != nil:
			return err
		case position > 0:
			return r.committed(tx, b, &g, position, tag != "")
		case !looked: // the members are others by now, or the logins, be they of people elsewhere
			b.look(tx)
			looked = true
		case b.returnUnproven():
			r.doc = nil // which has their operations
		}
		if err := r.catchUp(tx); err != nil {
			return err
		}
		fresh = true
	}
	return fmt.Errorf("%w: its sites are not where its operations are", errCorrupt)
}

// violated tells whether the table's trigger has refused a group: a site is not where it was.
func violated(err error) bool {
	var pe interface{ SQLState() string }
	return errors.As(err, &pe) && pe.SQLState() == "23P01"
}

// acknowledge answers all pushes that are left.
func (b *batch) acknowledge(position int64) {
	for _, p := range b.pushes {
		p.answer(position, nil)
	}
	b.pushes = nil
}

// committed is what follows a commit. If that has proven logins, this node knows of all that had ended before it.
func (r *room) committed(tx *store.Tx, b *batch, g *group, position int64, proven bool) error {
	r.hub.counts.commits.Add(1)
	r.hub.counts.operations.Add(int64(len(g.ops)))
	b.acknowledge(position)
	r.hub.changed(r.key, position)
	if !proven {
		if err := r.hub.Revoked(tx.Context()); err != nil {
			return err
		}
	}
	if position-int64(len(g.ops)) == r.position {
		r.tail.add(len(g.ops), len(g.bytes))
		r.advance(g.ops)
	} else if err := r.catchUp(tx); err != nil { // others have come before it
		return err
	}
	if r.tail.due() {
		r.tail = tail{snapshot: r.tail.snapshot}
		r.hub.compactions.add(r.key)
	}
	return nil
}

// screen answers the pushes of those who may not write, and returns the tag as of which the logins of the others hold, "" for any. Who is not known
// as an editor may have become one.
func (r *room) screen(tx *store.Tx, b *batch) (tag string, err error) {
	sites := make([]textcrdt.Site, len(b.pushes))
	for i, p := range b.pushes {
		sites[i] = p.site
	}
	if err := r.knowSites(tx, sites...); err != nil {
		return "", err
	}
	if slices.ContainsFunc(b.pushes, func(p *push) bool { return r.members[p.user] != Editor }) {
		if err := r.catchUp(tx); err != nil {
			return "", err
		}
	}
	err = b.refuse(func(p *push) (refused, err error) {
		if refused = r.mayWrite(p); refused == nil && p.memory != nil {
			switch as, ok := p.memory.Tag(); {
			case !ok:
				refused = errUnproven
			case tag == "":
				tag = as
			case as != tag: // the commit can compare one
				refused = errUnproven
			}
		}
		if refused != nil && p.staged {
			r.doc = nil // which has its operations
		}
		return refused, nil
	})
	return tag, err
}

// errUnproven is the error of a push whose login must be proven before it is pushed again.
var errUnproven = errors.New("document: the login has yet to be proven")

// look lets the node look whose logins have changed: by proving one login, whose own end its memory will tell. The other memories are as new then.
func (b *batch) look(tx *store.Tx) {
	if i := slices.IndexFunc(b.pushes, func(p *push) bool { return p.memory != nil }); i >= 0 {
		_, _ = b.pushes[i].memory.Prove(tx.Context())
	}
}

// returnUnproven answers the pushes whose logins no commit has proven, and tells whether there were any.
func (b *batch) returnUnproven() bool {
	n := len(b.pushes)
	b.pushes = slices.DeleteFunc(b.pushes, func(p *push) bool {
		if p.memory != nil {
			p.answer(0, errUnproven)
		}
		return p.memory != nil
	})
	return len(b.pushes) < n
}

func (r *room) mayWrite(p *push) error {
	switch {
	case r.members[p.user] == "":
		return noDocument(r.document)
	case r.members[p.user] != Editor:
		return errNotEditor
	case !r.owns(p.user, p.site):
		return errSite
	default:
		return nil
	}
}

var (
	errNotEditor = apperr.New(apperr.Forbidden, "Only editors write a document")
	errSite      = apperr.New(apperr.Forbidden, "The site is not yours")
)

// knowSites finds out whose the sites are.
func (r *room) knowSites(tx *store.Tx, sites ...textcrdt.Site) error {
	sites = slices.DeleteFunc(sites, func(site textcrdt.Site) bool {
		_, known := r.sites[site]
		return known
	})
	if len(sites) == 0 {
		return nil
	}
	users, err := sitesOf(tx, r.document, sites)
	maps.Copy(r.sites, users)
	return err
}

func (r *room) owns(user int64, site textcrdt.Site) bool {
	owner, known := r.sites[site]
	return known && owner == user
}

// refuse answers the pushes that check refuses. Those after an error are left.
func (b *batch) refuse(check func(*push) (refused, err error)) error {
	kept := b.pushes[:0]
	for i, p := range b.pushes {
		switch refused, err := check(p); {
		case err != nil:
			b.pushes = append(kept, b.pushes[i:]...)
			return err
		case refused != nil:
			p.answer(0, refused)
		default:
			kept = append(kept, p)
		}
	}
	b.pushes = kept
	return nil
}

// errStale is the error of a push that builds upon something which the room does not know, and another node may have committed.
var errStale = errors.New("document: the room may have to catch up")

// stage applies pushes to the replica, answers those that it does not take, and returns what of the others is not committed yet.
func (r *room) stage(b *batch, fresh bool) (g group, err error) {
	ahead := textcrdt.Version{} // where the group brings the sites
	err = b.refuse(func(p *push) (refused, err error) {
		switch err := r.doc.Check(p.ops); {
		case err == nil:
		case errors.Is(err, textcrdt.ErrEarly) && !fresh:
			return nil, errStale
		default:
			return refusal(err), nil
		}
		news := slices.IndexFunc(p.ops, func(op textcrdt.Op) bool { return last(&op) > r.persisted[op.Site] })
		if news >= 0 && !p.staged {
			if err := r.hub.bounds.check(r.doc, "operations", p.ops[news:]); err != nil {
				return err, nil
			}
		}
		p.staged = true
		if err := applyAll(r.doc, p.ops); err != nil {
			return nil, err
		}
		for _, op := range p.ops {
			if op, ok := after(op, max(r.persisted[op.Site], ahead[op.Site])); ok {
				ahead[op.Site] = last(&op)
				g.add(p.user, op)
			}
		}
		return nil, nil
	})
	return g, err
}

// refusal is the error of a push for one of a replica.
func refusal(err error) error {
	var refused *textcrdt.OpError
	if !errors.As(err, &refused) {
		return err
	}
	reason := "cannot be an operation of the site"
	if errors.Is(err, textcrdt.ErrEarly) {
		reason = "comes before what it builds upon"
	}
	return apperr.Validation(apperr.Issue{Path: "operations[" + strconv.Itoa(refused.Index) + "]", Reason: reason})
}
