package filter

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Fingerprint returns bytes that two filters of one schema share only if they are the same filter: the same conditions, in whatever
// order the members of their groups come.
func (f *Filter) Fingerprint() []byte {
	if len(f.nodes) == 0 {
		return nil
	}
	sum, _, _ := f.fingerprint(0, 0)
	return sum
}

// fingerprint returns that of node i, whose first argument is at arg, and where what is after all that is under it begins.
func (f *Filter) fingerprint(i, arg int) (sum []byte, nextNode, nextArg int) {
	n := f.nodes[i]
	text := binary.AppendVarint(strconv.AppendBool([]byte{byte(n.form)}, n.negated), int64(n.of))
	for _, v := range f.args[arg : arg+n.args] {
		text = appendText(text, v)
	}
	end := i + 1 + n.n
	i, arg = i+1, arg+n.args
	var under [][]byte
	for i < end {
		var of []byte
		of, i, arg = f.fingerprint(i, arg)
		under = append(under, of)
	}
	slices.SortFunc(under, bytes.Compare)
	hash := sha256.Sum256(slices.Concat(text, bytes.Join(under, nil)))
	return hash[:], i, arg
}

// appendText appends a text that no other argument has in its place, with its length before it.
func appendText(dst []byte, arg any) []byte {
	var text []byte
	switch arg := arg.(type) {
	case string:
		text = []byte(arg)
	case int64:
		text = strconv.AppendInt(nil, arg, 10)
	case []string:
		text = fmt.Appendf(nil, "%q", arg)
	case time.Time:
		text = strconv.AppendInt(nil, arg.UnixMicro(), 10)
	default:
		text = fmt.Appendf(nil, "%v", arg)
	}
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}
