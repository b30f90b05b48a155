package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"golang.org/x/crypto/chacha20poly1305"
)

// What is sealed is bound to its place: a payload that the server, or a member, moves to another row or collection does not open there,
// nor does an old one that is shown as the row's present version. That can be, because every write names the version that it changes, and so
// knows the one that it makes.
type place struct {
	Collection uuid.UUID
	Entity     string
	ID         uuid.UUID
	Version    int64
}

func (p place) bytes() []byte {
	b := append([]byte("rowcall example: "), p.Entity...)
	b = append(append(append(b, 0), p.Collection[:]...), p.ID[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(p.Version))
}

const generationSize = 4

// Seal encrypts for a place by the key in use: base64 of the key's generation, the nonce and the ciphertext.
func (k Keyring) Seal(plain []byte, at place) (string, error) {
	aead, err := chacha20poly1305.NewX(k.Keys[k.Generation])
	if err != nil {
		return "", err
	}
	sealed := binary.BigEndian.AppendUint32(nil, uint32(k.Generation))
	nonce := make([]byte, chacha20poly1305.NonceSizeX)
	_, _ = rand.Read(nonce) // which never fails
	sealed = aead.Seal(append(sealed, nonce...), nonce, plain, at.bytes())
	return base64.StdEncoding.EncodeToString(sealed), nil
}

var errSealed = errors.New("it was not sealed for this place by a member of the collection")

// Open decrypts what was sealed for a place.
func (k Keyring) Open(payload string, at place) ([]byte, error) {
	sealed, err := base64.StdEncoding.DecodeString(payload)
	if err != nil || len(sealed) < generationSize+chacha20poly1305.NonceSizeX {
		return nil, errSealed
	}
	generation := int(binary.BigEndian.Uint32(sealed))
	key := k.Keys[generation]
	if key == nil {
		return nil, fmt.Errorf("there is no key of the generation %d", generation)
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, err
	}
	sealed = sealed[generationSize:]
	nonce, text := sealed[:chacha20poly1305.NonceSizeX], sealed[chacha20poly1305.NonceSizeX:]
	plain, err := aead.Open(nil, nonce, text, at.bytes())
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}
