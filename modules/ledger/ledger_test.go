package ledger_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"rowcall/modules/ledger"
)

type content struct {
	ID   int64          `json:"id"`
	Data jsontext.Value `json:"data,omitzero"`
}

func TestDigest(t *testing.T) {
	t.Parallel()
	digest := func(method string, c content) string {
		d, err := ledger.Digest(method, c)
		if err != nil {
			t.Fatal(err)
		}
		return string(d)
	}
	const data = `{"a":1,"b":[{"c":"x","d":null}],"e":1.50}`
	was := digest("m", content{1, jsontext.Value(data)})
	given := jsontext.Value(data)
	for _, same := range []string{data, `{"e":1.50, "b":[ {"d":null,"c":"\u0078"} ],"a":1}`} {
		if digest("m", content{1, jsontext.Value(same)}) != was {
			t.Errorf("%s has another digest", same)
		}
	}
	if digest("m", content{1, given}); string(given) != data {
		t.Errorf("what was digested is now %s", given)
	}
	seen := map[string]string{was: data}
	for name, d := range map[string]string{
		"another method":    digest("n", content{1, jsontext.Value(data)}),
		"another id":        digest("m", content{2, jsontext.Value(data)}),
		"absent":            digest("m", content{ID: 1}),
		"null":              digest("m", content{1, jsontext.Value("null")}),
		"another order":     digest("m", content{1, jsontext.Value(`[2,1]`)}),
		"the other order":   digest("m", content{1, jsontext.Value(`[1,2]`)}),
		"a large integer":   digest("m", content{1 << 53, nil}),
		"the next one":      digest("m", content{1<<53 + 1, nil}),
		"a long fraction":   digest("m", content{1, jsontext.Value(`0.30000000000000001`)}),
		"a longer fraction": digest("m", content{1, jsontext.Value(`0.300000000000000011`)}),
	} {
		if other, is := seen[d]; is {
			t.Errorf("%s has the digest of %s", name, other)
		}
		seen[d] = name
	}
}

func TestTime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		before := time.Now().Truncate(time.Millisecond)
		id := uuid.Must(uuid.NewV7())
		if at := ledger.Time(id); at.Before(before) || at.After(time.Now().Add(time.Second)) {
			t.Fatalf("%s is of %s", id, at)
		}
		ms := rapid.Int64Range(0, 1<<48-1).Draw(t, "ms")
		least, next := ledger.First(time.UnixMilli(ms)), ledger.First(time.UnixMilli(ms+1))
		if !ledger.Time(least).Equal(time.UnixMilli(ms)) || ms < 1<<48-1 && bytes.Compare(least[:], next[:]) >= 0 {
			t.Fatalf("%d: %s, %s", ms, least, next)
		}
	})
}
