package rpc

import (
	"context"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
	"rowcall/modules/filter"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/store"
)

// The shapes of the generic methods, as the wire contract has them.
type (
	data[T any] struct {
		Data T `json:"data"`
	}
	page[E any] struct {
		Data       []E     `json:"data"`
		NextCursor *string `json:"next_cursor"`
		Total      *int64  `json:"total,omitzero"`
	}
	counted struct {
		Count int64 `json:"count"`
	}

	createParams struct {
		Data jsontext.Value `json:"data"`
	}
	createAllParams struct {
		Data []jsontext.Value `json:"data"`
	}
	byID[K store.Key] struct {
		ID K `json:"id"`
	}
	updateParams[K store.Key] struct {
		ID      K              `json:"id"`
		Data    jsontext.Value `json:"data"`
		Version *int64         `json:"version,omitzero"`
	}
	deleteParams[K store.Key] struct {
		ID      K      `json:"id"`
		Version *int64 `json:"version,omitzero"`
	}
	deleteAllParams[K store.Key] struct {
		IDs []K `json:"ids"`
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
		Total    bool           `json:"total,omitzero"`
	}
)

// entity is a repository and the names of its methods.
type entity[E store.Entity[K], K store.Key] struct {
	api    API
	repo   *store.Repo[E, K]
	plural string
}

// crud registers the generic methods of an entity. plural is its name in list_<plural>.
func crud[E store.Entity[K], K store.Key](m *jsonrpc.Mux, api API, repo *store.Repo[E, K], plural string) {
	readable(m, api, repo, plural)
	n := entity[E, K]{api, repo, plural}
	one := repo.Entity()
	handle(m, api, "count_"+plural, n.count)
	handle(m, api, "create_"+one, n.create)
	handle(m, api, "create_"+plural, n.createAll)
	handle(m, api, "update_"+one, n.update)
	handle(m, api, "delete_"+one, n.delete)
	handle(m, api, "delete_"+plural, n.deleteAll)
}

// readable registers get and list.
func readable[E store.Entity[K], K store.Key](m *jsonrpc.Mux, api API, repo *store.Repo[E, K], plural string) {
	n := entity[E, K]{api, repo, plural}
	handle(m, api, "get_"+repo.Entity(), n.get)
	jsonrpc.Handle(m, "list_"+plural, n.list)
}

// handle registers a method whose result is wrapped as {"data": …}. Its statements each commit by themselves.
func handle[P, R any](m *jsonrpc.Mux, api API, method string, do func(*store.Tx, P) (R, error)) {
	jsonrpc.Handle(m, method, func(ctx context.Context, p P) (data[R], error) {
		tx, err := api.DB.Session(ctx)
		if err != nil {
			return data[R]{}, err
		}
		result, err := do(tx, p)
		return data[R]{result}, err
	})
}

func (n entity[E, K]) create(tx *store.Tx, p createParams) (E, error) {
	e, err := n.repo.DecodeNew(p.Data)
	if err == nil {
		e, err = n.repo.Create(tx, e)
	}
	return e, apperr.Under("params.data", err)
}

func (n entity[E, K]) createAll(tx *store.Tx, p createAllParams) ([]E, error) {
	if err := atMost("params.data", len(p.Data)); err != nil {
		return nil, err
	}
	rows := make([]E, len(p.Data))
	for i, raw := range p.Data {
		var err error
		if rows[i], err = n.repo.DecodeNew(raw); err != nil {
			return nil, apperr.Under(apperr.Index("params.data", i), err)
		}
	}
	rows, err := n.repo.CreateAll(tx, rows)
	return rows, apperr.Under("params.data", err)
}

func (n entity[E, K]) get(tx *store.Tx, p byID[K]) (E, error) { return n.repo.Get(tx, p.ID) }

func (n entity[E, K]) list(ctx context.Context, p listParams) (page[E], error) {
	tx, err := n.api.DB.Session(ctx)
	if err != nil {
		return page[E]{}, err
	}
	o, err := n.options(p)
	if err != nil {
		return page[E]{}, err
	}
	found, err := n.repo.List(tx, o)
	return page[E]{Data: found.Rows, Total: found.Total}, apperr.Under("params.list_options", err)
}

func (n entity[E, K]) options(p listParams) (o store.ListOptions, err error) {
	if o.Filter, err = filter.Parse(p.Filters, n.repo.Schema(), "params.filters"); err != nil {
		return o, err
	}
	var given listOptions
	if p.ListOptions != nil {
		given = *p.ListOptions
	}
	o.Order, err = filter.ParseOrder(given.OrderBys, n.repo.Schema(), "params.list_options.order_bys")
	o.Limit, o.Total = given.Limit, given.Total
	if given.Offset != nil {
		o.Offset = *given.Offset
	}
	return o, err
}

func (n entity[E, K]) count(tx *store.Tx, p countParams) (counted, error) {
	f, err := filter.Parse(p.Filters, n.repo.Schema(), "params.filters")
	if err != nil {
		return counted{}, err
	}
	count, err := n.repo.Count(tx, f)
	return counted{count}, err
}

func (n entity[E, K]) update(tx *store.Tx, p updateParams[K]) (E, error) {
	var e E
	changes, err := n.repo.DecodeChanges(p.Data)
	if err == nil {
		e, err = n.repo.Update(tx, p.ID, changes, store.IfVersion(p.Version))
	}
	return e, apperr.Under("params.data", err)
}

func (n entity[E, K]) delete(tx *store.Tx, p deleteParams[K]) (E, error) {
	return n.repo.Delete(tx, p.ID, store.IfVersion(p.Version))
}

func (n entity[E, K]) deleteAll(tx *store.Tx, p deleteAllParams[K]) ([]E, error) {
	if err := atMost("params.ids", len(p.IDs)); err != nil {
		return nil, err
	}
	seen := make(map[K]bool, len(p.IDs))
	for i, id := range p.IDs {
		if seen[id] {
			return nil, apperr.Invalid(apperr.Issue{Path: apperr.Index("params.ids", i), Reason: "is given twice"})
		}
		seen[id] = true
	}
	return n.repo.DeleteAll(tx, p.IDs)
}

func atMost(path string, n int) error {
	if n > store.MaxBulk {
		return apperr.Invalid(apperr.Issue{Path: path, Reason: "may have at most 1000 items"})
	}
	return nil
}
