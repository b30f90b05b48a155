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
	written := 0
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
		case token.Kind() == '0':
			digits := digitsOf(token.String())
			if written += digits; digits > maxDigits {
				reason = "must be a number of at most 1,000 digits with an exponent within ±1,000"
			} else if written > len(v)+maxWritten {
				return "", "must not have so many numbers with large exponents"
			}
		}
	}
	return pathOn(d, "", d.StackPointer()), reason
}

// The bounds are well within those of Postgres, which writes exponents out: 1e999 takes a thousand bytes.
const (
	maxJSONDepth = 1000
	maxDigits    = 1000    // of one number
	maxWritten   = 100_000 // that all numbers of a value take beyond their text
)

// digitsOf returns how many digits a number has at the most when it is written out.
func digitsOf(number string) int {
	mantissa, exponent, ok := strings.Cut(strings.ToLower(number), "e")
	if !ok {
		return len(number)
	}
	n, err := strconv.Atoi(exponent)
	if err != nil || n > maxDigits || n < -maxDigits {
		return maxDigits + 1
	}
	return max(len(mantissa), n, -n)
}
