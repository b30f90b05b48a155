package auth

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
)

// Sizes of a key in bytes. The least is what HMAC-SHA256 wants (RFC 2104, section 3); the most only stops mistakes.
const (
	MinKeySize = 32
	MaxKeySize = 128
)

// Key is a secret of MinKeySize to MaxKeySize random bytes; nil is no key. Whatever prints one prints "[redacted]".
type Key []byte

var errKey = fmt.Errorf("must be %d to %d bytes as base64url without padding: see rowcall gen-key", MinKeySize, MaxKeySize)

// base64url gives each text one meaning and each meaning one text, but for line ends, which it skips (RFC 4648).
var base64url = base64.RawURLEncoding.Strict()

// NewKey returns the text of a new key of MinKeySize bytes.
func NewKey() string { return base64url.EncodeToString(randomBytes(MinKeySize)) }

// ParseKey returns the key of a text as NewKey makes it. The error does not repeat the text.
func ParseKey(text string) (Key, error) {
	key, err := base64url.DecodeString(text)
	if err != nil || len(text) != base64url.EncodedLen(len(key)) || Key(key).check() != nil {
		return nil, errKey
	}
	return key, nil
}

// Derive returns a key of MinKeySize bytes for one purpose, from which neither k nor the key of another purpose can be
// found (HKDF-SHA256, RFC 5869). k must not be nil.
func (k Key) Derive(purpose string) Key {
	derived, err := hkdf.Key(sha256.New, k, nil, "rowcall "+purpose, MinKeySize)
	if err != nil {
		panic(err) // only for a length over 255 hashes
	}
	return derived
}

func (k Key) check() error {
	if len(k) < MinKeySize || len(k) > MaxKeySize {
		return errors.New("auth: a key of a wrong size")
	}
	return nil
}

const redacted = "[redacted]"

// String keeps a key out of logs.
func (Key) String() string { return redacted }

// Format keeps a key out of texts made with verbs that do not ask for a String, as %d.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText keeps a key out of JSON.
func (Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// randomBytes never fails: where the system has no randomness to give, crypto/rand ends the process.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}
