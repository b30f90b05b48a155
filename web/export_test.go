package web

import "time"

// SetTimes changes how long the server waits for clients, until undo is called. Tests that call it do not run in parallel.
func SetTimes(authenticate, slow, stuck time.Duration) (undo func()) {
	a, b, c := authenticateWithin, slowAfter, stuckAt
	authenticateWithin, slowAfter, stuckAt = authenticate, slow, stuck
	return func() { authenticateWithin, slowAfter, stuckAt = a, b, c }
}
