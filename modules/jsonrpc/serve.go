package jsonrpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"rowcall/modules/apperr"
)

// Reply is what came of a body.
type Reply struct {
	Body  []byte // the answer; nil: there is nothing to answer, as to notifications
	Err   error  // PARSE_ERROR, which Body answers: nothing ran. Nil for every other body
	Calls []Call // what was called, in order
}

// Call is what came of one call, for logs and metrics. What the client sent is in it as it was, and as long.
type Call struct {
	Method   string
	ID       jsontext.Value // a part of the body; nil: a notification, or a call without a valid id
	Kind     apperr.Kind    // "": it succeeded
	Start    time.Time      // zero: it did not run
	Duration time.Duration
}

// outcome is what came of a call before it is written: a result or an error.
type outcome struct {
	result any
	text   jsontext.Value // the result, if it is encoded already
	err    error
	start  time.Time
	took   time.Duration

	observed func(Call) // of Options.Observe; nil: the call did not run
}

// Serve runs the calls of a body, one after another, and returns when all are done. requestID ties errors to the log.
//
// Once ctx has ended no further call runs: those that are left are answered with ABORTED, or TIMEOUT if ctx had a
// deadline. Those left when the answer has passed [Options.MaxAnswer] do not run either and are answered with ABORTED: a
// body of a megabyte may ask for a hundred lists, and the answer would be the only thing here without a bound.
// Notifications, which add nothing to it, still run.
func (m *Mux) Serve(ctx context.Context, requestID string, body []byte) Reply {
	requests, batch, err := parse(body, m.options.MaxBatch, m.options.MaxDepth)
	if err != nil {
		return refused(requestID, err)
	}
	a := newAnswer(m, requestID, batch, len(requests))
	alike := 0 // calls from here on that run with the context that was prepared for them
	prepared := ctx
	for i := range requests {
		r := &requests[i]
		if alike == 0 {
			prepared, alike = m.ahead(ctx, requests[i:])
		}
		alike--
		if a.text.Len() > m.options.MaxAnswer && r.id != nil {
			a.add(ctx, r, outcome{err: errAnswerSize})
			continue
		}
		a.add(ctx, r, m.run(prepared, r))
	}
	return a.reply()
}

// ahead returns the context for the first of the requests, and how many of them it is for: as many as call the same method.
func (m *Mux) ahead(ctx context.Context, requests []request) (_ context.Context, alike int) {
	method := m.methods[string(requests[0].method)]
	if method == nil || method.ahead == nil {
		return ctx, 1
	}
	var params []jsontext.Value
	for ; alike < len(requests) && string(requests[alike].method) == method.Name; alike++ {
		params = append(params, requests[alike].params)
	}
	if alike == 1 {
		return ctx, 1
	}
	return m.prepare(ctx, method, params), alike
}

// prepare returns the context that the method's calls run with. A panic there is not the calls': they run without.
func (m *Mux) prepare(ctx context.Context, method *method, params []jsontext.Value) (prepared context.Context) {
	defer func() {
		if p := recover(); p != nil {
			m.options.Log.Error("preparing calls failed", zap.String("method", method.Name), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			prepared = ctx
		}
	}()
	return method.ahead(ctx, params)
}

var errAnswerSize = apperr.New(apperr.Aborted, "The answer to the calls before this one is too large; it did not run")

// run runs a call. Its panic is its error.
func (m *Mux) run(ctx context.Context, r *request) (o outcome) {
	ctx, observed := m.options.Observe(ctx, m.known(r))
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			o = outcome{err: &panicError{p, debug.Stack()}}
		}
		o.start, o.took, o.observed = start, time.Since(start), observed
	}()
	if m.options.Limit != nil {
		if err := m.options.Limit(ctx); err != nil {
			return outcome{err: err}
		}
	}
	method, err := m.find(r)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return outcome{err: err}
	}
	if m.options.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, m.options.Timeout)
		defer cancel()
	}
	if m.options.Guard != nil && !method.Public {
		o.err = m.options.Guard(ctx, method.Name)
	}
	if o.err == nil {
		o.result, o.err = method.run(ctx, r.params)
	}
	// What fails because the context ended often says so in words of its own.
	if ended := ctx.Err(); o.err != nil && ended != nil {
		if e := (*apperr.Error)(nil); !errors.As(o.err, &e) {
			o.err = errors.Join(ended, o.err)
		}
	}
	return o
}

// find returns the method that is called; INVALID_REQUEST for what is not a call, and METHOD_NOT_FOUND.
func (m *Mux) find(r *request) (*method, error) {
	if r.fault != "" {
		return nil, apperr.New(apperr.InvalidRequest, "Invalid request: "+r.fault)
	}
	method := m.methods[string(r.method)]
	if method == nil {
		return nil, apperr.New(apperr.MethodNotFound, "There is no method "+cut(string(r.method)))
	}
	return method, nil
}

// panicError is the error of a call that panicked. It does not unwrap to the value: what panicked with an error that has
// a kind is INTERNAL all the same.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// answer is the answer to a body while it is written.
type answer struct {
	mux       *Mux
	requestID string
	batch     bool
	text      *bytes.Buffer
	calls     []Call
	logged    *apperr.Error // the last one
}

func newAnswer(m *Mux, requestID string, batch bool, calls int) *answer {
	return &answer{mux: m, requestID: requestID, batch: batch, text: newBuffer(), calls: make([]Call, 0, calls)}
}

// add answers a call, unless it is a notification.
func (a *answer) add(ctx context.Context, r *request, o outcome) {
	call := Call{Method: a.mux.name(r), ID: r.id, Start: o.start, Duration: o.took}
	silent := r.id == nil && r.fault == ""
	start := a.text.Len()
	if o.err == nil && !silent {
		a.separate()
		if err := appendResult(a.text, r.id, o); err != nil {
			a.text.Truncate(start)
			o.err = notEncoded(err)
		}
	}
	if o.err != nil {
		e := failure(o.err)
		call.Kind = e.Kind
		if e != a.logged { // one may answer all calls of an atomic batch
			a.mux.log(a.requestID, call.Method, e)
			a.logged = e
		}
		if !silent {
			a.separate()
			if err := appendError(a.text, r.id, e, a.requestID); err != nil {
				a.mux.log(a.requestID, call.Method, failure(fmt.Errorf("the data of an error cannot be encoded: %w", err)))
			}
		}
	}
	a.calls = append(a.calls, call)
	if o.observed == nil {
		_, o.observed = a.mux.options.Observe(ctx, a.mux.known(r))
	}
	o.observed(call)
}

// notEncoded is the error of a call whose result cannot be encoded: INTERNAL, unless the result itself says otherwise.
func notEncoded(err error) error {
	if e := (*apperr.Error)(nil); errors.As(err, &e) {
		return e
	}
	return apperr.Wrap(apperr.Internal, "Internal error", fmt.Errorf("the result cannot be encoded: %w", err))
}

func (a *answer) separate() {
	switch {
	case !a.batch:
	case a.text.Len() == 0:
		a.text.WriteByte('[')
	default:
		a.text.WriteByte(',')
	}
}

func (a *answer) reply() Reply {
	defer releaseBuffer(a.text)
	if a.text.Len() == 0 {
		return Reply{Calls: a.calls}
	}
	if a.batch {
		a.text.WriteByte(']')
	}
	return Reply{Body: bytes.Clone(a.text.Bytes()), Calls: a.calls}
}

// refused answers a body of which nothing ran.
func refused(requestID string, err error) Reply {
	reply := Reply{Body: ErrorBody(err, requestID)}
	if kind := failure(err).Kind; kind == apperr.ParseError {
		reply.Err = err
	} else {
		reply.Calls = []Call{{Kind: kind}}
	}
	return reply
}

// known returns the name of the call's method, "" if there is no such method.
func (m *Mux) known(r *request) string {
	if method := m.methods[string(r.method)]; method != nil {
		return method.Name
	}
	return ""
}

// name returns the name that the call gives, without a copy where there is such a method.
func (m *Mux) name(r *request) string {
	if name := m.known(r); name != "" {
		return name
	}
	return string(r.method)
}

// log notes what the client is not told. Kinds that a client causes have no line of their own.
func (m *Mux) log(requestID, method string, e *apperr.Error) {
	fields := []zap.Field{zap.String("request_id", requestID), zap.String("method", cut(method)), zap.Error(e)}
	switch e.Kind {
	case apperr.Internal:
		if p := (*panicError)(nil); errors.As(e, &p) {
			fields = append(fields, zap.ByteString("stack", p.stack))
		}
		m.options.Log.Error("a call failed", fields...)
	case apperr.Unavailable, apperr.Timeout:
		if errors.Unwrap(e) != nil {
			m.options.Log.Warn("a call failed", fields...)
		}
	default:
	}
}
