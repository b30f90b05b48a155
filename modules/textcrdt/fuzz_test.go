package textcrdt

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// seeds gives the fuzzer the encodings of the vectors, without header and checksum.
func seeds(f *testing.F, kind byte) {
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		f.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		f.Fatal(err)
	}
	add := func(b []byte) {
		if len(b) > headerSize+checksumSize && b[2] == kind && b[3] == version {
			f.Add(b[headerSize : len(b)-checksumSize])
		}
	}
	for _, h := range v.Histories {
		add(h.History)
		add(h.Snapshot)
	}
	for _, e := range v.Encodings {
		add(e.Bytes)
	}
}

func FuzzDecodeOps(f *testing.F) {
	seeds(f, kindOps)
	f.Fuzz(func(t *testing.T, body []byte) {
		b := seal(kindOps, version, body...)
		ops, err := DecodeOps(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) || ops != nil {
				t.Fatalf("%v, with %v", err, ops)
			}
			return
		}
		if again := AppendOps(nil, ops); !bytes.Equal(again, b) {
			t.Fatalf("%x is told as %x", b, again)
		}
		takeAll(t, New(1, 0), ops)
	})
}

func FuzzLoad(f *testing.F) {
	seeds(f, kindSnapshot)
	f.Fuzz(func(t *testing.T, body []byte) {
		b := seal(kindSnapshot, version, body...)
		d, err := Load(9, 0, b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) || d != nil {
				t.Fatalf("%v, with %v", err, d)
			}
			return
		}
		d.check(t)
		if again := d.AppendSnapshot(nil); !bytes.Equal(again, b) {
			t.Fatalf("%x is told as %x", b, again)
		}
		checkUnits(t, d)
		if d.Clock() > bound-20 {
			return
		}
		base := d.Version()
		for i := range min(d.Len(), 4) {
			if _, err := d.Insert(i*d.Len()/4, "€𝄞"); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Delete(i, 1); err != nil {
				t.Fatal(err)
			}
			d.check(t)
		}
		ops, err := d.Operations(base)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Load(0, 0, b)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Apply(ops, nil); err != nil {
			t.Fatal(err)
		}
		same(t, d, again)
	})
}

// FuzzApply lets bytes be operations: eight for each, with small numbers, so that many are nearly right.
func FuzzApply(f *testing.F) {
	f.Add([]byte("\x01\x01\x01\x00\x03\x00\x00\x00\x02\x01\x02\x00\x02\x01\x02\x00\x01\x04\x04\x00\x02\x01\x02\x01"))
	f.Add([]byte("\x01\x01\x01\x00\x06\x00\x00\x00\x02\x01\x07\x00\x03\x01\x05\x03\x03\x01\x06\x01\x02\x01\x03\x00\x03\x03\x02\x01\x02\x01\x03\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var ops []Op
		for ; len(b) >= 8 && len(ops) < 50; b = b[8:] {
			op := Op{ID: ID{Site(b[0] % 5), uint32(b[1])}, Sum: uint32(b[2]), Session: uint32(b[3] % 3), N: int(b[4] % 16), Ref: ID{Site(b[5] % 5), uint32(b[6])}}
			switch b[7] % 4 {
			case 0:
				op.Text = strings.Repeat("a", op.N)
			case 1:
				op.Text = strings.Repeat("𝄞", op.N)
			case 2:
				op.Delete = true
			case 3:
				op.Delete, op.Back = true, true
			}
			ops = append(ops, op)
		}
		d := New(1, 0)
		takeAll(t, d, ops)
		// All at once, it goes as far as one by one.
		other := New(0, 0)
		err := other.Check(ops)
		at := len(ops)
		var bad *OpError
		if errors.As(err, &bad) {
			at = bad.Index
		}
		if err := other.Apply(ops[:at], nil); err != nil || other.Early() > 0 {
			t.Fatalf("Check takes %d of %v, Apply does not: %v", at, ops, err)
		}
		if at < len(ops) && other.Check(ops[at:at+1]) == nil {
			t.Fatalf("Check refuses %+v, but not by itself: %v", ops[at], err)
		}
		other.check(t)
	})
}

// takeAll applies operations one by one: Check and Apply must agree, what is refused change nothing, and the history tell what there is.
func takeAll(t *testing.T, d *Doc, ops []Op) {
	t.Helper()
	for i := range ops {
		op := ops[i : i+1]
		before, early := d.AppendSnapshot(nil), d.Early()
		checked := d.Check(op)
		if !bytes.Equal(before, d.AppendSnapshot(nil)) {
			t.Fatalf("Check changes something: %+v", op)
		}
		err := d.Apply(op, nil)
		switch {
		case checked == nil && err != nil,
			errors.Is(checked, ErrMalformed) && (!errors.Is(err, ErrMalformed) || d.Early() != early || !bytes.Equal(before, d.AppendSnapshot(nil))),
			errors.Is(checked, ErrEarly) && (err != nil || d.Early() < early || !bytes.Equal(before, d.AppendSnapshot(nil))):
			t.Fatalf("Check says %v, Apply %v: %+v", checked, err, op)
		}
		d.check(t)
	}
	history, err := d.Operations(nil)
	if err != nil {
		t.Fatal(err)
	}
	again := New(0, 0)
	if err := again.Check(history); err != nil {
		t.Fatalf("%v of its own %v", err, history)
	}
	if err := again.Apply(history, nil); err != nil {
		t.Fatal(err)
	}
	same(t, d, again)
	loaded, err := Load(0, 0, d.AppendSnapshot(nil))
	if err != nil {
		t.Fatal(err)
	}
	same(t, d, loaded)
}

// TestHostileSizes is of small inputs that tell of large things: none may cost much memory.
func TestHostileSizes(t *testing.T) {
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x07} // 2³¹−1
	long := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	inputs := map[string]func() error{
		"a snapshot of one tombstone of 2³¹−1 characters": func() error {
			head := []byte{0xf3, 0xff, 0xff, 0xff, 0x7f} // (2³¹−1)<<4 | 3
			d, err := Load(0, 0, seal(kindSnapshot, version, long([]byte{1, 1}, huge, []byte{0, 0, 1}, head, []byte{0, 0})...))
			if err == nil {
				d.check(t)
			}
			return err
		},
		"deletions of all, again and again": func() error {
			d := New(1, 0)
			if _, err := d.Insert(0, strings.Repeat("x", 10_000)); err != nil {
				return err
			}
			ops := make([]Op, 2000)
			for i := range ops {
				n := uint32(i * 10_000)
				ops[i] = Op{ID: ID{2, 1 + n}, Sum: 10_001 + n, N: 10_000, Ref: ID{1, 1}, Delete: true}
			}
			if err := d.Check(ops); err != nil {
				return err
			}
			err := d.Apply(ops, nil)
			d.check(t)
			return err
		},
	}
	for name, run := range inputs {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if err := run(); err != nil {
				t.Error(err)
			}
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
				t.Errorf("it took %d bytes", used)
			}
		})
	}
}

func TestUnpackIsBounded(t *testing.T) {
	d := New(1, 0)
	if _, err := d.Insert(0, strings.Repeat("x", MaxUnpacked+1)); err != nil {
		t.Fatal(err)
	}
	b := d.AppendSnapshot(nil)
	if _, err := Pack(b); !errors.Is(err, ErrMalformed) {
		t.Errorf("too much is packed: %v", err)
	}
}
