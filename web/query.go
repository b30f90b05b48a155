package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/changelog"
	"rowcall/modules/store"
)

// query is what a request for a stream asks for.
type query struct {
	values url.Values
	last   string // the header Last-Event-ID
	issues []apperr.Issue
}

// What a stream of changes, and one of a document, can be asked.
var (
	streamParams   = []string{"entities", "epoch", "groups", "since"}
	documentParams = []string{"document", "since"}
)

func readQuery(r *http.Request) (*query, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, apperr.Wrap(apperr.InvalidParams, "The query cannot be read", err)
	}
	q := &query{values: values, last: r.Header.Get("Last-Event-ID")}
	allowed := streamParams
	if values.Has("document") {
		allowed = documentParams
	}
	for name, given := range values {
		switch {
		case !slices.Contains(allowed, name):
			q.issues = append(q.issues, apperr.Issue{Path: name, Reason: "is unknown", Allowed: allowed})
		case len(given) > 1:
			q.wrong(name, "is there twice")
		}
	}
	return q, nil
}

func (q *query) wrong(path, reason string) {
	q.issues = append(q.issues, apperr.Issue{Path: path, Reason: reason})
}

// err returns what is wrong with the query; nil for nothing.
func (q *query) err() error {
	if len(q.issues) > 0 {
		return apperr.Invalid(q.issues...)
	}
	return nil
}

// since returns the position that the stream is to begin after; nil for none. The header Last-Event-ID, which a browser sends when it comes
// back to the same URL, stands before the URL's since.
func (q *query) since() *int64 {
	name, since := "since", q.values.Get("since")
	if q.last != "" {
		name, since = "Last-Event-ID", q.last
	}
	if since == "" && (name != "since" || !q.values.Has(name)) {
		return nil
	}
	n, err := strconv.ParseInt(since, 10, 64)
	if err != nil || n < 0 {
		q.wrong(name, "must be a position: an integer, 0 or more")
	}
	return &n
}

// interest returns what changes are asked for.
func (q *query) interest() (of changelog.Interest, err error) {
	of.Since = q.since()
	of.Epoch = q.values.Get("epoch")
	if q.values.Has("entities") {
		of.Entities = strings.Split(q.values.Get("entities"), ",")
	}
	if q.values.Has("groups") {
		groups := strings.Split(q.values.Get("groups"), ",")
		of.Groups = make([]uuid.UUID, len(groups))
		for i, group := range groups {
			if of.Groups[i], err = uuid.Parse(group); err != nil || len(group) != 36 || i == store.MaxBulk {
				q.wrong("groups", "must be UUIDs, at most 1000")
				break
			}
		}
	}
	return of, q.err()
}

// document returns which document is asked for, and the position after which.
func (q *query) document() (id uuid.UUID, since int64, err error) {
	text := q.values.Get("document")
	if id, err = uuid.Parse(text); err != nil || len(text) != 36 {
		q.wrong("document", "must be a UUID")
	}
	if at := q.since(); at != nil {
		since = *at
	} else {
		q.wrong("since", "is needed: the position that open_document has answered")
	}
	return id, since, q.err()
}
