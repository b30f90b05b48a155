package rpcclient

import (
	"context"
	"errors"
	"fmt"

	"rowcall/modules/apperr"
)

// Batch is up to 100 calls that are sent in one request. The zero Batch has none. Calls are put into it by [Method.In]:
//
//	var b rpcclient.Batch
//	task := api.GetTask.In(&b, api.GetTaskParams{ID: 1})
//	users := api.ListUsers.In(&b, api.ListUsersParams{})
//	if err := b.Run(ctx, c); err != nil { … }
//	t, err := task.Result()
type Batch struct {
	// Atomic makes the batch one transaction: all of it is kept, or nothing.
	Atomic bool

	calls   []call
	settles []func(answer)
}

// Result is the place for the result of a call in a batch.
type Result[R any] struct {
	index int
	value R
	err   error
}

// Ref stands for a value of an earlier call's result, in the params of a later call of an atomic batch.
type Ref struct {
	Path string `json:"$ref"`
}

var errNotRun = errors.New("the batch has not been run")

// In puts a call of the method into the batch.
func (m Method[P, R]) In(b *Batch, params P) *Result[R] {
	r := &Result[R]{index: len(b.calls), err: errNotRun}
	b.calls = append(b.calls, m.call(int64(r.index), params))
	b.settles = append(b.settles, func(a answer) { r.err = answers{a}.decode(&r.value) })
	return r
}

// Result returns the result of the call, once its batch has been run. The error is an [*Error] if this call failed.
func (r *Result[R]) Result() (R, error) { return r.value, r.err }

// Ref returns what stands for the call's data in the params of a later call: the whole of it, or what is at a path such as
// "id". Params with it need a method whose params can hold it:
//
//	rpcclient.Method[any, rpcclient.Data[api.Task]]{Name: api.CreateTask.Name}
func (r *Result[R]) Ref(path string) Ref {
	if path == "" {
		return Ref{fmt.Sprint(r.index)}
	}
	return Ref{fmt.Sprintf("%d.%s", r.index, path)}
}

// Run sends the batch and keeps the results. The error is of the batch as a whole: of an atomic one, also that of the call
// which made it fail. A batch is run once.
func (b *Batch) Run(ctx context.Context, c *Client) error {
	if len(b.calls) == 0 {
		return nil
	}
	body, safe := []byte{}, true
	for i, one := range b.calls {
		text, err := one.encode()
		if err != nil {
			return err
		}
		body = append(append(body, "[,"[min(i, 1)]), text...)
		safe = safe && one.safe
	}
	body = append(body, ']')
	var all answers
	err := c.repeat(ctx, safe, func() error {
		return c.authorized(ctx, func(token string) error {
			var err error
			if all, err = c.post(ctx, request{path: "/api/rpc", body: body, token: token, atomic: b.Atomic}); err != nil {
				return err
			}
			return all.refusal(len(b.calls))
		})
	})
	if err != nil {
		return err
	}
	if len(all) != len(b.calls) {
		return fmt.Errorf("the batch of %d calls has %d answers", len(b.calls), len(all))
	}
	for i, a := range all { // they are in the order of the calls
		b.settles[i](a)
	}
	if b.Atomic {
		return all.failure()
	}
	return nil
}

// refusal returns the error of a batch that was refused as a whole: by one answer, or because nobody is logged in, which calls
// of an atomic batch also show by being ABORTED.
func (a answers) refusal(calls int) error {
	if e := a[0].Error; e != nil && len(a) == 1 && calls > 1 {
		return e
	}
	var refused error
	for i := range a {
		switch e := a[i].Error; {
		case e == nil:
			return nil
		case e.Data.Kind == apperr.Unauthenticated:
			refused = e
		case e.Data.Kind != apperr.Aborted:
			return nil
		}
	}
	return refused
}

// failure returns the error that made an atomic batch fail: the one that is not for being in it.
func (a answers) failure() error {
	var aborted error
	for i := range a {
		switch e := a[i].Error; {
		case e == nil:
		case e.Data.Kind != apperr.Aborted:
			return e
		default:
			aborted = e
		}
	}
	return aborted
}
