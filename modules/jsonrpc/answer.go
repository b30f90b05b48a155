package jsonrpc

import (
	"bytes"
	"maps"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
)

// ErrorBody returns the answer to a request that is refused as a whole: an error with the id null. err is answered as
// [apperr.From] finds it, and its cause is not told.
func ErrorBody(err error, requestID string) []byte {
	out := newBuffer()
	defer releaseBuffer(out)
	_ = appendError(out, nil, failure(err), requestID) // the members that can be encoded are there
	return bytes.Clone(out.Bytes())
}

// failure returns err as what it is answered with.
func failure(err error) *apperr.Error {
	e := apperr.From(err)
	if e == nil { // no error at all, or a nil *apperr.Error that became an error
		e = apperr.New(apperr.Internal, "Internal error")
	}
	return e
}

// appendResult appends the answer to a call that succeeded. After an error the buffer's end is not to be used.
func appendResult(out *bytes.Buffer, id jsontext.Value, o outcome) error {
	appendHead(out, id)
	out.WriteString(`,"result":`)
	if settled := settle(o.result); o.text != nil && !settled {
		out.Write(o.text)
	} else if err := encode(out, o.result); err != nil {
		return err
	}
	out.WriteByte('}')
	return nil
}

// appendError appends the answer to a call that failed. It leaves out the members of the data that cannot be encoded, and
// returns the first reason.
func appendError(out *bytes.Buffer, id jsontext.Value, e *apperr.Error, requestID string) (err error) {
	appendHead(out, id)
	out.WriteString(`,"error":`)
	err = appendErrorObject(out, e, requestID)
	out.WriteByte('}')
	return err
}

func appendErrorObject(out *bytes.Buffer, e *apperr.Error, requestID string) (err error) {
	out.WriteString(`{"code":`)
	out.Write(strconv.AppendInt(out.AvailableBuffer(), int64(e.Kind.Code()), 10))
	out.WriteString(`,"message":`)
	appendQuoted(out, e.Message)
	out.WriteString(`,"data":{"kind":`)
	appendQuoted(out, string(e.Kind))
	out.WriteString(`,"request_id":`)
	appendQuoted(out, requestID)
	for _, key := range slices.Sorted(maps.Keys(e.Data)) {
		if key == "kind" || key == "request_id" {
			continue
		}
		start := out.Len()
		out.WriteByte(',')
		appendQuoted(out, key)
		out.WriteByte(':')
		if failed := encode(out, e.Data[key]); failed != nil {
			out.Truncate(start)
			if err == nil {
				err = failed
			}
		}
	}
	out.WriteString(`}}`)
	return err
}

func appendHead(out *bytes.Buffer, id jsontext.Value) {
	out.WriteString(`{"jsonrpc":"2.0","id":`)
	if id == nil {
		id = jsontext.Value("null")
	}
	out.Write(id)
}

// appendQuoted appends a JSON string. What is not UTF-8 in it is replaced: an error is always answered.
func appendQuoted(out *bytes.Buffer, s string) {
	quoted, _ := jsontext.AppendQuote(out.AvailableBuffer(), s)
	out.Write(quoted)
}

// Settler is a result of which a part is known only when the work is committed. Settle is called then, and the result is encoded after it. In
// an atomic batch, where later calls refer to its data, it is encoded before the commit, too.
type Settler interface{ Settle() }

func settle(result any) bool {
	s, ok := result.(Settler)
	if ok {
		s.Settle()
	}
	return ok
}

// encode is marshal, whose panic, in a method of the value, is its error.
func encode(out *bytes.Buffer, v any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{p, debug.Stack()}
		}
	}()
	return marshal(out, v)
}

// keptBuffer is the size up to which a buffer waits for the next answer.
const keptBuffer = 1 << 20

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func newBuffer() *bytes.Buffer { return buffers.Get().(*bytes.Buffer) }

func releaseBuffer(b *bytes.Buffer) {
	if b.Cap() <= keptBuffer {
		b.Reset()
		buffers.Put(b)
	}
}
