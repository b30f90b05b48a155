package textcrdt

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// An encoding is a header of two letters, kind and version, then the body, then a checksum.
const (
	headerSize   = 4
	checksumSize = 4

	kindOps      = 'o'
	kindSnapshot = 's'
	version      = 1
	packed       = 1 << 7 // in the version
)

// MaxUnpacked is the greatest size of an encoding that is taken when packed, in bytes that it has unpacked.
const MaxUnpacked = 64 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendHeader(b []byte, kind, version byte) []byte {
	return append(b, 'r', 'c', kind, version)
}

// appendChecksum ends the encoding that begins at b[start].
func appendChecksum(b []byte, start int) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// open returns the kind and the body of an encoding, and whether it is packed.
func open(b []byte) (kind byte, body []byte, isPacked bool, err error) {
	if len(b) < headerSize+checksumSize || b[0] != 'r' || b[1] != 'c' || b[2] != kindOps && b[2] != kindSnapshot {
		return 0, nil, false, fmt.Errorf("%w: no encoding of textcrdt", ErrMalformed)
	}
	if b[3]&^packed != version {
		return 0, nil, false, fmt.Errorf("%w: version %d is not known", ErrMalformed, b[3]&^packed)
	}
	end := len(b) - checksumSize
	if binary.LittleEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) {
		return 0, nil, false, fmt.Errorf("%w: the checksum is another", ErrMalformed)
	}
	return b[2], b[headerSize:end], b[3]&packed != 0, nil
}

// openAs returns the body, unpacked, of an encoding of the kind.
func openAs(b []byte, kind byte) ([]byte, error) {
	found, body, isPacked, err := open(b)
	if err != nil {
		return nil, err
	}
	if found != kind {
		return nil, fmt.Errorf("%w: kind %q where %q belongs", ErrMalformed, found, kind)
	}
	if isPacked {
		return inflate(nil, body)
	}
	return body, nil
}

// Pack returns an encoding of this package deflated; one that is so already stays as it is. The error wraps [ErrMalformed].
func Pack(b []byte) ([]byte, error) {
	kind, body, isPacked, err := open(b)
	if err != nil || isPacked {
		return b, err
	}
	if len(body) > MaxUnpacked {
		return nil, fmt.Errorf("%w: %d bytes are too many to pack", ErrMalformed, len(body))
	}
	var out bytes.Buffer
	out.Write(binary.AppendUvarint(appendHeader(nil, kind, version|packed), uint64(len(body))))
	w, _ := flate.NewWriter(&out, flate.BestCompression)
	_, _ = w.Write(body) // a buffer takes all
	_ = w.Close()
	return appendChecksum(out.Bytes(), 0), nil
}

// Unpack returns an encoding of this package inflated; one that is so already stays as it is. The error wraps [ErrMalformed].
func Unpack(b []byte) ([]byte, error) {
	kind, body, isPacked, err := open(b)
	if err != nil || !isPacked {
		return b, err
	}
	out, err := inflate(appendHeader(nil, kind, version), body)
	if err != nil {
		return nil, err
	}
	return appendChecksum(out, 0), nil
}

// UnpackedSize returns how many bytes [Unpack] returns, by what the encoding says of itself, so that who would not take as many need not
// inflate them first. The error wraps [ErrMalformed].
func UnpackedSize(b []byte) (int, error) {
	_, body, isPacked, err := open(b)
	if err != nil || !isPacked {
		return len(b), err
	}
	d := decoder{b: body}
	size := d.uvarint(MaxUnpacked)
	return headerSize + int(size) + checksumSize, d.err
}

// inflate appends what body, of a packed encoding, has packed. The size that it tells is believed only as far as bytes come.
func inflate(b, body []byte) ([]byte, error) {
	d := decoder{b: body}
	size := d.uvarint(MaxUnpacked)
	if d.err != nil {
		return nil, d.err
	}
	in := bytes.NewReader(d.b)
	out := bytes.NewBuffer(b)
	n, err := io.Copy(out, io.LimitReader(flate.NewReader(in), int64(size)+1))
	if err != nil || n != int64(size) || in.Len() > 0 {
		return nil, fmt.Errorf("%w: packed badly", ErrMalformed)
	}
	return out.Bytes(), nil
}

// decoder reads numbers from the front of b, until the first error.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
	}
	d.b = nil
}

// uvarint reads a number, at most limit, that must be in its shortest form.
func (d *decoder) uvarint(limit uint64) uint64 {
	x, n := binary.Uvarint(d.b)
	if n <= 0 || n > 1 && d.b[n-1] == 0 {
		d.fail("no number where one belongs")
		return 0
	}
	if x > limit {
		d.fail("%d where at most %d can be", x, limit)
		return 0
	}
	d.b = d.b[n:]
	return x
}

// relative reads the difference of a number in [least, bound] to another.
func (d *decoder) relative(to, least int64) int64 {
	zigzag := d.uvarint(1<<33 - 1)
	x := to + (int64(zigzag>>1) ^ -int64(zigzag&1))
	if x < least || x > bound {
		d.fail("%d is out of bounds", x)
		return least
	}
	return x
}

// count reads how many things follow; each takes two bytes at least, so a lie costs no more than the input did.
func (d *decoder) count() int { return int(d.uvarint(uint64(len(d.b) / 2))) }

func appendSvarint(b []byte, x int64) []byte {
	return binary.AppendUvarint(b, uint64(x<<1)^uint64(x>>63))
}

// when returns flag if it is so, else none.
func when(so bool, flag int) int {
	if so {
		return flag
	}
	return 0
}
