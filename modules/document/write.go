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

// Operations commute, so it does not matter what other nodes have added since the writer has looked, as long as the sites are where it has
// seen them: the table's trigger refuses everything else.
const appendGroup = `
	WITH head AS (
		UPDATE document_head SET position = position + cardinality($5::bigint[]), editor_id = $4
		WHERE tenant_id = $1 AND document_id = $2 AND members_version = $3 RETURNING position
	), run AS (
		INSERT INTO document_operation (tenant_id, document_id, position, site, seq, until, user_id, op)
		SELECT $1, $2, head.position - cardinality($5::bigint[]) + r.i, r.site, r.seq, r.until, r.user_id, substr($11::bytea, r.start::int, r.size::int)
		FROM head, unnest($5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[])
			WITH ORDINALITY AS r (site, seq, until, user_id, start, size, i)
	)
	SELECT position FROM head`

// write appends a group to the log, and returns the position of its last operation: 0, and nothing is written, if the members are no longer those
// of the version.
func (g *group) write(tx *store.Tx, document uuid.UUID, membersVersion int64) (position int64, err error) {
	site, seq, until := make([]int64, len(g.ops)), make([]int64, len(g.ops)), make([]int64, len(g.ops))
	for i, op := range g.ops {
		site[i], seq[i], until[i] = int64(op.Site), int64(op.Seq), int64(op.Seq)+int64(op.N)-1
	}
	err = tx.Each(appendGroup, []any{
		tx.Actor.Tenant.String(), document.String(), membersVersion, g.users[len(g.users)-1],
		site, seq, until, g.users, g.starts, g.sizes, g.bytes,
	}, []any{&position}, func() bool { return true })
	return position, err
}

// runText is how much text an operation of the server's own has at most, in bytes.
const runText = 64 << 10

// splitText cuts a text into parts of up to runText bytes.
func splitText(text string) []string {
	var parts []string
	for len(text) > runText {
		end := runText
		for !utf8.RuneStart(text[end]) {
			end--
		}
		parts = append(parts, text[:end])
		text = text[end:]
	}
	if text != "" {
		parts = append(parts, text)
	}
	return parts
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
	id := textcrdt.ID{}
	for _, part := range splitText(text) {
		op := textcrdt.Op{
			ID: textcrdt.ID{Site: site, Seq: id.Seq + 1}, Session: session, Sum: id.Seq + 1,
			N: utf8.RuneCountInString(part), Ref: id, Text: part,
		}
		g.add(tx.Actor.User, op)
		id = textcrdt.ID{Site: site, Seq: id.Seq + uint32(op.N)}
	}
	_, err = g.write(tx, document, version)
	return err
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
