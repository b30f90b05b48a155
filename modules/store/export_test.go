package store

// Waiting returns how many calls wait for their turn.
func Waiting(f *Feed) int { return len(f.calls) }

// Flush appends what a transaction has collected ahead of its end, so that only the commit is left.
func (tx *Tx) Flush() error { return tx.flush() }
