package rpcclient

import (
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
)

// Error is an error that the server answered.
type Error struct {
	Code    int       `json:"code"`
	Message string    `json:"message"`
	Data    ErrorData `json:"data"`

	// Status is the HTTP status. It is not 200 if the server refused the request as a whole.
	Status int `json:"-"`
}

// ErrorData is what comes with an error. What a kind does not have is the zero value.
type ErrorData struct {
	Kind      apperr.Kind `json:"kind"`
	RequestID string      `json:"request_id"` // names the request in the server's log

	Issues       []apperr.Issue `json:"issues"`         // INVALID_PARAMS, VALIDATION
	Entity       string         `json:"entity"`         // NOT_FOUND, ALREADY_EXISTS, REFERENCED, BAD_REFERENCE
	ID           jsontext.Value `json:"id"`             // NOT_FOUND
	Fields       []string       `json:"fields"`         // ALREADY_EXISTS
	Field        string         `json:"field"`          // REFERENCED, BAD_REFERENCE
	Current      jsontext.Value `json:"current"`        // CONFLICT: the row as it is now
	RetryAfterMS int64          `json:"retry_after_ms"` // RATE_LIMITED
	Head         int64          `json:"head"`           // RESYNC_REQUIRED
	Tail         int64          `json:"tail"`           // RESYNC_REQUIRED
	Reason       string         `json:"reason"`         // RESYNC_REQUIRED of a stream
}

func (e *Error) Error() string { return fmt.Sprintf("%s (%d): %s", e.Data.Kind, e.Code, e.Message) }

// HTTPError is an answer that is not Rowcall's: a proxy's, perhaps.
type HTTPError struct {
	Status int
	Cause  error // why it is not JSON-RPC
}

func (e *HTTPError) Error() string {
	return fmt.Sprintf("the answer, HTTP %d, is not JSON-RPC: %v", e.Status, e.Cause)
}

func (e *HTTPError) Unwrap() error { return e.Cause }

// KindOf returns the kind of the error that the server answered; "" if err is none.
func KindOf(err error) apperr.Kind {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Data.Kind
	}
	return ""
}

// askedWait returns how long the server asks to be left alone after the error.
func askedWait(err error) time.Duration {
	if e := (*Error)(nil); errors.As(err, &e) {
		return time.Duration(e.Data.RetryAfterMS) * time.Millisecond
	}
	return 0
}
