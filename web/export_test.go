package web

import "time"

// Times are how long the server waits for clients.
type Times struct{ Authenticate, Ping, Slow, Stuck time.Duration }

// SetTimes changes them until undo is called. Tests that call it do not run in parallel.
func SetTimes(t Times) (undo func()) {
	was := Times{authenticateWithin, pingEvery, slowAfter, stuckAt}
	set := func(t Times) {
		authenticateWithin, pingEvery, slowAfter, stuckAt = t.Authenticate, t.Ping, t.Slow, t.Stuck
	}
	set(t)
	return func() { set(was) }
}
