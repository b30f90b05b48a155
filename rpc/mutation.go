package rpc

import (
	"context"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/ledger"
	"rowcall/modules/store"
)

// mutable is embedded in the params of a method that writes.
type mutable struct {
	MutationID *uuid.UUID `json:"mutation_id,omitzero"`
}

func (m mutable) mutationID() *uuid.UUID { return m.MutationID }

// mutating is the params of a method that writes.
type mutating interface{ mutationID() *uuid.UUID }

const mutationWords = "A UUIDv7 made for this call: if it is repeated with the same, nothing more is done, and the answer is that of the first time."

// forgetful is a result of which a part is shown once only, and not to those who ask again.
type forgetful interface{ forget() }

// named returns the mutation that a method's params name.
func named(method string, p mutating) (ledger.Mutation, error) {
	digest, err := ledger.Digest(method, p)
	return ledger.Mutation{ID: *p.mutationID(), Digest: digest, Path: "params.mutation_id"}, err
}

// once does what a method does, at most once for the mutation that its params name.
func once[P mutating, R any](ctx context.Context, api API, method string, p P, do func(*store.Tx, P) (R, error)) (w changed[R], err error) {
	m, err := named(method, p)
	if err != nil {
		return w, err
	}
	answered, err := api.ledger.Once(ctx, m, func(tx *store.Tx) (func() ([]byte, error), error) {
		result, err := do(tx, p)
		w = changed[R]{Data: result, at: tx.Position()}
		return w.remembered, err
	}, rememberedError)
	if err != nil || answered == nil {
		return w, err
	}
	return repeated[R](answered)
}

// keeping takes the result of a method at the end of the transaction of the platform that it is made in.
type keeping[R any] func(*store.PlatformTx, changed[R]) error

// handleOnPlatform registers a method that writes as the platform.
func handleOnPlatform[P mutating, R any](m *jsonrpc.Mux, api API, method string, do func(context.Context, P, keeping[R]) error, opts ...jsonrpc.MethodOption) {
	jsonrpc.Handle(m, method, func(ctx context.Context, p P) (w changed[R], err error) {
		if p.mutationID() == nil {
			err = do(ctx, p, func(_ *store.PlatformTx, result changed[R]) error {
				w = result
				return nil
			})
			return w, err
		}
		m, err := named(method, p)
		if err != nil {
			return w, err
		}
		m.Digest = api.Authn.Conceal(m.Digest) // there may be passwords in it
		answered, err := api.ledger.OnPlatform(ctx, m, func(keep ledger.Keep) error {
			return do(ctx, p, func(tx *store.PlatformTx, result changed[R]) error {
				w = result
				text, err := w.remembered()
				if err != nil {
					return err
				}
				return keep(tx, text)
			})
		}, rememberedError)
		if err != nil || answered == nil {
			return w, err
		}
		return repeated[R](answered)
	}, opts...)
}

// outcome is what the ledger remembers of a call.
type outcome struct {
	Result jsontext.Value `json:"result,omitzero"`
	Error  *refusal       `json:"error,omitzero"`
}

// refusal is an error without its cause.
type refusal struct {
	Kind    apperr.Kind               `json:"kind"`
	Message string                    `json:"message"`
	Data    map[string]jsontext.Value `json:"data,omitempty"`
}

// remembered is what the ledger keeps of the result.
func (w *changed[T]) remembered() ([]byte, error) {
	kept := *w
	kept.Settle()
	if secret, ok := any(&kept.Data).(forgetful); ok {
		secret.forget()
	}
	text, err := kept.AppendJSON([]byte(`{"result":`))
	return append(text, '}'), err
}

func rememberedError(e *apperr.Error) ([]byte, error) {
	r, err := refusalOf(e)
	if err != nil {
		return nil, err
	}
	return json.Marshal(outcome{Error: r}, json.Deterministic(true))
}

func refusalOf(e *apperr.Error) (*refusal, error) {
	r := &refusal{e.Kind, e.Message, map[string]jsontext.Value{}}
	for name, value := range e.Data {
		text, err := jsonrpc.Marshal(value)
		if err != nil {
			return nil, err
		}
		r.Data[name] = text
	}
	return r, nil
}

// repeated answers as the ledger remembers it.
func repeated[R any](text []byte) (w changed[R], err error) {
	var o outcome
	if err := json.Unmarshal(text, &o); err != nil {
		return w, err
	}
	if o.Error == nil {
		return changed[R]{text: o.Result}, nil
	}
	e := apperr.New(o.Error.Kind, o.Error.Message)
	for name, value := range o.Error.Data {
		e = e.With(name, value)
	}
	return w, e
}

// Settle implements jsonrpc.Settler.
func (w *changed[T]) Settle() {
	if w.at != nil && *w.at != 0 {
		w.Position = w.at
	}
}

// AppendJSON implements jsonrpc.Appender.
func (w *changed[T]) AppendJSON(b []byte) ([]byte, error) {
	if w.text != nil {
		return append(b, w.text...), nil
	}
	b, err := jsonrpc.AppendJSON(append(b, `{"data":`...), &w.Data)
	if err != nil {
		return b, err
	}
	b = append(b, `,"position":`...)
	if w.Position == nil {
		b = append(b, "null"...)
	} else {
		b = strconv.AppendInt(b, *w.Position, 10)
	}
	return append(b, '}'), nil
}
