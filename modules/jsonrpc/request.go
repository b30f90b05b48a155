package jsonrpc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
)

// request is one call of a body, cut out and not yet looked into. Its slices are parts of the body.
type request struct {
	id     jsontext.Value // nil: a notification
	method []byte         // the name
	params jsontext.Value // nil: absent
	fault  string         // why it is not a valid call; "" if it is one
}

// parse reads a body in one pass, all of it before anything runs. It returns PARSE_ERROR for what is not one JSON value, and
// INVALID_REQUEST for a batch that is empty or has more than max items.
func parse(body []byte, maxItems, maxDepth int) (requests []request, batch bool, err error) {
	if nestsDeeper(body, maxDepth) {
		return nil, false, apperr.New(apperr.ParseError, fmt.Sprintf("Parse error: the JSON is nested deeper than %d", maxDepth))
	}
	r := newReader(body)
	defer r.release()
	if r.PeekKind() != jsontext.KindBeginArray {
		call, err := r.request()
		if err == nil {
			err = r.end()
		}
		if err != nil {
			return nil, false, parseError(err)
		}
		return []request{call}, false, nil
	}

	n := 0
	for _, err = r.ReadToken(); err == nil && more(r.PeekKind()); n++ {
		if n >= maxItems {
			_, err = r.ReadValue() // it may still be a parse error, which weighs more
			continue
		}
		var call request
		call, err = r.request()
		requests = append(requests, call)
	}
	if err == nil {
		_, err = r.ReadToken()
	}
	if err == nil {
		err = r.end()
	}
	switch {
	case err != nil:
		return nil, true, parseError(err)
	case n == 0:
		return nil, true, apperr.New(apperr.InvalidRequest, "Invalid request: the batch is empty")
	case n > maxItems:
		return nil, true, apperr.New(apperr.InvalidRequest, fmt.Sprintf("Invalid request: a batch may have at most %d calls", maxItems))
	}
	return requests, true, nil
}

// reader reads a slice of JSON, and is kept for another once it is released.
type reader struct {
	jsontext.Decoder
	source bytes.Buffer // the Decoder reads a Buffer in place
	text   []byte
}

var readers = sync.Pool{New: func() any { return new(reader) }}

func newReader(text []byte, opts ...jsontext.Options) *reader {
	r := readers.Get().(*reader)
	r.text = text
	r.source = *bytes.NewBuffer(text)
	r.Reset(&r.source, opts...)
	return r
}

func (r *reader) release() {
	r.text, r.source = nil, bytes.Buffer{}
	r.Reset(&r.source)
	readers.Put(r)
}

// value reads a value and returns the part of the text that it is, which outlives the reader.
func (r *reader) value() (jsontext.Value, error) {
	v, err := r.ReadValue()
	if err != nil {
		return nil, err
	}
	end := int(r.InputOffset())
	return r.text[end-len(v) : end : end], nil
}

// name reads the name of an object's member.
func (r *reader) name() ([]byte, error) {
	quoted, err := r.value()
	if err != nil {
		return nil, err
	}
	return unquote(quoted)
}

// request reads an item. Its error is one of syntax; a value that is not a call is a request with a fault.
func (r *reader) request() (request, error) {
	var call request
	if r.PeekKind() != jsontext.KindBeginObject {
		v, err := r.value()
		return request{fault: "a call must be an object, not " + given(v)}, err
	}
	if _, err := r.ReadToken(); err != nil {
		return call, err
	}
	var version, id, method jsontext.Value
	for more(r.PeekKind()) {
		name, err := r.name()
		if err != nil {
			return call, err
		}
		v, err := r.value()
		if err != nil {
			return call, err
		}
		switch string(name) {
		case "jsonrpc":
			version = v
		case "id":
			id = v
		case "method":
			method = v
		case "params":
			call.params = v
		default:
			call.fault = "a call has the members jsonrpc, id, method and params, and not " + cut(string(name))
		}
	}
	if _, err := r.ReadToken(); err != nil {
		return call, err
	}
	if id != nil {
		if validID(id) {
			call.id = id
		} else {
			call.fault = "id must be a string, an integer or null, not " + given(id)
		}
	}
	if version != nil && !isVersion(version) {
		call.fault = `jsonrpc must be "2.0"`
	}
	switch {
	case method == nil:
		call.fault = "method is missing"
	case method.Kind() != jsontext.KindString:
		call.fault = "method must be a string, not " + given(method)
	default:
		var err error
		if call.method, err = unquote(method); err != nil {
			return call, err
		}
	}
	return call, nil
}

func (r *reader) end() error {
	_, err := r.ReadToken()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		err = errors.New("there is more after the JSON value")
	}
	return err
}

// path leads, within params, to the value that was read last.
func (r *reader) path() string {
	path, level := "params", 0
	for name := range r.StackPointer().Tokens() {
		level++
		if kind, _ := r.StackIndex(min(level, r.StackDepth())); level <= r.StackDepth() && kind == jsontext.KindBeginArray {
			path += "[" + name + "]"
		} else {
			path = apperr.Join(path, cut(name))
		}
	}
	return path
}

// parseError tells the client where the body went wrong, in words that do not depend on the library's.
func parseError(err error) error {
	reason := "the body is not valid JSON"
	var se *jsontext.SyntacticError
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		reason = "the body has a duplicate name"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		reason = "the body ends too early"
	}
	if errors.As(err, &se) {
		reason += fmt.Sprintf(", at byte %d", se.ByteOffset)
	}
	return apperr.Wrap(apperr.ParseError, "Parse error: "+reason, err)
}

// nestsDeeper tells whether JSON is nested deeper than the limit. What it says of other text does not matter.
func nestsDeeper(text []byte, limit int) bool {
	if bytes.Count(text, []byte("{"))+bytes.Count(text, []byte("[")) <= limit {
		return false
	}
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// more tells whether an object or array goes on. Not so for what is wrong: reading its end then tells the error.
func more(next jsontext.Kind) bool {
	return next != jsontext.KindEndObject && next != jsontext.KindEndArray && next != jsontext.KindInvalid
}

func validID(id jsontext.Value) bool {
	switch id.Kind() {
	case jsontext.KindString, jsontext.KindNull:
		return true
	case jsontext.KindNumber:
		return isInteger(id)
	}
	return false
}

func isInteger(number jsontext.Value) bool { return !bytes.ContainsAny(number, ".eE") }

func isVersion(v jsontext.Value) bool {
	if v.Kind() != jsontext.KindString {
		return false
	}
	s, err := unquote(v)
	return err == nil && string(s) == "2.0"
}

// unquote returns the text of a JSON string, a part of it where it has no escapes.
func unquote(quoted jsontext.Value) ([]byte, error) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1], nil
	}
	return jsontext.AppendUnquote(nil, quoted)
}

// given names the type of a value in words for the client.
func given(v jsontext.Value) string {
	switch v.Kind() {
	case jsontext.KindNull:
		return "null"
	case jsontext.KindTrue, jsontext.KindFalse:
		return "a boolean"
	case jsontext.KindString:
		return "a string"
	case jsontext.KindNumber:
		if isInteger(v) {
			return "an integer"
		}
		return "a number with a fraction or an exponent"
	case jsontext.KindBeginArray:
		return "an array"
	}
	return "an object"
}

// maxEcho is how many bytes of a client's name are repeated to it: a body of many bad names gets no longer answer.
const maxEcho = 64

func cut(name string) string {
	if len(name) > maxEcho {
		return strings.ToValidUTF8(name[:maxEcho], "") + "…"
	}
	return name
}
