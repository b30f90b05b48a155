package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// connections is how many clients send requests, each its next when it has the answer to the last.
const connections = 16

// load sends requests to a server for d and returns how many were answered in a second. It speaks just enough HTTP,
// because a whole client would take the servers' time on the same cores. An answer without a result ends it.
func load(ctx context.Context, address, token string, body func(r *rand.Rand) []byte, d time.Duration) (float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var answered atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for i := range connections {
		wg.Go(func() {
			if err := loadOne(ctx, address, token, body, rand.New(rand.NewPCG(1, uint64(i))), start.Add(d), &answered); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	return float64(answered.Load()) / time.Since(start).Seconds(), nil
}

func loadOne(ctx context.Context, address, token string, body func(*rand.Rand) []byte, r *rand.Rand, until time.Time, answered *atomic.Int64) (err error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	in := bufio.NewReaderSize(c, 64<<10)
	var out, answer []byte
	for time.Now().Before(until) && ctx.Err() == nil {
		b := body(r)
		out = fmt.Appendf(out[:0], "POST /api/rpc HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", address, token, len(b))
		if _, err := c.Write(append(out, b...)); err != nil {
			return err
		}
		if answer, err = readAnswer(in, answer); err != nil {
			return err
		}
		if !bytes.Contains(answer, []byte(`"result"`)) {
			return fmt.Errorf("answer: %.300s", answer)
		}
		answered.Add(1)
	}
	return nil
}

// readAnswer reads one answer, with a length or in chunks, into buf.
func readAnswer(in *bufio.Reader, buf []byte) ([]byte, error) {
	length, chunked := 0, false
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return nil, err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		}
	}
	if !chunked {
		return readN(in, buf[:0], length)
	}
	buf = buf[:0]
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseInt(string(bytes.TrimRight(line, "\r\n")), 16, 32)
		if err != nil {
			return nil, err
		}
		if buf, err = readN(in, buf, int(n)); err != nil {
			return nil, err
		}
		if _, err := in.Discard(2); err != nil || n == 0 {
			return buf, err
		}
	}
}

func readN(in *bufio.Reader, buf []byte, n int) ([]byte, error) {
	at := len(buf)
	for cap(buf) < at+n {
		buf = append(buf[:cap(buf)], 0)
	}
	buf = buf[:at+n]
	_, err := io.ReadFull(in, buf[at:])
	return buf, err
}
