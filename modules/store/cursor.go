package store

import (
	"bytes"
	"crypto/hmac"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/modules/filter"
)

// CursorTTL is how long a cursor can be used.
const CursorTTL = 24 * time.Hour

// A cursor is where a page ended: the values of the order's keys in its last row. It is a JSON array of the second in which it
// ends and the values, followed by a code over that array and all that it goes with (the tenant, the user, the entity, the filter
// and the order). Who changes one of them has no key to make the code anew.

// maxCursor bounds a cursor: it holds the values of a row's keys.
const maxCursor = 1 << 18

// codeSize is the length of the code, in bytes: as long as no guess can find.
const codeSize = 16

var errCursor = invalidOption("cursor", "is no cursor of this list: it goes with the same user, filters and order_bys, and cannot be changed")

// seal returns the cursor of a row with the values.
func (l *listing) seal(values []any) (string, error) {
	text := append(make([]byte, 0, 128), '[')
	text = strconv.AppendInt(text, l.tx.now.Add(CursorTTL).Unix(), 10)
	for _, v := range values {
		var err error
		if text, err = appendCursorValue(append(text, ','), v); err != nil {
			return "", err
		}
	}
	text = append(text, ']')
	if base64.RawURLEncoding.EncodedLen(len(text)+codeSize) > maxCursor {
		return "", invalidOption("order_bys", "is by texts that are too long for a cursor to hold")
	}
	return base64.RawURLEncoding.EncodeToString(append(text, l.code(text)...)), nil
}

// open returns the values of a cursor; INVALID_PARAMS if it is not one of this list, or too old.
func (l *listing) open(cursor string) ([]any, error) {
	text, ok := unsealed(cursor, l.code)
	if !ok {
		return nil, errCursor
	}
	d := jsontext.NewDecoder(bytes.NewReader(text))
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	end, err := readCursorValue(d, filter.Int)
	if err != nil {
		return nil, err
	}
	if l.tx.now.Unix() >= end.(int64) {
		return nil, invalidOption("cursor", "is older than a day: begin anew")
	}
	values := make([]any, len(l.order.Keys))
	for i := range values {
		if values[i], err = readCursorValue(d, l.order.Keys[i].Field.Type); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// SealCursor returns a cursor that holds a text, for what a method gives page by page: it is good for the actor, and with what it is
// a cursor of.
func (tx *Tx) SealCursor(of, text []byte) string {
	return base64.RawURLEncoding.EncodeToString(append(slices.Clip(text), tx.code(text, of)...))
}

// OpenCursor returns the text of a cursor that was sealed for the actor and with the same of; false for any other.
func (tx *Tx) OpenCursor(of []byte, cursor string) ([]byte, bool) {
	return unsealed(cursor, func(text []byte) []byte { return tx.code(text, of) })
}

// unsealed returns the text of a cursor, and whether it has its code.
func unsealed(cursor string, codeOf func(text []byte) []byte) ([]byte, bool) {
	if len(cursor) > maxCursor {
		return nil, false
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(sealed) <= codeSize || strings.ContainsAny(cursor, "\r\n") { // which base64 ignores
		return nil, false
	}
	text, code := sealed[:len(sealed)-codeSize], sealed[len(sealed)-codeSize:]
	return text, hmac.Equal(code, codeOf(text))
}

func (tx *Tx) code(text, of []byte) []byte {
	bound := appendPart([]byte{'c'}, text)
	bound = append(bound, tx.tenant...)
	bound = binary.AppendVarint(bound, tx.Actor.User)
	return tx.db.mac(append(bound, of...))
}

// mac returns the code of bytes, which it overwrites.
func (db *DB) mac(bound []byte) []byte {
	mac := db.cursorCodes.Get().(hash.Hash)
	defer db.cursorCodes.Put(mac)
	mac.Reset()
	mac.Write(bound)
	return mac.Sum(bound[:0])[:codeSize]
}

// code returns the code of a cursor's text in this list.
func (l *listing) code(text []byte) []byte {
	user := l.tx.Actor.User
	bound := append(make([]byte, 0, 512), 'l')
	bound = appendPart(bound, text)
	bound = append(bound, l.tx.tenant...) // always as long
	bound = binary.AppendVarint(bound, user)
	bound = strconv.AppendBool(bound, l.own)
	bound = appendPart(bound, []byte(l.entity))
	for i := range l.order.Keys {
		bound = append(bound, byte(l.order.Keys[i].Field.Type)) // as which the values are read
	}
	bound = l.order.Shape(bound)
	for _, arg := range l.order.Args(nil, l.own, user) {
		bound = appendPart(bound, fmt.Append(nil, arg))
	}
	return l.tx.db.mac(l.asked.Canonical(bound))
}

// appendPart appends bytes so that where they end can be told.
func appendPart(dst, part []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(part))), part...)
}

func appendCursorValue(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case float64:
		return strconv.AppendFloat(dst, v, 'g', -1, 64), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case time.Time:
		return strconv.AppendInt(dst, v.UnixMicro(), 10), nil
	case uuid.UUID:
		return jsontext.AppendQuote(dst, v.String())
	case string:
		return jsontext.AppendQuote(dst, v)
	case RowID:
		return jsontext.AppendQuote(dst, v)
	case []byte:
		return jsontext.AppendQuote(dst, v)
	}
	return dst, fmt.Errorf("store: a %T in a cursor", v)
}

// readCursorValue reads a value as a filter's arguments have it.
func readCursorValue(d *jsontext.Decoder, t filter.Type) (any, error) {
	token, err := d.ReadToken()
	if err != nil {
		return nil, errors.Join(err, io.ErrUnexpectedEOF)
	}
	if token.Kind() == jsontext.KindNull {
		return nil, nil
	}
	switch t {
	case filter.Int:
		return token.Int()
	case filter.Float:
		return token.Float()
	case filter.Bool:
		return token.Bool(), nil
	case filter.Time:
		micro, err := token.Int()
		return time.UnixMicro(micro).UTC(), err
	case filter.UUID:
		return uuid.Parse(token.String())
	default:
		return token.String(), nil
	}
}
