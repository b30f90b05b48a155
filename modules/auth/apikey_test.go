package auth

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"rowcall/modules/apperr"
)

func TestAPIKey(t *testing.T) {
	text, hash := NewAPIKey()
	if len(text) != apiKeySize || !IsAPIKey(text) || strings.Contains(text, "=") {
		t.Fatal(text)
	}
	if got, err := HashAPIKey(text); err != nil || !bytes.Equal(got, hash) || len(hash) != 32 {
		t.Fatalf("%x, not %x: %v", got, hash, err)
	}
	if other, otherHash := NewAPIKey(); other == text || bytes.Equal(otherHash, hash) {
		t.Fatal("two keys are the same")
	}
	if IsAPIKey("eyJhbGciOiJIUzI1NiJ9.e30.") || IsAPIKey("") {
		t.Error("what is none claims to be an API key")
	}
}

// A checksum of 32 bits shows every single changed character, and nearly every other change.
func TestATypoIsRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, _ := NewAPIKey()
		i := rapid.IntRange(len(apiKeyPrefix), len(text)-1).Draw(t, "place")
		typo := []byte(text)
		typo[i] = base62Charset[rapid.IntRange(0, len(base62Charset)-1).Draw(t, "digit")]
		if _, err := HashAPIKey(string(typo)); (err == nil) != (string(typo) == text) {
			t.Fatalf("%s for %s: %v", typo, text, err)
		}
	})
}

func TestHashAPIKeyRefuses(t *testing.T) {
	text, _ := NewAPIKey()
	for _, bad := range []string{"", "rck_", text[:len(text)-1], text + "0", " " + text, text + "\n", "RCK_" + text[4:], strings.Repeat("x", 1<<20)} {
		_, err := HashAPIKey(bad)
		checkDenied(t, err)
	}
}

func FuzzHashAPIKey(f *testing.F) {
	text, _ := NewAPIKey()
	f.Add(text)
	f.Add("rck_")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		hash, err := HashAPIKey(text)
		if (err == nil) != (hash != nil) {
			t.Fatal("neither a hash nor an error, or both")
		}
		if err == nil && (len(text) != apiKeySize || !IsAPIKey(text)) {
			t.Fatalf("took %q", text)
		}
	})
}

// checkDenied checks that err is the one answer to all credentials that are not good.
func checkDenied(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Error("a bad credential is taken")
		return
	}
	want := apperr.From(Denied(nil))
	if e := apperr.From(err); e.Kind != apperr.Unauthenticated || e.Message != want.Message || e.Data != nil || e.Unwrap() == nil {
		t.Errorf("%v", err)
	}
}
