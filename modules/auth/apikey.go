package auth

import (
	"crypto/sha256"
	"errors"
	"hash/crc32"
	"math/big"
	"strings"
)

// An API key is "rck_", 256 random bits and their checksum, both as digits of base 62: letters and digits only, so that a
// double click selects all of it, and a prefix by which scanners for leaked secrets know it.
const (
	apiKeyPrefix  = "rck_"
	apiKeyBytes   = 32
	secretDigits  = 43 // 62^43 > 2^256
	checkDigits   = 6  // 62^6 > 2^32
	apiKeySize    = len(apiKeyPrefix) + secretDigits + checkDigits
	base62Charset = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

var errAPIKey = errors.New("the API key is malformed or mistyped")

// NewAPIKey returns the text of a new API key, to be shown once, and its hash, to be kept.
func NewAPIKey() (text string, hash []byte) {
	text = apiKeyPrefix + base62(new(big.Int).SetBytes(randomBytes(apiKeyBytes)), secretDigits)
	text += apiKeyCheck(text)
	return text, hashText(text)
}

// IsAPIKey tells whether a credential claims to be an API key. It may still be none: see HashAPIKey.
func IsAPIKey(text string) bool { return strings.HasPrefix(text, apiKeyPrefix) }

// HashAPIKey returns the hash by which an API key is found. UNAUTHENTICATED for a text that cannot be a key: most typing
// errors show in the checksum and need no look-up (as in GitHub's tokens: github.blog, "Behind GitHub's new
// authentication token formats", 2021).
//
// A plain SHA-256 is enough for a secret of 256 random bits, which nobody can guess whatever the speed; slow hashes are
// for what people choose. And it needs no salt: no two keys are the same, and a key is found by its hash.
func HashAPIKey(text string) ([]byte, error) {
	if len(text) != apiKeySize || !IsAPIKey(text) || strings.Trim(text[len(apiKeyPrefix):], base62Charset) != "" ||
		apiKeyCheck(text[:apiKeySize-checkDigits]) != text[apiKeySize-checkDigits:] {
		return nil, Denied(errAPIKey)
	}
	return hashText(text), nil
}

func hashText(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

func apiKeyCheck(text string) string {
	return base62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(text)))), checkDigits)
}

func base62(n *big.Int, digits int) string {
	s := n.Text(62)
	return strings.Repeat("0", digits-len(s)) + s
}
