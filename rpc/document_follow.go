package rpc

import (
	"context"
	"regexp"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/textcrdt"
)

// followMethods are those by which who has a document open sees what others do.
func followMethods(m *jsonrpc.Mux, api API, d *entityDoc) {
	describe := describeText{d}
	jsonrpc.Handle(m, "show_presence", api.showPresence, describe.show())
	jsonrpc.Handle(m, "follow_document", followDocument, describe.follow())
	jsonrpc.Handle(m, "unfollow_document", unfollowDocument, describe.unfollow())
}

type showPresenceParams struct {
	ID       uuid.UUID     `json:"id"`
	Site     textcrdt.Site `json:"site"`
	Presence *presence     `json:"presence,omitzero"`
}

// presence is what somebody shows of themselves to those who have the same document open.
type presence struct {
	Name      string     `json:"name,omitzero"`
	Color     string     `json:"color,omitzero"`
	Selection *selection `json:"selection,omitzero"`
}

// selection is a part of a text. It was begun at the anchor, and the cursor is at the head, which is before or behind that, or the same.
type selection struct {
	Anchor textcrdt.Anchor `json:"anchor"`
	Head   textcrdt.Anchor `json:"head"`
}

const maxPresenceName = 100

// A colour is shown by pages of others, so there is nothing else in it.
var cssColor = regexp.MustCompile(`^[a-zA-Z0-9#(),.% ]{1,50}$`)

func (p *presence) check() error {
	switch {
	case p == nil:
		return nil
	case utf8.RuneCountInString(p.Name) > maxPresenceName:
		return apperr.Validation(apperr.Issue{Path: "params.presence.name", Reason: "may be at most 100 characters"})
	case p.Color != "" && !cssColor.MatchString(p.Color):
		return apperr.Validation(apperr.Issue{Path: "params.presence.color", Reason: "must be a colour as of CSS, of up to 50 characters"})
	}
	return nil
}

type shown struct {
	Shown bool `json:"shown"`
}

func (api API) showPresence(ctx context.Context, p showPresenceParams) (r data[shown], err error) {
	if err := p.Presence.check(); err != nil {
		return r, err
	}
	var text jsontext.Value
	if p.Presence != nil {
		if text, err = jsonrpc.Marshal(p.Presence); err != nil {
			return r, err
		}
	}
	err = api.Documents.Show(ctx, p.ID, p.Site, text)
	return data[shown]{shown{err == nil}}, apperr.Under("params", err)
}

type followDocumentParams struct {
	ID    uuid.UUID `json:"id"`
	Since int64     `json:"since"`
}

func followDocument(ctx context.Context, p followDocumentParams) (r data[documentPosition], err error) {
	c, err := connectionFrom(ctx)
	if err != nil {
		return r, err
	}
	if err := checkPosition("params.since", &p.Since); err != nil {
		return r, err
	}
	err = c.Follow(ctx, p.ID, p.Since)
	return data[documentPosition]{documentPosition{p.Since}}, apperr.Under("params", err)
}

type unfollowDocumentParams struct {
	ID uuid.UUID `json:"id"`
}

type unfollowed struct {
	Unfollowed bool `json:"unfollowed"` // false: it was not followed
}

func unfollowDocument(ctx context.Context, p unfollowDocumentParams) (r data[unfollowed], err error) {
	c, err := connectionFrom(ctx)
	if err != nil {
		return r, err
	}
	return data[unfollowed]{unfollowed{c.Unfollow(p.ID)}}, nil
}
