package web

import "time"

// Times are how long a server waits for its streams' clients.
type Times struct{ Authenticate, Ping, Slow, Stuck time.Duration }

// SetTimes changes them for the servers that are made until undo is called. Tests that call it do not run in parallel.
func SetTimes(t Times) (undo func()) {
	was := defaultTimes
	defaultTimes = times{authenticate: t.Authenticate, ping: t.Ping, slow: t.Slow, stuck: t.Stuck}
	return func() { defaultTimes = was }
}
