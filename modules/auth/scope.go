package auth

import (
	"slices"

	"rowcall/modules/apperr"
)

// ParseScopes returns the widest of the scopes of these names. VALIDATION for an empty list, an unknown name and one that
// is there twice; its paths start at the list ("[1]").
func ParseScopes(names []string) (Scope, error) {
	if len(names) == 0 {
		return ScopeNone, apperr.Validation(apperr.Issue{Reason: "must name at least one scope", Allowed: ScopeNames})
	}
	widest := ScopeNone
	var issues []apperr.Issue
	for i, name := range names {
		scope := Scope(slices.Index(ScopeNames, name) + 1)
		switch {
		case scope == ScopeNone:
			issues = append(issues, apperr.Issue{Path: apperr.Index("", i), Reason: "is not a scope", Allowed: ScopeNames})
		case slices.Contains(names[:i], name):
			issues = append(issues, apperr.Issue{Path: apperr.Index("", i), Reason: "is there twice"})
		}
		widest = max(widest, scope)
	}
	if len(issues) > 0 {
		return ScopeNone, apperr.Validation(issues...)
	}
	return widest, nil
}
