package document

import (
	"unicode/utf8"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/store"
	"rowcall/modules/textcrdt"
)

// group is operations that are committed together. The zero group has none.
type group struct {
	ops    []textcrdt.Op
	users  []int64 // who did each
	bytes  []byte  // the encodings of each by itself, one after another
	starts []int64 // where each begins in bytes, from 1
	sizes  []int64
}

func (g *group) add(user int64, ops ...textcrdt.Op) {
	for i := range ops {
		start := len(g.bytes)
		g.bytes = textcrdt.AppendOps(g.bytes, ops[i:i+1])
		g.starts = append(g.starts, int64(start)+1)
		g.sizes = append(g.sizes, int64(len(g.bytes)-start))
		g.users = append(g.users, user)
	}
	g.ops = append(g.ops, ops...)
}

// write is a group that waits to be appended to the log of its document.
type write struct {
	document       uuid.UUID
	membersVersion int64  // as of which their users may write
	tag            string // of the logins as of which they are who they are, if that is to be proven
	group          *group

	turn     chan []*write // brings those to write together, or is closed when they are written
	position int64         // of the last operation: 0, and nothing is written, if the members, or the logins, are others by now
	err      error
}

// Operations commute, so it does not matter what other nodes have added since the writer has looked, as long as the sites are where it has
// seen them: the table's trigger refuses everything else.
const appendGroup = `
	WITH head AS (
		UPDATE document_head SET position = position + cardinality($5::bigint[]), editor_id = $4
		WHERE tenant_id = $1 AND document_id = $2 AND members_version = $3 AND $12::text IN ('', auth_tag()) RETURNING position
	), run AS (
		INSERT INTO document_operation (tenant_id, document_id, position, site, seq, until, user_id, op)
		SELECT $1, $2, head.position - cardinality($5::bigint[]) + r.i, r.site, r.seq, r.until, r.user_id, substr($11::bytea, r.start::int, r.size::int)
		FROM head, unnest($5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[])
			WITH ORDINALITY AS r (site, seq, until, user_id, start, size, i)
		ORDER BY r.i
	)
	SELECT position FROM head`

// appendGroups is appendGroup for several documents. Their heads are locked in one order, so that nodes do not wait for each other in a circle.
const appendGroups = `
	WITH own AS MATERIALIZED (
		SELECT * FROM unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $15::text[])
			WITH ORDINALITY AS w (document_id, version, editor_id, n, skip, tag, g)
	), locked AS MATERIALIZED (
		SELECT own.g FROM own JOIN document_head h ON h.tenant_id = $1 AND h.document_id = own.document_id AND h.members_version = own.version
		WHERE own.tag IN ('', auth_tag())
		ORDER BY h.document_id FOR UPDATE OF h
	), head AS (
		UPDATE document_head h SET position = h.position + own.n, editor_id = own.editor_id
		FROM own JOIN locked USING (g)
		WHERE h.tenant_id = $1 AND h.document_id = own.document_id AND h.members_version = own.version
		RETURNING own.g, h.document_id, h.position, h.position - own.n - own.skip AS before
	), run AS (
		INSERT INTO document_operation (tenant_id, document_id, position, site, seq, until, user_id, op)
		SELECT $1, head.document_id, head.before + r.i, r.site, r.seq, r.until, r.user_id, substr($14::bytea, r.start::int, r.size::int)
		FROM head JOIN unnest($7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[])
			WITH ORDINALITY AS r (g, site, seq, until, user_id, start, size, i) USING (g)
		ORDER BY r.i
	)
	SELECT g, position FROM head`

// columns are the operations of groups as arguments.
type columns struct{ group, site, seq, until, user, start, size []int64 }

func (c *columns) add(number int64, g *group, offset int) {
	for i, op := range g.ops {
		c.group = append(c.group, number)
		c.site = append(c.site, int64(op.Site))
		c.seq = append(c.seq, int64(op.Seq))
		c.until = append(c.until, int64(op.Seq)+int64(op.N)-1)
		c.start = append(c.start, g.starts[i]+int64(offset))
	}
	c.user = append(c.user, g.users...)
	c.size = append(c.size, g.sizes...)
}

// alone writes a group.
func (w *write) alone(tx *store.Tx) {
	var c columns
	c.add(0, w.group, 0)
	w.position = 0
	w.err = tx.Each(appendGroup, []any{
		tx.Actor.Tenant.String(), w.document.String(), w.membersVersion, w.group.users[len(w.group.users)-1],
		c.site, c.seq, c.until, c.user, c.start, c.size, w.group.bytes, w.tag,
	}, []any{&w.position}, func() bool { return true })
}

// together writes groups of several documents, all of them or none.
func together(tx *store.Tx, all []*write) error {
	var c columns
	var documents, tags []string
	var versions, editors, counts, skips []int64
	var bytes []byte
	for i, w := range all {
		documents, tags = append(documents, w.document.String()), append(tags, w.tag)
		versions = append(versions, w.membersVersion)
		editors = append(editors, w.group.users[len(w.group.users)-1])
		counts, skips = append(counts, int64(len(w.group.ops))), append(skips, int64(len(c.group)))
		c.add(int64(i+1), w.group, len(bytes))
		bytes = append(bytes, w.group.bytes...)
	}
	var g, position int64
	return tx.Each(appendGroups, []any{
		tx.Actor.Tenant.String(), documents, versions, editors, counts, skips, c.group, c.site, c.seq, c.until, c.user, c.start, c.size, bytes, tags,
	}, []any{&g, &position}, func() bool { all[g-1].position = position; return true })
}

// runText is how much text an operation of the server's own has at most, in bytes.
const runText = 64 << 10

// split cuts an insertion of much text into several of up to runText bytes, each behind the one before it.
func split(op textcrdt.Op) []textcrdt.Op {
	var parts []textcrdt.Op
	for len(op.Text) > runText {
		end := runText
		for !utf8.RuneStart(op.Text[end]) {
			end--
		}
		n := utf8.RuneCountInString(op.Text[:end])
		part := op
		part.N, part.Text = n, op.Text[:end]
		parts = append(parts, part)
		op = cut(op, n)
	}
	return append(parts, op)
}

// PositionOf returns the position of a document that begins with a text, which Begin takes.
func PositionOf(text string) int64 {
	if text == "" || !utf8.ValidString(text) {
		return 0
	}
	return int64(len(split(textcrdt.Op{N: utf8.RuneCountInString(text), Text: text})))
}

// Begin gives a document that has been made in the transaction its first text. VALIDATION at "text" for one that is not UTF-8.
func Begin(tx *store.Tx, document uuid.UUID, text string) error {
	if !utf8.ValidString(text) {
		return apperr.Validation(apperr.Issue{Path: "text", Reason: "is not UTF-8"})
	}
	if text == "" {
		return nil
	}
	site, session, err := giveSite(tx, document, tx.Actor.User)
	if err != nil {
		return err
	}
	_, version, err := membersOf(tx, document)
	if err != nil {
		return err
	}
	var g group
	g.add(tx.Actor.User, split(textcrdt.Op{
		ID: textcrdt.ID{Site: site, Seq: 1}, Session: session, Sum: 1, N: utf8.RuneCountInString(text), Text: text,
	})...)
	w := write{document: document, membersVersion: version, group: &g}
	w.alone(tx)
	return w.err
}

// after returns what is left of an operation where its site is known up to a seq; false for nothing.
func after(op textcrdt.Op, known uint32) (textcrdt.Op, bool) {
	switch {
	case last(&op) <= known:
		return op, false
	case op.Seq <= known:
		return cut(op, int(known-op.Seq)+1), true
	default:
		return op, true
	}
}

// cut returns what is left of an operation when n of its characters are known.
func cut(op textcrdt.Op, n int) textcrdt.Op {
	op.Seq += uint32(n)
	op.Sum += uint32(n)
	op.N -= n
	switch {
	case !op.Delete:
		op.Ref = textcrdt.ID{Site: op.Site, Seq: op.Seq - 1}
		for range n {
			_, size := utf8.DecodeRuneInString(op.Text)
			op.Text = op.Text[size:]
		}
	case op.Back:
		op.Ref.Seq -= uint32(n)
	default:
		op.Ref.Seq += uint32(n)
	}
	return op
}
