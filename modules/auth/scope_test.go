package auth

import (
	"testing"

	"rowcall/modules/apperr"
)

func TestParseScopes(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  Scope
		path  string // of the first issue, where there is one
	}{
		{[]string{"read"}, ScopeRead, ""},
		{[]string{"write"}, ScopeWrite, ""},
		{[]string{"admin", "read"}, ScopeAdmin, ""},
		{[]string{"read", "write", "admin"}, ScopeAdmin, ""},
		{nil, ScopeNone, ""},
		{[]string{}, ScopeNone, ""},
		{[]string{"read", "read"}, ScopeNone, "[1]"},
		{[]string{"read", "Write"}, ScopeNone, "[1]"},
		{[]string{""}, ScopeNone, "[0]"},
	} {
		got, err := ParseScopes(c.names)
		if got != c.want || (err == nil) != (c.want != ScopeNone) {
			t.Errorf("%q: %v, %v", c.names, got, err)
			continue
		}
		if err == nil {
			continue
		}
		if e := apperr.From(err); e.Kind != apperr.ValidationFailed || e.Issues()[0].Path != c.path {
			t.Errorf("%q: %v", c.names, err)
		}
	}
}
