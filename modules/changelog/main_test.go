package changelog_test

import (
	"testing"

	"rowcall/modules/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }
