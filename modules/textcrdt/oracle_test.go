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
	newest         map[Site]fact // of each site
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
	return &oracle{head: &node{}, known: map[ID]fact{}, last: Version{}, newest: map[Site]fact{}}
}

// clone copies all but what is early: it is what a snapshot keeps.
func (o *oracle) clone() *oracle {
	c := &oracle{session: o.session, clock: o.clock, head: &node{}, known: maps.Clone(o.known), last: maps.Clone(o.last), newest: maps.Clone(o.newest)}
	to := &c.head.next
	for n := o.head.next; n != nil; n = n.next {
		kept := *n
		*to, to = &kept, &kept.next
	}
	return c
}

// forget takes away what a snapshot does not tell.
func (o *oracle) forget() {
	maps.DeleteFunc(o.known, func(_ ID, f fact) bool { return f.delete })
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

// apply applies the operations in their order, and then the early ones that have become ripe. It returns the first refusal.
func (o *oracle) apply(ops []Op) error {
	for _, op := range ops {
		if err := o.take(op); errors.Is(err, errOracleEarly) {
			o.early = append(o.early, op)
		} else if err != nil {
			return err
		}
	}
	for o.retry() {
	}
	return nil
}

func (o *oracle) retry() (some bool) {
	for i, op := range o.early {
		if err := o.take(op); !errors.Is(err, errOracleEarly) {
			o.early = slices.Delete(o.early, i, i+1)
			return true
		}
	}
	return false
}

// take applies one run or says why not.
func (o *oracle) take(op Op) error {
	chars := []rune(op.Text)
	if !op.wellFormed(len(chars)) {
		return errOracleRefused
	}
	last := o.last[op.Site]
	if op.Seq > last+1 {
		return errOracleEarly
	}
	for ; op.N > 0 && op.Seq <= last; op = cutOp(op, 1, op.N) { // a prefix that is known
		if was, ok := o.known[op.ID]; ok && was != (fact{op.Delete, op.Session, op.Sum}) {
			return errOracleRefused
		}
		if op.N == 1 {
			return nil
		}
	}
	if !o.trusting && op.Sum > o.clock+1 {
		return errOracleEarly
	}
	if before := o.newest[op.Site]; !o.trusting && (op.Session < before.session || op.Sum <= before.sum) {
		return errOracleRefused
	}
	if op.Delete {
		return o.delete(op)
	}
	return o.insert(op)
}

// wellFormed says whether op can be an operation, whatever else is known.
func (op *Op) wellFormed(chars int) bool {
	seq, sum, ref, n := int(op.Seq), int(op.Sum), int(op.Ref.Seq), op.N
	switch {
	case op.Site == 0 || seq == 0 || sum == 0 || n < 1 || seq+n-1 > math.MaxInt32 || sum+n-1 > math.MaxInt32 || op.Session > math.MaxInt32:
		return false
	case op.Ref.Site == 0 && (ref != 0 || op.Delete) || op.Ref.Site != 0 && ref == 0:
		return false
	case op.Delete && op.Back:
		return chars == 0 && ref >= n && (op.Ref.Site != op.Site || ref < seq)
	case op.Delete:
		return chars == 0 && (op.Ref.Site != op.Site || ref+n-1 < seq)
	}
	return utf8.ValidString(op.Text) && chars == n && !op.Back && (op.Ref.Site != op.Site || ref < seq)
}

// referred returns the character that an operation of that session and sum refers to.
func (o *oracle) referred(id ID, session, sum uint32) (*node, error) {
	if id.Seq > o.last[id.Site] {
		return nil, errOracleEarly
	}
	n := o.find(id)
	if n == nil || !o.trusting && (session < n.session || sum <= n.sum) {
		return nil, errOracleRefused
	}
	return n, nil
}

func (o *oracle) insert(op Op) error {
	at, err := o.referred(op.Ref, op.Session, op.Sum)
	if err != nil {
		return err
	}
	for i, char := range []rune(op.Text) {
		n := &node{ID: ID{op.Site, op.Seq + uint32(i)}, session: op.Session, sum: op.Sum + uint32(i), char: char}
		for at.next != nil && at.next.compare(n) > 0 {
			at = at.next
		}
		n.next, at.next = at.next, n
		at = n
		o.learn(n.ID, fact{false, n.session, n.sum})
	}
	return nil
}

func (o *oracle) delete(op Op) error {
	var targets []*node
	for i := range op.N {
		t, err := o.referred(cutOp(op, i, op.N).Ref, op.Session, op.Sum+uint32(i))
		if err != nil {
			return err
		}
		targets = append(targets, t)
	}
	for i, t := range targets {
		t.deleted = true
		o.learn(ID{op.Site, op.Seq + uint32(i)}, fact{true, op.Session, op.Sum + uint32(i)})
	}
	return nil
}

func (o *oracle) learn(id ID, f fact) {
	o.known[id] = f
	o.last[id.Site] = id.Seq
	o.newest[id.Site] = f
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
	lag := map[Site]int64{}
	sites := slices.Sorted(maps.Keys(o.last))
	b = binary.AppendUvarint(b, uint64(len(sites)))
	before := Site(0)
	for _, site := range sites {
		b = binary.AppendUvarint(b, uint64(site-before))
		b = binary.AppendUvarint(b, uint64(o.last[site]))
		newest := o.newest[site]
		lag[site] = int64(newest.sum) - int64(o.last[site])
		b = binary.AppendUvarint(b, uint64(lag[site]))
		b = binary.AppendUvarint(b, uint64(newest.session))
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
	next := map[Site]uint32{}
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
