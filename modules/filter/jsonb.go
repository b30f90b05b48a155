package filter

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Unstorable says why Postgres would refuse to keep a valid JSON value as jsonb, or to compare one with it, and at which path
// inside it; "" for a reason if it would not. Its text cannot hold U+0000, and its numbers and its depth have bounds
// (https://www.postgresql.org/docs/current/datatype-json.html).
func Unstorable(v jsontext.Value) (path, reason string) {
	d := jsontext.NewDecoder(bytes.NewReader(v))
	for reason == "" {
		token, err := d.ReadToken()
		switch {
		case errors.Is(err, io.EOF):
			return "", ""
		case err != nil:
			reason = "must be JSON"
		case d.StackDepth() > maxJSONDepth:
			return "", "must not be nested deeper than 1,000"
		case token.Kind() == '"' && strings.ContainsRune(token.String(), 0):
			reason = "must not contain U+0000"
		case token.Kind() == '0' && hugeNumber(token.String()):
			reason = "must be a number of at most 1,000 digits with an exponent within ±1,000"
		}
	}
	return pathOn(d, "", d.StackPointer()), reason
}

// maxJSONDepth is well within what Postgres's stack takes.
const maxJSONDepth = 1000

func hugeNumber(number string) bool {
	if len(number) > 1000 {
		return true
	}
	_, exponent, ok := strings.Cut(strings.ToLower(number), "e")
	if !ok {
		return false
	}
	n, err := strconv.Atoi(exponent)
	return err != nil || n > 1000 || n < -1000
}
