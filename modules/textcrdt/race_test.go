//go:build race

package textcrdt

// racing says that the race detector watches, which makes tests twenty times as slow and finds nothing in those of one goroutine. They run at
// length without it.
const racing = true
