package document

import (
	"errors"
	"fmt"
	"math"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/store"
	"rowcall/modules/textcrdt"
)

// This file reads what is stored of a document.

// Bounds of what is read at once. A chunk of the history is one piece, whatever it holds.
const (
	pageRuns  = 2000
	pageBytes = 512 << 10
)

// errCorrupt is the error of a log that cannot be as it is.
var errCorrupt = errors.New("document: the log is broken")

func noDocument(document uuid.UUID) error { return apperr.NoRow("document", document) }

// piece is a part of a log as it is stored: a row, or a chunk of the history.
type piece struct {
	first, last int64
	operations  []byte
}

// stretch is the beginning of what a log has after a position.
type stretch struct {
	since          int64
	head           int64 // of the log
	membersVersion int64 // as the pieces were read
	pieces         []piece
}

// The pieces and the head are of one snapshot of the database, so what is compacted meanwhile is there once.
const afterPosition = `
	WITH chunk AS (
		SELECT first, position, operations FROM document_history
		WHERE tenant_id = $1 AND document_id = $2 AND position > $3 ORDER BY position LIMIT 1
	), run AS (
		SELECT position, op, sum(octet_length(op)) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) - octet_length(op) AS size
		FROM document_operation
		WHERE tenant_id = $1 AND document_id = $2 AND position > $3 AND NOT EXISTS (SELECT FROM chunk)
		ORDER BY position LIMIT $4
	)
	SELECT h.position, h.members_version, coalesce(p.first, 0), coalesce(p.position, 0), coalesce(p.operations, '')
	FROM document_head h
	LEFT JOIN (
		SELECT * FROM chunk UNION ALL SELECT position, position, op FROM run WHERE size < $5
	) p ON true
	WHERE h.tenant_id = $1 AND h.document_id = $2
	ORDER BY p.position`

// nowhere is a position after which there is nothing.
const nowhere = math.MaxInt64

// readAfter reads up to so many runs after a position, or one chunk of the history.
func readAfter(tx *store.Tx, document uuid.UUID, since int64, limit int) (stretch, error) {
	s := stretch{since: since}
	found := false
	var p piece
	err := tx.Each(afterPosition, []any{tx.Actor.Tenant.String(), document.String(), since, limit, pageBytes},
		[]any{&s.head, &s.membersVersion, &p.first, &p.last, &p.operations}, func() bool {
			found = true
			if p.last > 0 {
				s.pieces = append(s.pieces, p)
			}
			return true
		})
	if err == nil && !found {
		err = noDocument(document)
	}
	return s, err
}

// last returns the position up to which the stretch reaches.
func (s *stretch) last() int64 {
	if len(s.pieces) == 0 {
		return s.since
	}
	return s.pieces[len(s.pieces)-1].last
}

// decode returns the operations of the stretch, and how many bytes they take.
func (s *stretch) decode() (ops []textcrdt.Op, size int, err error) {
	next := s.since + 1
	for _, p := range s.pieces {
		more, err := textcrdt.DecodeOps(p.operations)
		if err != nil {
			return nil, 0, fmt.Errorf("%w at %d: %w", errCorrupt, p.last, err)
		}
		if p.first > next || p.last < next || int64(len(more)) != p.last-p.first+1 {
			return nil, 0, fmt.Errorf("%w: %d to %d are %d operations, after %d", errCorrupt, p.first, p.last, len(more), next-1)
		}
		ops = append(ops, more[next-p.first:]...)
		size += len(p.operations)
		next = p.last + 1
	}
	if len(s.pieces) == 0 && s.head > s.since {
		return nil, 0, fmt.Errorf("%w: nothing of %d to %d is there", errCorrupt, next, s.head)
	}
	return ops, size, nil
}

// batch returns the operations of the stretch as one batch, at most so many, and the position of the last.
func (s *stretch) batch(limit int) (operations []byte, last int64, err error) {
	if len(s.pieces) == 1 && s.pieces[0].first == s.since+1 && s.pieces[0].last-s.since <= int64(limit) {
		return s.pieces[0].operations, s.last(), nil
	}
	ops, _, err := s.decode()
	if err != nil || len(ops) == 0 {
		return nil, s.since, err
	}
	ops = ops[:min(len(ops), limit)]
	return textcrdt.AppendOps(nil, ops), s.since + int64(len(ops)), nil
}

// saved is a replica made of what is stored.
type saved struct {
	doc      *textcrdt.Doc
	position int64
	snapshot int   // bytes of the snapshot that it was begun with
	runs     int64 // applied since
	size     int   // bytes of these
}

// load makes a replica of a document as it was at a position, or is if that is nowhere.
func load(tx *store.Tx, document uuid.UUID, position int64) (saved, error) {
	var at int64
	var snapshot []byte
	found := false
	err := tx.Each(`SELECT position, CASE WHEN position <= $3 THEN snapshot ELSE '' END FROM document_snapshot
		WHERE tenant_id = $1 AND document_id = $2`, []any{tx.Actor.Tenant.String(), document.String(), position},
		[]any{&at, &snapshot}, func() bool { found = true; return true })
	if err == nil && !found {
		err = noDocument(document)
	}
	if err != nil {
		return saved{}, err
	}
	s := saved{snapshot: len(snapshot)}
	if len(snapshot) > 0 {
		s.position = at
	}
	if s.doc, err = loadSnapshot(snapshot); err != nil {
		return saved{}, err
	}
	return s, s.advance(tx, document, position)
}

// advance brings a replica to a position, or to the head.
func (s *saved) advance(tx *store.Tx, document uuid.UUID, position int64) error {
	for s.position < position {
		part, err := readAfter(tx, document, s.position, pageRuns)
		if err != nil {
			return err
		}
		ops, size, err := part.decode()
		if err != nil {
			return err
		}
		ops = ops[:min(int64(len(ops)), position-s.position)]
		if err := s.apply(ops); err != nil {
			return err
		}
		s.size += size
		if s.position >= part.head {
			break
		}
	}
	return nil
}

// loadSnapshot returns the replica of a snapshot, which at the position 0 is empty.
func loadSnapshot(snapshot []byte) (*textcrdt.Doc, error) {
	if len(snapshot) == 0 {
		return textcrdt.New(0, 0), nil
	}
	doc, err := textcrdt.Load(0, 0, snapshot)
	if err != nil {
		return nil, fmt.Errorf("%w: the snapshot: %w", errCorrupt, err)
	}
	return doc, nil
}

// apply applies the operations that come next.
func (s *saved) apply(ops []textcrdt.Op) error {
	if err := applyAll(s.doc, ops); err != nil {
		return fmt.Errorf("%w after %d: %w", errCorrupt, s.position, err)
	}
	s.position += int64(len(ops))
	s.runs += int64(len(ops))
	return nil
}

// applyAll applies stored operations, of which none can be early.
func applyAll(doc *textcrdt.Doc, ops []textcrdt.Op) error {
	if err := doc.Apply(ops, nil); err != nil {
		return err
	}
	if doc.Early() > 0 {
		return textcrdt.ErrEarly
	}
	return nil
}

// access is what a member may do, and where the document is.
type access struct {
	Role     Role  `db:"role"`
	Position int64 `db:"position"`
	Session  int64 `db:"session"`
}

// accessOf returns what the actor may do with a document; NOT_FOUND if that is nothing.
func accessOf(tx *store.Tx, document uuid.UUID) (a access, err error) {
	found := false
	err = tx.Each(`
		SELECT m.role, h.position, h.session
		FROM document_head h JOIN document_member m ON m.tenant_id = h.tenant_id AND m.document_id = h.document_id
		WHERE h.tenant_id = $1 AND h.document_id = $2 AND m.user_id = $3`,
		[]any{tx.Actor.Tenant.String(), document.String(), tx.Actor.User}, []any{&a.Role, &a.Position, &a.Session},
		func() bool { found = true; return true })
	if err == nil && !found {
		err = noDocument(document)
	}
	return a, err
}

// membersOf returns the members of a document, with the version of which they are.
func membersOf(tx *store.Tx, document uuid.UUID) (members map[int64]Role, version int64, err error) {
	var text []byte
	found := false
	err = tx.Each(`
		SELECT h.members_version, (SELECT coalesce(json_object_agg(m.user_id, m.role), '{}') FROM document_member m
			WHERE m.tenant_id = h.tenant_id AND m.document_id = h.document_id)::text
		FROM document_head h WHERE h.tenant_id = $1 AND h.document_id = $2`,
		[]any{tx.Actor.Tenant.String(), document.String()}, []any{&version, &text}, func() bool { found = true; return true })
	if err == nil && !found {
		err = noDocument(document)
	}
	if err == nil {
		err = json.Unmarshal(text, &members)
	}
	return members, version, err
}

// sitesOf returns whose the sites are that there are; 0: the server's.
func sitesOf(tx *store.Tx, document uuid.UUID, sites []textcrdt.Site) (map[textcrdt.Site]int64, error) {
	users := map[textcrdt.Site]int64{}
	var site textcrdt.Site
	var user int64
	err := tx.Each(`SELECT site, coalesce(user_id, 0) FROM document_site WHERE tenant_id = $1 AND document_id = $2 AND site = ANY ($3::bigint[])`,
		[]any{tx.Actor.Tenant.String(), document.String(), numbers(sites)}, []any{&site, &user},
		func() bool { users[site] = user; return true })
	return users, err
}

func numbers(sites []textcrdt.Site) []int64 {
	all := make([]int64, len(sites))
	for i, site := range sites {
		all[i] = int64(site)
	}
	return all
}

// A database that was restored from a backup may have forgotten sites that it gave since. So after that, and in a session of its own, it
// leaves some out.
const give = `
	WITH given AS (
		UPDATE document_head SET
			sites = sites + CASE WHEN epoch IN ('', current_epoch()) THEN 1 ELSE 65536 END,
			session = session + CASE WHEN epoch IN ('', current_epoch()) THEN 0 ELSE 1 END,
			server_site = CASE WHEN epoch = current_epoch() THEN server_site END,
			epoch = current_epoch()
		WHERE tenant_id = $1 AND document_id = $2 RETURNING sites, session
	), site AS (
		INSERT INTO document_site (tenant_id, document_id, site, user_id) SELECT $1, $2, sites, nullif($3::bigint, 0) FROM given
	)
	SELECT sites, session FROM given`

// giveSite returns a site that has never been given before, for a user or, if that is 0, for the server.
func giveSite(tx *store.Tx, document uuid.UUID, user int64) (site textcrdt.Site, session uint32, err error) {
	err = tx.Each(give, []any{tx.Actor.Tenant.String(), document.String(), user}, []any{&site, &session}, func() bool { return true })
	if err == nil && site == 0 {
		err = noDocument(document)
	}
	return site, session, err
}
