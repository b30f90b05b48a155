package store_test

import (
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
)

// What a client sends as data is taken, or refused with a kind and a path; it never ends the call in another way.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `[]`, `{"label":"a","n":-5,"f":1e3,"b":true,"s":"","t":"2026-01-02T03:04:05Z","u":"00000000-0000-4000-8000-00000000000a","j":{"a":[1]},"owner":1,"boss_id":null}`,
		`{"label":null}`, `{"n":9223372036854775808}`, `{"n":1.0}`, `{"seal":"x","id":1,"tenant_id":1}`, `{"j":"\u0000"}`, `{"t":"tomorrow"}`, `{"f":1e999}`, `{"u":"x"}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data string) {
		if !jsontext.Value(data).IsValid() {
			return // the protocol lets only valid JSON come here
		}
		for _, err := range []error{second(things.DecodeNew(jsontext.Value(data))), second(things.DecodeChanges(jsontext.Value(data)))} {
			if err == nil {
				continue
			}
			e := apperr.From(err)
			if (e.Kind != apperr.InvalidParams && e.Kind != apperr.ValidationFailed) || len(e.Issues()) == 0 || e.Issues()[0].Reason == "" {
				t.Errorf("%s: %v", data, err)
			}
		}
	})
}
