package jsonrpc

import (
	"fmt"
	"reflect"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
)

// decoding are the options of reading a part of a body again, which has no duplicate names any more.
var decoding = json.JoinOptions(jsontext.AllowDuplicateNames(true), json.RejectUnknownMembers(true))

// maxIssues is how many faults of one call's params are told.
const maxIssues = 20

// decode decodes params, nil for absent ones, into a pointer to the shape's struct. What is wrong with them is
// INVALID_PARAMS, all of it at once.
//
// It reads them twice: only a walk of our own sees what is absent, and goes on after a fault. The library then decodes
// what is known to fit.
func (s *shape) decode(params jsontext.Value, into any) error {
	switch {
	case params == nil:
		params = jsontext.Value("{}")
	case params.Kind() != jsontext.KindBeginObject:
		return apperr.Invalid(apperr.Issue{Path: "params", Reason: "must be an object, not " + given(params)})
	}
	w := walk{reader: newReader(params, decoding)}
	defer w.release()
	if err := w.value(s, false); err != nil {
		return err
	}
	if len(w.issues) > 0 {
		return apperr.Invalid(w.issues...)
	}
	if len(s.names) == 0 {
		return nil
	}
	return json.Unmarshal(params, into, decoding)
}

// walk reads params and collects what is wrong with them. Its methods return errors of syntax only, which a body that
// was parsed does not have.
type walk struct {
	*reader
	issues []apperr.Issue
}

// value reads a value that should have the shape, or be null where that is allowed.
func (w *walk) value(s *shape, null bool) error {
	switch kind := w.PeekKind(); {
	case kind == jsontext.KindNull && !null:
		return w.refuse("may not be null")
	case kind == jsontext.KindNull, s.form == raw:
		return w.SkipValue()
	case kind == jsontext.KindBeginObject && s.form == object:
		return w.object(s.elem)
	case kind == jsontext.KindBeginObject && s.form == dict:
		return w.dict(s.elem)
	case kind == jsontext.KindBeginArray && s.form == list:
		return w.list(s.elem)
	}
	v, err := w.ReadValue()
	if err != nil {
		return err
	}
	if reason := s.refusal(v); reason != "" {
		w.note(apperr.Issue{Path: w.path(), Reason: reason})
	}
	return nil
}

func (w *walk) object(s *shape) error {
	if _, err := w.ReadToken(); err != nil {
		return err
	}
	var seen uint64
	for more(w.PeekKind()) {
		name, err := w.name()
		if err != nil {
			return err
		}
		f := s.fields[string(name)]
		if f == nil {
			err = w.refuse("is not known here", s.names...)
		} else {
			seen |= f.bit
			err = w.value(f.shape, f.bit == 0 || f.form == raw && f.null)
		}
		if err != nil {
			return err
		}
	}
	if _, err := w.ReadToken(); err != nil {
		return err
	}
	if seen&s.required != s.required {
		w.missing(s, seen)
	}
	return nil
}

// missing notes the required fields that were not seen in the object that was read last.
func (w *walk) missing(s *shape, seen uint64) {
	for _, name := range s.names {
		if s.fields[name].bit&^seen != 0 {
			w.note(apperr.Issue{Path: apperr.Join(w.path(), name), Reason: "is required"})
		}
	}
}

func (w *walk) dict(elem *shape) error {
	if _, err := w.ReadToken(); err != nil {
		return err
	}
	for more(w.PeekKind()) {
		if _, err := w.ReadToken(); err != nil {
			return err
		}
		if err := w.value(elem, elem.null); err != nil {
			return err
		}
	}
	_, err := w.ReadToken()
	return err
}

func (w *walk) list(elem *shape) error {
	if _, err := w.ReadToken(); err != nil {
		return err
	}
	for more(w.PeekKind()) {
		if err := w.value(elem, elem.null); err != nil {
			return err
		}
	}
	_, err := w.ReadToken()
	return err
}

// refuse skips a value and notes why it is refused.
func (w *walk) refuse(reason string, allowed ...string) error {
	err := w.SkipValue()
	w.note(apperr.Issue{Path: w.path(), Reason: reason, Allowed: allowed})
	return err
}

func (w *walk) note(issue apperr.Issue) {
	if len(w.issues) < maxIssues {
		w.issues = append(w.issues, issue)
	}
}

// refusal says why a value that is not null does not have the shape; "" if it has it.
func (s *shape) refusal(v jsontext.Value) string {
	kind := v.Kind()
	fits := false
	switch s.form {
	case boolean:
		fits = kind == jsontext.KindTrue || kind == jsontext.KindFalse
	case text:
		fits = kind == jsontext.KindString
	case signed, unsigned:
		return s.integerRefusal(v)
	case opaque:
		fits = json.Unmarshal(v, reflect.New(s.goType).Interface(), decoding) == nil
	case raw, list, dict, object: // the walk takes what fits
	}
	switch {
	case fits:
		return ""
	case s.form == opaque && kind == s.takes:
		return "must be " + s.words
	}
	return "must be " + s.words + ", not " + given(v)
}

func (s *shape) integerRefusal(v jsontext.Value) string {
	if v.Kind() != jsontext.KindNumber || !isInteger(v) {
		return "must be " + s.words + ", not " + given(v)
	}
	var err error
	if s.form == signed {
		_, err = strconv.ParseInt(string(v), 10, s.goType.Bits())
	} else {
		_, err = strconv.ParseUint(string(v), 10, s.goType.Bits())
	}
	if err != nil {
		return fmt.Sprintf("must be %s that fits in %d bits", s.words, s.goType.Bits())
	}
	return ""
}
