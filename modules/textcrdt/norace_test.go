//go:build !race

package textcrdt

const racing = false
