package store

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/go-playground/validator/v10"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/filter"
)

// Set is a change to a row: new values by the fields' wire names. A value has the field's Go type (not a pointer); nil
// is NULL.
type Set map[string]any

type operation int8

const (
	creating operation = iota
	updating
	deleting
	upserting // of a statement: creating or updating
	reading
)

// decode reads what a client gives as the data of a create or an update. Issues have paths from the data on; unknown
// fields, fields that the client may not write and wrong types are INVALID_PARAMS, null where there is no NULL is
// VALIDATION.
func (p *plan) decode(op operation, data jsontext.Value) (Set, error) {
	if data.Kind() != '{' {
		return nil, apperr.Invalid(apperr.Issue{Reason: "must be an object"})
	}
	set := Set{}
	var invalid, broken []apperr.Issue
	d := jsontext.NewDecoder(bytes.NewReader(data))
	if _, err := d.ReadToken(); err != nil {
		return nil, apperr.Invalid(apperr.Issue{Reason: "must be an object"})
	}
	for d.PeekKind() == '"' {
		token, err := d.ReadToken()
		if err != nil {
			return nil, apperr.Invalid(apperr.Issue{Reason: "is not JSON"})
		}
		name := token.String()
		value, err := d.ReadValue()
		if err != nil {
			return nil, apperr.Invalid(apperr.Issue{Path: name, Reason: "is not JSON"})
		}
		c := p.byName[name]
		switch {
		case c == nil:
			invalid = append(invalid, apperr.Issue{Path: name, Reason: "there is no such field", Allowed: p.writable(op)})
		case (op == creating && !c.onCreate) || (op == updating && !c.onUpdate):
			invalid = append(invalid, apperr.Issue{Path: name, Reason: "cannot be written", Allowed: p.writable(op)})
		case value.Kind() == 'n' && c.nullable:
			set[name] = nil
		case value.Kind() == 'n':
			broken = append(broken, apperr.Issue{Path: name, Reason: "may not be null"})
		default:
			v, err := c.parse(value)
			if id, ok := v.(uuid.UUID); ok && c.db == "id" && id.Version() != 7 {
				err = errors.New("must be a UUIDv7") // others would scatter rows over the index
			}
			if err != nil {
				invalid = append(invalid, apperr.Issue{Path: name, Reason: err.Error()})
				continue
			}
			// In a new row a zero value cannot be told from one that was not given, so its rules are asked here.
			if op == creating && reflect.ValueOf(v).IsZero() {
				if issue, breaks := c.breach(v); breaks {
					broken = append(broken, issue)
				}
			}
			set[name] = v
		}
	}
	if len(invalid) > 0 {
		return nil, apperr.Invalid(invalid...)
	}
	if len(broken) > 0 {
		return nil, apperr.Validation(broken...)
	}
	return set, nil
}

// parse reads a value, not null, of the column's type. Its errors are for the client.
func (c *column) parse(raw jsontext.Value) (any, error) {
	wrong := errors.New("must be " + c.kind.words)
	switch c.kind.goType {
	case reflect.TypeFor[jsontext.Value]():
		return slices.Clone(raw), nil
	case reflect.TypeFor[time.Time]():
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, wrong
		}
		t, ok := filter.ParseTime([]byte(s))
		if !ok {
			return nil, wrong
		}
		if t.Year() < 1 || t.Year() > 9999 { // else no answer could hold it
			return nil, errors.New("must be in the years 1 to 9999 in UTC")
		}
		return t.Truncate(time.Microsecond), nil
	case reflect.TypeFor[uuid.UUID]():
		var s string
		if err := json.Unmarshal(raw, &s); err != nil || len(s) != 36 {
			return nil, wrong
		}
		id, err := uuid.Parse(s)
		if err != nil {
			return nil, wrong
		}
		return id, nil
	}
	to := reflect.New(c.kind.goType)
	if err := json.Unmarshal(raw, to.Interface()); err != nil {
		if raw.Kind() == '0' && c.kind.goType.Kind() == reflect.Int64 && !bytes.ContainsAny(raw, ".eE") {
			return nil, errors.New("must be an integer that fits in 64 bits")
		}
		return nil, wrong
	}
	return to.Elem().Interface(), nil
}

// apply puts the set's values into an entity, an addressable struct.
func (p *plan) apply(set Set, entity reflect.Value) error {
	for name, v := range set {
		c := p.byName[name]
		if c == nil {
			return fmt.Errorf("store: %s has no field %s", p.entity, name)
		}
		if err := c.check(v); err != nil {
			return err
		}
		f := entity.FieldByIndex(c.index)
		switch {
		case v == nil:
			f.SetZero()
		case c.nullable:
			f.Set(reflect.New(c.kind.goType))
			f.Elem().Set(reflect.ValueOf(v))
		default:
			f.Set(reflect.ValueOf(v))
		}
	}
	return nil
}

func (c *column) check(v any) error {
	if v == nil && c.nullable {
		return nil
	}
	if reflect.TypeOf(v) != c.kind.goType {
		return fmt.Errorf("store: field %s takes a %s, not a %T", c.name, c.kind.goType, v)
	}
	return nil
}

// rules checks values against the validate tags. Its syntax is the library's; see checkRules for the tags that have a
// message of their own.
// Besides the library's own rules there is "object", for JSON that must be one.
var rules = newRules()

func newRules() *validator.Validate {
	v := validator.New()
	err := v.RegisterValidation("object", func(f validator.FieldLevel) bool {
		value, ok := f.Field().Interface().(jsontext.Value)
		return ok && value.Kind() == '{'
	})
	if err != nil {
		panic(err) // the name is above
	}
	return v
}

// checkRules finds at start a tag that the validator would panic at when it meets a value: it tries each rule by itself, because
// one that is broken keeps it from trying the next.
func checkRules(c *column) (err error) {
	if c.rules == "" {
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("validate:%q: %v", c.rules, r)
		}
	}()
	for _, rule := range strings.Split(c.rules, ",") {
		var broken validator.ValidationErrors
		if err := rules.Var(c.kind.sample, rule); err != nil && !errors.As(err, &broken) {
			return fmt.Errorf("validate:%q: %w", c.rules, err)
		}
	}
	return nil
}

// breach returns which rule a value breaks, if it breaks one. The value is of the column's Go type or nil.
func (c *column) breach(v any) (issue apperr.Issue, broken bool) {
	path, reason := "", ""
	switch v := v.(type) {
	case nil:
		return issue, false
	case string:
		if strings.ContainsRune(v, 0) {
			reason = "must not contain U+0000"
		} else if !utf8.ValidString(v) {
			reason = "must be valid UTF-8"
		}
	case jsontext.Value:
		path, reason = filter.Unstorable(v)
	}
	var against validator.ValidationErrors
	if reason == "" && c.rules != "" && errors.As(rules.Var(v, c.rules), &against) {
		reason = message(against[0], c.kind.unit)
	}
	return apperr.Issue{Path: apperr.Join(c.name, path), Reason: reason}, reason != ""
}

func message(broken validator.FieldError, unit string) string {
	switch broken.Tag() {
	case "required":
		return "is required"
	case "min", "gte":
		return "must be at least " + broken.Param() + unit
	case "max", "lte":
		return "may be at most " + broken.Param() + unit
	case "len":
		return "must be " + broken.Param() + unit
	case "oneof":
		return "must be one of " + broken.Param()
	case "email":
		return "must be an e-mail address"
	case "url":
		return "must be a URL"
	case "object":
		return "must be an object"
	case "base64":
		return "must be base64, with padding"
	}
	return strings.TrimSuffix("breaks the rule "+broken.Tag()+"="+broken.Param(), "=")
}

// validate checks a whole row before it is created.
func (p *plan) validate(entity reflect.Value) error {
	var issues []apperr.Issue
	for _, c := range p.insert {
		f := entity.FieldByIndex(c.index)
		var v any
		if !c.nullable {
			v = f.Interface()
		} else if !f.IsNil() {
			v = f.Elem().Interface()
		}
		if issue, breaks := c.breach(v); breaks {
			issues = append(issues, issue)
		}
	}
	if len(issues) > 0 {
		return apperr.Validation(issues...)
	}
	return nil
}

// validateSet checks the values of an update.
func (p *plan) validateSet(set Set) error {
	var issues []apperr.Issue
	for _, c := range p.columns {
		v, ok := set[c.name]
		if !ok {
			continue
		}
		if issue, breaks := c.breach(v); breaks {
			issues = append(issues, issue)
		}
	}
	if len(issues) > 0 {
		return apperr.Validation(issues...)
	}
	return nil
}
