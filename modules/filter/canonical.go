package filter

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Canonical appends to dst a text that two filters of one schema share exactly if they have the same conditions, in whatever order
// the members of their groups come.
func (f *Filter) Canonical(dst []byte) []byte {
	if len(f.nodes) > 0 {
		dst, _, _ = f.canonical(dst, 0, 0)
	}
	return dst
}

// canonical appends the text of node i, whose first argument is at arg, and returns where what is after all that is under it begins. No
// text of a node is the beginning of another's.
func (f *Filter) canonical(dst []byte, i, arg int) (_ []byte, nextNode, nextArg int) {
	n := f.nodes[i]
	form := byte(n.form) << 1
	if n.negated {
		form |= 1
	}
	dst = binary.AppendUvarint(append(dst, form), uint64(n.of))
	for _, v := range f.args[arg : arg+n.args] {
		dst = appendText(dst, v)
	}
	end := i + 1 + n.n
	i, arg = i+1, arg+n.args
	var starts [8]int
	under := starts[:0]
	dst = append(dst, '(')
	for i < end {
		under = append(under, len(dst))
		dst, i, arg = f.canonical(dst, i, arg)
	}
	sortParts(dst, under)
	return append(dst, ')'), i, arg
}

// sortParts puts the parts of dst that begin at the starts, of which the last one ends with dst, in order.
func sortParts(dst []byte, starts []int) {
	if len(starts) < 2 {
		return
	}
	parts := make([][]byte, len(starts))
	copied := bytes.Clone(dst[starts[0]:])
	for i, start := range starts {
		end := len(dst)
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		parts[i] = copied[start-starts[0] : end-starts[0]]
	}
	slices.SortFunc(parts, bytes.Compare)
	at := starts[0]
	for _, part := range parts {
		at += copy(dst[at:], part)
	}
}

// appendText appends a text that no other argument has in its place, with its length before it.
func appendText(dst []byte, arg any) []byte {
	var buf [24]byte
	text := buf[:0]
	switch arg := arg.(type) {
	case string:
		dst = binary.AppendUvarint(dst, uint64(len(arg)))
		return append(dst, arg...)
	case int64:
		text = strconv.AppendInt(text, arg, 10)
	case []string:
		text = fmt.Appendf(text, "%q", arg)
	case time.Time:
		text = strconv.AppendInt(text, arg.UnixMicro(), 10)
	default:
		text = fmt.Appendf(text, "%v", arg)
	}
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}
