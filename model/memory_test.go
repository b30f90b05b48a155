package model_test

import (
	"context"
	"testing"
	"time"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/rpc/rpctest"
)

// tagOf returns the tag of the newest change of the logins.
func tagOf(t *testing.T, s *rpctest.Server) (tag string) {
	t.Helper()
	if err := s.DB.Owner(t).QueryRowContext(t.Context(), `SELECT auth_tag()`).Scan(&tag); err != nil {
		t.Fatal(err)
	}
	return tag
}

// remember uses a login until the node remembers it: its first look only finds out where the changes end.
func remember(t *testing.T, s *rpctest.Server, login string) {
	t.Helper()
	for range 1000 {
		if actor, _ := s.Authn.Recall(request(t.Context()), login); actor != nil {
			return
		}
		hold, _, _, err := s.Authn.Hold(t.Context(), login, func(*auth.Actor, time.Time, error) {})
		if err != nil {
			t.Fatal(err)
		}
		hold.Release()
	}
	t.Fatal("the login is not remembered")
}

func TestMemory(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	g := login(t, s, "demo1")
	recall := func(login string, at time.Time) (*auth.Actor, auth.Memory) {
		return s.Authn.Recall(auth.WithRequest(t.Context(), &auth.Request{Now: func() time.Time { return at }}), login)
	}
	if actor, memory := recall(g.Token, time.Now()); actor != nil || memory != nil {
		t.Errorf("of a login that nobody has used: %v, %v", actor, memory)
	}
	remember(t, s, g.Token)
	actor, memory := recall(g.Token, time.Now())
	if actor.User != g.User.ID {
		t.Errorf("the actor is %v", actor)
	}
	if tag, ok := memory.Tag(); !ok || tag != tagOf(t, s) {
		t.Errorf("%q, %v", tag, ok)
	}
	if actor, memory := recall(g.Token, g.ExpiresAt); actor != nil || memory != nil {
		t.Errorf("of a login that has expired: %v, %v", actor, memory)
	}

	// What happens to others is no more than a newer tag.
	old := tagOf(t, s)
	other, err := s.Authn.ByToken(request(t.Context()), login(t, s, "demo2").Token)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Authn.Logoff(request(t.Context()), other); err != nil {
		t.Fatal(err)
	}
	if tag, ok := memory.Tag(); !ok || tag != old || tag == tagOf(t, s) {
		t.Errorf("before the node knows: %q, %v", tag, ok)
	}
	if proven, err := memory.Prove(request(t.Context())); err != nil || *proven != *actor {
		t.Errorf("proven: %v, %v", proven, err)
	}
	if tag, ok := memory.Tag(); !ok || tag != tagOf(t, s) {
		t.Errorf("and after: %q, %v", tag, ok)
	}

	// A request that anybody may prove is proven by whoever asks for its actor.
	if err := s.Authn.Logoff(request(t.Context()), actor); err != nil {
		t.Fatal(err)
	}
	r := &auth.Request{Now: time.Now, Actor: actor, Memory: memory}
	if _, err := auth.ActorFrom(auth.WithRequest(context.Background(), r)); err == nil || apperr.From(err).Kind != apperr.Unauthenticated {
		t.Errorf("after the logoff: %v", err)
	}
	if r.Actor != nil || r.Memory != nil { // nobody asks again
		t.Errorf("the request is still that of %v, %v", r.Actor, r.Memory)
	}
	if tag, ok := memory.Tag(); ok {
		t.Errorf("after the logoff: %q", tag)
	}
}

// The use of an API key is noted once a minute, so a key is not recalled when that is due.
func TestMemoryOfAPIKeys(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	made := rpctest.Call[struct {
		Key string `json:"key"`
	}](s.As(t, "demo1"), "create_api_key", map[string]any{"data": map[string]any{"name": "ci", "scopes": []string{"read"}}})
	remember(t, s, made.Key)
	for after, remembered := range map[time.Duration]bool{0: true, 50 * time.Second: true, 70 * time.Second: false} {
		now := time.Now().Add(after)
		actor, memory := s.Authn.Recall(auth.WithRequest(t.Context(), &auth.Request{Now: func() time.Time { return now }}), made.Key)
		if (actor != nil) != remembered || (memory != nil) != remembered || remembered && actor.Scope != auth.ScopeRead {
			t.Errorf("after %v: %v", after, actor)
		}
	}
	if actor, _ := s.Authn.Recall(request(t.Context()), made.Key+"x"); actor != nil {
		t.Errorf("of what is no key: %v", actor)
	}
}

// What a node has learned since it let a request in is of another actor, as whom the request was not let in.
func TestMemoriesOfChangedActorsAreGone(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	made := rpctest.Call[struct {
		ID  int64  `json:"id"`
		Key string `json:"key"`
	}](s.As(t, "demo1"), "create_api_key", map[string]any{"data": map[string]any{"name": "ci", "scopes": []string{"write"}}})
	remember(t, s, made.Key)
	_, memory := s.Authn.Recall(request(t.Context()), made.Key)
	if _, err := s.DB.Owner(t).ExecContext(t.Context(), `UPDATE api_key SET scopes = '["read"]' WHERE id = $1`, made.ID); err != nil {
		t.Fatal(err)
	}
	for range 2 { // another request finds the change, and then what the key is by now
		if _, err := s.Authn.ByAPIKey(request(t.Context()), made.Key); err != nil {
			t.Fatal(err)
		}
	}
	if actor, _ := s.Authn.Recall(request(t.Context()), made.Key); actor == nil || actor.Scope != auth.ScopeRead {
		t.Fatalf("the key is remembered as %v", actor)
	}
	if tag, ok := memory.Tag(); ok {
		t.Errorf("the memory of the wider scope holds as of %s, where the newest is %s", tag, tagOf(t, s))
	}
}
