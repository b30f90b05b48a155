package jsonrpc

import (
	"bytes"
	"context"
)

// Streamer is a result that can also be answered in parts, where what it is written to is no JSON-RPC.
type Streamer interface {
	// Part returns the next part, whose bytes are good until the next call, and whether it is the last. The first comes without
	// waiting. After an error there is no further part.
	Part(ctx context.Context) (part []byte, last bool, err error)
}

// ServeStream is Serve, unless the body is a single call with an id whose result is a [Streamer]: that is returned, and the reply has
// no Body. The call's timeout is only that of its first part.
func (m *Mux) ServeStream(ctx context.Context, requestID string, body []byte) (Reply, Streamer) {
	requests, batch, err := parse(body, m.options.MaxBatch, m.options.MaxDepth)
	if err != nil || batch || requests[0].id == nil {
		return m.Serve(ctx, requestID, body), nil
	}
	r := &requests[0]
	o := m.run(ctx, r)
	stream, ok := o.result.(Streamer)
	if o.err != nil || !ok {
		a := newAnswer(m, requestID, false, 1)
		a.add(ctx, r, o)
		return a.reply(), nil
	}
	call := Call{Method: m.name(r), ID: r.id, Start: o.start, Duration: o.took}
	o.observed(call)
	return Reply{Calls: []Call{call}}, stream
}

// ErrorObject returns the error object of a JSON-RPC answer: [ErrorBody] without what is around it.
func ErrorObject(err error, requestID string) []byte {
	out := newBuffer()
	defer releaseBuffer(out)
	_ = appendErrorObject(out, failure(err), requestID) // the members that can be encoded are there
	return bytes.Clone(out.Bytes())
}
