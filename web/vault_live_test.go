package web_test

import (
	"fmt"
	"slices"
	"testing"

	"rowcall/modules/apperr"
)

// A stream brings a collection's entries while its reader is a member: from the own membership on, to its end.
func TestStreamsOfVaultCollections(t *testing.T) {
	t.Parallel()
	s := start(t)
	owner, member, admin := s.login("demo1"), s.login("demo2"), s.login("admin")
	const one, other, seat = "01890a5d-ac96-774b-bcce-b302099a8057", "01890a5d-ac96-774b-bcce-b302099a8058", "01890a5d-ac96-774b-bcce-b302099a8059"
	// The admin follows everything but the vault, in sight of whatever the others see.
	streams := map[string]*events{
		"owner": s.follow("", bearer(owner.Token)...), "one": s.follow("?groups="+one, bearer(owner.Token)...),
		"member": s.follow("", bearer(member.Token)...), "admin": s.follow("", bearer(admin.Token)...),
	}
	for _, stream := range streams {
		stream.hello()
	}
	item := func(collection string) {
		s.call(owner.Token, "create_vault_item", fmt.Sprintf(`{"data":{"collection_id":%q,"payload":"YQ=="}}`, collection))
	}
	for _, id := range []string{one, other} {
		s.call(owner.Token, "create_vault_collection", fmt.Sprintf(`{"data":{"id":%q,"label":"x"},"wrapped_key":"x"}`, id))
	}
	item(one)
	s.call(owner.Token, "create_vault_member", fmt.Sprintf(`{"data":{"id":%q,"collection_id":%q,"user_id":%d,"wrapped_key":"x"}}`, seat, one, member.User.ID))
	item(one)
	item(other)
	s.call(owner.Token, "delete_vault_member", fmt.Sprintf(`{"id":%q}`, seat))
	item(one)
	s.create(owner.Token, "the end")

	const c, m, i, end = "vault_collection", "vault_member", "vault_item", "project"
	for name, want := range map[string][]string{
		"owner": {c, m, c, m, i, m, i, i, m, i, end}, "one": {c, m, i, m, i, m, i, end}, "member": {m, i, m, end}, "admin": {end},
	} {
		var got []string
		for len(got) == 0 || got[len(got)-1] != end {
			got = append(got, streams[name].change().Entity)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, not %v", name, got, want)
		}
	}
	for _, groups := range []string{"", "x", one + ","} {
		a := s.send("GET", "/api/rpc?groups="+groups, "", append(bearer(owner.Token), "Accept", "text/event-stream")...)
		if a.status != 400 || a.kind() != apperr.InvalidParams {
			t.Errorf("groups=%s: %d %s", groups, a.status, a.body)
		}
	}
}
