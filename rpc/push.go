package rpc

import (
	"context"
	"maps"
	"reflect"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/changelog"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/ledger"
	"rowcall/modules/store"
)

// sync_push carries out what a client has queued while it was offline. Each mutation is a transaction of its own, in their order, so that
// one that is refused does not hold back the others, and a crash leaves what came before it; the ledger makes a repeat of the whole
// safe.

// maxPushed is how many mutations one call may have.
const maxPushed = 1000

type (
	pushParams struct {
		Mutations []pushedMutation `json:"mutations"`
	}
	pushedMutation struct {
		MutationID uuid.UUID      `json:"mutation_id"`
		Op         string         `json:"op"`
		Entity     string         `json:"entity"`
		ID         jsontext.Value `json:"id,omitzero"`
		Version    *int64         `json:"version,omitzero"`
		Data       jsontext.Value `json:"data,omitzero"`
	}
	pushResult struct {
		Data     []pushed `json:"data"`
		Position *int64   `json:"position"` // the last of those in data; null if none was applied
	}
	// pushed is what became of a mutation. What is answered to one that is repeated is all of it, so nothing of the call or of the
	// others is in it.
	pushed struct {
		MutationID uuid.UUID      `json:"mutation_id"`
		Status     string         `json:"status"`
		ID         jsontext.Value `json:"id,omitzero"`
		Position   int64          `json:"position,omitzero"`
		Version    int64          `json:"version,omitzero"`
		Data       jsontext.Value `json:"data,omitzero"`
		Current    jsontext.Value `json:"current,omitzero"`
		Error      *pushError     `json:"error,omitzero"`
	}
	pushError struct {
		Code    int                       `json:"code"`
		Message string                    `json:"message"`
		Data    map[string]jsontext.Value `json:"data"`
	}
)

// What can become of a mutation.
const (
	applied    = "applied"
	conflicted = "conflict"
	rejected   = "rejected"
)

// writer applies a mutation to a row of one entity. Its issues have paths from the mutation on.
type writer func(tx *store.Tx, m *pushedMutation) (pushed, error)

func (api API) push(ctx context.Context, p pushParams) (pushResult, error) {
	var result pushResult
	tx, err := api.DB.Session(ctx)
	if err == nil {
		err = tx.Actor.Can(auth.Member, auth.ScopeWrite)
	}
	switch {
	case err != nil:
		return result, err
	case tx.Joined():
		return result, apperr.New(apperr.InvalidRequest, "sync_push cannot be a part of an atomic batch: its mutations are each kept by themselves")
	case len(p.Mutations) > maxPushed:
		return result, apperr.Invalid(apperr.Issue{Path: "params.mutations", Reason: "may have at most 1000 items"})
	}
	size := 0
	for i := range p.Mutations {
		one, bytes, err := api.pushOne(ctx, &p.Mutations[i])
		if err != nil {
			return result, err
		}
		if size += bytes; size > maxWritten {
			return result, apperr.Invalid(apperr.Issue{Path: "params.mutations", Reason: "the answer takes more than 64 MiB: send fewer at once"})
		}
		if one.Position > 0 && (result.Position == nil || *result.Position < one.Position) {
			result.Position = &one.Position
		}
		result.Data = append(result.Data, one)
	}
	return result, nil
}

// pushOne returns what became of a mutation, now or when it was first asked for, and about how many bytes that is. An error is one
// of a kind that leaves it open: the client is to ask again.
func (api API) pushOne(ctx context.Context, m *pushedMutation) (one pushed, bytes int, err error) {
	digest, err := ledger.Digest("sync_push", m)
	if err != nil {
		return one, 0, err
	}
	auth.RequestFrom(ctx).Stats.Rows++ // whatever comes of it
	named := ledger.Mutation{ID: m.MutationID, Digest: digest, Path: "mutation_id"}
	answered, err := api.ledger.Once(ctx, named, func(tx *store.Tx) (func() ([]byte, error), error) {
		write := api.writers[m.Entity]
		if write == nil {
			return nil, apperr.Invalid(apperr.Issue{
				Path: "entity", Reason: "is none that can be written", Allowed: slices.Sorted(maps.Keys(api.writers)),
			})
		}
		if one, err = write(tx, m); err != nil {
			return nil, err
		}
		position := tx.Position()
		return func() ([]byte, error) {
			one.MutationID, one.Status, one.Position = m.MutationID, applied, *position
			return jsonrpc.Marshal(&one)
		}, nil
	}, m.refused)
	if e := apperr.From(err); e != nil {
		switch e.Kind { //nolint:exhaustive // the ledger has no other refusals of its own
		case apperr.InvalidParams, apperr.ValidationFailed, apperr.Forbidden:
			answered, err = m.refused(e)
		}
	}
	if err == nil && answered != nil {
		one = pushed{}
		err = json.Unmarshal(answered, &one)
	}
	return one, len(one.Data) + len(one.Current), err
}

// refused returns what became of a mutation that was not applied.
func (m *pushedMutation) refused(e *apperr.Error) ([]byte, error) {
	one := pushed{MutationID: m.MutationID, ID: m.ID}
	r, err := refusalOf(e)
	switch {
	case err != nil:
		return nil, err
	case e.Kind == apperr.Conflict:
		one.Status, one.Current = conflicted, r.Data["current"]
	case e.Kind == apperr.NotFound:
		one.Status, one.Current = conflicted, jsontext.Value("null")
	default:
		r.Data["kind"] = jsontext.Value(`"` + e.Kind + `"`)
		one.Status, one.Error = rejected, &pushError{e.Kind.Code(), e.Message, r.Data}
	}
	return jsonrpc.Marshal(&one)
}

// apply is the writer of the entity.
func (n entity[E, K]) apply(tx *store.Tx, m *pushedMutation) (one pushed, err error) {
	id, err := m.rowID(reflect.TypeFor[K]())
	if err != nil {
		return one, err
	}
	var e E
	switch m.Op {
	case changelog.Create:
		if e, err = n.repo.DecodeNew(m.Data); err == nil {
			if id.IsValid() {
				inData := reflect.ValueOf(&e).Elem().FieldByName("ID") // of store.Base
				if !inData.IsZero() && !inData.Equal(id) {
					return one, apperr.Invalid(apperr.Issue{Path: "id", Reason: "is another one than in data"})
				}
				inData.Set(id)
			}
			e, err = n.repo.Create(tx, e)
		}
	case changelog.Update:
		var changes store.Set
		if changes, err = n.repo.DecodeChanges(m.Data); err == nil {
			e, err = n.repo.Update(tx, id.Interface().(K), changes, store.IfVersion(m.Version))
		}
	case changelog.Delete:
		e, err = n.repo.Delete(tx, id.Interface().(K), store.IfVersion(m.Version))
	}
	if err != nil {
		return one, apperr.Under("data", n.conflict(tx, err))
	}
	row := reflect.ValueOf(&e).Elem()
	one.Version = row.FieldByName("Version").Int()
	if one.ID, err = jsonrpc.Marshal(row.FieldByName("ID").Interface()); err != nil {
		return one, err
	}
	if m.Op == changelog.Delete {
		one.Version++ // as in its entry
		one.Data = jsontext.Value("null")
		return one, nil
	}
	shown := n.row(tx, e)
	one.Data, err = jsonrpc.Marshal(&shown)
	return one, err
}

// rowID returns the id of the mutation's row as a value of its type; the zero Value if the row has yet to get one. It is INVALID_PARAMS
// for members that do not go with the op.
func (m *pushedMutation) rowID(of reflect.Type) (reflect.Value, error) {
	given := func(v jsontext.Value) bool { return v != nil && v.Kind() != jsontext.KindNull }
	isUUID := of == reflect.TypeFor[uuid.UUID]()
	var issues []apperr.Issue
	refuse := func(path, reason string) { issues = append(issues, apperr.Issue{Path: path, Reason: reason}) }
	switch m.Op {
	case changelog.Create:
		if m.Version != nil {
			refuse("version", "has no meaning here: the row is new")
		}
		if given(m.ID) && !isUUID {
			refuse("id", "cannot be given: the server makes it")
		}
	case changelog.Update, changelog.Delete:
		if !given(m.ID) {
			refuse("id", "is required")
		}
	default:
		issues = append(issues, apperr.Issue{Path: "op", Reason: "is not known", Allowed: []string{changelog.Create, changelog.Update, changelog.Delete}})
	}
	switch {
	case m.Op == changelog.Delete && given(m.Data):
		refuse("data", "has no meaning here")
	case m.Op != changelog.Delete && !given(m.Data):
		refuse("data", "is required")
	}
	if len(issues) > 0 || !given(m.ID) {
		return reflect.Value{}, invalidIf(issues)
	}
	id := reflect.New(of)
	err := json.Unmarshal(m.ID, id.Interface())
	made, _ := id.Elem().Interface().(uuid.UUID)
	switch {
	case err != nil && isUUID:
		refuse("id", "must be a valid UUID")
	case err != nil:
		refuse("id", "must be an integer that fits in 64 bits")
	case isUUID && m.Op == changelog.Create && made.Version() != 7:
		refuse("id", "must be a UUIDv7")
	}
	return id.Elem(), invalidIf(issues)
}

func invalidIf(issues []apperr.Issue) error {
	if len(issues) == 0 {
		return nil
	}
	return apperr.Invalid(issues...)
}
