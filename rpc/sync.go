package rpc

import (
	"context"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/changelog"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/store"
)

// syncing has the methods by which a client keeps a copy of what it may see.
type syncing struct {
	api   API
	log   *changelog.Log
	views views
}

func syncMethods(m *jsonrpc.Mux, api API) {
	s := syncing{api, changelog.New(), api.views}
	jsonrpc.Handle(m, "sync_head", s.head, s.views.describeHead())
	jsonrpc.Handle(m, "sync_delta", s.delta, s.views.describeDelta())
	jsonrpc.Handle(m, "sync_bootstrap", s.bootstrap, s.views.describeBootstrap())
}

type (
	headParams struct {
		Epoch string `json:"epoch,omitzero"`
	}
	// headResult has the head as its data, as every result has, and beside it, where the other methods have position and epoch.
	headResult struct {
		Data head `json:"data"`
		head
	}
	head struct {
		Position int64  `json:"position"`
		Tail     int64  `json:"tail"`
		Epoch    string `json:"epoch"`
	}
	deltaParams struct {
		Since    int64       `json:"since"`
		Limit    *int64      `json:"limit,omitzero"`
		Entities []string    `json:"entities,omitzero"`
		Groups   []uuid.UUID `json:"groups,omitzero"`
		Coalesce *bool       `json:"coalesce,omitzero"`
		Epoch    string      `json:"epoch,omitzero"`
	}
	deltaResult struct {
		Data     texts  `json:"data"`
		Position int64  `json:"position"`
		More     bool   `json:"more"`
		Epoch    string `json:"epoch"`
	}
)

// Limits of a page of sync_delta and sync_bootstrap.
const (
	defaultSyncLimit = 1000
	maxSyncLimit     = 10_000
	maxSyncBytes     = 4 << 20 // of rows, after which it ends
)

func (s syncing) head(ctx context.Context, p headParams) (headResult, error) {
	tx, err := s.api.DB.Session(ctx)
	if err != nil {
		return headResult{}, err
	}
	if _, err := s.views.NewReader(tx, nil); err != nil {
		return headResult{}, err
	}
	h, err := s.log.Head(tx)
	if err == nil {
		err = h.Check(h.Position, p.Epoch)
	}
	is := head{h.Position, h.Tail, h.Epoch}
	return headResult{is, is}, err
}

// syncLimit returns how many rows or entries a page may have, and charges the request for them.
func syncLimit(ctx context.Context, limit *int64) (int, error) {
	n := int64(defaultSyncLimit)
	if limit != nil {
		n = *limit
	}
	if n < 1 || n > maxSyncLimit {
		return 0, apperr.Invalid(apperr.Issue{Path: "params.limit", Reason: "must be from 1 to 10000"})
	}
	return int(n), charge(ctx, n, "params.limit")
}

func (s syncing) delta(ctx context.Context, p deltaParams) (deltaResult, error) {
	tx, err := s.api.DB.Session(ctx)
	if err != nil {
		return deltaResult{}, err
	}
	limit, err := syncLimit(ctx, p.Limit)
	if err == nil {
		err = changelog.CheckEntities(s.views, p.Entities, "params.entities")
	}
	if err == nil {
		err = atMost("params.groups", len(p.Groups))
	}
	if err != nil {
		return deltaResult{}, err
	}
	d := delta{limit: limit, position: p.Since, coalesced: p.Coalesce == nil || *p.Coalesce}
	if d.coalesced {
		d.newest = map[rowKey]int{}
	}
	head, err := s.gather(tx, &d, p)
	if err != nil {
		return deltaResult{}, err
	}
	result := deltaResult{Position: d.position, More: d.position < head.Position, Epoch: head.Epoch}
	prev := p.Since
	for i := range d.entries {
		e := &d.entries[i]
		if e.sight == changelog.Hidden {
			continue
		}
		b := strconv.AppendInt(append(result.Data.all, `{"position":`...), e.Position, 10)
		if !d.coalesced {
			b = strconv.AppendInt(append(b, `,"prev":`...), prev, 10)
		}
		if b, err = s.views.Append(append(b, ','), &e.Entry, tx.Actor.Role, e.sight); err != nil {
			return deltaResult{}, err
		}
		result.Data.end(append(b, '}'))
		prev = e.Position
	}
	return result, nil
}

// maxDeltaPages bounds what one call reads of the log: most of it may be of others, or about a few rows again and again.
const maxDeltaPages = 10

// gather reads entries into d, and returns the head of the log as it was then.
func (s syncing) gather(tx *store.Tx, d *delta, p deltaParams) (head changelog.Head, err error) {
	reader, err := s.views.NewReader(tx, p.Groups)
	if err != nil {
		return head, err
	}
	for range maxDeltaPages {
		page, err := s.log.After(tx, d.position, min(max(d.limit, 100), 1000), s.views.withMembers(p.Entities))
		if err == nil {
			err = page.Head.Check(d.position, p.Epoch)
		}
		if err != nil {
			return head, err
		}
		head = page.Head
		for i := range page.Entries {
			e := &page.Entries[i]
			sight, err := reader.Sees(e)
			if err != nil {
				return head, err
			}
			wanted := p.Entities == nil || slices.Contains(p.Entities, e.Entity)
			if sight != changelog.Hidden && wanted && !d.add(e, sight) {
				return head, nil
			}
			d.position = e.Position
		}
		d.position = page.Position
		if d.position == head.Position || d.rows == d.limit || d.bytes > maxSyncBytes {
			break
		}
	}
	return head, nil
}

// delta is entries for one answer.
type delta struct {
	limit     int
	coalesced bool

	entries  []seen
	newest   map[rowKey]int // of coalesced entries: where the newest of each row is
	rows     int            // entries that are not replaced
	bytes    int            // of their rows
	position int64          // up to which these are all
}

type seen struct {
	changelog.Entry
	sight changelog.Sight // Hidden: a newer one of the row has replaced it
}

type rowKey struct{ entity, id string }

// add adds the entry, unless there are enough.
func (d *delta) add(e *changelog.Entry, sight changelog.Sight) bool {
	key := rowKey{e.Entity, e.RowID}
	if i, again := d.newest[key]; again {
		d.rows--
		d.bytes -= len(d.entries[i].Data)
		d.entries[i] = seen{}
	} else if d.rows == d.limit {
		return false
	}
	if d.coalesced {
		d.newest[key] = len(d.entries)
	}
	e.Before = nil
	d.entries = append(d.entries, seen{*e, sight})
	d.rows++
	d.bytes += len(e.Data)
	return true
}

// texts are values in JSON, one after another.
type texts struct {
	all  []byte
	ends []int
}

// end ends a value, which was appended to all.
func (t *texts) end(all []byte) { t.all, t.ends = all, append(t.ends, len(all)) }

// AppendJSON implements jsonrpc.Appender.
func (t texts) AppendJSON(b []byte) ([]byte, error) {
	b = slices.Grow(b, len(t.all)+len(t.ends)+2)
	return append(t.appendTo(append(b, '['), ","), ']'), nil
}

// appendTo appends the values with something between them.
func (t texts) appendTo(b []byte, between string) []byte {
	start := 0
	for i, end := range t.ends {
		if i > 0 {
			b = append(b, between...)
		}
		b = append(b, t.all[start:end]...)
		start = end
	}
	return b
}
