package textcrdt

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"unicode/utf8"
)

// oracle is docs/textcrdt.md in the plainest way: a linked list with a node per character, and scans. What it knows, it has from that page
// alone, so Doc is held against the page by being held against it.
type oracle struct {
	session, clock uint32 // the greatest of operations
	head           *node  // id 0.0: the start of the document
	known          map[ID]fact
	last           Version
	early          []Op

	trusting bool // refuses nothing, for mutants
}

type node struct {
	ID
	session, sum uint32
	char         rune
	deleted      bool
	next         *node
}

// fact is what is known of an id.
type fact struct {
	delete       bool
	session, sum uint32
}

var errOracleEarly, errOracleRefused = errors.New("early"), errors.New("refused")

func newOracle() *oracle {
	return &oracle{head: &node{}, known: map[ID]fact{}, last: Version{}}
}

// clone copies all but what is early: it is what a snapshot keeps.
func (o *oracle) clone() *oracle {
	c := &oracle{session: o.session, clock: o.clock, head: &node{}, known: maps.Clone(o.known), last: maps.Clone(o.last)}
	to := &c.head.next
	for n := o.head.next; n != nil; n = n.next {
		kept := *n
		*to, to = &kept, &kept.next
	}
	return c
}

func (a *node) compare(b *node) int {
	for _, pair := range [][2]uint32{{a.session, b.session}, {a.sum, b.sum}, {uint32(a.Site), uint32(b.Site)}, {a.Seq, b.Seq}} {
		if pair[0] != pair[1] {
			if pair[0] < pair[1] {
				return -1
			}
			return 1
		}
	}
	return 0
}

func (o *oracle) find(id ID) *node {
	for n := o.head; n != nil; n = n.next {
		if n.ID == id {
			return n
		}
	}
	return nil
}

// apply applies the operations in their order, and after each the early ones that have become ripe. It returns the first refusal.
func (o *oracle) apply(ops []Op) error {
	for _, op := range ops {
		switch err := o.take(op); err {
		case nil:
			for o.retry() {
			}
		case errOracleEarly:
			o.early = append(o.early, op)
		default:
			return err
		}
	}
	return nil
}

func (o *oracle) retry() (some bool) {
	for i, op := range o.early {
		if err := o.take(op); err != errOracleEarly {
			o.early = slices.Delete(o.early, i, i+1)
			return true
		}
	}
	return false
}

// take applies one run or says why not.
func (o *oracle) take(op Op) error {
	if op.Site == 0 || op.Seq == 0 || op.N < 1 || op.Sum == 0 {
		return errOracleRefused
	}
	chars := []rune(op.Text)
	if !op.Delete && (!utf8.ValidString(op.Text) || len(chars) != op.N) || op.Delete && op.Text != "" {
		return errOracleRefused
	}
	if uint64(op.Seq)+uint64(op.N) > math.MaxInt32+1 || uint64(op.Sum)+uint64(op.N) > math.MaxInt32+1 {
		return errOracleRefused
	}
	ref := op.Ref
	i := 0
	for ; i < op.N && op.Seq+uint32(i) <= o.last[op.Site]; i++ { // a prefix that is known
		id := ID{op.Site, op.Seq + uint32(i)}
		if !o.trusting && o.known[id] != (fact{op.Delete, op.Session, op.Sum + uint32(i)}) {
			return errOracleRefused
		}
		switch {
		case !op.Delete:
			ref = id
		case op.Back:
			ref.Seq--
		default:
			ref.Seq++
		}
	}
	if i == op.N {
		return nil
	}
	first := node{ID: ID{op.Site, op.Seq + uint32(i)}, session: op.Session, sum: op.Sum + uint32(i)}
	reach := ref
	if op.Delete && !op.Back {
		reach.Seq += uint32(op.N - i - 1)
	}
	if first.Seq > o.last[op.Site]+1 || !o.trusting && first.sum > o.clock+1 || reach.Seq > o.last[ref.Site] {
		return errOracleEarly
	}
	if before, ok := o.known[ID{op.Site, first.Seq - 1}]; ok && !o.trusting && (op.Session < before.session || first.sum <= before.sum) {
		return errOracleRefused
	}
	if op.Delete {
		return o.delete(op, first, ref, op.N-i)
	}
	return o.insert(first, ref, chars[i:])
}

func (o *oracle) insert(n node, origin ID, chars []rune) error {
	at := o.find(origin)
	if at == nil || !o.trusting && n.compare(at) <= 0 || !o.trusting && n.session < at.session {
		return errOracleRefused
	}
	for _, char := range chars {
		for at.next != nil && at.next.compare(&n) > 0 {
			at = at.next
		}
		placed := n
		placed.char, placed.next = char, at.next
		at.next, at = &placed, &placed
		o.learn(placed.ID, fact{false, n.session, n.sum})
		n.Seq, n.sum = n.Seq+1, n.sum+1
	}
	return nil
}

func (o *oracle) delete(op Op, d node, target ID, n int) error {
	var targets []*node
	for i := range n {
		at := ID{target.Site, target.Seq + uint32(i)}
		if op.Back {
			at.Seq = target.Seq - uint32(i)
		}
		t, by := o.find(at), d
		by.Seq, by.sum = d.Seq+uint32(i), d.sum+uint32(i)
		if t == nil || t == o.head || by.session < t.session || by.compare(t) <= 0 {
			return errOracleRefused
		}
		targets = append(targets, t)
	}
	for i, t := range targets {
		t.deleted = true
		o.learn(ID{d.Site, d.Seq + uint32(i)}, fact{true, d.session, d.sum + uint32(i)})
	}
	return nil
}

func (o *oracle) learn(id ID, f fact) {
	o.known[id] = f
	o.last[id.Site] = id.Seq
	o.clock = max(o.clock, f.sum)
	o.session = max(o.session, f.session)
}

func (o *oracle) text() string {
	var text []rune
	for n := o.head.next; n != nil; n = n.next {
		if !n.deleted {
			text = append(text, n.char)
		}
	}
	return string(text)
}

// resolve is where an anchor is, in visible characters.
func (o *oracle) resolve(a Anchor) (pos int, ok bool) {
	for n := o.head; n != nil; n = n.next {
		visible := n != o.head && !n.deleted
		if n.ID == a.ID {
			if n == o.head && a.Before {
				return len([]rune(o.text())), true
			}
			if visible && !a.Before {
				pos++
			}
			return pos, true
		}
		if visible {
			pos++
		}
	}
	return 0, false
}

// snapshot is the canonical state.
func (o *oracle) snapshot() []byte {
	b := []byte{'r', 'c', 's', 1}
	b = binary.AppendUvarint(b, uint64(o.session))
	b = binary.AppendUvarint(b, uint64(o.clock))
	sites := slices.Sorted(maps.Keys(o.last))
	b = binary.AppendUvarint(b, uint64(len(sites)))
	before := Site(0)
	for _, site := range sites {
		b = binary.AppendUvarint(b, uint64(site-before))
		b = binary.AppendUvarint(b, uint64(o.last[site]))
		before = site
	}
	type span struct {
		*node
		n uint32
	}
	var spans []span
	for n := o.head.next; n != nil; n = n.next {
		if len(spans) > 0 {
			s := &spans[len(spans)-1]
			if s.Site == n.Site && s.session == n.session && s.deleted == n.deleted && s.Seq+s.n == n.Seq && s.sum+s.n == n.sum {
				s.n++
				continue
			}
		}
		spans = append(spans, span{n, 1})
	}
	b = binary.AppendUvarint(b, uint64(len(spans)))
	next, lag := map[Site]uint32{}, map[Site]int64{}
	var site Site
	var session uint32
	for _, s := range spans {
		if next[s.Site] == 0 {
			next[s.Site] = 1
		}
		head := uint64(s.n) << 4
		var rest []byte
		if s.deleted {
			head |= 1
		}
		if s.Site != site {
			head |= 2
			rest = binary.AppendUvarint(rest, uint64(slices.Index(sites, s.Site)))
			site = s.Site
		}
		if l := int64(s.sum) - int64(s.Seq); l != lag[s.Site] {
			head |= 4
			rest = binary.AppendVarint(rest, l-lag[s.Site])
			lag[s.Site] = l
		}
		if s.session != session {
			head |= 8
			rest = binary.AppendUvarint(rest, uint64(s.session))
			session = s.session
		}
		b = append(binary.AppendUvarint(b, head), rest...)
		b = binary.AppendVarint(b, int64(s.Seq)-int64(next[s.Site]))
		next[s.Site] = s.Seq + s.n
	}
	b = append(b, o.text()...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}
