// Package jsonrpc is JSON-RPC 2.0 (https://www.jsonrpc.org/specification) over bytes: it reads a call or a batch, finds the
// method, decodes its params into the struct that its handler takes, and writes the answer. It knows nothing of HTTP, of
// who is calling, or of what the methods do.
//
// Where the specification leaves room, or where it is loose, the package is strict:
//
//   - "jsonrpc" may be absent, and is "2.0" otherwise.
//   - An id is a string, an integer or null and is echoed byte for byte. A call without one is a notification: it runs, and
//     nothing is answered, not even its failure. What is not a valid call is answered with INVALID_REQUEST even without an
//     id, with the id it gave if that is a valid one and with null otherwise (section 7 of the specification does so).
//   - Params are an object or absent. Members that the method's struct does not have, members that it needs and does not
//     get, and values of the wrong type are INVALID_PARAMS, with a path and a reason for each ([Handle]).
//   - Duplicate names at any depth, invalid UTF-8, escapes of lone surrogates, data after the value and nesting deeper than
//     [Options.MaxDepth] make the whole body a PARSE_ERROR: nothing of it runs.
//   - The calls of a batch run one after another and are answered in their order.
package jsonrpc

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"
)

// Mux is a set of methods and serves calls of them. Make one with New, add methods with [Handle], then serve: any number
// of goroutines may call Serve at once, but none while a method is added.
type Mux struct {
	options Options
	methods map[string]*method
}

// Options is what a Mux works with. The zero value allows every call and has the limits of the wire contract.
type Options struct {
	// Limit, if not nil, decides whether there may be another call. It runs before anything else is looked at, also for
	// calls of public methods and for items of a batch that are no call; its error is theirs.
	Limit func(ctx context.Context) error

	// Guard, if not nil, decides whether a call of a method that is not [Public] may go on. It runs before the params are
	// looked at; its error is the call's.
	Guard func(ctx context.Context, method string) error

	// Atomic, if not nil, runs the calls of [Mux.ServeAtomic]: it calls them once, with a context in which what they do is one
	// transaction, and undoes it if they return an error, which it returns, and otherwise keeps it. What they did is kept if
	// and only if it returns nil, unless its error says that this is not known.
	Atomic func(ctx context.Context, calls func(ctx context.Context) error) error

	// Observe, if not nil, is told of each call before it runs, by the name of its method: "" if there is no such method. The
	// call runs with the context that it returns, and the function that it returns is told what came of it, which is known
	// after all calls of an atomic batch. Of a call that does not run it is told then.
	Observe func(ctx context.Context, method string) (context.Context, func(Call))

	// Timeout, if not 0, is when a call's context ends. A handler that does not heed its context is not interrupted.
	Timeout time.Duration

	// Log gets panics with their stacks, and the causes that clients are not told. Nil: they are lost.
	Log *zap.Logger

	MaxBatch  int // calls in a batch; 0 is 100
	MaxDepth  int // nesting of a body, its outermost value counted; 0 is 10,000, which is the most
	MaxAnswer int // bytes after which no further call of a batch is run; 0 is 16 MiB
}

// method is a handler with its types erased.
type method struct {
	Method
	run   func(ctx context.Context, params jsontext.Value) (any, error)
	ahead func(ctx context.Context, params []jsontext.Value) context.Context // nil: there is nothing to do ahead
}

// Method describes a method.
type Method struct {
	Name   string
	Public bool         // the guard is not asked
	Params reflect.Type // the struct that its params are decoded into
	Result reflect.Type // what is encoded as its result
	Doc    any          // what Described was given

	ahead any // a func(context.Context, []P) context.Context
}

// MethodOption is an option of [Handle].
type MethodOption func(*Method)

// Public makes a method one that the guard is not asked about.
func Public() MethodOption { return func(m *Method) { m.Public = true } }

// Described keeps beside a method what its types do not say, for whoever documents the methods. Nothing here looks at it.
func Described(doc any) MethodOption { return func(m *Method) { m.Doc = doc } }

// Ahead gives a method that reads a view of what is coming: before several calls of it that stand side by side in a batch, prepare
// gets the params of them all, without those that cannot be decoded, and returns the context that they run with. It must not do
// the work itself, as the calls have yet to be allowed: it can leave in the context what the first of them does for the others. P is the
// params of [Handle].
func Ahead[P any](prepare func(ctx context.Context, params []P) context.Context) MethodOption {
	return func(m *Method) { m.ahead = prepare }
}

// New returns a Mux without methods.
func New(opts Options) *Mux {
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.Observe == nil {
		opts.Observe = func(ctx context.Context, _ string) (context.Context, func(Call)) { return ctx, func(Call) {} }
	}
	setDefault(&opts.MaxBatch, 100)
	setDefault(&opts.MaxDepth, 10_000)
	setDefault(&opts.MaxAnswer, 16<<20)
	return &Mux{options: opts, methods: map[string]*method{}}
}

func setDefault(limit *int, value int) {
	if *limit == 0 {
		*limit = value
	}
}

// Handle adds a method to m. P is a struct, and struct{} for a method without params; R is encoded as the result itself.
//
// Each exported field of P, and of the structs in it, has a name in its json tag. It is required unless the tag says
// omitzero or omitempty; null stands for an absent member where one may be absent, and is refused where it is required. A
// [jsontext.Value] takes any value as it is, null included. Embedded structs without a name are part of the struct
// they are in. The handler gets a P of its own that shares no memory with the body.
//
// An error that h returns is answered with its kind, as [apperr.From] finds it; one without a kind is INTERNAL, and only the log
// has its text. So is a panic.
//
// Handle panics on what can only be a mistake in the program: a name that is empty or taken, a name that begins with "rpc."
// (which the specification keeps for the protocol) and is not Public, or a P that params cannot be decoded into.
func Handle[P, R any](m *Mux, name string, h func(ctx context.Context, p P) (R, error), opts ...MethodOption) {
	described := Method{Name: name, Params: reflect.TypeFor[P](), Result: reflect.TypeFor[R]()}
	for _, opt := range opts {
		opt(&described)
	}
	shape, err := newShape(described.Params)
	switch {
	case err != nil:
	case name == "":
		err = fmt.Errorf("it has no name")
	case m.methods[name] != nil:
		err = fmt.Errorf("there is one already")
	case strings.HasPrefix(name, "rpc.") && !described.Public:
		err = fmt.Errorf("names that begin with rpc. are the protocol's, whose methods are public")
	}
	if err != nil {
		panic(fmt.Sprintf("jsonrpc: method %q: %v", name, err))
	}
	erased := &method{Method: described, run: func(ctx context.Context, params jsontext.Value) (any, error) {
		var p P
		if err := shape.decode(params, &p); err != nil {
			return nil, err
		}
		r, err := h(ctx, p)
		return &r, err
	}}
	if described.ahead != nil {
		prepare := described.ahead.(func(context.Context, []P) context.Context) // else the option is of another method
		erased.ahead = func(ctx context.Context, params []jsontext.Value) context.Context {
			all := make([]P, 0, len(params))
			for _, raw := range params {
				var p P
				if shape.decode(raw, &p) == nil {
					all = append(all, p)
				}
			}
			return prepare(ctx, all)
		}
	}
	m.methods[name] = erased
}

// Methods returns the methods in the order of their names.
func (m *Mux) Methods() []Method {
	methods := make([]Method, 0, len(m.methods))
	for _, method := range m.methods {
		methods = append(methods, method.Method)
	}
	slices.SortFunc(methods, func(a, b Method) int { return strings.Compare(a.Name, b.Name) })
	return methods
}
