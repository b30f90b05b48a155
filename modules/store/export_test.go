package store

// Waiting returns how many calls wait for their turn.
func Waiting(f *Feed) int { return len(f.calls) }
