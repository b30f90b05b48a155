package rpc

import (
	"context"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/model"
	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/filter"
	"rowcall/modules/jsonrpc"
)

// changes has the methods of the change log as those see it who ask who did what.
type changes struct {
	entity[model.Change, int64]
	views views
}

func changeMethods(m *jsonrpc.Mux, api API) {
	c := changes{entity[model.Change, int64]{api, model.Changes, "changes"}, api.views}
	d := describe(model.Changes, "changes")
	jsonrpc.Handle(m, "list_changes", c.list, d.list())
	handle(m, api, "count_changes", c.count, d.count())
	jsonrpc.Handle(m, "aggregate_changes", c.aggregate, d.aggregate())
}

// list shows the rows in the log as the methods of their entities would.
func (c changes) list(ctx context.Context, p listParams) (page[model.Change], error) {
	tx, err := c.api.DB.Session(ctx)
	if err != nil {
		return page[model.Change]{}, err
	}
	o, sel, err := c.options(p)
	if err != nil {
		return page[model.Change]{}, err
	}
	const path = "params.list_options"
	if err := charge(ctx, o.Most(sel), path+".limit"); err != nil {
		return page[model.Change]{}, err
	}
	extra := sel != nil && sel.Fields != nil && !slices.ContainsFunc(sel.Fields, isEntity)
	if extra { // how a row is shown depends on its entity
		with := *sel
		with.Fields = append(slices.Clone(sel.Fields), filter.Field{Name: "entity"})
		sel = &with
	}
	found, err := c.repo.Select(tx, o, sel)
	if err != nil {
		return page[model.Change]{}, apperr.Under(path, err)
	}
	for _, r := range found.Rows {
		if err := c.show(r.Row.Addr().Interface().(*model.Change), tx.Actor.Role); err != nil {
			return page[model.Change]{}, err
		}
	}
	if extra && len(found.Rows) > 0 {
		set := found.Rows[0].Fields // of all of them
		set.Names = slices.DeleteFunc(set.Names, func(name string) bool { return name == "entity" })
	}
	return page[model.Change]{rows[model.Change]{records: found.Rows}, found.NextCursor, found.Total}, nil
}

func isEntity(f filter.Field) bool { return f.Name == "entity" }

// show makes the rows in an entry what the role may see of them. Rows of entities that nobody follows are shown as they are.
func (c changes) show(e *model.Change, role auth.Role) error {
	v := c.views[e.Entity]
	if v == nil {
		return nil
	}
	for _, row := range []*jsontext.Value{e.Before, e.Data} {
		if row == nil {
			continue
		}
		shown, err := v.appendRow(nil, *row, role)
		if err != nil {
			return err
		}
		*row = shown
	}
	return nil
}
