//go:build !brokers

package main

import (
	"errors"

	"rowcall/modules/bus"
)

func openBroker(string) (bus.Dial, error) {
	return nil, errors.New("needs a program that was built with: go build -tags brokers ./web/rowcall")
}
