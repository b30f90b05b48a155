package auth

import (
	"testing"
	"time"

	"github.com/google/uuid"
)

func BenchmarkParseAccess(b *testing.B) {
	now := time.Unix(1_800_000_000, 0)
	tokens := NewTokens(Key(randomBytes(MinKeySize)), time.Hour)
	token, _, err := tokens.Access(AccessClaims{User: 1000, Tenant: uuid.New(), Session: uuid.New()}, now)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tokens.ParseAccess(token, now); err != nil {
			b.Fatal(err)
		}
	}
}
