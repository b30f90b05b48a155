package jsonrpc

import (
	"fmt"
	"io"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// marshaling are the options of everything that is answered.
var marshaling = json.JoinOptions(
	json.Deterministic(true),
	json.WithMarshalers(json.MarshalToFunc(func(e *jsontext.Encoder, t time.Time) error {
		text, err := appendTime(e.AvailableBuffer(), t)
		if err != nil {
			return err
		}
		return e.WriteValue(text)
	})),
)

// Marshal returns v as JSON, as results are encoded: with nil slices and maps as empty ones, the keys of maps in order,
// and each time.Time as RFC 3339 in UTC with six digits of a second. It fails for what JSON cannot hold: text that is not UTF-8, infinite
// numbers, years past 9999, functions.
func Marshal(v any) ([]byte, error) {
	return json.Marshal(v, marshaling)
}

// MarshalWrite is Marshal to a writer, which may have a part of the text when it fails.
func MarshalWrite(w io.Writer, v any) error {
	return json.MarshalWrite(w, v, marshaling)
}

// appendTime appends a time as the wire has it, quoted. RFC 3339 has four digits for the year.
func appendTime(b []byte, t time.Time) ([]byte, error) {
	t = t.UTC()
	if year := t.Year(); year < 0 || year > 9999 {
		return b, fmt.Errorf("the year %d cannot be written", year)
	}
	return t.AppendFormat(b, `"2006-01-02T15:04:05.000000Z"`), nil
}
