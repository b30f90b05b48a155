package filter_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/filter"
)

func TestUnstorable(t *testing.T) {
	many := func(number string, n int) string {
		return `{"a":[` + strings.TrimSuffix(strings.Repeat(number+",", n), ",") + `]}`
	}
	for _, c := range []struct {
		value, path string
		storable    bool
	}{
		{`{"a":[1,-2.5e3,"x",null,true]}`, "", true},
		{`1.7976931348623157e308`, "", true},
		{`1e1000`, "", true},
		{`{"a":[0,1e1001]}`, "a[1]", false},
		{`1e99999999999999999999`, "", false},
		{`{"a":"\u0000"}`, "a", false},
		{`{"\u0000":1}`, "\x00", false},
		{many("1e999", 90), "", true},
		{many("1e999", 150), "", false}, // a thousand bytes each when they are written out
		{many("1e-999", 150), "", false},
		{many("123456", 50_000), "", true},
		{strings.Repeat("[", 1000) + strings.Repeat("]", 1000), "", true},
		{strings.Repeat("[", 1001) + strings.Repeat("]", 1001), "", false},
	} {
		path, reason := filter.Unstorable(jsontext.Value(c.value))
		if (reason == "") != c.storable || path != c.path {
			t.Errorf("%.40s: %q %q, storable %v at %q is wanted", c.value, path, reason, c.storable, c.path)
		}
	}
}
