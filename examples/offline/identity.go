package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"

	"filippo.io/age"
	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
)

// Identity is the secrets of a user, the same on all of their devices. The server has none of them.
type Identity struct {
	User int64
	open *age.X25519Identity // opens the keys that others wrap for the user
	sign ed25519.PrivateKey  // says that keys come from the user
}

// NewIdentity makes a user's secrets.
func NewIdentity(user int64) (*Identity, error) {
	open, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	_, sign, err := ed25519.GenerateKey(rand.Reader)
	return &Identity{user, open, sign}, err
}

// Contact is what others need of a user to share with them. It is no secret, but must come from the user and not from the server, which could
// give another.
type Contact struct {
	User      int64
	Recipient *age.X25519Recipient
	Verify    ed25519.PublicKey
}

// Contact returns the user's.
func (i *Identity) Contact() Contact {
	return Contact{i.User, i.open.Recipient(), i.sign.Public().(ed25519.PublicKey)}
}

// Keyring is the keys of a collection: each generation's, of which the last is in use. The older ones open what was sealed before. Members are to
// whom the owner has given it, which is not for the server to say.
type Keyring struct {
	Generation int
	Keys       map[int][]byte
	Members    []int64
}

// Rotated returns the keyring with a new key in use, for a collection that has lost a member.
func (k Keyring) Rotated() Keyring {
	next := Keyring{k.Generation + 1, maps.Clone(k.Keys), k.Members}
	if next.Keys == nil {
		next.Keys = map[int][]byte{}
	}
	next.Keys[next.Generation] = make([]byte, 32)
	_, _ = rand.Read(next.Keys[next.Generation]) // which never fails
	return next
}

// bestowal is a keyring that is given to somebody. It is signed as a whole, so that it is good for no other collection or member.
type bestowal struct {
	Collection uuid.UUID `json:"collection"`
	To         int64     `json:"to"`
	Keyring    Keyring   `json:"keyring"`
}

// signed is the text of a bestowal with its signature.
type signed struct {
	Text      []byte `json:"text"`
	Signature []byte `json:"signature"`
}

// signatures are for this purpose only.
const purpose = "rowcall example: keys of a collection\x00"

// Wrap returns the keyring as only the contact can open it.
func (i *Identity) Wrap(k Keyring, collection uuid.UUID, to Contact) (string, error) {
	text, err := json.Marshal(bestowal{collection, to.User, k})
	if err != nil {
		return "", err
	}
	plain, err := json.Marshal(signed{text, ed25519.Sign(i.sign, append([]byte(purpose), text...))})
	if err != nil {
		return "", err
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, to.Recipient)
	if err != nil {
		return "", err
	}
	if _, err := w.Write(plain); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(sealed.Bytes()), nil
}

var errNotFromOwner = errors.New("the keys do not come from the collection's owner, or are not for this")

// Unwrap opens a keyring that the collection's owner has wrapped for the user. Whoever else could wrap one, as anybody can who knows the user's
// Recipient, the owner has not signed it.
func (i *Identity) Unwrap(wrapped string, collection uuid.UUID, owner Contact) (Keyring, error) {
	raw, err := base64.StdEncoding.DecodeString(wrapped)
	if err != nil {
		return Keyring{}, err
	}
	r, err := age.Decrypt(bytes.NewReader(raw), i.open)
	if err != nil {
		return Keyring{}, fmt.Errorf("keys of a collection: %w", err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return Keyring{}, err
	}
	var s signed
	if err := json.Unmarshal(plain, &s); err != nil {
		return Keyring{}, err
	}
	if !ed25519.Verify(owner.Verify, append([]byte(purpose), s.Text...), s.Signature) {
		return Keyring{}, errNotFromOwner
	}
	var b bestowal
	if err := json.Unmarshal(s.Text, &b); err != nil {
		return Keyring{}, err
	}
	if b.Collection != collection || b.To != i.User || len(b.Keyring.Keys[b.Keyring.Generation]) != 32 {
		return Keyring{}, errNotFromOwner
	}
	return b.Keyring, nil
}
