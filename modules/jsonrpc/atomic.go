package jsonrpc

import (
	"bytes"
	"context"

	"rowcall/modules/apperr"
)

// ServeAtomic is Serve for calls of which all are kept or none. They run inside [Options.Atomic]; without it, the body is
// INVALID_REQUEST. A single call is a batch of one.
//
// After the first failure nothing further runs, the failing call is answered with its error, and every other call with
// ABORTED, also those that ran before it. What is not a call, or calls no method, is a failure before anything runs. Failures
// are also a notification's, a result that cannot be encoded, and what Serve says of a context that has ended and of an answer
// that is too large. An error of Options.Atomic itself, as of a commit that failed, is the answer to every call.
//
// In the params, at any depth, {"$ref": "0.id"} stands for a value of an earlier result: here the member "id" of the "data" of
// the first call's. Names are separated by dots, positions in arrays are numbers, as in "1.0.id", and "0" is all of the data.
// A reference to what is not there, or not yet, is INVALID_PARAMS.
func (m *Mux) ServeAtomic(ctx context.Context, requestID string, body []byte) Reply {
	requests, batch, err := parse(body, m.options.MaxBatch, m.options.MaxDepth)
	if err == nil && m.options.Atomic == nil {
		err = apperr.New(apperr.InvalidRequest, "Atomic batches are not served here")
	}
	if err != nil {
		return refused(requestID, err)
	}
	b := &atomicBatch{mux: m, requests: requests, outcomes: make([]outcome, len(requests)), text: newBuffer()}
	defer releaseBuffer(b.text)
	failed := b.check()
	if failed == nil {
		failed = m.options.Atomic(ctx, b.run)
	}
	a := newAnswer(m, requestID, batch, len(requests))
	others := errOtherFailed
	if failed != nil && !b.failed {
		others = failure(failed)
	}
	for i, o := range b.outcomes {
		if failed != nil && o.err == nil {
			o.err = others
		}
		a.add(ctx, &requests[i], o)
	}
	return a.reply()
}

var errOtherFailed = apperr.New(apperr.Aborted, "Another call of the batch failed; nothing is kept")

// atomicBatch is a batch of which all is kept or nothing.
type atomicBatch struct {
	mux      *Mux
	requests []request
	outcomes []outcome
	failed   bool          // whether one of the outcomes is an error
	text     *bytes.Buffer // the results, encoded
	refs     refs
}

// check finds what cannot run before anything does.
func (b *atomicBatch) check() error {
	for i := range b.requests {
		if _, err := b.mux.find(&b.requests[i]); err != nil {
			return b.fail(i, err)
		}
	}
	return nil
}

// run runs the calls up to the first that fails, and returns its error.
func (b *atomicBatch) run(ctx context.Context) error {
	for i := range b.requests {
		if b.text.Len() > b.mux.options.MaxAnswer {
			return b.fail(i, errAnswerSize)
		}
		r := &b.requests[i]
		var err error
		if r.params, err = b.refs.resolve(r.params, b.mux.options.MaxDepth); err != nil {
			return b.fail(i, err)
		}
		o := &b.outcomes[i]
		*o = b.mux.run(ctx, r)
		if o.err != nil {
			return b.fail(i, o.err)
		}
		start := b.text.Len()
		if err := encode(b.text, o.result); err != nil {
			return b.fail(i, notEncoded(err))
		}
		o.text = b.text.Bytes()[start:]
		b.refs.add(o.text)
	}
	return nil
}

func (b *atomicBatch) fail(i int, err error) error {
	b.failed = true
	b.outcomes[i].err = err
	return err
}
