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

// request makes a body, and whose it is.
type request func(r *rand.Rand) (token string, body []byte)

// as are requests of one user.
func as(token string, body func(*rand.Rand) []byte) request {
	return func(r *rand.Rand) (string, []byte) { return token, body(r) }
}

// load sends requests to a server for d and returns how many were answered in a second. It speaks just enough HTTP,
// because a whole client would take the servers' time on the same cores. An answer without a result ends it.
func load(ctx context.Context, address string, next request, d time.Duration) (float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var answered atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for i := range connections {
		wg.Go(func() {
			if err := loadOne(ctx, address, next, rand.New(rand.NewPCG(1, uint64(i))), start.Add(d), &answered); err != nil {
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

func loadOne(ctx context.Context, address string, next request, r *rand.Rand, until time.Time, answered *atomic.Int64) (err error) {
	c, err := dial(ctx, address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	for time.Now().Before(until) && ctx.Err() == nil {
		if err := c.call(next(r)); err != nil {
			return err
		}
		answered.Add(1)
	}
	return nil
}

// client is a connection to send requests over.
type client struct {
	net.Conn
	in          *bufio.Reader
	out, answer []byte
}

func dial(ctx context.Context, address string) (*client, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &client{Conn: c, in: bufio.NewReaderSize(c, 64<<10)}, nil
}

// call sends a request and reads the answer; an error if that is without a result.
func (c *client) call(token string, body []byte) (err error) {
	c.out = fmt.Appendf(c.out[:0], "POST /api/rpc HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
		c.RemoteAddr(), token, len(body), body)
	if _, err := c.Write(c.out); err != nil {
		return err
	}
	if c.answer, err = readAnswer(c.in, c.answer); err != nil {
		return err
	}
	if !bytes.Contains(c.answer, []byte(`"result"`)) {
		return fmt.Errorf("answer: %.300s", c.answer)
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
