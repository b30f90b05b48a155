package auth

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

var (
	testNow    = time.Date(2030, 1, 2, 3, 4, 5, 600_000_000, time.UTC)
	testTokens = NewTokens(Key("a key for the tests of tokens, 32+"), 15*time.Minute)
	testAccess = AccessClaims{User: 1000, Tenant: uuid.MustParse("0190b3c0-0000-7000-8000-000000000001"), Session: uuid.MustParse("0190b3c0-0000-7000-8000-000000000002")}
)

func TestTokensRoundTrip(t *testing.T) {
	anyUUID := rapid.Custom(func(t *rapid.T) (id uuid.UUID) {
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes"))
		id[0] |= 1 // never the zero one
		return id
	})
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(rapid.Int64Range(1, 1<<33).Draw(t, "now"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		want := AccessClaims{
			User:    rapid.Int64Range(1, 1<<63-1).Draw(t, "user"),
			Tenant:  anyUUID.Draw(t, "tenant"),
			Session: anyUUID.Draw(t, "session"),
		}
		token, expiresAt, err := testTokens.Access(want, now)
		if err != nil || len(token) > maxToken {
			t.Fatal(token, err)
		}
		got, err := testTokens.ParseAccess(token, now)
		if want.ExpiresAt = expiresAt.UTC(); err != nil || got != want {
			t.Fatalf("%v, not %v: %v", got, want, err)
		}
		turn := RefreshClaims{Session: want.Session, Generation: rapid.Int64Range(1, 1<<63-1).Draw(t, "generation")}
		if token, err = testTokens.Refresh(turn, now, expiresAt); err != nil {
			t.Fatal(err)
		}
		if got, err := testTokens.ParseRefresh(token, now); err != nil || got != turn {
			t.Fatalf("%v, not %v: %v", got, turn, err)
		}
	})
}

func TestTokensExpire(t *testing.T) {
	token, expiresAt, err := testTokens.Access(testAccess, testNow)
	if err != nil {
		t.Fatal(err)
	}
	if want := testNow.Add(15 * time.Minute).Truncate(time.Millisecond); !expiresAt.Equal(want) {
		t.Errorf("expires at %v, not %v", expiresAt, want)
	}
	if _, err := testTokens.ParseAccess(token, expiresAt.Add(-time.Millisecond)); err != nil {
		t.Error(err)
	}
	_, err = testTokens.ParseAccess(token, expiresAt)
	checkDenied(t, err)
	if !errors.Is(err, errExpired) {
		t.Error(err)
	}
}

// signed is a token with the right key and any content.
func signed(t *testing.T, method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	t.Helper()
	text, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func goodClaims() jwt.MapClaims {
	return jwt.MapClaims{
		"iss": "rowcall", "typ": "access", "iat": testNow.Unix(), "exp": testNow.Unix() + 60,
		"sub": "1000", "tid": testAccess.Tenant.String(), "sid": testAccess.Session.String(),
	}
}

// Tokens are plain JWTs: others' libraries make and read the same.
func TestTokensAreJWTs(t *testing.T) {
	token := signed(t, jwt.SigningMethodHS256, testTokens.access, goodClaims())
	if got, err := testTokens.ParseAccess(token, testNow); err != nil || got.User != 1000 || got.Session != testAccess.Session {
		t.Errorf("%v, %v", got, err)
	}
	token, _, err := testTokens.Access(testAccess, testNow)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jwt.Parse(token, func(*jwt.Token) (any, error) { return testTokens.access, nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer("rowcall"), jwt.WithSubject("1000"),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithTimeFunc(func() time.Time { return testNow }))
	if err != nil || !parsed.Valid {
		t.Error(err)
	}
}

func TestParseAccessRefuses(t *testing.T) {
	with := func(name string, value any) jwt.MapClaims {
		c := goodClaims()
		if c[name] = value; value == nil {
			delete(c, name)
		}
		return c
	}
	hs256 := jwt.SigningMethodHS256
	bad := map[string]string{
		"another key":      signed(t, hs256, testTokens.refresh, goodClaims()),
		"the key itself":   signed(t, hs256, []byte("a key for the tests of tokens, 32+"), goodClaims()),
		"HS512":            signed(t, jwt.SigningMethodHS512, testTokens.access, goodClaims()),
		"none":             signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, goodClaims()),
		"other issuer":     signed(t, hs256, testTokens.access, with("iss", "other")),
		"refresh type":     signed(t, hs256, testTokens.access, with("typ", "refresh")),
		"a user of 0":      signed(t, hs256, testTokens.access, with("sub", "0")),
		"a negative user":  signed(t, hs256, testTokens.access, with("sub", "-1")),
		"a user's name":    signed(t, hs256, testTokens.access, with("sub", "demo1")),
		"a numeric sub":    signed(t, hs256, testTokens.access, with("sub", 1000)),
		"zero session":     signed(t, hs256, testTokens.access, with("sid", uuid.Nil.String())),
		"no UUID":          signed(t, hs256, testTokens.access, with("tid", "demo")),
		"expired long ago": signed(t, hs256, testTokens.access, with("exp", testNow.Unix()-60)),
		"too long":         signed(t, hs256, testTokens.access, with("x", strings.Repeat("x", maxToken))),
	}
	for name := range goodClaims() {
		bad["no "+name] = signed(t, hs256, testTokens.access, with(name, nil))
	}
	good := signed(t, hs256, testTokens.access, goodClaims())
	payload := base64.RawURLEncoding.EncodeToString([]byte(`{}`))
	dot := strings.LastIndexByte(good, '.')
	bad["nothing"] = ""
	bad["a header"] = header
	bad["two parts"] = good[:dot]
	bad["no signature"] = good[:dot+1]
	bad["four parts"] = good + "." + payload
	bad["other payload"] = header + payload + good[dot:]
	bad["a line end"] = good + "\n"
	bad["an inner line end"] = good[:dot+5] + "\n" + good[dot+5:]
	bad["padding"] = good + "="
	bad["loose bits"] = good[:len(good)-1] + string(good[len(good)-1]+1)
	for name, token := range bad {
		t.Run(name, func(t *testing.T) {
			_, err := testTokens.ParseAccess(token, testNow)
			checkDenied(t, err)
		})
	}
}

func TestKindsOfTokensAreNotTakenForEachOther(t *testing.T) {
	access, expiresAt, err := testTokens.Access(testAccess, testNow)
	if err != nil {
		t.Fatal(err)
	}
	refresh, err := testTokens.Refresh(RefreshClaims{Session: testAccess.Session, Generation: 1}, testNow, expiresAt)
	if err != nil {
		t.Fatal(err)
	}
	_, err = testTokens.ParseRefresh(access, testNow)
	checkDenied(t, err)
	_, err = testTokens.ParseAccess(refresh, testNow)
	checkDenied(t, err)

	// Not even one that is signed with the other's key.
	c := goodClaims()
	c["gen"] = 1
	_, err = testTokens.ParseRefresh(signed(t, jwt.SigningMethodHS256, testTokens.refresh, c), testNow)
	checkDenied(t, err)
	c["typ"] = "refresh"
	delete(c, "gen")
	_, err = testTokens.ParseRefresh(signed(t, jwt.SigningMethodHS256, testTokens.refresh, c), testNow)
	checkDenied(t, err)
}

func TestNewTokensWantsAKey(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("tokens without a key")
		}
	}()
	NewTokens(nil, time.Minute)
}

// The fuzzer cannot sign, so whatever it makes of a good token must be refused.
func FuzzParseAccess(f *testing.F) {
	good, _, err := testTokens.Access(testAccess, testNow)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(header)
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		got, err := testTokens.ParseAccess(token, testNow)
		if (err == nil) != (token == good) {
			t.Fatalf("%q: %v, %v", token, got, err)
		}
	})
}

// The content of a token that we signed may come from another version of this program.
func FuzzClaims(f *testing.F) {
	f.Add([]byte(`{"iss":"rowcall","typ":"access","iat":1,"exp":9999999999,"sid":"0190b3c0-0000-7000-8000-000000000002","sub":"7","tid":"0190b3c0-0000-7000-8000-000000000001"}`))
	f.Add([]byte(`{"exp":1,"exp":9999999999}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		text := header + base64url.EncodeToString(payload)
		signature, err := jwt.SigningMethodHS256.Sign(text, testTokens.access)
		if err != nil {
			t.Fatal(err)
		}
		got, err := testTokens.ParseAccess(text+"."+base64url.EncodeToString(signature), testNow)
		if err == nil && (got.User <= 0 || got.Tenant == uuid.Nil || got.Session == uuid.Nil || !got.ExpiresAt.After(testNow)) {
			t.Fatalf("%s: %v", payload, got)
		}
	})
}

func BenchmarkParseAccess(b *testing.B) {
	token, _, err := testTokens.Access(testAccess, testNow)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := testTokens.ParseAccess(token, testNow); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAccess(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := testTokens.Access(testAccess, testNow); err != nil {
			b.Fatal(err)
		}
	}
}
