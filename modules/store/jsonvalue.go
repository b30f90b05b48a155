package store

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// unstorable says why Postgres would refuse to keep a valid JSON value as jsonb; "" if it would not. Its text cannot hold
// U+0000, and its numbers have bounds (https://www.postgresql.org/docs/current/datatype-json.html).
func unstorable(v jsontext.Value) string {
	d := jsontext.NewDecoder(bytes.NewReader(v))
	for {
		token, err := d.ReadToken()
		switch {
		case errors.Is(err, io.EOF):
			return ""
		case err != nil:
			return "is not JSON"
		case token.Kind() == '"' && strings.ContainsRune(token.String(), 0):
			return "may not contain the character U+0000"
		case token.Kind() == '0' && hugeNumber(token.String()):
			return "may not contain a number with more than 1000 digits or a larger exponent"
		}
	}
}

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
