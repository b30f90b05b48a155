package rpc

import (
	"context"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/filter"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/store"
)

// The shapes of the generic methods, as the wire contract has them.
type (
	data[T any] struct {
		Data T `json:"data"`
	}
	// changed is the result of a method that writes.
	changed[T any] struct {
		Data     T      `json:"data"`
		Position *int64 `json:"position"` // of the last entry in the change log; null if nothing was changed

		at   *int64         // where the position will be, which is 0 until the change is committed
		text jsontext.Value // all of it, as it was answered to the call that this one repeats; nil: to none
	}
	page[E any] struct {
		Data       rows[E] `json:"data"`
		NextCursor *string `json:"next_cursor"`
		Total      *int64  `json:"total,omitzero"`
	}
	counted struct {
		Count int64 `json:"count"`
	}

	createParams struct {
		Data jsontext.Value `json:"data"`
		mutable
	}
	createAllParams struct {
		Data []jsontext.Value `json:"data"`
		mutable
	}
	byID[K store.Key] struct {
		ID K `json:"id"`
		mutable
	}
	getParams[K store.Key] struct {
		ID      K              `json:"id"`
		Fields  jsontext.Value `json:"fields,omitzero"`
		Include jsontext.Value `json:"include,omitzero"`
	}
	updateParams[K store.Key] struct {
		ID      K              `json:"id"`
		Data    jsontext.Value `json:"data"`
		Version *int64         `json:"version,omitzero"`
		mutable
	}
	deleteParams[K store.Key] struct {
		ID      K      `json:"id"`
		Version *int64 `json:"version,omitzero"`
		mutable
	}
	deleteAllParams[K store.Key] struct {
		IDs     []K            `json:"ids,omitzero"`
		Filters jsontext.Value `json:"filters,omitzero"`
		mutable
	}
	updateAllParams struct {
		Filters jsontext.Value `json:"filters"`
		Data    jsontext.Value `json:"data"`
		mutable
	}
	upsertParams struct {
		Data jsontext.Value `json:"data"`
		On   []string       `json:"on"`
		mutable
	}
	aggregateParams struct {
		Filters    jsontext.Value `json:"filters,omitzero"`
		GroupBy    jsontext.Value `json:"group_by,omitzero"`
		Aggregates jsontext.Value `json:"aggregates"`
		Having     jsontext.Value `json:"having,omitzero"`
		OrderBys   jsontext.Value `json:"order_bys,omitzero"`
		Limit      *int64         `json:"limit,omitzero"`
	}
	countParams struct {
		Filters jsontext.Value `json:"filters,omitzero"`
	}
	listParams struct {
		Filters     jsontext.Value `json:"filters,omitzero"`
		ListOptions *listOptions   `json:"list_options,omitzero"`
	}
	listOptions struct {
		Limit    *int64         `json:"limit,omitzero"`
		Offset   *int64         `json:"offset,omitzero"`
		OrderBys jsontext.Value `json:"order_bys,omitzero"` // "title", "!title" or an array of them
		Cursor   *string        `json:"cursor,omitzero"`
		Fields   jsontext.Value `json:"fields,omitzero"`
		Include  jsontext.Value `json:"include,omitzero"`
		Total    bool           `json:"total,omitzero"`
	}
)

// entity is a repository and the names of its methods.
type entity[E store.Entity[K], K store.Key] struct {
	api    API
	repo   *store.Repo[E, K]
	plural string
}

// crud registers the generic methods of an entity, whose rows sync_push writes, too. plural is its name in list_<plural>.
func crud[E store.Entity[K], K store.Key](m *jsonrpc.Mux, api API, repo *store.Repo[E, K], plural string) {
	readable(m, api, repo, plural)
	n := entity[E, K]{api, repo, plural}
	one, d := repo.Entity(), describe(repo, plural)
	handleWrite(m, api, "create_"+one, n.create, d.create())
	handleWrite(m, api, "create_"+plural, n.createAll, d.createAll())
	handleWrite(m, api, "update_"+one, n.update, d.update())
	handleWrite(m, api, "update_"+plural, n.updateAll, d.updateAll())
	handleWrite(m, api, "upsert_"+one, n.upsert, d.upsert())
	handleWrite(m, api, "delete_"+one, n.delete, d.delete())
	handleWrite(m, api, "delete_"+plural, n.deleteAll, d.deleteAll())
	api.writers[one] = n.apply
}

// readable registers the generic methods that only read, and lets clients follow the changes of the entity's rows.
func readable[E store.Entity[K], K store.Key](m *jsonrpc.Mux, api API, repo *store.Repo[E, K], plural string) {
	n := entity[E, K]{api, repo, plural}
	d := describe(repo, plural) // a reference to nowhere shows now
	handle(m, api, "get_"+repo.Entity(), n.get, d.get(), jsonrpc.Ahead(n.getAhead))
	handle(m, api, "count_"+plural, n.count, d.count())
	jsonrpc.Handle(m, "list_"+plural, n.list, d.list())
	jsonrpc.Handle(m, "aggregate_"+plural, n.aggregate, d.aggregate())
	follow(api, repo)
}

// handle registers a method whose result is wrapped as {"data": …}. Its statements each commit by themselves.
func handle[P, R any](m *jsonrpc.Mux, api API, method string, do func(*store.Tx, P) (R, error), opts ...jsonrpc.MethodOption) {
	jsonrpc.Handle(m, method, func(ctx context.Context, p P) (data[R], error) {
		tx, err := api.DB.Session(ctx)
		if err != nil {
			return data[R]{}, err
		}
		result, err := do(tx, p)
		return data[R]{result}, err
	}, opts...)
}

// handleWrite registers a method that writes. Its statements each commit by themselves, unless the call is a mutation with a name.
func handleWrite[P mutating, R any](m *jsonrpc.Mux, api API, method string, do func(*store.Tx, P) (R, error), opts ...jsonrpc.MethodOption) {
	jsonrpc.Handle(m, method, func(ctx context.Context, p P) (changed[R], error) {
		if p.mutationID() != nil {
			return once(ctx, api, method, p, do)
		}
		tx, err := api.DB.Session(ctx)
		if err != nil {
			return changed[R]{}, err
		}
		result, err := do(tx, p)
		return changed[R]{Data: result, at: tx.Position()}, err
	}, opts...)
}

func (n entity[E, K]) create(tx *store.Tx, p createParams) (row[E], error) {
	e, err := n.repo.DecodeNew(p.Data)
	if err == nil {
		e, err = n.repo.Create(tx, e)
	}
	return n.row(tx, e), apperr.Under("params.data", err)
}

func (n entity[E, K]) createAll(tx *store.Tx, p createAllParams) (rows[E], error) {
	if err := atMost("params.data", len(p.Data)); err != nil {
		return rows[E]{}, err
	}
	all := make([]E, len(p.Data))
	for i, raw := range p.Data {
		var err error
		if all[i], err = n.repo.DecodeNew(raw); err != nil {
			return rows[E]{}, apperr.Under(apperr.Index("params.data", i), err)
		}
	}
	all, err := n.repo.CreateAll(tx, all)
	return n.rows(tx, all), apperr.Under("params.data", err)
}

func (n entity[E, K]) get(tx *store.Tx, p getParams[K]) (row[E], error) {
	sel, err := filter.ParseSelection(p.Fields, p.Include, n.repo.Schema(), "params")
	if err != nil {
		return row[E]{}, err
	}
	if sel == nil {
		e, err := n.one(tx, p.ID)
		return n.row(tx, e), err
	}
	if err := charge(tx.Context(), sel.Rows(), "params.include"); err != nil {
		return row[E]{}, err
	}
	r, err := n.repo.GetSelected(tx, p.ID, sel)
	chargeCopies(tx.Context(), []store.Record{r})
	return row[E]{record: &r}, apperr.Under("params", err)
}

// several is rows that calls side by side are about to get, read by the first of them.
type several[E store.Entity[K], K store.Key] struct {
	ids  []K
	read func(*store.Tx, []K) (map[K]E, error)
	rows map[K]E
	err  error
}

type severalKey[E any] struct{}

// getAhead lets calls of get that stand side by side read their rows in one statement.
func (n entity[E, K]) getAhead(ctx context.Context, params []getParams[K]) context.Context {
	s := &several[E, K]{read: n.repo.GetAll}
	for _, p := range params {
		if p.Fields == nil && p.Include == nil {
			s.ids = append(s.ids, p.ID)
		}
	}
	return context.WithValue(ctx, severalKey[E]{}, s)
}

// one returns a row, of several that are read at once if there are.
func (n entity[E, K]) one(tx *store.Tx, id K) (E, error) {
	s, ok := tx.Context().Value(severalKey[E]{}).(*several[E, K])
	if !ok || len(s.ids) < 2 || !slices.Contains(s.ids, id) {
		return n.repo.Get(tx, id)
	}
	if s.rows == nil && s.err == nil {
		s.rows, s.err = s.read(tx, s.ids)
	}
	if s.err != nil { // of the call that it came in: the others ask for themselves
		return n.repo.Get(tx, id)
	}
	e, ok := s.rows[id]
	if !ok {
		return e, apperr.NoRow(n.repo.Entity(), id)
	}
	return e, nil
}

func (n entity[E, K]) list(ctx context.Context, p listParams) (page[E], error) {
	tx, err := n.api.DB.Session(ctx)
	if err != nil {
		return page[E]{}, err
	}
	o, sel, err := n.options(p)
	if err != nil {
		return page[E]{}, err
	}
	const path = "params.list_options"
	if err := charge(ctx, o.Most(sel), path+".limit"); err != nil {
		return page[E]{}, err
	}
	if sel == nil && !n.repo.Hides(tx.Actor.Role) {
		found, err := n.repo.List(tx, o)
		return page[E]{rows[E]{all: found.Rows}, found.NextCursor, found.Total}, apperr.Under(path, err)
	}
	found, err := n.repo.Select(tx, o, sel)
	chargeCopies(ctx, found.Rows)
	return page[E]{rows[E]{records: found.Rows}, found.NextCursor, found.Total}, apperr.Under(path, err)
}

// maxRequested bounds the rows that the calls of one request can ask for by lists and by what they embed. A batch meets it before a
// statement is written.
const maxRequested = 500_000

func charge(ctx context.Context, rows int64, path string) error {
	stats := &auth.RequestFrom(ctx).Stats
	if stats.Requested += rows; stats.Requested > maxRequested {
		return apperr.Invalid(apperr.Issue{Path: path, Reason: "makes the calls of this request ask for more than 500,000 rows in all"})
	}
	return nil
}

func (n entity[E, K]) options(p listParams) (o store.ListOptions, sel *filter.Selection, err error) {
	const path = "params.list_options"
	if o.Filter, err = filter.Parse(p.Filters, n.repo.Schema(), "params.filters"); err != nil || p.ListOptions == nil {
		return o, nil, err
	}
	given := p.ListOptions
	if o.Order, err = filter.ParseOrder(given.OrderBys, n.repo.Schema(), path+".order_bys"); err != nil {
		return o, nil, err
	}
	o.Limit, o.Total = given.Limit, given.Total
	if given.Offset != nil {
		o.Offset = *given.Offset
	}
	if given.Cursor != nil {
		if o.Cursor = *given.Cursor; o.Cursor == "" {
			return o, nil, apperr.Invalid(apperr.Issue{Path: path + ".cursor", Reason: "may not be empty"})
		}
	}
	sel, err = filter.ParseSelection(given.Fields, given.Include, n.repo.Schema(), path)
	return o, sel, err
}

func (n entity[E, K]) count(tx *store.Tx, p countParams) (counted, error) {
	f, err := filter.Parse(p.Filters, n.repo.Schema(), "params.filters")
	if err != nil {
		return counted{}, err
	}
	count, err := n.repo.Count(tx, f)
	return counted{count}, err
}

func (n entity[E, K]) aggregate(ctx context.Context, p aggregateParams) (groups, error) {
	tx, err := n.api.DB.Session(ctx)
	if err != nil {
		return groups{}, err
	}
	a, err := filter.ParseAggregation(filter.AggregationParams{
		Filters: p.Filters, GroupBy: p.GroupBy, Aggregates: p.Aggregates, Having: p.Having, OrderBys: p.OrderBys,
	}, n.repo.Schema(), "params")
	if err != nil {
		return groups{}, err
	}
	found, err := n.repo.Aggregate(tx, a, p.Limit)
	return groups{groupRows(found), found.More}, apperr.Under("params", err)
}

func (n entity[E, K]) update(tx *store.Tx, p updateParams[K]) (row[E], error) {
	var e E
	changes, err := n.repo.DecodeChanges(p.Data)
	if err == nil {
		e, err = n.repo.Update(tx, p.ID, changes, store.IfVersion(p.Version))
	}
	return n.row(tx, e), apperr.Under("params.data", n.conflict(tx, err))
}

func (n entity[E, K]) updateAll(tx *store.Tx, p updateAllParams) (rows[E], error) {
	f, err := n.chosen(p.Filters)
	if err != nil {
		return rows[E]{}, err
	}
	changes, err := n.repo.DecodeChanges(p.Data)
	if err != nil {
		return rows[E]{}, apperr.Under("params.data", err)
	}
	all, err := n.repo.UpdateAll(tx, f, changes)
	return n.rows(tx, all), apperr.Under("params", err)
}

// chosen returns the filter of rows that are to be written. A variable that is not set must not mean every row.
func (n entity[E, K]) chosen(filters jsontext.Value) (*filter.Filter, error) {
	if filters.Kind() == jsontext.KindNull {
		return nil, apperr.Invalid(apperr.Issue{Path: "params.filters", Reason: "may not be null here: every row is {}"})
	}
	return filter.Parse(filters, n.repo.Schema(), "params.filters")
}

func (n entity[E, K]) upsert(tx *store.Tx, p upsertParams) (row[E], error) {
	set, err := n.repo.DecodeUpsert(p.Data)
	if err != nil {
		return row[E]{}, apperr.Under("params.data", err)
	}
	e, err := n.repo.Upsert(tx, set, p.On)
	return n.row(tx, e), apperr.Under("params", err)
}

func (n entity[E, K]) delete(tx *store.Tx, p deleteParams[K]) (row[E], error) {
	e, err := n.repo.Delete(tx, p.ID, store.IfVersion(p.Version))
	return n.row(tx, e), n.conflict(tx, err)
}

func (n entity[E, K]) deleteAll(tx *store.Tx, p deleteAllParams[K]) (rows[E], error) {
	switch {
	case (p.IDs == nil) == (p.Filters == nil):
		return rows[E]{}, apperr.Invalid(apperr.Issue{Path: "params", Reason: "must have either ids or filters"})
	case p.IDs == nil:
		f, err := n.chosen(p.Filters)
		if err != nil {
			return rows[E]{}, err
		}
		all, err := n.repo.DeleteMatching(tx, f)
		return n.rows(tx, all), apperr.Under("params", err)
	}
	if err := atMost("params.ids", len(p.IDs)); err != nil {
		return rows[E]{}, err
	}
	seen := make(map[K]bool, len(p.IDs))
	for i, id := range p.IDs {
		if seen[id] {
			return rows[E]{}, apperr.Invalid(apperr.Issue{Path: apperr.Index("params.ids", i), Reason: "is given twice"})
		}
		seen[id] = true
	}
	all, err := n.repo.DeleteAll(tx, p.IDs)
	return n.rows(tx, all), err
}

func atMost(path string, n int) error {
	if n > store.MaxBulk {
		return apperr.Invalid(apperr.Issue{Path: path, Reason: "may have at most 1000 items"})
	}
	return nil
}
