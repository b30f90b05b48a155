package rpcclient

import (
	"context"
	"iter"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Method is a method of the server that takes P and gives R.
type Method[P, R any] struct {
	Name string

	// One of these, if it may be called again when its answer is lost.
	Reads      bool // it changes nothing
	Idempotent bool // called again with the same params it changes nothing more
	Once       bool // it takes a mutation_id, by which it happens once however often it is called with it; the client makes one
}

// call returns a call of the method.
func (m Method[P, R]) call(id int64, params P) call {
	return call{ID: id, Method: m.Name, Params: params, once: m.Once, safe: m.Reads || m.Idempotent || m.Once}
}

// None is the params of a method that takes none.
type None struct{}

// Data is the result of most methods.
type Data[T any] struct {
	Data T `json:"data"`
}

// Written is the result of a method that writes.
type Written[T any] struct {
	Data     T      `json:"data"`
	Position *int64 `json:"position"` // of the last entry in the tenant's change log; nil if nothing was changed
}

// Page is a page of a list.
type Page[E any] struct {
	Data       []E     `json:"data"`
	NextCursor *string `json:"next_cursor"` // nil: there are no more rows
	Total      *int64  `json:"total"`       // nil unless it was asked for
}

// Call calls the method.
func (m Method[P, R]) Call(ctx context.Context, c *Client, params P) (R, error) {
	var r R
	err := c.call(ctx, m.call(c.ids.Add(1), params), &r)
	return r, err
}

// Rows gives the rows of a list one by one, and asks for pages as they are needed; the limit in the params is the size of a
// page. An error ends it.
func Rows[P, E any](ctx context.Context, c *Client, list Method[P, Page[E]], params P) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		var none E
		page, err := list.Call(ctx, c, params)
		for {
			if err != nil {
				yield(none, err)
				return
			}
			for _, row := range page.Data {
				if !yield(row, nil) {
					return
				}
			}
			if page.NextCursor == nil {
				return
			}
			var next jsontext.Value
			if next, err = atCursor(params, *page.NextCursor); err == nil {
				page, err = Method[jsontext.Value, Page[E]](list).Call(ctx, c, next)
			}
		}
	}
}

// atCursor returns the params of a list for the page at the cursor.
func atCursor(params any, cursor string) (jsontext.Value, error) {
	given, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	var p map[string]jsontext.Value
	var options map[string]jsontext.Value
	if err := json.Unmarshal(given, &p); err != nil {
		return nil, err
	}
	if p["list_options"] != nil {
		if err := json.Unmarshal(p["list_options"], &options); err != nil {
			return nil, err
		}
	}
	next := map[string]any{"cursor": cursor}
	for name, value := range options {
		if name != "cursor" && name != "offset" { // an offset was skipped before the first page
			next[name] = value
		}
	}
	all := map[string]any{"list_options": next}
	for name, value := range p {
		if name != "list_options" {
			all[name] = value
		}
	}
	return json.Marshal(all, json.Deterministic(true))
}
