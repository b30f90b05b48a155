package textcrdt

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Flags of a run in a batch of operations, under its number of ids.
const (
	flagDelete = 1 << iota
	flagSite
	flagSum
	flagSession
	flagRef
	flagBack
	opFlags = iota
)

// AppendOps appends the encoding of ops to b. Each site's must follow one another without a gap, as those of [Doc.Operations]
// and of one replica's successive edits do; it panics if they do not.
func AppendOps(b []byte, ops []Op) []byte {
	start := len(b)
	b = appendHeader(b, kindOps, version)
	var table []batchSite
	index := map[Site]int{}
	mention := func(site Site) int {
		i, ok := index[site]
		if !ok {
			i = len(table)
			index[site] = i
			table = append(table, batchSite{site: site})
		}
		return i
	}
	for i := range ops {
		op := &ops[i]
		if s := &table[mention(op.Site)]; s.first == 0 {
			s.first, s.next = op.Seq, op.Seq
		}
		if op.Ref.Site != 0 {
			mention(op.Ref.Site)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(table)))
	for i := range table {
		b = binary.AppendUvarint(b, uint64(table[i].site))
		b = binary.AppendUvarint(b, uint64(table[i].first))
	}
	b = binary.AppendUvarint(b, uint64(len(ops)))
	state := batchState{site: -1, sum: 1}
	for i := range ops {
		op := &ops[i]
		own, ref := index[op.Site], -1
		if op.Ref.Site != 0 {
			ref = index[op.Ref.Site]
		}
		if table[own].next != op.Seq {
			panic(fmt.Sprintf("textcrdt: AppendOps: %v where %d.%d belongs", op.ID, op.Site, table[own].next))
		}
		b = state.append(b, op, table, own, ref)
		state.advance(op, table, own, ref)
	}
	for i := range ops {
		b = append(b, ops[i].Text...)
	}
	return appendChecksum(b, start)
}

// batchSite is a site of a batch.
type batchSite struct {
	site        Site
	first, next uint32 // seq of its first run, 0 if it has none, and of the next one
	touched     uint32 // seq referred to last, from which the next reference is told
}

// batchState is what the run before says of the next one.
type batchState struct {
	site    int // index, −1 before the first run
	sum     uint32
	session uint32
}

func (s *batchState) append(b []byte, op *Op, table []batchSite, own, ref int) []byte {
	flags := when(op.Delete, flagDelete) | when(own != s.site, flagSite) | when(op.Sum != s.sum, flagSum) |
		when(op.Session != s.session, flagSession) | when(ref != own, flagRef) | when(op.Back, flagBack)
	b = binary.AppendUvarint(b, uint64(op.N)<<opFlags|uint64(flags))
	if flags&flagSite != 0 {
		b = binary.AppendUvarint(b, uint64(own))
	}
	if flags&flagSum != 0 {
		b = appendSvarint(b, int64(op.Sum)-int64(s.sum))
	}
	if flags&flagSession != 0 {
		b = binary.AppendUvarint(b, uint64(op.Session))
	}
	if flags&flagRef != 0 {
		b = binary.AppendUvarint(b, uint64(ref+1))
	}
	if ref >= 0 {
		b = appendSvarint(b, int64(op.Ref.Seq)-int64(table[ref].touched))
	}
	return b
}

// advance goes on to the next run.
func (s *batchState) advance(op *Op, table []batchSite, own, ref int) {
	n := uint32(op.N)
	*s = batchState{own, op.Sum + n, op.Session}
	if ref >= 0 {
		table[ref].touched = op.Ref.Seq
	}
	switch {
	case op.Back:
		table[ref].touched -= n - 1
	case op.Delete:
		table[ref].touched += n - 1
	default:
		table[own].touched = op.Seq + n - 1
	}
	table[own].next = op.Seq + n
}

// DecodeOps decodes what [AppendOps] made, packed or not. The error wraps [ErrMalformed]. Whether a document can take the operations
// is for [Doc.Check] to say.
func DecodeOps(b []byte) ([]Op, error) {
	body, err := openAs(b, kindOps)
	if err != nil {
		return nil, err
	}
	d := opsDecoder{decoder: decoder{b: body}, state: batchState{site: -1, sum: 1}}
	d.readTable()
	ops := make([]Op, d.count())
	for i := range ops {
		d.read(&ops[i])
	}
	if d.err == nil && d.mentioned != len(d.table) {
		d.fail("a site that no run mentions")
	}
	d.readTexts(ops)
	if d.err != nil {
		return nil, d.err
	}
	return ops, nil
}

type opsDecoder struct {
	decoder
	table     []batchSite
	mentioned int // sites of the table that the runs so far mention
	state     batchState
}

func (d *opsDecoder) readTable() {
	d.table = make([]batchSite, d.count())
	seen := make(map[Site]bool, len(d.table))
	for i := range d.table {
		site := Site(d.uvarint(math.MaxUint32))
		first := uint32(d.uvarint(bound))
		if site == 0 || seen[site] {
			d.fail("site %d twice, or 0", site)
			return
		}
		seen[site] = true
		d.table[i] = batchSite{site: site, first: first, next: first}
	}
}

// site reads an index into the table.
func (d *opsDecoder) site(shift int) int {
	i := int(d.uvarint(uint64(d.mentioned+shift))) - shift
	d.mention(i)
	return i
}

// mention takes note that a run mentions a site. They stand in the table in the order in which runs mention them.
func (d *opsDecoder) mention(i int) {
	if i == d.mentioned {
		d.mentioned++
	}
	if d.mentioned > len(d.table) {
		d.mentioned = len(d.table)
		d.fail("a site that is not in the table")
	}
}

func (d *opsDecoder) read(op *Op) {
	head := d.uvarint(bound<<opFlags | (1<<opFlags - 1))
	op.N = int(head >> opFlags)
	op.Delete, op.Back = head&flagDelete != 0, head&flagBack != 0
	own := d.state.site
	if head&flagSite != 0 {
		own = d.site(0)
	}
	if d.err != nil || own < 0 || head&flagSite != 0 && own == d.state.site {
		d.fail("a run of no site, or told twice")
		return
	}
	op.Sum, op.Session = d.state.sum, d.state.session
	if head&flagSum != 0 {
		op.Sum = uint32(d.relative(int64(op.Sum), 1))
	}
	if head&flagSession != 0 {
		op.Session = uint32(d.uvarint(bound))
	}
	ref := own
	if head&flagRef != 0 {
		ref = d.site(1)
	}
	if d.err != nil {
		return
	}
	if ref >= 0 {
		op.Ref = ID{d.table[ref].site, uint32(d.relative(int64(d.table[ref].touched), 1))}
	}
	s := &d.table[own]
	op.ID = ID{s.site, s.next}
	if head&flagSum != 0 && op.Sum == d.state.sum || head&flagSession != 0 && op.Session == d.state.session || head&flagRef != 0 && ref == own {
		d.fail("%v is not told in the shortest way", op.ID)
		return
	}
	c := op.N
	if c == 0 || s.next == 0 || int(s.next)+c-1 > bound || int(op.Sum)+c-1 > bound ||
		op.Back && (!op.Delete || int(op.Ref.Seq) < c) || op.Delete && (ref < 0 || !op.Back && int(op.Ref.Seq)+c-1 > bound) {
		d.fail("%v has %d ids", op.ID, c)
		return
	}
	d.state.advance(op, d.table, own, ref)
}

// readTexts gives the operations their texts.
func (d *opsDecoder) readTexts(ops []Op) {
	if d.err != nil {
		return
	}
	for i := range d.table {
		if s := &d.table[i]; s.first != 0 && s.next == s.first {
			d.fail("site %d has no run", s.site)
			return
		}
	}
	text := string(d.b)
	all, ok := measure(text)
	if !ok {
		d.fail("the text is not valid UTF-8")
		return
	}
	for i := range ops {
		op := &ops[i]
		if op.Delete {
			continue
		}
		if op.N > all.chars {
			d.fail("less text than the runs have")
			return
		}
		bytes, _ := prefix(text, op.N)
		op.Text, text = text[:bytes], text[bytes:]
		all.chars -= op.N
	}
	if text != "" {
		d.fail("more text than the runs have")
	}
}
