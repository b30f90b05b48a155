package auth

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
)

const (
	issuer     = "rowcall"
	typAccess  = "access"
	typRefresh = "refresh"

	// maxToken is several times what Tokens makes: nothing longer is worth decoding.
	maxToken = 1024
)

// Tokens makes and checks the signed tokens of sessions: JWTs (RFC 7519) with HS256 and nothing else. It is safe for
// concurrent use. Whether a token's session still holds is for the caller to look up.
type Tokens struct {
	access, refresh []byte
	ttl             time.Duration
}

// AccessClaims say who acts, in which tenant, by which session.
type AccessClaims struct {
	User      int64
	Tenant    uuid.UUID
	Session   uuid.UUID
	ExpiresAt time.Time // set by ParseAccess and ignored by Access
}

// RefreshClaims say which turn of which session a refresh token is for.
type RefreshClaims struct {
	Session    uuid.UUID
	Generation int64 // from 1; grows with each refresh
}

// NewTokens returns Tokens whose access tokens live for ttl. The kinds of tokens are signed with different keys, derived
// from key, so that none passes as another. NewTokens panics if key has not the size of a key.
func NewTokens(key Key, ttl time.Duration) *Tokens {
	if err := key.check(); err != nil {
		panic(err)
	}
	return &Tokens{
		access:  key.Derive("access tokens"),
		refresh: key.Derive("refresh tokens"),
		ttl:     ttl,
	}
}

// Access returns an access token and when it expires.
func (t *Tokens) Access(c AccessClaims, now time.Time) (token string, expiresAt time.Time, err error) {
	expiresAt = now.Add(t.ttl).Truncate(time.Millisecond)
	token, err = sign(t.access, &claims{
		Issuer: issuer, Type: typAccess, IssuedAt: now.Unix(), ExpiresAt: numericDate(expiresAt),
		Subject: strconv.FormatInt(c.User, 10), Tenant: c.Tenant, Session: c.Session,
	})
	return token, expiresAt, err
}

// ParseAccess returns the claims of an access token. UNAUTHENTICATED, by one and the same message, for every token that
// Access did not make with this key and for those that have expired at now.
func (t *Tokens) ParseAccess(token string, now time.Time) (AccessClaims, error) {
	c, err := parse(token, t.access, typAccess, now)
	if err != nil {
		return AccessClaims{}, Denied(err)
	}
	user, err := strconv.ParseInt(c.Subject, 10, 64)
	if err != nil || user <= 0 || c.Tenant == uuid.Nil {
		return AccessClaims{}, Denied(errClaims)
	}
	return AccessClaims{User: user, Tenant: c.Tenant, Session: c.Session, ExpiresAt: c.expiresAt().UTC()}, nil
}

// Refresh returns a refresh token that expires with its session.
func (t *Tokens) Refresh(c RefreshClaims, now, expiresAt time.Time) (string, error) {
	return sign(t.refresh, &claims{
		Issuer: issuer, Type: typRefresh, IssuedAt: now.Unix(), ExpiresAt: numericDate(expiresAt),
		Session: c.Session, Generation: c.Generation,
	})
}

// ParseRefresh is ParseAccess for refresh tokens.
func (t *Tokens) ParseRefresh(token string, now time.Time) (RefreshClaims, error) {
	c, err := parse(token, t.refresh, typRefresh, now)
	if err != nil {
		return RefreshClaims{}, Denied(err)
	}
	if c.Generation <= 0 {
		return RefreshClaims{}, Denied(errClaims)
	}
	return RefreshClaims{Session: c.Session, Generation: c.Generation}, nil
}

// Denied is UNAUTHENTICATED with the one message that every credential gets which is not good. The cause, for the log, says
// what is wrong with it.
func Denied(cause error) error {
	return apperr.Wrap(apperr.Unauthenticated, "The login has failed or has ended", cause)
}

var (
	errMalformed = errors.New("the token is malformed, too long or not with HS256")
	errExpired   = errors.New("the token has expired")
	errClaims    = errors.New("the token lacks a claim or has a wrong one")
)

// header is the one header that tokens have here ({"alg":"HS256","typ":"JWT"}), and the dot after it.
const header = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."

// parse decodes nothing but the signature before that has been checked, and leaves no choice of algorithm to the token
// (RFC 8725, sections 2.1 and 3.1). The library's parser, which takes any JSON as a header, needs three times as long.
func parse(token string, key []byte, typ string, now time.Time) (*claims, error) {
	dot := strings.LastIndexByte(token, '.')
	if len(token) > maxToken || !strings.HasPrefix(token, header) || dot < len(header) ||
		len(token[dot+1:]) != base64url.EncodedLen(sha256.Size) {
		return nil, errMalformed
	}
	signature, err := base64url.DecodeString(token[dot+1:])
	if err != nil {
		return nil, errMalformed
	}
	if err := jwt.SigningMethodHS256.Verify(token[:dot], signature, key); err != nil {
		return nil, err
	}
	payload, err := base64url.DecodeString(token[len(header):dot])
	if err != nil {
		return nil, errMalformed
	}
	c := &claims{}
	if err := json.Unmarshal(payload, c); err != nil {
		return nil, err
	}
	return c, c.check(typ, now)
}

func sign(key []byte, c *claims) (string, error) {
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	text := header + base64url.EncodeToString(payload)
	signature, err := jwt.SigningMethodHS256.Sign(text, key)
	if err != nil {
		return "", err
	}
	return text + "." + base64url.EncodeToString(signature), nil
}

// claims are those of both kinds of tokens, each with its own omitted ones. Times are in seconds since 1970, when a token
// expires to the millisecond (RFC 7519, section 2, "NumericDate").
type claims struct {
	Issuer     string    `json:"iss"`
	Type       string    `json:"typ"`
	IssuedAt   int64     `json:"iat"`
	ExpiresAt  float64   `json:"exp"`
	Session    uuid.UUID `json:"sid"`
	Subject    string    `json:"sub,omitzero"`
	Tenant     uuid.UUID `json:"tid,omitzero"`
	Generation int64     `json:"gen,omitzero"`
}

func numericDate(t time.Time) float64 { return float64(t.UnixMilli()) / 1e3 }

func (c *claims) expiresAt() time.Time { return time.UnixMilli(int64(math.Round(c.ExpiresAt * 1e3))) }

func (c *claims) check(typ string, now time.Time) error {
	if c.Issuer != issuer || c.Type != typ || c.IssuedAt == 0 || c.ExpiresAt == 0 || c.Session == uuid.Nil {
		return errClaims
	}
	if expiresAt := c.expiresAt(); !now.Before(expiresAt) {
		return fmt.Errorf("%w at %v", errExpired, expiresAt.UTC())
	}
	return nil
}
