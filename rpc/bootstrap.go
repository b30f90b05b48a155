package rpc

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/changelog"
	"rowcall/modules/store"
)

type bootstrapParams struct {
	Entities []string    `json:"entities,omitzero"`
	Groups   []uuid.UUID `json:"groups,omitzero"`
	Cursor   *string     `json:"cursor,omitzero"`
	Limit    *int64      `json:"limit,omitzero"`
	Epoch    string      `json:"epoch,omitzero"`
}

// bootstrapPage is rows of a copy that is being made. It is a jsonrpc.Streamer.
type bootstrapPage struct {
	Data       texts   `json:"data"`
	NextCursor *string `json:"next_cursor"`
	Position   int64   `json:"position"`
	Epoch      string  `json:"epoch"`

	of    *bootstrap
	lines []byte // the last part of the stream
}

// bootstrap is what a copy is made of.
type bootstrap struct {
	syncing
	entities []string // in their order
	groups   []uuid.UUID
	limit    int
	epoch    string // that the client knows; "" for none
}

// place is where a copy has come to: what its cursor holds.
type place struct {
	Position int64  `json:"p"` // of the log before the first row was read
	Epoch    string `json:"e"` // likewise
	Entity   int    `json:"n"` // whose rows come next: one of bootstrap.entities
	After    string `json:"a"` // the id of its last row that was read; "" before the first
}

func (s syncing) bootstrap(ctx context.Context, p bootstrapParams) (page bootstrapPage, err error) {
	b := &bootstrap{syncing: s, epoch: p.Epoch, entities: s.views.Entities(), groups: p.Groups}
	if b.limit, err = syncLimit(ctx, p.Limit); err != nil {
		return page, err
	}
	if err := changelog.CheckEntities(s.views, p.Entities, "params.entities"); err != nil {
		return page, err
	}
	if err := atMost("params.groups", len(p.Groups)); err != nil {
		return page, err
	}
	if p.Entities != nil {
		b.entities = slices.Compact(slices.Sorted(slices.Values(p.Entities)))
	}
	page.of = b
	return page, page.read(ctx, p.Cursor)
}

// read makes the page the one that begins at the cursor; nil for the first.
func (page *bootstrapPage) read(ctx context.Context, cursor *string) error {
	b := page.of
	tx, err := b.api.DB.Session(ctx)
	if err != nil {
		return err
	}
	if _, err := b.views.NewReader(tx, nil); err != nil {
		return err
	}
	head, err := b.log.Head(tx) // before the first row is read
	if err != nil {
		return err
	}
	if err := head.Check(head.Position, b.epoch); err != nil {
		return err
	}
	at := place{Position: head.Position, Epoch: head.Epoch}
	if cursor != nil {
		if at, err = b.open(tx, *cursor); err != nil {
			return err
		}
		if err := head.Check(at.Position, at.Epoch); err != nil {
			return err
		}
	}
	page.Position, page.Epoch = at.Position, at.Epoch
	page.Data = texts{page.Data.all[:0], page.Data.ends[:0]}
	page.NextCursor = nil
	if err := page.fill(tx, &at); err != nil || at.Entity == len(b.entities) {
		return err
	}
	next, err := b.seal(tx, at)
	page.NextCursor = &next
	return err
}

// maxWalk is how many rows a statement reads. They can be large, and the database sends all of them, when only some still fit.
const maxWalk = 250

// fill reads rows from the place on, which it moves on to where the next page begins.
func (page *bootstrapPage) fill(tx *store.Tx, at *place) error {
	role := tx.Actor.Role
	for b, rows := page.of, &page.Data; at.Entity < len(b.entities); {
		v := b.views[b.entities[at.Entity]]
		most, more := min(b.limit-len(rows.ends), maxWalk), false
		full := func() bool { return len(rows.ends) == b.limit || len(rows.all) >= maxSyncBytes }
		if v.readable(role) {
			last := len(rows.ends) + most
			var failed error
			err := v.walk(tx, at.After, b.groups, most+1, func(id string, row reflect.Value) bool {
				if more = len(rows.ends) == last || full(); more {
					return false
				}
				failed = v.addRow(rows, id, row, role)
				at.After = id
				return failed == nil
			})
			if err != nil || failed != nil {
				return errors.Join(err, failed)
			}
		}
		switch {
		case !more:
			at.Entity, at.After = at.Entity+1, ""
		case full():
			return nil
		}
	}
	return nil
}

// addRow adds a row: {"entity":…,"id":…,"version":…,"data":…}.
func (v *view) addRow(to *texts, id string, row reflect.Value, role auth.Role) error {
	b := append(append(append(to.all, `{"entity":"`...), v.entity...), `","id":`...)
	b = append(v.appendID(b, id), `,"version":`...)
	b = strconv.AppendInt(b, row.FieldByIndex(v.version).Int(), 10)
	b, err := v.appendShown(append(b, `,"data":`...), row, role)
	to.end(append(b, '}'))
	return err
}

// Part implements jsonrpc.Streamer: a line for each row, and one for the end.
func (page *bootstrapPage) Part(ctx context.Context) (part []byte, last bool, err error) {
	if page.lines != nil {
		if err := page.read(ctx, page.NextCursor); err != nil {
			return nil, false, err
		}
	}
	page.lines = page.Data.appendTo(page.lines[:0], "\n")
	if len(page.lines) > 0 {
		page.lines = append(page.lines, '\n')
	}
	if last = page.NextCursor == nil; last {
		b := strconv.AppendInt(append(page.lines, `{"end":true,"position":`...), page.Position, 10)
		page.lines = append(append(append(b, `,"epoch":"`...), page.Epoch...), "\"}\n"...)
	}
	return page.lines, last, nil
}

var errSyncCursor = apperr.Invalid(apperr.Issue{Path: "params.cursor",
	Reason: "is no cursor of this call: it goes with the same user and entities, and cannot be changed"})

func (b *bootstrap) seal(tx *store.Tx, at place) (string, error) {
	text, err := json.Marshal(at)
	return tx.SealCursor(b.bound(), text), err
}

func (b *bootstrap) open(tx *store.Tx, cursor string) (at place, err error) {
	text, ok := tx.OpenCursor(b.bound(), cursor)
	if !ok {
		return at, errSyncCursor
	}
	return at, json.Unmarshal(text, &at)
}

// bound is what cursors of the copy go with.
func (b *bootstrap) bound() []byte {
	bound := append([]byte("sync_bootstrap "), strings.Join(b.entities, " ")...)
	for _, group := range b.groups {
		bound = append(append(bound, ' '), group.String()...)
	}
	return strconv.AppendBool(append(bound, ' '), b.groups == nil)
}
