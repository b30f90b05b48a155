package auth

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"golang.org/x/crypto/argon2"
	"pgregory.net/rapid"

	"rowcall/modules/apperr"
)

var (
	testPepper = Key("a pepper for the tests, 32 bytes+")
	testLegacy = Key("the legacy key of a test: 32 bytes")
)

// The legacy hash of "hello world", computed by Python's hmac module.
const legacyHello = "#01#f05e8961-d6ad-4086-9e78-a6de065e5453$umY7ObfRsn0fWtmwjvRbfQYV-kfyZgOh78bEbNqreO6JZafU4s8fOfOHitq3DHFePTsHXhneXPM7CZ2jZ_lOHQ"

// work counts what Argon2 was asked for.
type work struct {
	mu    sync.Mutex
	calls []argonParams
}

// total returns the calls since the last total, and their work: memory times passes.
func (w *work) total() (calls int, kib uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		kib += uint64(c.memory) * uint64(c.time)
	}
	calls, w.calls = len(w.calls), nil
	return calls, kib
}

// newTestPasswords returns Passwords whose Argon2 has low costs and is counted.
func newTestPasswords(t testing.TB, legacy Key) (*Passwords, *work) {
	t.Helper()
	p, err := NewPasswords(testPepper, legacy)
	if err != nil {
		t.Fatal(err)
	}
	p.current = argonParams{memory: 64, time: 2, threads: 1}
	w := &work{}
	p.idKey = func(pwd, salt []byte, time, memory uint32, threads uint8, size uint32) []byte {
		w.mu.Lock()
		w.calls = append(w.calls, argonParams{memory, time, threads})
		w.mu.Unlock()
		return argon2.IDKey(pwd, salt, time, memory, threads, size)
	}
	return p, w
}

func TestPasswordsOfProduction(t *testing.T) {
	p, err := NewPasswords(testPepper, nil)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := p.Hash(t.Context(), "welcome")
	if err != nil || !strings.HasPrefix(stored, "#02#$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatal(stored, err)
	}
	if ok, upgrade, err := p.Verify(t.Context(), stored, "welcome"); !ok || upgrade || err != nil {
		t.Fatal(ok, upgrade, err)
	}
}

func TestPasswordsRoundTrip(t *testing.T) {
	p, _ := newTestPasswords(t, testLegacy)
	rapid.Check(t, func(rt *rapid.T) {
		pwd, other := rapid.StringN(-1, -1, MaxPassword).Draw(rt, "pwd"), rapid.String().Draw(rt, "other")
		stored, err := p.Hash(t.Context(), pwd)
		if err != nil {
			rt.Fatal(err)
		}
		again, err := p.Hash(t.Context(), pwd)
		if err != nil || again == stored {
			rt.Fatal("two hashes have the same salt", err)
		}
		if strings.Contains(stored, pwd) && len(pwd) > 4 {
			rt.Fatal("the hash holds the password")
		}
		if ok, upgrade, err := p.Verify(t.Context(), stored, pwd); !ok || upgrade || err != nil {
			rt.Fatal(ok, upgrade, err)
		}
		if ok, _, err := p.Verify(t.Context(), stored, pwd+"x"+other); ok || err != nil {
			rt.Fatal("another password is taken", err)
		}
	})
}

func TestEqualTextsAreEqualPasswords(t *testing.T) {
	p, _ := newTestPasswords(t, nil)
	stored, err := p.Hash(t.Context(), "caf\u00e9 noir")
	if err != nil {
		t.Fatal(err)
	}
	if ok, _, err := p.Verify(t.Context(), stored, "cafe\u0301 noir"); !ok || err != nil {
		t.Error("the decomposed text is another password", err)
	}
}

func TestAnotherPepperVerifiesNothing(t *testing.T) {
	p, _ := newTestPasswords(t, nil)
	stored, err := p.Hash(t.Context(), "welcome")
	if err != nil {
		t.Fatal(err)
	}
	p.pepper = testLegacy
	if ok, _, err := p.Verify(t.Context(), stored, "welcome"); ok || err != nil {
		t.Error(ok, err)
	}
}

func TestLegacyPasswords(t *testing.T) {
	p, _ := newTestPasswords(t, testLegacy)
	if ok, upgrade, err := p.Verify(t.Context(), legacyHello, "hello world"); !ok || !upgrade || err != nil {
		t.Errorf("the right one: %v %v %v", ok, upgrade, err)
	}
	if ok, upgrade, err := p.Verify(t.Context(), legacyHello, "hello World"); ok || upgrade || err != nil {
		t.Errorf("a wrong one: %v %v %v", ok, upgrade, err)
	}
	p, _ = newTestPasswords(t, nil)
	if ok, upgrade, err := p.Verify(t.Context(), legacyHello, "hello world"); ok || upgrade || err != nil {
		t.Errorf("without the legacy key: %v %v %v", ok, upgrade, err)
	}
}

func TestOldParametersAreUpgraded(t *testing.T) {
	p, _ := newTestPasswords(t, nil)
	stored, err := p.Hash(t.Context(), "welcome")
	if err != nil {
		t.Fatal(err)
	}
	p.current.time++
	if ok, upgrade, err := p.Verify(t.Context(), stored, "welcome"); !ok || !upgrade || err != nil {
		t.Error(ok, upgrade, err)
	}
	if _, upgrade, err := p.Verify(t.Context(), stored, "wrong"); upgrade || err != nil {
		t.Error("a wrong password is upgraded", err)
	}
}

// Time must not tell a wrong password from an unknown user, nor an old hash from a new one: so the work is counted.
func TestEveryVerifyDoesTheSameWork(t *testing.T) {
	p, w := newTestPasswords(t, testLegacy)
	older := *p
	older.current = argonParams{memory: 32, time: 1, threads: 1}
	stored := map[string]string{
		"unknown user":   "",
		"legacy":         legacyHello,
		"broken legacy":  "#01#x",
		"broken":         "#02#$argon2id$v=19$m=64,t=2,p=1$AAAA",
		"too costly":     "#02#$argon2id$v=19$m=4194304,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
		"unknown scheme": "#03#x",
		"no scheme":      "welcome",
	}
	for name, by := range map[string]*Passwords{"current": p, "older": &older} {
		text, err := by.Hash(t.Context(), "hello world")
		if err != nil {
			t.Fatal(err)
		}
		stored[name] = text
	}
	w.total()
	want := uint64(p.current.memory) * uint64(p.current.time)
	for name, text := range stored {
		for _, pwd := range []string{"hello world", "wrong", "", strings.Repeat("x", MaxPassword), strings.Repeat("x", MaxPassword+1)} {
			ok, _, err := p.Verify(t.Context(), text, pwd)
			if err != nil {
				t.Fatal(name, err)
			}
			known := name == "current" || name == "older" || name == "legacy"
			if ok != (known && pwd == "hello world") {
				t.Errorf("%s, %.12q: %v", name, pwd, ok)
			}
			calls, kib := w.total()
			if kib != want {
				t.Errorf("%s, %.12q: the work of %d KiB in %d calls, not of %d", name, pwd, kib, calls, want)
			}
		}
	}
}

func TestLongPasswords(t *testing.T) {
	p, w := newTestPasswords(t, testLegacy)
	long := strings.Repeat("x", MaxPassword+1)
	if _, err := p.Hash(t.Context(), long); apperr.From(err).Kind != apperr.ValidationFailed {
		t.Error(err)
	}
	if calls, _ := w.total(); calls != 0 {
		t.Error("a refused password is hashed")
	}
	// Not even if it is the right one, from before the limit.
	stored := scheme02 + argonHash{p.current, make([]byte, saltSize), mustArgon(t, p, long)}.String()
	if ok, upgrade, err := p.Verify(t.Context(), stored, long); ok || upgrade || err != nil {
		t.Error(ok, upgrade, err)
	}
}

func mustArgon(t *testing.T, p *Passwords, pwd string) []byte {
	t.Helper()
	sum, err := p.argon(t.Context(), p.current, pwd, make([]byte, saltSize), sumSize)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestSlotsBoundTheComputations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := newTestPasswords(t, nil)
		p.slots = make(chan struct{}, 2)
		var running atomic.Int32
		release := make(chan struct{})
		p.idKey = func([]byte, []byte, uint32, uint32, uint8, uint32) []byte {
			if n := running.Add(1); n > 2 {
				t.Errorf("%d at once", n)
			}
			<-release
			running.Add(-1)
			return make([]byte, sumSize)
		}
		var done sync.WaitGroup
		for range 5 {
			done.Go(func() {
				if _, err := p.Hash(t.Context(), "welcome"); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if n := running.Load(); n != 2 {
			t.Errorf("%d at once, of 2 slots", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done.Go(func() {
			if _, _, err := p.Verify(ctx, "", "welcome"); !errors.Is(err, context.Canceled) {
				t.Errorf("a cancelled wait: %v", err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(release)
		done.Wait()
	})
}

func TestNewPasswordsWantsKeys(t *testing.T) {
	for _, keys := range [][2]Key{{nil, nil}, {Key("short"), nil}, {testPepper, Key("short")}, {testPepper, Key{}}} {
		if _, err := NewPasswords(keys[0], keys[1]); err == nil {
			t.Errorf("%d and %d bytes are taken", len(keys[0]), len(keys[1]))
		}
	}
}

func TestCheckNew(t *testing.T) {
	for pwd, ok := range map[string]bool{
		"":                                  false,
		"welcome":                           false,
		"seven77":                           false,
		"kräfte8":                           false, // 8 bytes, 7 characters
		"kräfte88":                          true,
		"correct horse battery staple":      true,
		"пароль-мой":                        true,
		"Password123":                       false,
		"aaaaaaaaaa":                        false,
		"éééééééééé":                        false,
		"with\x00zero":                      false,
		"with\nnewline":                     false,
		"\xff\xfe invalid text":             false,
		strings.Repeat("ab", MaxPassword/2): true,
		strings.Repeat("ab", MaxPassword):   false,
	} {
		err := CheckNew(pwd)
		if (err == nil) != ok {
			t.Errorf("%.20q: %v", pwd, err)
		}
		if e := apperr.From(err); err != nil && (e.Kind != apperr.ValidationFailed || e.Issues()[0].Path != "" || (pwd != "" && strings.Contains(err.Error(), pwd))) {
			t.Errorf("%.20q: %v", pwd, err)
		}
	}
	for word := range commonPasswords {
		if len(word) < MinPassword || word != strings.ToLower(word) {
			t.Errorf("%s can never be asked for", word)
		}
	}
}

func TestArgonHashRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		threads := rapid.Uint8Range(1, maxThreads).Draw(t, "threads")
		want := argonHash{
			params: argonParams{
				memory:  rapid.Uint32Range(uint32(threads)*minLaneMemory, maxMemory).Draw(t, "memory"),
				time:    rapid.Uint32Range(1, maxTime).Draw(t, "time"),
				threads: threads,
			},
			salt: rapid.SliceOfN(rapid.Byte(), minSalt, maxSaltOrSum).Draw(t, "salt"),
			sum:  rapid.SliceOfN(rapid.Byte(), minSum, maxSaltOrSum).Draw(t, "sum"),
		}
		got, ok := parseArgonHash(want.String())
		if !ok || got.params != want.params || !bytes.Equal(got.salt, want.salt) || !bytes.Equal(got.sum, want.sum) {
			t.Fatalf("%v, not %v", got, want)
		}
	})
}

func FuzzStoredHash(f *testing.F) {
	p, _ := newTestPasswords(f, testLegacy)
	stored, err := p.Hash(f.Context(), "welcome")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", stored, legacyHello, "#02#$argon2id$v=19$m=4294967295,t=4294967295,p=255$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "#02#$$$$$", "#01#$"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, stored string) {
		switch text, scheme := cutScheme(stored); scheme {
		case scheme02:
			h, ok := parseArgonHash(text)
			a := h.params
			if ok && (a.memory > maxMemory || a.time < 1 || a.time > maxTime || a.threads < 1 || a.memory < minLaneMemory*uint32(a.threads)) {
				t.Fatalf("costs of %v are believed", a)
			}
			if ok && h.String() != text {
				t.Fatalf("%q is read as %q", text, h)
			}
		case scheme01:
			h, ok := parseLegacyHash(text)
			if ok && len(h.sum) != 64 {
				t.Fatalf("%q: %v", text, h)
			}
		default:
			if text != stored {
				t.Fatalf("%q of %q", text, stored)
			}
		}
	})
}

func BenchmarkHash(b *testing.B) {
	p, err := NewPasswords(testPepper, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := p.Hash(b.Context(), "correct horse"); err != nil {
			b.Fatal(err)
		}
	}
}
