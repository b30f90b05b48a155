package main

import (
	"go.uber.org/zap"

	"rowcall/modules/bus"
)

// nodeBus is a bus that is counted.
type nodeBus interface {
	bus.Bus
	Stats() bus.Stats
}

// newBus returns the bus that the settings ask for.
func newBus(cfg config, d *database, log *zap.Logger) nodeBus {
	notify := bus.NewPostgres(d.DB, d.listen, log)
	if cfg.Broker == nil {
		return notify
	}
	return bus.NewBroker(cfg.Broker, notify, log)
}
