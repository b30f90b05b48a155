//go:build !brokers

package main

import (
	"strings"
	"testing"
)

func TestBusURLNeedsBrokers(t *testing.T) {
	_, err := loadConfig([]string{"ROWCALL_BUS_URL=nats://u:s3cret@host"}, modeDev)
	if err == nil || !strings.Contains(err.Error(), "ROWCALL_BUS_URL needs a program that was built with: go build -tags brokers") {
		t.Error(err)
	}
}
