package auth

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNewKeysAreKeysAndDiffer(t *testing.T) {
	a, b := NewKey(), NewKey()
	key, err := ParseKey(a)
	if err != nil || len(key) != MinKeySize || a == b {
		t.Fatalf("%v", err)
	}
}

func TestParseKeyRefuses(t *testing.T) {
	good := NewKey()
	for name, text := range map[string]string{
		"nothing":      "",
		"short":        base64.RawURLEncoding.EncodeToString(make([]byte, MinKeySize-1)),
		"long":         base64.RawURLEncoding.EncodeToString(make([]byte, MaxKeySize+1)),
		"padded":       base64.URLEncoding.EncodeToString(make([]byte, MinKeySize)),
		"other base64": strings.Repeat("+/", 32),
		"line end":     good + "\n",
		"inner line":   good[:8] + "\n" + good[8:],
		"loose bits":   good[:42] + "_",
	} {
		if _, err := ParseKey(text); err == nil || (text != "" && strings.Contains(err.Error(), text)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDeriveSeparatesPurposes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := Key(rapid.SliceOfN(rapid.Byte(), MinKeySize, MaxKeySize).Draw(t, "key"))
		p, q := rapid.String().Draw(t, "p"), rapid.String().Draw(t, "q")
		if bytes.Equal(key.Derive(p), key.Derive(q)) != (p == q) {
			t.Fatal("two purposes have one key, or one purpose two")
		}
		if derived := key.Derive(p); derived.check() != nil || bytes.Equal(derived, key) {
			t.Fatal("not a new key")
		}
	})
}

func TestKeysDoNotShow(t *testing.T) {
	key := Key(bytes.Repeat([]byte{'A'}, MinKeySize))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b"} {
		if got := fmt.Sprintf(verb, key); got != redacted {
			t.Errorf("%s: %s", verb, got)
		}
	}
	if text, err := key.MarshalText(); string(text) != redacted || err != nil || key.String() != redacted {
		t.Errorf("%s %v", text, err)
	}
}
