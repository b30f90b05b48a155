package apperr_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"rowcall/modules/apperr"
)

func TestFromKeepsTheKindThroughWrapping(t *testing.T) {
	cause := errors.New("pq: secret text")
	wrapped := fmt.Errorf("while listing: %w", apperr.Wrap(apperr.Unavailable, "The database cannot be reached", cause))
	got := apperr.From(wrapped)
	if got.Kind != apperr.Unavailable || got.Message != "The database cannot be reached" {
		t.Fatalf("got %+v", got)
	}
	if !errors.Is(got, cause) {
		t.Fatal("the cause is lost")
	}
}

func TestFromGivesUnknownErrorsAKind(t *testing.T) {
	for _, c := range []struct {
		err  error
		kind apperr.Kind
	}{
		{errors.New("boom"), apperr.Internal},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), apperr.Timeout},
		{fmt.Errorf("x: %w", context.Canceled), apperr.Aborted},
	} {
		got := apperr.From(c.err)
		if got.Kind != c.kind || !errors.Is(got, c.err) {
			t.Errorf("From(%v) = %v", c.err, got)
		}
	}
	if apperr.From(nil) != nil {
		t.Error("From(nil) is not nil")
	}
}

func TestUnderPrefixesEveryIssue(t *testing.T) {
	err := apperr.Under("params.data", apperr.Under("[3]", apperr.Validation(
		apperr.Issue{Path: "title", Reason: "is too long"}, apperr.Issue{Path: "", Reason: "is odd"})))
	e := apperr.From(err)
	if e.Kind != apperr.ValidationFailed || e.Issues()[0].Path != "params.data[3].title" || e.Issues()[1].Path != "params.data[3]" {
		t.Fatalf("got %+v", e)
	}
	if want := "Validation failed: params.data[3].title is too long"; e.Message != want {
		t.Fatalf("message %q, want %q", e.Message, want)
	}
}

func TestWithLeavesTheOriginalAlone(t *testing.T) {
	a := apperr.NoRow("task", 7)
	b := a.With("more", 1)
	if _, ok := a.Data["more"]; ok || b.Data["entity"] != "task" || b.Data["id"] != 7 {
		t.Fatalf("a %v, b %v", a.Data, b.Data)
	}
	if l := apperr.Limited("wait", 1500*time.Millisecond); l.Data["retry_after_ms"] != int64(1500) {
		t.Fatalf("%v", l.Data)
	}
}

func TestIssuesAreBounded(t *testing.T) {
	issues := make([]apperr.Issue, 1000)
	for i := range issues {
		issues[i] = apperr.Issue{Path: strings.Repeat("é", 100_000), Reason: "is odd"}
	}
	err := apperr.From(apperr.Under("params", apperr.Invalid(issues...)))
	if n := len(err.Issues()); n != 20 {
		t.Errorf("%d issues", n)
	}
	if path := err.Issues()[0].Path; len(path) > 300 || !utf8.ValidString(path) || len(err.Message) > 400 {
		t.Errorf("a path of %d bytes, a message of %d", len(path), len(err.Message))
	}
	if len(issues[0].Path) != 200_000 {
		t.Error("the caller's issues were changed")
	}
}
