//go:build brokers

package main

import "rowcall/modules/bus/broker"

var openBroker = broker.Open
