package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"runtime"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"rowcall/modules/apperr"
)

// Limits of a password. The least is in characters (OWASP, Authentication Cheat Sheet), the most in bytes: long enough for
// any passphrase, and too short to keep the server hashing.
const (
	MinPassword = 8
	MaxPassword = 1024
)

// Passwords hashes passwords and checks them. It is safe for concurrent use.
//
// As many Argon2 computations run at once as there are processors, for more would not be faster and each takes 19 MiB;
// further ones wait until their context ends.
type Passwords struct {
	pepper, legacy Key
	current        argonParams
	slots          chan struct{}
	idKey          func(password, salt []byte, time, memory uint32, threads uint8, keyLen uint32) []byte
}

// NewPasswords returns Passwords that hash with the pepper, a key kept apart from the database, so that a stolen database
// alone gives nothing to guess at. legacy verifies hashes of the scheme #01#; without it (nil) they verify no password.
// The error is for keys that have not the size of a key.
func NewPasswords(pepper, legacy Key) (*Passwords, error) {
	if err := pepper.check(); err != nil {
		return nil, fmt.Errorf("password key: %w", err)
	}
	if err := legacy.check(); legacy != nil && err != nil {
		return nil, fmt.Errorf("legacy password key: %w", err)
	}
	return &Passwords{
		pepper:  pepper.Derive("password pepper"),
		legacy:  legacy,
		current: currentParams,
		slots:   make(chan struct{}, runtime.GOMAXPROCS(0)),
		idKey:   argon2.IDKey,
	}, nil
}

// Conceal returns a code of a digest of something with passwords in it (HMAC-SHA256), which tells as little of them as their hashes do:
// without the pepper there is nothing to guess at.
func (p *Passwords) Conceal(digest []byte) []byte {
	mac := hmac.New(sha256.New, p.pepper.Derive("concealed digest"))
	mac.Write(digest)
	return mac.Sum(nil)
}

// CheckNew returns VALIDATION, with a path of "", for what nobody may choose as a password: one that is shorter than
// MinPassword or longer than MaxPassword, holds control characters, or is among the first that are guessed (NIST SP
// 800-63B, section 5.1.1.2). It asks for no mixture of characters: that makes passwords no harder to guess.
func CheckNew(pwd string) error {
	var reason string
	switch {
	case utf8.RuneCountInString(pwd) < MinPassword:
		reason = fmt.Sprintf("must have at least %d characters", MinPassword)
	case len(pwd) > MaxPassword:
		return errTooLong()
	case !utf8.ValidString(pwd) || strings.ContainsFunc(pwd, unicode.IsControl):
		reason = "must be text without control characters"
	case common(pwd):
		reason = "is one of those that are guessed first"
	default:
		return nil
	}
	return apperr.Validation(apperr.Issue{Reason: reason})
}

func errTooLong() error {
	return apperr.Validation(apperr.Issue{Reason: fmt.Sprintf("must have at most %d bytes", MaxPassword)})
}

// Hash returns the text to store for a password: "#02#" and a hash in the PHC string format, with a salt of its own. It
// blocks for a slot and for the computation, some 30 ms. VALIDATION for a password longer than MaxPassword; other rules
// are CheckNew's. The error of ctx if it ends first.
func (p *Passwords) Hash(ctx context.Context, pwd string) (string, error) {
	if len(pwd) > MaxPassword {
		return "", errTooLong()
	}
	h := argonHash{params: p.current, salt: randomBytes(saltSize)}
	var err error
	if h.sum, err = p.argon(ctx, h.params, pwd, h.salt, sumSize); err != nil {
		return "", err
	}
	return scheme02 + h.String(), nil
}

// Verify tells whether pwd is the password of which stored is the hash, and if it is, whether stored should be replaced by
// a new hash of it, since its scheme or its parameters are not the current ones. A stored text that is not a hash, and ""
// for an unknown user, are the hash of no password. The error is that of ctx, if it ends first.
//
// Whatever stored and pwd are, it does the work of one Argon2id with the current parameters, so that the time it takes
// does not tell which user names exist. Only a hash with costlier parameters than the current ones takes longer.
func (p *Passwords) Verify(ctx context.Context, stored, pwd string) (ok, upgrade bool, err error) {
	if len(pwd) > MaxPassword {
		pwd, stored = "", "" // the hash of no password
	}
	var work argonParams // done for stored itself; the rest of the current parameters' is made up
	switch text, scheme := cutScheme(stored); scheme {
	case scheme02:
		h, valid := parseArgonHash(text)
		if !valid {
			break
		}
		sum, err := p.argon(ctx, h.params, pwd, h.salt, len(h.sum))
		if err != nil {
			return false, false, err
		}
		ok, upgrade, work = hmac.Equal(sum, h.sum), h.params != p.current, h.params
	case scheme01:
		h, valid := parseLegacyHash(text)
		ok, upgrade = valid && p.legacy != nil && hmac.Equal(legacySum(p.legacy, pwd, h.salt[:]), h.sum), true
	}
	if rest, some := p.current.minus(work); some {
		if _, err := p.argon(ctx, rest, pwd, make([]byte, saltSize), sumSize); err != nil {
			return false, false, err
		}
	}
	return ok, ok && upgrade, nil
}

// argon computes Argon2id (RFC 9106) over the peppered password, in a slot. Equal texts that keyboards and systems encode
// differently give equal sums (RFC 8265, section 4.2: normalization form C).
func (p *Passwords) argon(ctx context.Context, a argonParams, pwd string, salt []byte, size int) ([]byte, error) {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	mac := hmac.New(sha256.New, p.pepper)
	mac.Write(norm.NFC.Bytes([]byte(pwd)))
	return p.idKey(mac.Sum(nil), salt, a.time, a.memory, a.threads, uint32(size)), nil
}

// legacySum is the hash of scheme #01#: HMAC-SHA512 over password and salt.
func legacySum(key Key, pwd string, salt []byte) []byte {
	mac := hmac.New(sha512.New, key)
	mac.Write([]byte(pwd))
	mac.Write(salt)
	return mac.Sum(nil)
}
