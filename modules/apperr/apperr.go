// Package apperr is the one error type of Rowcall.
//
// An [Error] has a stable kind, a message written for the client, typed data for the client, and a cause that the
// client never sees. Whatever is not an *Error becomes INTERNAL at the edge ([From]): its text is logged with the
// request id and never sent.
package apperr

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is the stable name of a failure. Clients branch on it.
type Kind string

// The kinds, in the order of the wire contract.
const (
	ParseError       Kind = "PARSE_ERROR"
	InvalidRequest   Kind = "INVALID_REQUEST"
	MethodNotFound   Kind = "METHOD_NOT_FOUND"
	InvalidParams    Kind = "INVALID_PARAMS"
	Internal         Kind = "INTERNAL"
	Unauthenticated  Kind = "UNAUTHENTICATED"
	Forbidden        Kind = "FORBIDDEN"
	NotFound         Kind = "NOT_FOUND"
	Conflict         Kind = "CONFLICT"
	AlreadyExists    Kind = "ALREADY_EXISTS"
	Referenced       Kind = "REFERENCED"
	BadReference     Kind = "BAD_REFERENCE"
	ResyncRequired   Kind = "RESYNC_REQUIRED"
	ValidationFailed Kind = "VALIDATION"
	RateLimited      Kind = "RATE_LIMITED"
	Aborted          Kind = "ABORTED"
	Timeout          Kind = "TIMEOUT"
	Unavailable      Kind = "UNAVAILABLE"
)

// codes is the one table from kind to JSON-RPC error code.
var codes = map[Kind]int{
	ParseError:       -32700,
	InvalidRequest:   -32600,
	MethodNotFound:   -32601,
	InvalidParams:    -32602,
	Internal:         -32603,
	Unauthenticated:  4010,
	Forbidden:        4030,
	NotFound:         4040,
	Conflict:         4090,
	AlreadyExists:    4091,
	Referenced:       4092,
	BadReference:     4093,
	ResyncRequired:   4100,
	ValidationFailed: 4220,
	RateLimited:      4290,
	Aborted:          4310,
	Timeout:          5040,
	Unavailable:      5030,
}

// Kinds returns all kinds, in the order of their names.
func Kinds() []Kind { return slices.Sorted(maps.Keys(codes)) }

// Code returns the JSON-RPC error code of the kind; that of INTERNAL for a kind that is not in the table.
func (k Kind) Code() int {
	if c, ok := codes[k]; ok {
		return c
	}
	return codes[Internal]
}

// Error is a failure with a kind. Message and Data are for the client; the cause, reached by errors.Unwrap, is for the
// log. Make one with the functions of this package.
type Error struct {
	Kind    Kind
	Message string
	Data    map[string]any // further members of error.data; nil for none
	cause   error
}

// Issue is one fault of the params. Path leads to it from the params' root, as in "params.filters[0].title.$contans".
type Issue struct {
	Path    string   `json:"path"`
	Reason  string   `json:"reason"`
	Allowed []string `json:"allowed,omitempty"`
}

// New returns an error of the kind with a message for the client.
func New(kind Kind, message string) *Error { return &Error{Kind: kind, Message: message} }

// Wrap is New with a cause that is logged and never sent.
func Wrap(kind Kind, message string, cause error) *Error {
	return &Error{Kind: kind, Message: message, cause: cause}
}

// Invalid returns INVALID_PARAMS: the params do not have the shape that the method takes.
func Invalid(issues ...Issue) *Error { return withIssues(InvalidParams, "Invalid params", issues) }

// Validation returns VALIDATION: the params have the right shape and break a rule of the entity.
func Validation(issues ...Issue) *Error {
	return withIssues(ValidationFailed, "Validation failed", issues)
}

// Bounds of what an error repeats of a client's words: a body of a megabyte may have a fault in every byte.
const (
	maxIssues = 20
	maxPath   = 256
)

func withIssues(kind Kind, message string, issues []Issue) *Error {
	issues = slices.Clone(issues[:min(len(issues), maxIssues)])
	for i := range issues {
		if path := issues[i].Path; len(path) > maxPath {
			issues[i].Path = strings.ToValidUTF8(path[:maxPath], "") + "…"
		}
	}
	if len(issues) > 0 {
		message += ": " + strings.TrimSpace(issues[0].Path+" "+issues[0].Reason)
	}
	return &Error{Kind: kind, Message: message, Data: map[string]any{"issues": issues}}
}

// NoRow returns NOT_FOUND for an entity's id. A row that the caller may not see gives the same answer as one that is
// not there.
func NoRow(entity string, id any) *Error {
	return New(NotFound, fmt.Sprintf("There is no such %s", entity)).With("entity", entity).With("id", id)
}

// Limited returns RATE_LIMITED with the time after which another attempt can succeed.
func Limited(message string, retryAfter time.Duration) *Error {
	return New(RateLimited, message).With("retry_after_ms", retryAfter.Milliseconds())
}

// With returns a copy of e whose data also holds key.
func (e *Error) With(key string, value any) *Error {
	c := *e
	c.Data = maps.Clone(e.Data)
	if c.Data == nil {
		c.Data = map[string]any{}
	}
	c.Data[key] = value
	return &c
}

// Issues returns the faults that the error names; none for kinds other than INVALID_PARAMS and VALIDATION.
func (e *Error) Issues() []Issue {
	issues, _ := e.Data["issues"].([]Issue)
	return issues
}

// Error is the text for the log: it names the cause. Clients get Message.
func (e *Error) Error() string {
	if e.cause == nil {
		return string(e.Kind) + ": " + e.Message
	}
	return fmt.Sprintf("%s: %s: %v", e.Kind, e.Message, e.cause)
}

func (e *Error) Unwrap() error { return e.cause }

// From returns err as an *Error: itself where one is in its chain, TIMEOUT for a deadline that passed, ABORTED for a call
// that was cancelled, else INTERNAL with err as its cause. From(nil) is nil.
func From(err error) *Error {
	var e *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return Wrap(Timeout, "The call took too long", err)
	case errors.Is(err, context.Canceled):
		return Wrap(Aborted, "The call was cancelled", err)
	default:
		return Wrap(Internal, "Internal error", err)
	}
}

// Under returns err with prefix put before the path of each of its issues: what the store says of "title" is, for the
// caller of update_task, at "params.data.title". Errors without issues are returned as they are.
func Under(prefix string, err error) error {
	var e *Error
	if !errors.As(err, &e) || len(e.Issues()) == 0 {
		return err
	}
	issues := make([]Issue, len(e.Issues()))
	for i, issue := range e.Issues() {
		issue.Path = Join(prefix, issue.Path)
		issues[i] = issue
	}
	if e.Kind == ValidationFailed {
		return Validation(issues...)
	}
	return Invalid(issues...)
}

// Join appends to a path what follows: a member name after a dot, an index ("[3]…") or nothing as it is.
func Join(path, next string) string {
	if path == "" || next == "" || strings.HasPrefix(next, "[") {
		return path + next
	}
	return path + "." + next
}

// Index appends an index to a path: "params.data[3]".
func Index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
