package rpc_test

import (
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/auth"
	"rowcall/modules/changelog"
	"rowcall/modules/jsonrpc"
	"rowcall/rpc"
	"rowcall/rpc/rpctest"
)

// TestSees: a reader sees an entry as the repositories would let it see the row before the change and after it.
func TestSees(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	mine, others := jsontext.Value(`{"id": 1, "name": "user_id", "x": {"user_id": 5}, "user_id": 1000}`), jsontext.Value(`{"user_id": 10001}`)
	for _, c := range []struct {
		entity        string
		op            string
		before, after jsontext.Value
		member, admin changelog.Sight
	}{
		{"task", changelog.Create, nil, others, changelog.Whole, changelog.Whole},
		{"secret", changelog.Create, nil, mine, changelog.Hidden, changelog.Hidden},
		{"api_key", changelog.Create, nil, mine, changelog.Whole, changelog.Whole},
		{"api_key", changelog.Create, nil, others, changelog.Hidden, changelog.Whole},
		{"api_key", changelog.Update, mine, mine, changelog.Whole, changelog.Whole},
		{"api_key", changelog.Update, mine, others, changelog.Gone, changelog.Whole},
		{"api_key", changelog.Update, others, mine, changelog.Whole, changelog.Whole},
		{"api_key", changelog.Update, others, others, changelog.Hidden, changelog.Whole},
		{"api_key", changelog.Delete, mine, nil, changelog.Whole, changelog.Whole},
		{"api_key", changelog.Delete, others, nil, changelog.Hidden, changelog.Whole},
	} {
		e := &changelog.Entry{Entity: c.entity, Op: c.op, Before: c.before, Data: c.after}
		for role, want := range map[auth.Role]changelog.Sight{auth.Member: c.member, auth.Admin: c.admin} {
			ctx := auth.WithRequest(t.Context(), &auth.Request{Now: time.Now, Actor: &auth.Actor{User: 1000, Role: role, Scope: auth.ScopeRead}})
			tx, err := s.DB.Session(ctx)
			if err != nil {
				t.Fatal(err)
			}
			r, err := s.Views.NewReader(tx, nil)
			if err != nil {
				t.Fatal(err)
			}
			if sight, err := r.Sees(e); err != nil || sight != want {
				t.Errorf("%s of %s, %s to %s, is seen by a %v as %d, %v, not %d", c.op, c.entity, c.before, c.after, role, sight, err, want)
			}
		}
	}
}

func TestEntryText(t *testing.T) {
	t.Parallel()
	shown := rpc.Register(jsonrpc.New(jsonrpc.Options{}), rpc.API{})
	e := &changelog.Entry{
		At: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), Actor: 7, Method: `a"b`, Entity: "user", RowID: "12", Op: changelog.Update, Version: 3,
		Data: jsontext.Value(`{"id": 12, "cid": 1, "mid": 2, "name": "N", "role": "member", "ctime": "2026-01-02T03:04:05+00:00",
			"mtime": "2026-01-02T03:04:05.5+00:00", "version": 3, "username": "u", "suspended": true, "gone_since": 1}`),
	}
	const head = `"at":"2026-01-02T03:04:05.000006Z","actor":7,"method":"a\"b","entity":"user","id":12,`
	const row = `{"id":12,"version":3,"cid":1,"ctime":"2026-01-02T03:04:05.000000Z","mid":2,"mtime":"2026-01-02T03:04:05.500000Z","username":"u","name":"N","role":"member"`
	for _, c := range []struct {
		role  auth.Role
		sight changelog.Sight
		want  string
	}{
		{auth.Member, changelog.Whole, head + `"op":"update","version":3,"data":` + row + `}`},
		{auth.Admin, changelog.Whole, head + `"op":"update","version":3,"data":` + row + `,"suspended":true}`},
		{auth.Member, changelog.Gone, head + `"op":"delete","version":3,"data":null`},
	} {
		text, err := shown.Append([]byte("x"), e, c.role, c.sight)
		if err != nil || string(text) != "x"+c.want {
			t.Errorf("to a %v:\n%s, %v, not\n%s", c.role, text, err, c.want)
		}
	}
	if _, err := shown.Append(nil, e, auth.Member, changelog.Hidden); err == nil {
		t.Error("a hidden entry is shown")
	}
	if text, err := shown.Append(nil, &changelog.Entry{Entity: "nothing"}, auth.Owner, changelog.Whole); err == nil {
		t.Errorf("an entry of an entity that is not followed is %s", text)
	}
}
