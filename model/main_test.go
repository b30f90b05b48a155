package model_test

import (
	"testing"

	"rowcall/rpc/rpctest"
)

func TestMain(m *testing.M) { rpctest.Main(m) }
