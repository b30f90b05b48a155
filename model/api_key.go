package model

import (
	"encoding/hex"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/store"
)

// APIKey lets a program act as a user, within scopes. Only a hash of the key is kept. A member reaches their own keys, an
// admin all of the tenant's.
type APIKey struct {
	store.Base[int64]
	UserID     int64          `db:"user_id"      json:"user_id"`
	Name       string         `db:"name"         json:"name"       write:"create" validate:"required,max=100" example:"backup"`
	Scopes     jsontext.Value `db:"scopes"       json:"scopes"     write:"create" validate:"required"         example:"[\"read\"]"`
	Hash       string         `db:"hash"         json:"-"`
	ExpiresAt  *time.Time     `db:"expires_at"   json:"expires_at" write:"create"                             example:"2027-01-01T00:00:00.000000Z"`
	LastUsedAt *time.Time     `db:"last_used_at" json:"last_used_at" log:"-"` // to the minute
}

// APIKeys is the repository of API keys.
var APIKeys = store.NewRepo[APIKey]("api_key",
	store.Access{Read: auth.Member, Write: auth.Member, Own: "user_id"})

// PrepareCreate makes the key the actor's, and lets nobody make one that can do more than they can now. A key cannot make
// another, which would outlive it.
func (k *APIKey) PrepareCreate(tx *store.Tx) error {
	if tx.Actor.Key != 0 {
		return apperr.New(apperr.Forbidden, "An API key cannot make another")
	}
	k.UserID = tx.Actor.User
	var names []string
	if err := json.Unmarshal(k.Scopes, &names); err != nil {
		return apperr.Invalid(apperr.Issue{Path: "scopes", Reason: "must be an array of strings", Allowed: auth.ScopeNames})
	}
	scope, err := auth.ParseScopes(names)
	if err != nil {
		return apperr.Under("scopes", err)
	}
	if scope == auth.ScopeAdmin {
		if err := tx.Actor.Can(auth.Admin, auth.ScopeAdmin); err != nil {
			return err
		}
	}
	if k.ExpiresAt != nil && !k.ExpiresAt.After(tx.Now()) {
		return apperr.Validation(apperr.Issue{Path: "expires_at", Reason: "must be in the future"})
	}
	return tx.Actor.Can(auth.Member, scope)
}

// CreateAPIKey adds a key and returns its text, which cannot be had again.
func CreateAPIKey(tx *store.Tx, k APIKey) (APIKey, string, error) {
	text, hash := auth.NewAPIKey()
	k.Hash = hex.EncodeToString(hash)
	k, err := APIKeys.Create(tx, k)
	return k, text, err
}
